"""Planets from frames to posterior, one by one, in processes that the guard of the run's time watches over."""

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..base.execution import counted, guarded
from ..base.products import Catalogue, LightCurveFit, PlanetLightCurves, Posterior, Prediction
from ..base.provenance import EventLog
from ..base.schema import Config, PhysfitConfig
from ..detector import product_maker, read_lightcurves
from ..spectra import join
from ..submission import MAX_DEPTH, possible
from ..transit import Priors
from .budget import FULL, TIME_UP, Guard, Result, Setting, run
from .fits import fit_planets
from .inputs import rows_of
from .stage import Stage

STAGE = "predict"
Fitted = tuple[Posterior, list[LightCurveFit]]


class PlanetsError(ValueError):
    """Not a single planet could be computed; the message holds the first reason."""


@dataclass(frozen=True)
class PlanetWork:
    """Light curves and fit of one planet, called as `work(planet id, name of a setting)` in a worker's process."""

    products: dict[str, Callable[[int], Path | None]]  # setting -> planet id -> file of its light curves
    physfit: dict[str, PhysfitConfig]  # setting -> how the fit is done
    catalogue: Catalogue
    priors: Priors
    events: EventLog

    def __call__(self, planet: int, setting: str) -> Fitted:
        """Posterior and fitted curves of one planet; the population's posterior where it has no usable frames."""
        curves = light_curves(self.products[setting](planet), planet, STAGE, self.events)
        return self._fit(curves, setting, self.events)

    def without_data(self, planet: int, reason: str) -> Fitted:
        """The population's posterior for a planet that nothing could be computed of; logs the reason."""
        self.events.emit(STAGE, "fallback", planet_id=planet, reason=reason)
        return self._fit(PlanetLightCurves(planet, ()), FULL, None)

    def _fit(self, curves: PlanetLightCurves, setting: str, events: EventLog | None) -> Fitted:
        row = self.catalogue.take(rows_of(self.catalogue.planet_id, np.array([curves.planet_id])))
        return fit_planets([curves], row, self.priors, self.physfit[setting], events, progress=False)


def planet_work(
    root: Path,
    split: str,
    folder: Path,
    settings: Mapping[Setting, Config],
    catalogue: Catalogue,
    priors: Priors,
    events: EventLog,
) -> PlanetWork:
    """The work on a split, whose light curves go to `folder`.

    Raises FrameError where a file that all planets need cannot be used.
    """
    products = {
        setting.name: product_maker(root, split, folder, config.lightcurves, events)
        for setting, config in settings.items()
    }
    physfit = {setting.name: config.physfit for setting, config in settings.items()}
    return PlanetWork(products, physfit, catalogue, priors, events)


def light_curves(path: Path | None, planet_id: int, stage: str, events: EventLog) -> PlanetLightCurves:
    """A planet's light curves; without any visit where there are none, which the fit answers with the population."""
    if path is None:
        return PlanetLightCurves(planet_id, ())
    try:
        return read_lightcurves(path)
    except (ValueError, OSError) as error:
        events.emit(stage, "unreadable_product", planet_id=planet_id, reason=str(error))
        return PlanetLightCurves(planet_id, ())


def computed(work: PlanetWork, planets: list[int], guard: Guard, progress: bool) -> Generator[Result]:
    """What became of each planet, as they end; a value is what `PlanetWork` returns.

    Raises PlanetsError at the end where planets failed and not one was computed: then the fault is not the planets'.
    """
    pool = guarded(work, min(guard.workers, len(planets)), guard.clock)
    used, failure = Counter[str](), ""
    with closing(run(planets, pool, guard, say=partial(work.events.emit, STAGE))) as results:
        for one in counted(results, len(planets), "planets", "planet", progress):
            if one.value is not None:
                used[one.setting] += 1
            elif one.reason != TIME_UP:
                failure = failure or f"planet {one.task}: {one.reason}"
            if one.value is not None and one.setting != FULL:
                reason = f"time was short: computed with budget.steps {one.setting}"
                work.events.emit(STAGE, "cheaper", planet_id=one.task, reason=reason)
            yield one
    pace = guard.pace_s(guard.settings[0])  # seconds of a planet at the full setting; None where too few were computed
    work.events.emit(STAGE, "computed", settings=dict(used), workers=pool.size, pace_s=pace)
    if failure and not used:
        raise PlanetsError(
            f"not one of {len(planets)} planets could be computed: {failure}. submission.csv holds the population's "
            f"answer, {work.events.path} every reason."
        )


def improved(stage: Stage, prediction: Prediction, fitted: Prediction) -> Prediction:
    """`prediction` with the rows of `fitted` put in; a row that no planet can have is logged and left out."""
    mu, spread = prediction.mu.copy(), prediction.sigma.copy()
    valid = possible(fitted)
    for planet in fitted.planet_id[~valid].tolist():
        reason = f"the answer is impossible: depths and sigmas must be finite, from 0 to {MAX_DEPTH:g}"
        stage.events.emit(stage.name, "fallback", planet_id=planet, reason=reason)
    rows = rows_of(prediction.planet_id, fitted.planet_id[valid])
    mu[rows], spread[rows] = fitted.mu[valid], fitted.sigma[valid]
    return Prediction(prediction.planet_id, mu, spread)


def fitted_planets(
    stage: Stage, rows: Catalogue, products: dict[int, Path], priors: Priors
) -> tuple[Posterior, list[LightCurveFit]]:
    """Physical fit of the planets in `rows` from their product files, in `stage.workers` processes.

    Where a process dies the planets are fitted one by one: none takes the others along.
    """
    planets = [light_curves(products.get(i), i, stage.name, stage.events) for i in rows.planet_id.tolist()]
    config, log, show = stage.config.physfit, stage.events, stage.config.run.progress
    try:
        return fit_planets(planets, rows, priors, config, log, show, stage.workers)
    except Exception as error:  # a worker that the system killed, say: once more, planet by planet
        log.emit(stage.name, "fit_retried", reason=f"{type(error).__name__}: {error}", planets=len(planets))
    parts = []
    for i, planet in enumerate(planets):
        row = rows.take(slice(i, i + 1))
        try:
            parts.append(fit_planets([planet], row, priors, config, log, False, 1))
        except Exception as error:
            log.emit(stage.name, "fit_failed", planet_id=planet.planet_id, reason=f"{type(error).__name__}: {error}")
            parts.append(fit_planets([PlanetLightCurves(planet.planet_id, ())], row, priors, config, log, False, 1))
    return join(parts)

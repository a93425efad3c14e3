"""Physical fits of many planets in processes, each with what the fusion model looks at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..base.execution import in_processes
from ..base.products import Array, Catalogue, LightCurveFit, PlanetLightCurves, Posterior
from ..base.provenance import EventLog
from ..base.schema import PhysfitConfig
from ..fusion import fit_inputs, no_inputs
from ..transit import LIMITS, Details, Measured, PlanetFit, Priors, detailed_fit, measure_limb_darkening


@dataclass(frozen=True)
class Fitted:
    """One planet's fit, the fusion model's inputs that were made of it, and what the report shows of it."""

    fit: PlanetFit
    inputs: dict[str, Array]  # `features.fit_inputs`, and `PlanetFit.shown`


def with_inputs(fit: PlanetFit, details: Details | None) -> Fitted:
    """A fit with the inputs of the fusion model; of a planet without any fit nothing is present."""
    if details is None:
        return Fitted(fit, no_inputs() | fit.shown)
    known = (fit.diagnostics["duration_h"], fit.mean, fit.prior_mean, fit.prior_sd)
    return Fitted(fit, fit_inputs(details.series, *known) | fit.shown)


def fit_one(planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig) -> Fitted:
    """The fit of one planet with its inputs; never raises: see `fallback` in its diagnostics."""
    return with_inputs(*detailed_fit(planet, row, priors, config))


def fit_planets(
    lightcurves: list[PlanetLightCurves],
    catalogue: Catalogue,
    priors: Priors,
    config: PhysfitConfig,
    events: EventLog | None = None,
    progress: bool = True,
    workers: int = 1,
) -> tuple[Posterior, list[LightCurveFit]]:
    """Fit all planets; rows of `catalogue` and `lightcurves` correspond. No planet's failure stops the others."""
    rows = [catalogue.take(slice(i, i + 1)) for i in range(len(lightcurves))]
    given = [(*pair, priors, config) for pair in zip(lightcurves, rows, strict=True)]
    found = list(in_processes(fit_one, given, workers, "physical fit", progress=progress))
    ids = [planet.planet_id for planet in lightcurves]
    for planet_id, one in zip(ids, found, strict=True):
        if events is not None and one.fit.reason:
            events.emit("physfit", "fallback", planet_id=int(planet_id), reason=one.fit.reason)
        if events is not None and one.fit.misfit:
            figures = {
                name: one.fit.diagnostics[name] for name in (*LIMITS, "chi2_white") if name in one.fit.diagnostics
            }
            events.emit("physfit", "misfit", planet_id=int(planet_id), reason=one.fit.misfit, figures=figures)
        if events is not None and "neighbour" in one.fit.diagnostics:
            share = one.fit.diagnostics["neighbour"]
            reason = f"another star of {share:.1%} of the target's light was found beside it, and taken away"
            events.emit("physfit", "neighbour", planet_id=int(planet_id), reason=reason)
    return stacked(ids, found), [curve for one in found for curve in one.fit.curves]


def stacked(planet_ids: Sequence[int], found: Sequence[Fitted]) -> Posterior:
    """The posterior of planets that were fitted one by one; a diagnostic that one of them lacks is NaN there."""
    fits = [one.fit for one in found]
    names = sorted({name for fit in fits for name in fit.diagnostics})
    return Posterior(
        planet_id=np.array(planet_ids, np.int64),
        mean=np.stack([fit.mean for fit in fits]),
        cov=np.stack([fit.cov for fit in fits]).astype(np.float32),
        diagnostics={name: np.array([fit.diagnostics.get(name, np.nan) for fit in fits]) for name in names},
        inputs={name: np.stack([one.inputs[name] for one in found]) for name in found[0].inputs} if found else {},
    )


def measure_stars(
    lightcurves: list[PlanetLightCurves],
    catalogue: Catalogue,
    priors: Priors,
    config: PhysfitConfig,
    depth: Array,
    progress: bool = True,
    workers: int = 1,
) -> list[Measured | None]:
    """`measure_limb_darkening` of training planets, whose spectra `depth` (P, 283) are known."""
    rows = [catalogue.take(slice(i, i + 1)) for i in range(len(lightcurves))]
    given = [(planet, row, priors, config, true) for planet, row, true in zip(lightcurves, rows, depth, strict=True)]
    return list(in_processes(measure_limb_darkening, given, workers, "limb darkening", progress=progress))

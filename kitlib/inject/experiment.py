"""Inject and recover: what the pipeline makes of signals of known size in the data of this dataset's own planets.

Each planet goes through calibration, fit, fusion model and calibrator as it is, and again with each signal at each
amplitude; the difference of both answers is what the signal did. No truth is needed.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..base.execution import in_processes
from ..base.instruments import FGS1, N_AIRS_BINS, N_BINS
from ..base.products import Array, Catalogue, PlanetLightCurves
from ..base.provenance import EventLog
from ..base.schema import Config, InjectConfig
from ..detector import (
    AxisInfo,
    Converters,
    list_visits,
    planet_lightcurves,
    product_maker,
    read_adc_info,
    read_axis_info,
    read_lightcurves,
    read_wavelengths,
    write_lightcurves,
)
from ..fusion import Fusion
from ..run import (
    Fitted,
    Stage,
    answered,
    check_choices,
    learnt,
    light_curves,
    stacked,
    tables,
    usable_catalogue,
    with_inputs,
)
from ..sigma import Calibrator, apply, calibrated_covariance
from ..transit import Details, PlanetFit, Priors, detailed_fit
from .frameinject import inject_frames
from .recovery import Answer, band_point, band_summary, leakage_point, leakage_summary, without_prior
from .signals import PLACES, SIGNALS, Scene, band_profile, into_lightcurves


class InjectError(ValueError):
    """Nothing can be injected; the message names the key or the reason."""


@dataclass(frozen=True)
class Trial:
    """One signal at one amplitude, in light curves or in frames."""

    signal: str
    place: str
    amplitude: float


@dataclass(frozen=True)
class Frames:
    """A split's raw frames, and where copies of them may lie."""

    folder: Path  # of the planets' folders
    scratch: Path
    axis: AxisInfo
    converters: Converters


@dataclass(frozen=True)
class Setting:
    """What every planet is computed with; travels to the workers."""

    config: Config
    priors: Priors
    wavelengths_um: Array  # (283,)
    frames: Frames | None = None  # None: there are light curves alone


@dataclass(frozen=True)
class Measured:
    """A planet's fit, and what its light curves say without the prior."""

    fitted: Fitted
    likelihood: Array  # (283,)


@dataclass(frozen=True)
class Subject:
    """A planet to inject into."""

    curves: PlanetLightCurves
    row: Catalogue
    scene: Scene
    measured: Measured  # untouched


@dataclass(frozen=True)
class Answers:
    """Fusion model and calibrator, one planet at a time: the same fit gives the same bytes whatever comes with it."""

    models: list[Fusion]
    calibrator: Calibrator

    def __call__(self, subject: Subject, measured: Measured) -> Answer:
        """The answer of one fit of a planet."""
        physics = stacked([subject.scene.planet_id], [measured.fitted])
        posterior = answered(self.models, physics, subject.row)
        mu = apply(self.calibrator, posterior).mu[0]
        cov = calibrated_covariance(self.calibrator, posterior)[0]
        return Answer(mu, cov, physics.mean[0], measured.likelihood)


def trials(settings: InjectConfig) -> list[Trial]:
    """Every signal at every amplitude in every place that it can be put into. InjectError where there is none."""
    places = PLACES if settings.where == "both" else (settings.where,)
    found = []
    for name in dict.fromkeys(settings.signals):
        band = SIGNALS[name].band
        key = "amplitudes" if band else "nuisance_amplitudes"
        ladder = settings.amplitudes if band else settings.nuisance_amplitudes
        if not ladder:
            raise InjectError(f"inject.{key}={ladder}: at least one number is needed")
        found += [Trial(name, p, a) for p in places if p in SIGNALS[name].places for a in dict.fromkeys(ladder)]
    if not found:
        raise InjectError(f"none of inject.signals={settings.signals} can be put into {settings.where}")
    return found


# a folder for copies, deleted at its end; some network mounts refuse that for a while, and no result is lost by it
_scratch = partial(tempfile.TemporaryDirectory, ignore_cleanup_errors=True)


def inject(config: Config, stage: Stage, root: Path) -> dict[str, Any]:
    """Inject into planets of a data root; see `experiment`. Their light curves are the run's, made where missing."""
    check_choices(config)
    wanted, split = trials(config.inject), config.data.split
    catalogue = usable_catalogue(root, split, stage.name, stage.events)
    known = learnt(config, root, stage.out, stage.name, stage.events)
    stage.record["inputs"] += [*tables(root, split), *known.files]
    wavelengths = read_wavelengths(root / "wavelengths.csv")
    make = product_maker(root, split, stage.products(split), config.lightcurves, stage.events)
    with _scratch(dir=stage.out, prefix="inject_") as scratch:
        frames = Frames(root / split, Path(scratch), read_axis_info(root), read_adc_info(root))
        rows = catalogue.take(np.array(chosen_planets(config.inject, frames.folder, catalogue), np.int64))
        loads = [partial(_product, make, planet, stage.events) for planet in rows.planet_id.tolist()]
        setting = Setting(config, known.priors, wavelengths, frames)
        return experiment(setting, Answers(known.models, known.calibrator), loads, rows, wanted, stage.workers)


def experiment(
    setting: Setting,
    answers: Answers,
    loads: Sequence[Callable[[], PlanetLightCurves]],
    rows: Catalogue,
    wanted: Sequence[Trial],
    workers: int,
) -> dict[str, Any]:
    """Every trial on every planet, compared with the untouched planet; a dictionary ready for JSON.

    Args:
        setting: of the fits.
        answers: fusion model and calibrator.
        loads: what gives each planet's light curves, called in a worker.
        rows: the planets' rows of the catalogue.
        wanted: the trials.
        workers: processes.

    Returns:
        bands, nuisances: one entry for each signal and place with the summary of `recovery.band_summary` or
        `leakage_summary`; points: every planet and amplitude; left_out: what could not be done, and why; planets: ids.

    Raises:
        InjectError: no planet can be fitted, or none has what the signals need.
    """
    show = setting.config.run.progress
    single = [rows.take(slice(i, i + 1)) for i in range(len(rows))]
    first = [(setting, *each) for each in zip(loads, single, strict=True)]
    found = list(in_processes(_untouched, first, workers, "untouched planets", "fit", show))
    subjects = [one for one in found if isinstance(one, Subject)]
    left_out: list[dict[str, Any]] = [one for one in found if not isinstance(one, Subject)]
    if not subjects:
        reason = left_out[0]["reason"] if left_out else "there is no planet"
        raise InjectError(f"not one of {len(found)} planets could be fitted: {reason}")
    jobs = [(subject, trial) for subject in subjects for trial in wanted]
    untouched = {one.scene.planet_id: answers(one, one.measured) for one in subjects}
    results = in_processes(_tried, [(setting, *job) for job in jobs], workers, "inject", "fit", show)
    points = []
    for (subject, trial), result in zip(jobs, results, strict=True):  # one at a time: a fit holds a megabyte
        about = {"signal": trial.signal, "where": trial.place, "planet_id": subject.scene.planet_id}
        if isinstance(result, str):
            left_out.append({**about, "reason": result})
            continue
        before, after = untouched[subject.scene.planet_id], answers(subject, result)
        signal = SIGNALS[trial.signal]
        if signal.band:
            point = band_point(band_profile(trial.signal, setting.wavelengths_um), before, after)
        else:
            point = leakage_point(before, after)
        points.append({**about, "unit": signal.unit(trial.place), "injected": trial.amplitude} | point)
    if not points:
        raise InjectError(f"nothing could be injected: {left_out[0]['reason']}")
    left_out = [dict(one) for one in dict.fromkeys(tuple(one.items()) for one in left_out)]
    return {"planets": list(untouched), **summaries(points), "points": points, "left_out": left_out}


def summaries(points: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Summary of each signal in each place, from points: {"bands": [...], "nuisances": [...]}."""
    found: dict[str, list[dict[str, Any]]] = {"bands": [], "nuisances": []}
    for signal, place in dict.fromkeys((point["signal"], point["where"]) for point in points):
        some = [point for point in points if (point["signal"], point["where"]) == (signal, place)]
        about = {"signal": signal, "where": place, "unit": some[0]["unit"], "summary": SIGNALS[signal].summary}
        if SIGNALS[signal].band:
            found["bands"].append(about | band_summary(some))
        else:
            found["nuisances"].append(about | leakage_summary(some))
    return found


def chosen_planets(settings: InjectConfig, folder: Path, catalogue: Catalogue) -> list[int]:
    """Rows of the catalogue: the first planets, and where that is asked for one with two visits."""

    def twice(i: int) -> bool:
        planet = folder / str(catalogue.planet_id[i])
        return planet.is_dir() and len(list_visits(planet)) > 1

    chosen = list(range(min(settings.planets, len(catalogue))))
    if "second_visit_offset" in settings.signals and not any(map(twice, chosen)):
        chosen += islice(filter(twice, range(len(chosen), len(catalogue))), 1)
    return chosen


def _product(make: Callable[[int], Path | None], planet: int, events: EventLog) -> PlanetLightCurves:
    return light_curves(make(planet), planet, "inject", events)


def _untouched(setting: Setting, load: Callable[[], PlanetLightCurves], row: Catalogue) -> Subject | dict[str, Any]:
    """A planet fitted as it is; its id and the reason where it cannot be."""
    curves = load()
    fit, details = detailed_fit(curves, row, setting.priors, setting.config.physfit)
    if details is None:
        return {"planet_id": curves.planet_id, "reason": fit.reason if curves.visits else "no usable frames"}
    scene = scene_of(curves, fit, details, row, setting.wavelengths_um)
    return Subject(curves, row, scene, _measured(fit, details))


def _measured(fit: PlanetFit, details: Details | None) -> Measured:
    return Measured(
        with_inputs(fit, details), without_prior(details.likelihood) if details else np.full(N_BINS, np.nan)
    )


def scene_of(
    curves: PlanetLightCurves, fit: PlanetFit, details: Details, row: Catalogue, wavelengths_um: Array
) -> Scene:
    """What signals must know of a planet, from its fit."""
    u1, u2 = np.full(N_BINS, np.nan), np.full(N_BINS, np.nan)
    for one in details.series:
        bins = slice(0, 1) if one.instrument == FGS1.name else slice(N_BINS - N_AIRS_BINS, N_BINS)
        u1[bins], u2[bins] = one.u1, one.u2
    middle = {one.visit: one.t0_h for one in details.series}
    return Scene(
        planet_id=curves.planet_id,
        t0_h=tuple(middle[visit] for visit in range(len(curves.visits))),
        period_days=float(row.period_days[0]),
        a_over_rs=fit.diagnostics["a_over_rs"],
        impact_param=fit.diagnostics["impact_param"],
        duration_h=fit.diagnostics["duration_h"],
        temperature_k=float(row.stellar_temperature_k[0]),
        depth=np.maximum(fit.mean, 1e-5),
        u1=u1,
        u2=u2,
        wavelengths_um=wavelengths_um,
    )


def _tried(setting: Setting, subject: Subject, trial: Trial) -> Measured | str:
    """The planet's fit with a signal in its data, or the reason why there is none."""
    signal, curves = SIGNALS[trial.signal], subject.curves
    if not any(map(signal.hits, range(len(curves.visits)))):
        return "the planet has no second visit"
    if trial.place == "lightcurves":
        curves = into_lightcurves(curves, trial.signal, trial.amplitude, subject.scene)
    elif setting.frames is None:
        return "there are no raw frames"
    elif len(list_visits(setting.frames.folder / str(curves.planet_id))) != len(curves.visits):
        return "a visit of the planet has no usable frames"
    else:
        try:
            curves = _through_frames(setting, setting.frames, subject.scene, trial)
        except (ValueError, OSError) as error:
            return str(error)
    fit, details = detailed_fit(curves, subject.row, setting.priors, setting.config.physfit)
    if details is None:
        return f"with the signal at {trial.amplitude:g} it could not be fitted: {fit.reason}"
    return _measured(fit, details)


def _through_frames(setting: Setting, frames: Frames, scene: Scene, trial: Trial) -> PlanetLightCurves:
    """Light curves from a copy of the planet's frames with a signal in them; the copy is deleted."""
    config = setting.config.lightcurves
    with _scratch(dir=frames.scratch) as root:
        given = frames.folder / str(scene.planet_id), Path(root), trial.signal, trial.amplitude, scene
        adc = frames.converters.of(scene.planet_id)
        copy = inject_frames(*given, frames.axis, adc, config, setting.config.run.seed)
        # its files were read once already: what was odd about them is in the run's own log
        curves = planet_lightcurves(copy, frames.axis, adc, config, EventLog(Path(root) / "events.jsonl"))
        # through the product's file like the untouched ones: another order in memory would be another rounding
        return read_lightcurves(write_lightcurves(Path(root) / "product.safetensors", curves, ""))

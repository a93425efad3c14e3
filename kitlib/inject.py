"""Inject and recover: what the pipeline makes of signals of known size in the data of this dataset's own planets.

Each planet goes through calibration, fit, fusion model and calibrator as it is, and again with each signal at each
amplitude; the difference of both answers is what the signal did. No truth is needed.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from .calibrator import Calibrator, apply, calibrated_covariance
from .frameinject import inject_frames
from .frames import AxisInfo, list_visits, read_axis_info
from .fusion import Fusion
from .inputs import answered, catalogue_of, run_calibrator, run_models, run_prior, tables
from .instruments import FGS1, N_AIRS_BINS, N_BINS
from .lightcurves import planet_lightcurves, product_maker
from .physfit import Details, PlanetFit, detailed_fit, stacked
from .planets import light_curves
from .prior import SpectralPrior
from .products import Array, Catalogue, PlanetLightCurves
from .provenance import EventLog
from .recovery import Answer, band_point, band_summary, leakage_point, leakage_summary, without_prior
from .schema import Config, InjectConfig
from .signals import PLACES, SIGNALS, Scene, band_profile, into_lightcurves
from .stage import Stage
from .tables import Adc, read_adc_info, read_wavelengths


class InjectError(ValueError):
    """Nothing can be injected; the message names the key or the reason."""


@dataclass(frozen=True)
class Trial:
    """One signal at one amplitude, in light curves or in frames."""

    signal: str
    place: str
    amplitude: float


@dataclass(frozen=True)
class Setting:
    """What every planet is computed with; travels to the workers."""

    config: Config
    folder: Path  # of the planets' frames
    scratch: Path  # root of their copies
    axis: AxisInfo
    adc: dict[str, Adc]
    prior: SpectralPrior
    events: EventLog


@dataclass(frozen=True)
class Fitted:
    """A planet's fit, and what its light curves say without the prior."""

    fit: PlanetFit
    likelihood: Array  # (283,)


@dataclass(frozen=True)
class Subject:
    """A planet to inject into."""

    curves: PlanetLightCurves
    row: Catalogue
    scene: Scene
    fitted: Fitted  # untouched
    visits_on_disk: int


def trials(settings: InjectConfig) -> list[Trial]:
    """Every signal at every amplitude in every place that it can be put into. InjectError for bad settings."""
    places = PLACES if settings.where == "both" else (settings.where,)
    if not set(places) <= set(PLACES):
        raise InjectError(f"inject.where={settings.where}: give {', '.join(PLACES)} or both")
    if unknown := [name for name in settings.signals if name not in SIGNALS]:
        raise InjectError(f"inject.signals: unknown signal {unknown[0]!r}; there are {', '.join(SIGNALS)}")
    if settings.planets < 1:
        raise InjectError(f"inject.planets={settings.planets}: at least one planet is needed")
    found = []
    for name in dict.fromkeys(settings.signals):
        band = SIGNALS[name].band
        key = "amplitudes" if band else "nuisance_amplitudes"
        ladder = settings.amplitudes if band else settings.nuisance_amplitudes
        if not ladder or not np.isfinite(ladder).all():
            raise InjectError(f"inject.{key}={ladder}: at least one number is needed, all of them finite")
        found += [Trial(name, p, a) for p in places if p in SIGNALS[name].places for a in dict.fromkeys(ladder)]
    if not found:
        raise InjectError(f"none of inject.signals={settings.signals} can be put into {settings.where}")
    return found


def inject(config: Config, stage: Stage, root: Path) -> dict[str, Any]:
    """Inject, run the pipeline, compare; a dictionary ready for JSON.

    Returns:
        bands, nuisances: one entry for each signal and place with the summary of `recovery.band_summary` or
        `leakage_summary`; points: every planet and amplitude; left_out: what could not be done, and why; planets: ids.

    Raises:
        InjectError: bad settings, or no planet that can be fitted.
    """
    wanted, split = trials(config.inject), config.data.split
    catalogue = catalogue_of(root, split)
    prior, prior_files = run_prior(config.prior, root, stage.out)
    models, model_files = run_models(config.model, stage.out)
    calibrator, calibrator_files = run_calibrator(config.sigma.calibrator, stage.out, config.model.kind)
    stage.record["inputs"] += [*tables(root, split), *prior_files, *model_files, *calibrator_files]
    with tempfile.TemporaryDirectory(dir=stage.out, prefix="inject_") as scratch:
        setting = Setting(
            config, root / split, Path(scratch), read_axis_info(root), read_adc_info(root), prior, stage.events
        )
        wavelengths = read_wavelengths(root / "wavelengths.csv")
        subjects, left_out = _subjects(setting, stage, root, catalogue, wavelengths)
        jobs = [(subject, trial) for subject in subjects for trial in wanted]
        results = _parallel([delayed(_tried)(setting, *job) for job in jobs], stage, "inject")
    solve = _Answers(models, calibrator)
    untouched = {one.scene.planet_id: solve(one, one.fitted) for one in subjects}
    points = []
    for (subject, trial), result in zip(jobs, results, strict=True):
        about = {"signal": trial.signal, "where": trial.place, "planet_id": subject.scene.planet_id}
        if isinstance(result, str):
            left_out.append({**about, "reason": result})
            continue
        before, after = untouched[subject.scene.planet_id], solve(subject, result)
        profile = band_profile(trial.signal, wavelengths) if SIGNALS[trial.signal].band else None
        found = leakage_point(before, after) if profile is None else band_point(profile, before, after)
        points.append({**about, "unit": SIGNALS[trial.signal].unit(trial.place), "injected": trial.amplitude} | found)
    if not points:
        raise InjectError(f"nothing could be injected: {left_out[0]['reason']}")
    ids = [one.scene.planet_id for one in subjects]
    left_out = [dict(reason) for reason in dict.fromkeys(tuple(one.items()) for one in left_out)]
    return {"planets": ids, **summaries(points), "points": points, "left_out": left_out}


def summaries(points: list[dict]) -> dict[str, list[dict]]:
    """Summary of each signal in each place, from points: {"bands": [...], "nuisances": [...]}."""
    found: dict[str, list[dict]] = {"bands": [], "nuisances": []}
    for signal, place in dict.fromkeys((point["signal"], point["where"]) for point in points):
        some = [point for point in points if (point["signal"], point["where"]) == (signal, place)]
        about = {"signal": signal, "where": place, "unit": some[0]["unit"], "summary": SIGNALS[signal].summary}
        if SIGNALS[signal].band:
            found["bands"].append(about | band_summary(some))
        else:
            found["nuisances"].append(about | leakage_summary(some))
    return found


def _subjects(
    setting: Setting, stage: Stage, root: Path, catalogue: Catalogue, wavelengths: Array
) -> tuple[list[Subject], list[dict]]:
    """The planets to inject into, fitted as they are, and those that cannot be used. InjectError where none is left."""
    config, split = setting.config, setting.config.data.split
    folder = stage.out / "products" / "lightcurves" / split
    make = product_maker(root, split, folder, config.lightcurves, stage.events)
    chosen = _chosen(config.inject, setting.folder, catalogue)
    rows = [catalogue.take(slice(i, i + 1)) for i in chosen]
    first = _parallel([delayed(_untouched)(setting, stage.name, make, row) for row in rows], stage, "untouched planets")
    subjects, left_out = [], []
    for row, (curves, fitted, details) in zip(rows, first, strict=True):
        planet = int(row.planet_id[0])
        if details is None:
            left_out.append({"planet_id": planet, "reason": fitted.fit.reason or "no usable frames"})
            continue
        scene = scene_of(curves, fitted.fit, details, row, wavelengths)
        visits = len(list_visits(setting.folder / str(planet)))
        subjects.append(Subject(curves, row, scene, fitted, visits))
    if not subjects:
        raise InjectError(f"not one of {len(chosen)} planets could be fitted: {left_out[0]['reason']}")
    return subjects, left_out


def _chosen(settings: InjectConfig, folder: Path, catalogue: Catalogue) -> list[int]:
    """Rows of the catalogue: the first planets, and where that is asked for one with two visits."""

    def twice(i: int) -> bool:
        planet = folder / str(catalogue.planet_id[i])
        return planet.is_dir() and len(list_visits(planet)) > 1

    chosen = list(range(min(settings.planets, len(catalogue))))
    if "second_visit_offset" in settings.signals and not any(map(twice, chosen)):
        chosen += [i for i in range(len(chosen), len(catalogue)) if twice(i)][:1]
    return chosen


def _untouched(
    setting: Setting, stage: str, make: Callable[[int], Path | None], row: Catalogue
) -> tuple[PlanetLightCurves, Fitted, Details | None]:
    planet = int(row.planet_id[0])
    curves = light_curves(make(planet), planet, stage, setting.events)
    fit, details = detailed_fit(curves, row, setting.prior, setting.config.physfit)
    return curves, _fitted(fit, details), details


def _fitted(fit: PlanetFit, details: Details | None) -> Fitted:
    return Fitted(fit, without_prior(details.likelihoods) if details else np.full(N_BINS, np.nan))


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


def _tried(setting: Setting, subject: Subject, trial: Trial) -> Fitted | str:
    """The planet's fit with a signal in its data, or the reason why there is none."""
    signal, curves = SIGNALS[trial.signal], subject.curves
    if not any(map(signal.hits, range(len(curves.visits)))):
        return "the planet has no second visit"
    if trial.place == "lightcurves":
        curves = into_lightcurves(curves, trial.signal, trial.amplitude, subject.scene)
    elif subject.visits_on_disk != len(curves.visits):
        return "a visit of the planet has no usable frames"
    else:
        try:
            curves = _through_frames(setting, subject.scene, trial)
        except (ValueError, OSError) as error:
            return str(error)
    fit, details = detailed_fit(curves, subject.row, setting.prior, setting.config.physfit)
    if details is None:
        return f"with the signal at {trial.amplitude:g} it could not be fitted: {fit.reason}"
    return _fitted(fit, details)


def _through_frames(setting: Setting, scene: Scene, trial: Trial) -> PlanetLightCurves:
    """Light curves from a copy of the planet's frames with a signal in them; the copy is deleted."""
    config, axis, adc = setting.config.lightcurves, setting.axis, setting.adc
    with tempfile.TemporaryDirectory(dir=setting.scratch) as root:
        given = setting.folder / str(scene.planet_id), Path(root), trial.signal, trial.amplitude, scene, axis, adc
        copy = inject_frames(*given, config, setting.config.run.seed)
        # its files were read once already: what was odd about them is in the run's own log
        return planet_lightcurves(copy, axis, adc, config, EventLog(Path(root) / "events.jsonl"))


def _parallel(jobs: list, stage: Stage, title: str) -> list:
    with parallel_config(backend="loky", inner_max_num_threads=1):
        running = Parallel(n_jobs=min(stage.workers, len(jobs)), return_as="generator")(jobs)
        return list(tqdm(running, total=len(jobs), desc=title, unit="fit", disable=not stage.config.run.progress))


@dataclass(frozen=True)
class _Answers:
    """Fusion model and calibrator, one planet at a time: the same fit gives the same bytes whatever comes with it."""

    models: list[Fusion]
    calibrator: Calibrator

    def __call__(self, subject: Subject, fitted: Fitted) -> Answer:
        physics = stacked([subject.scene.planet_id], [fitted.fit])
        posterior = answered(self.models, physics, subject.row)
        mu = apply(self.calibrator, posterior).mu[0]
        cov = calibrated_covariance(self.calibrator, posterior)[0]
        return Answer(mu, cov, physics.mean[0], fitted.likelihood)

"""From a run's products to its scores and its report: reads what `predict` left."""

import json
import shutil
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..base.paths import ensure_writable, looked_for, mounted_folders
from ..base.products import PlanetLightCurves, Posterior, Prediction
from ..base.provenance import EventLog
from ..base.schema import Config
from ..detector import FrameError, read_lightcurves, read_spectra_csv, read_wavelengths, short_reason
from ..fusion import airs_residuals
from ..report import OtherRun, ReportData
from ..rules import from_config
from ..sigma import Calibrator, Score, apply, calibrated_covariance, gll_score, naive_statistics
from ..spectra import read_posterior
from ..submission import read_submission
from .inputs import catalogue_of, check_choices, latents_of, match, run_calibrator, run_models, trained_run
from .stage import PRODUCTS, Stage
from .verify import VerifyError, check_stage

SPLITS = {"test": "test", "train": "training"}
ROUTINE = ("start", "end", "pace", "computed")  # events that say nothing of a planet or of what went wrong


ANSWERED = (
    "submission.csv",
    "posterior.safetensors",
    "physics.safetensors",
)  # what every `predict` that ended has left
_BROUGHT = (".csv", ".json", ".jsonl", ".safetensors", ".yaml")


class DiagnosisError(ValueError):
    """Products that do not belong together; the message names the file."""


def bring_run(named: str) -> Path | None:
    """Where the run's folder has no submission, copy the run that Kaggle mounts into it; returns where that lies.

    What an infer kernel has left is read-only, and a diagnosis is written beside what it looks at. Light curves of the
    planets stay where they are. None: nothing had to be brought, or nothing is mounted. Raises DiagnosisError where
    several runs are.
    """
    out = Path(named).expanduser()
    if (out / ANSWERED[0]).is_file():
        return None
    whole = [folder for folder in mounted_folders() if all((folder / name).is_file() for name in ANSWERED)]
    found = list({folder.resolve(): folder for folder in whole}.values())
    if len(found) > 1:
        raise DiagnosisError(
            f"several runs are mounted: {', '.join(map(str, found))}. Mount one infer kernel's output."
        )
    for folder in found:
        out = ensure_writable(named)
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and path.suffix in _BROUGHT and inside.parts[0] not in ("products", "bundle"):
                (out / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, out / inside)
    return found[0] if found else None


def gathered(stage: Stage, root: Path, heavy: bool = False) -> tuple[ReportData, dict[str, dict[str, float]]]:
    """What the stage's run has to show, and its scores by name ({"total", "fgs1", "airs"}; empty without a truth).

    Beside the submission stands what the physical fit alone answers, calibrated. `heavy`: whether to bring along what
    the expensive figures need. Files that do not belong together are logged, and warned of. Raises DiagnosisError where
    they hold different planets, or answers of another model.
    """
    config, out, events = stage.config, stage.out, stage.events
    check_choices(config)
    trained = trained_run(config.run.trained, out)
    calibrator, calibrator_files = run_calibrator(config.sigma.calibrator, trained, config.model.kind)
    models, model_files = run_models(config.model, trained)
    if doubt := _check_predicted(config, out, [*calibrator_files, *model_files]):
        events.emit(stage.name, "mixed", reason=doubt)
        warnings.warn(doubt, stacklevel=2)
    physics, _ = read_posterior(out / "physics.safetensors")
    baseline = apply(run_calibrator("", trained, "physics")[0], physics)
    prediction = read_submission(out / "submission.csv")
    posterior, curves = read_posterior(out / "posterior.safetensors")
    if not np.array_equal(posterior.planet_id, prediction.planet_id):
        raise DiagnosisError(
            f"{out}: posterior.safetensors and submission.csv hold different planets. Run `spectramind predict`"
        )
    shown = set(shown_planets(posterior, config.report.planets, {curve.planet_id for curve in curves}))
    truth, naive = _truth(config, root, prediction), _naive(root)
    scores = {}
    if truth is not None and naive is not None:
        scores = score_table({"physics": baseline, config.model.kind: prediction}, truth, naive)
    else:
        lacking = f"{root}/train.csv" if naive is None else "the truth (data.solution)"
        events.emit(stage.name, "not_scored", reason=f"no scores without {lacking}")
    rows, _ = match(catalogue_of(root, config.data.split, {}), prediction.planet_id)
    residuals, phases = airs_residuals(physics.inputs)
    latest, injection = latest_events(out), out / "inject.json"
    for event in latest:
        if event["event"] == "in_sample":
            warnings.warn(event["reason"], stacklevel=2)
    data = ReportData(
        title=f"Transmission spectra of {len(prediction.planet_id)} {SPLITS[config.data.split]} planets",
        about=f"Run: {out.resolve().name}, answered by the model {config.model.kind}.",
        prediction=prediction,
        wavelengths_um=read_wavelengths(root / "wavelengths.csv"),
        scores=tuple((name, s["total"], s["fgs1"], s["airs"]) for name, s in scores.items()),
        truth=truth if naive is not None else None,
        naive=naive,
        posterior=_calibrated_posterior(calibrator, posterior),
        panels=tuple(curve for curve in curves if curve.planet_id in shown),
        extracted=_extracted(stage.products(config.data.split), shown),
        events=tuple(latest),
        manifests=tuple(content_of(path) for path in sorted((out / "manifests").glob("*.json"))),
        rules=from_config(config.loss),
        injection=content_of(injection) if injection.is_file() else None,
        heavy=heavy,
        latents=latents_of(models, physics, rows) if heavy else None,
        catalogue=rows,
        limb=_limb_darkening(physics),
        measured=physics.inputs["measured"],
        prior_shape=physics.inputs["prior_shape"],
        residuals=residuals,
        phases=phases,
        against=_other_run(config.report.against),
    )
    return data, scores


def _extracted(folder: Path, planets: set[int]) -> tuple[PlanetLightCurves, ...]:
    """What `calibrate` keeps of the planets in the folder; without those whose products are not there or not sound."""
    found = []
    for planet in sorted(planets):
        with suppress(FrameError, OSError):
            found.append(read_lightcurves(folder / f"{planet}.safetensors"))
    return tuple(found)


def _check_predicted(config: Config, out: Path, used: Sequence[Path]) -> str:
    """Why the run's products may not be of one `predict`, or ""; `used` are the learnt files that belong to it now.

    Raises DiagnosisError where they are answers of another kind of model than the configuration's.
    """
    kind, snapshot = config.model.kind, out / "configs" / "predict.yaml"
    then = content_of(snapshot, "model")["kind"] if snapshot.is_file() else kind
    if then != kind:
        raise DiagnosisError(f"model.kind={kind}: {snapshot} says {then}. Give that, or predict anew.")
    products = [out / name for name in ANSWERED]
    try:
        check_stage(out, "predict", products, used)
    except VerifyError as error:
        return f"what is shown is not of one `predict`: {error}"
    return ""


def content_of(path: Path, part: str = "") -> dict[str, Any]:
    """What a JSON or YAML file of the run holds, or one part of it. Raises DiagnosisError naming the file."""
    try:
        content = yaml.safe_load(path.read_text()) if path.suffix == ".yaml" else json.loads(path.read_text())
        return dict(content[part] if part else content)
    except (ValueError, TypeError, KeyError, OSError, yaml.YAMLError) as error:
        remedy = f"Run `spectramind {path.stem}` again."
        raise DiagnosisError(f"{path} is damaged ({short_reason(error)}). {remedy}") from error


def score_table(
    predictions: dict[str, Prediction], truth: np.ndarray, naive: tuple[float, float]
) -> dict[str, dict[str, float]]:
    """Official score of the population's mean and scatter (0 on the training set) and of the named predictions."""
    constant = np.ones_like(truth)
    rows = {"naive": gll_score(naive[0] * constant, naive[1] * constant, truth, *naive)}
    rows |= {name: gll_score(p.mu, p.sigma, truth, *naive) for name, p in predictions.items()}
    return {name: as_row(score) for name, score in rows.items()}


def as_row(score: Score) -> dict[str, float]:
    """A score as plain numbers."""
    return {"total": score.total, "fgs1": score.fgs1, "airs": score.airs}


def shown_planets(posterior: Posterior, count: int, with_curves: set[int]) -> list[int]:
    """Planets whose light curves are shown, up to `count` of those that have any: the worst fits first."""
    chi2 = np.nan_to_num(posterior.diagnostics.get("chi2_white", np.zeros(len(posterior.planet_id))), nan=0.0)
    order = np.lexsort((-chi2, -posterior.diagnostics["fallback"]))
    return [planet for planet in posterior.planet_id[order].tolist() if planet in with_curves][:count]


def latest_events(out: Path) -> list[dict[str, Any]]:
    """What still holds of OUT/events.jsonl, oldest first, each event once.

    Of each stage the events since its last start hold. Calibration resumes: of a planet, the events of the run that
    wrote its product hold, or of the last run where it has none.
    """
    events = [event for event in EventLog(out / "events.jsonl").read() if _is_event(event)]
    begun = [e for e in events if e.get("event") == "start"]
    last = {e["stage"]: place for place, e in enumerate(events) if e.get("event") == "start"}
    runs = [e["time"] for e in begun if e["stage"] in ("calibrate", "train", "predict")]
    written = {p.stem: p.stat().st_mtime for p in (out / PRODUCTS).glob("*/*.safetensors")}
    found, seen = [], set()
    for place, event in enumerate(events):
        if event.get("event") in ROUTINE:
            continue
        holds = place >= last.get(event.get("stage"), 0)  # by place: a clock may have been set back
        if event.get("stage") == "calibrate" and "planet_id" in event:
            product = written.get(str(event["planet_id"]), np.inf)
            holds = event.get("time", 0) >= max((time for time in runs if time <= product), default=0)
        content = json.dumps({key: value for key, value in event.items() if key != "time"}, sort_keys=True)
        if holds and content not in seen:
            seen.add(content)
            found.append(event)
    return found


def _is_event(found: dict[str, Any]) -> bool:
    """Whether a line of the log is one of ours: others may have written there."""
    words = isinstance(found.get("stage"), str) and isinstance(found.get("event"), str)
    return words and isinstance(found.get("time"), int | float)


def _truth(config: Config, root: Path, prediction: Prediction) -> np.ndarray | None:
    """True spectra of the predicted planets, (P, 283), in their order; None where they are not known."""
    if config.data.split == "train":
        path = root / "train.csv"
    elif config.data.solution:
        path = Path(config.data.solution).expanduser()
        if not path.is_file():
            where = looked_for(config.data.solution)
            raise DiagnosisError(f"data.solution={path}: no such file{where}. Leave the key out where there is none.")
    else:
        return None
    spectra = read_spectra_csv(path)
    row = {int(planet): i for i, planet in enumerate(spectra.planet_id)}
    absent = [int(planet) for planet in prediction.planet_id if int(planet) not in row]
    if absent:
        raise DiagnosisError(f"{path} lacks planet {absent[0]} and {len(absent) - 1} others of the submission")
    return spectra.depth[[row[int(planet)] for planet in prediction.planet_id]]


def _other_run(named: str) -> OtherRun | None:
    """The run that `report.against` names; None for "". Raises DiagnosisError where it has no submission."""
    if not named:
        return None
    folder = Path(named).expanduser()
    if not (folder / "submission.csv").is_file():
        raise DiagnosisError(
            f"report.against={named}{looked_for(named)} has no submission.csv: give the folder (run.out) of a run that "
            "`predict` has answered"
        )
    return OtherRun(folder.resolve().name, read_submission(folder / "submission.csv"))


def _naive(root: Path) -> tuple[float, float] | None:
    path = root / "train.csv"
    return naive_statistics(read_spectra_csv(path).depth) if path.is_file() else None


def _limb_darkening(physics: Posterior) -> np.ndarray | None:
    """(P, 2) medians over the AIRS bins of the fitted u1, u2; NaN without a fit, None without the fusion's inputs."""
    nodes = physics.inputs.get("nodes")  # (P, 3, 282): ln electrons, u1, u2
    return None if nodes is None else np.median(nodes[:, 1:], axis=2).astype(np.float64)


def _calibrated_posterior(calibrator: Calibrator, posterior: Posterior) -> Posterior:
    cov = calibrated_covariance(calibrator, posterior)
    return Posterior(posterior.planet_id, apply(calibrator, posterior).mu, cov, posterior.diagnostics)

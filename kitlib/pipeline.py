"""The order of things: every stage of the command line and of the notebooks. No other file knows it.

    simulate   ->  simulate.out/data, simulate.out/solution.csv
    calibrate  ->  OUT/products/lightcurves/{split}/{planet_id}.safetensors
    pretrain   ->  OUT/pretrain/: shards, model.safetensors, history.png      (simulated planets alone)
    train      ->  OUT/prior.safetensors, OUT/calibrator_*.json, OUT/fusion/fold_*/, OUT/train_posterior.safetensors
    predict    ->  OUT/submission.csv, OUT/posterior.safetensors, OUT/physics.safetensors      (works without `train`)
    diagnose   ->  OUT/scores.json, OUT/report.html
    submit     ->  OUT/bundle/

Each stage also leaves OUT/configs/STAGE.yaml, OUT/manifests/STAGE.json and its lines in OUT/events.jsonl.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import cpu_count

from . import rules
from .calibrator import apply
from .config import Config, as_dict, write_snapshot
from .ensemble import fold_of, out_of_fold
from .features import features_of, read_shards, write_set
from .fusion import load_model
from .fusion import predict as answer_of
from .inputs import (
    SHIPPED_MODEL,
    answered,
    calibrator_path,
    catalogue_of,
    choose_prior,
    expected_planets,
    match,
    population,
    rows_of,
    run_calibrator,
    run_models,
    run_prior,
    tables,
    training_set,
    with_limb_darkening,
)
from .lightcurves import calibrate_planets, read_lightcurves
from .limbdarkening import Measured
from .losses import Loss
from .metric import naive_statistics
from .paths import ensure_writable, find_data_root
from .physfit import fit_planets, measure_stars
from .posterior import join, read_posterior, write_posterior
from .prior import SpectralPrior, shipped_prior
from .products import Catalogue, LightCurveFit, PlanetLightCurves, Posterior, Prediction, Spectra
from .provenance import EventLog, stage_manifest, write_atomic
from .sigma import fit_calibrator
from .submission import package, write_submission
from .tables import read_wavelengths
from .train import train_folds, train_one

MIN_TRAIN = 10  # planets: below, thirteen calibration numbers would say nothing
BATCH = 64  # planets fitted before submission.csv is improved: 55 MB of light curves


class PipelineError(ValueError):
    """A stage that cannot run; the message names the file and what to do."""


@dataclass(frozen=True)
class Stage:
    """A running stage: its configuration, output folder, event log and manifest record."""

    name: str
    config: Config
    out: Path
    events: EventLog
    record: dict[str, Any]

    @property
    def workers(self) -> int:
        """Processes to use: `run.workers`, or every core that this process may use."""
        return self.config.run.workers or cpu_count()


@contextmanager
def _stage(name: str, config: Config) -> Iterator[Stage]:
    out = ensure_writable(config.run.out)
    snapshot = write_snapshot(config, out, name)
    events = EventLog(out / "events.jsonl")
    events.emit(name, "start")
    with stage_manifest(out, name, as_dict(config), config.run.seed) as record:
        record["outputs"].append(snapshot)
        try:
            yield Stage(name, config, out, events, record)
        except BaseException as error:
            events.emit(name, "failed", reason=f"{type(error).__name__}: {error}")
            raise
    events.emit(name, "end")


def simulate(config: Config) -> Path:
    """Simulate a campaign; returns its data root. Needs batman, which no other stage does."""
    from .simulate.observatory import simulate_campaign  # the solver's stages run without the simulator

    with _stage("simulate", config) as stage:
        out = ensure_writable(config.simulate.out)
        simulate_campaign(out, config.simulate, config.run.seed, stage.workers, config.run.progress)
        stage.record["outputs"] += [*(out / "data").glob("*.csv"), out / "solution.csv"]
        return out / "data"


def calibrate(config: Config) -> list[Path]:
    """Frames to light curves for every planet of `data.split`; returns the product files, one a planet."""
    with _stage("calibrate", config) as stage:
        root = find_data_root(config.data.root)
        catalogue = catalogue_of(root, config.data.split)
        stage.record["inputs"] += tables(root, config.data.split)
        paths = list(_calibrated(stage, root, config.data.split, catalogue).values())
        stage.record["outputs"] += paths
        return paths


def pretrain(config: Config) -> Path:
    """Pre-train the fusion model on simulated planets, with the shipped priors; returns the model's file.

    Needs batman. This is how the shipped model is made. A killed run goes on where it stopped.
    """
    from .pretraining import make_pretraining_set, wavelengths_um  # bring the simulator along

    with _stage("pretrain", config) as stage:
        out = stage.out / "pretrain"
        shards = make_pretraining_set(config, shipped_prior(), out / "shards", stage.workers)
        naive = naive_statistics(read_shards(shards)[1].numpy())
        loss = Loss(*naive, wavelengths_um(), rules.from_config(config.loss))
        stage.record["inputs"] += shards
        model = train_one(shards, config, loss, out)
        stage.record["outputs"] += [model, out / "history.png"]
        return model


def train(config: Config) -> Path:
    """Learn priors, fine-tune the fusion model and fit the sigma calibrators; returns the calibrator of config.model.

    Everything is out of fold: each fold's planets are fitted with priors learnt from the other folds, and answered by
    the model that was trained on those, so that the calibrators see errors of the size that unseen planets have. Below
    `prior.min_train_planets` spectra the shipped priors and the shipped model are used throughout.
    """
    with _stage("train", config) as stage:
        root = find_data_root(config.data.root)
        catalogue, truth = training_set(root)
        if len(catalogue) < MIN_TRAIN:
            raise PipelineError(f"{root}/train.csv has spectra of {len(catalogue)} planets; training needs {MIN_TRAIN}")
        stage.record["inputs"] += [*tables(root, "train"), root / "train.csv"]
        products = _calibrated(stage, root, "train", catalogue)
        usable = np.array([planet in products for planet in catalogue.planet_id])
        measured = _measured_stars(stage, catalogue, truth, products, usable)
        fold = fold_of(len(catalogue), max(config.sigma.folds, 2), config.run.seed)
        parts = []
        for k in range(max(config.sigma.folds, 2)):
            chosen, others = np.flatnonzero((fold == k) & usable), np.flatnonzero(fold != k)
            if len(chosen):
                prior = choose_prior(config.prior, truth.depth[others], catalogue.take(others))
                prior = with_limb_darkening(prior, [measured[i] for i in others if i in measured])
                parts.append(_fit(stage, catalogue.take(chosen), products, prior))
        if not parts:
            raise PipelineError(f"{root}/train: no planet with usable frames; see {stage.events.path} for the reasons")
        posterior, curves = join(parts)
        rows = rows_of(truth.planet_id, posterior.planet_id)
        fitted = Spectra(posterior.planet_id, truth.depth[rows])
        naive = naive_statistics(truth.depth)
        answers = {"physics": posterior}
        if config.model.kind != "physics":
            wl = read_wavelengths(root / "wavelengths.csv")
            answers[config.model.kind] = _fine_tuned(stage, posterior, catalogue.take(rows), fitted, naive, wl)
        prior = choose_prior(config.prior, truth.depth, catalogue)
        stage.record["outputs"] += [
            write_posterior(stage.out / "train_posterior.safetensors", answers[config.model.kind], curves),
            with_limb_darkening(prior, list(measured.values())).save(stage.out / "prior.safetensors"),
        ]
        for kind, answer in answers.items():
            calibrator = fit_calibrator(answer, fitted, naive)
            stage.record["outputs"].append(write_atomic(calibrator_path(stage.out, kind), calibrator.to_json()))
        return calibrator_path(stage.out, config.model.kind)


def _measured_stars(
    stage: Stage, catalogue: Catalogue, truth: Spectra, products: dict[int, Path], usable: np.ndarray
) -> dict[int, Measured]:
    """Limb darkening of up to `prior.limb_planets` training planets, by row; none where the shipped prior is used."""
    config = stage.config
    prior = choose_prior(config.prior, truth.depth, catalogue)
    if prior is shipped_prior():
        return {}
    chosen = np.flatnonzero(usable)[: config.prior.limb_planets]
    planets = [_light_curves(stage, products, int(catalogue.planet_id[i])) for i in chosen]
    rest = (config.physfit, truth.depth[chosen], config.run.progress, stage.workers)
    found = measure_stars(planets, catalogue.take(chosen), prior, *rest)
    return {int(i): one for i, one in zip(chosen, found, strict=True) if one is not None}


def _fine_tuned(
    stage: Stage, posterior: Posterior, rows: Catalogue, truth: Spectra, naive: tuple[float, float], wl: np.ndarray
) -> Posterior:
    """Each planet's answer by a model that was not trained on it; leaves the models in OUT/fusion."""
    config = stage.config
    if len(truth.planet_id) < config.prior.min_train_planets:
        stage.events.emit("train", "model_shipped", reason=f"{len(truth.planet_id)} planets are too few to train on")
        return answered(run_models(config.model, stage.out)[0], posterior, rows)
    features = features_of(posterior, rows, posterior.inputs)
    data = write_set(stage.out / "fusion" / "train.safetensors", features, torch.from_numpy(truth.depth))
    loss = Loss(*naive, wl, rules.from_config(config.loss))
    initial = {"shipped": SHIPPED_MODEL, "": None}.get(config.train.initial, Path(config.train.initial))
    paths = train_folds(data, config, loss, stage.out / "fusion", initial)
    stage.record["outputs"] += paths
    members = [answer_of(load_model(path)[0], posterior, features) for path in paths]
    return out_of_fold(members, fold_of(len(truth.planet_id), config.train.folds, config.run.seed))


def predict(config: Config) -> Path:
    """Frames to `OUT/submission.csv`, one row for every planet of the split; returns its path.

    A valid file with the population's answer is written first and improved batch by batch. What goes wrong with one
    planet costs that planet alone: it keeps the population's answer, and events.jsonl holds the reason.
    """
    with _stage("predict", config) as stage:
        root, split = find_data_root(config.data.root), config.data.split
        expected = expected_planets(root, split)
        if not len(expected):
            raise PipelineError(f"{root}: no planet to predict, the {split} set is empty. Give another data.root.")
        catalogue, strangers = match(catalogue_of(root, split), expected)
        for planet in strangers:
            stage.events.emit("predict", "fallback", planet_id=planet, reason=f"not in {split}_star_info.csv")
        prior, prior_files = run_prior(config.prior, root, stage.out)
        calibrator, calibrator_files = run_calibrator(config.sigma.calibrator, stage.out, config.model.kind)
        models, model_files = run_models(config.model, stage.out)
        stage.record["inputs"] += [*tables(root, split), *prior_files, *model_files, *calibrator_files]
        submission = stage.out / "submission.csv"
        prediction = population(prior, expected)
        write_submission(submission, prediction, expected)

        products = _calibrated(stage, root, split, catalogue)
        products = {planet: path for planet, path in products.items() if planet not in strangers}
        parts = []
        for start in range(0, len(catalogue), BATCH):
            rows = catalogue.take(slice(start, start + BATCH))
            physics, curves = _fit(stage, rows, products, prior)
            answer = answered(models, physics, rows)
            prediction = _improved(stage, prediction, apply(calibrator, answer))
            write_submission(submission, prediction, expected)
            parts.append((physics, answer, curves))
        for name, which in (("physics", 0), ("posterior", 1)):
            posterior, curves = join([(part[which], part[2]) for part in parts])
            stage.record["outputs"].append(write_posterior(stage.out / f"{name}.safetensors", posterior, curves))
        stage.record["outputs"].append(submission)
        _report_fallbacks(stage, posterior)
        return submission


def diagnose(config: Config) -> dict[str, Any]:
    """Scores where the truth is known, and the HTML report; see `diagnosis.diagnosis`."""
    from .diagnosis import diagnosis  # figures and page: not needed to predict

    with _stage("diagnose", config) as stage:
        root = find_data_root(config.data.root)
        calibrator, _ = run_calibrator(config.sigma.calibrator, stage.out, config.model.kind)
        physics, _ = read_posterior(stage.out / "physics.safetensors")
        baseline = apply(run_calibrator("", stage.out, "physics")[0], physics)
        result = diagnosis(config, root, stage.out, stage.events, calibrator, baseline)
        stage.record["inputs"] += [stage.out / "submission.csv", stage.out / "posterior.safetensors"]
        scores = write_atomic(stage.out / "scores.json", json.dumps(result["scores"], indent=1) + "\n")
        stage.record["outputs"] += [scores, result["report"]]
        return result


def submit(config: Config) -> Path:
    """Validate the submission and package it with configuration and checksums; returns the bundle's folder."""
    with _stage("submit", config) as stage:
        root = find_data_root(config.data.root)
        if not (stage.out / "submission.csv").is_file():
            raise PipelineError(f"{stage.out}/submission.csv: no such file. Run `python -m kitlib predict` first.")
        expected = expected_planets(root, config.data.split)
        bundle = package(stage.out, stage.out / "configs" / "predict.yaml", expected)
        stage.record["inputs"].append(stage.out / "submission.csv")
        stage.record["outputs"] += sorted(path for path in bundle.rglob("*") if path.is_file())
        return bundle


def _calibrated(stage: Stage, root: Path, split: str, catalogue: Catalogue) -> dict[int, Path]:
    """Product file of each planet of the catalogue that has usable frames; the others are in the event log."""
    config = stage.config
    folder = stage.out / "products" / "lightcurves" / split
    paths = calibrate_planets(root, split, folder, config.lightcurves, stage.workers, stage.events, config.run.progress)
    wanted = set(catalogue.planet_id.tolist())
    return {int(path.stem): path for path in paths if int(path.stem) in wanted}


def _light_curves(stage: Stage, products: dict[int, Path], planet_id: int) -> PlanetLightCurves:
    """A planet's light curves; without any visit where there are none, which the fit answers with the population."""
    if planet_id not in products:
        return PlanetLightCurves(planet_id, ())
    try:
        return read_lightcurves(products[planet_id])
    except (ValueError, OSError) as error:
        stage.events.emit(stage.name, "unreadable_product", planet_id=planet_id, reason=str(error))
        return PlanetLightCurves(planet_id, ())


def _fit(
    stage: Stage, rows: Catalogue, products: dict[int, Path], prior: SpectralPrior
) -> tuple[Posterior, list[LightCurveFit]]:
    planets = [_light_curves(stage, products, int(planet)) for planet in rows.planet_id]
    config, log, show = stage.config.physfit, stage.events, stage.config.run.progress
    try:
        return fit_planets(planets, rows, prior, config, log, show, stage.workers)
    except Exception as error:  # a worker that the system killed, say: once more, planet by planet
        log.emit(stage.name, "fit_retried", reason=f"{type(error).__name__}: {error}", planets=len(planets))
    parts = []
    for i, planet in enumerate(planets):
        row = rows.take(slice(i, i + 1))
        try:
            parts.append(fit_planets([planet], row, prior, config, log, False, 1))
        except Exception as error:
            log.emit(stage.name, "fit_failed", planet_id=planet.planet_id, reason=f"{type(error).__name__}: {error}")
            parts.append(fit_planets([PlanetLightCurves(planet.planet_id, ())], row, prior, config, log, False, 1))
    return join(parts)


def _report_fallbacks(stage: Stage, posterior: Posterior) -> None:
    """Count the planets without a full fit in the event log, and say so aloud: a valid file can be a worthless one."""
    level = posterior.diagnostics["fallback"]
    counts = {"planets": len(level), "reduced_fit": int((level == 1).sum()), "population": int((level >= 2).sum())}
    stage.events.emit(stage.name, "summary", **counts)
    if counts["population"]:
        warnings.warn(
            f"{counts['population']} of {counts['planets']} planets have the population's answer instead of a fit: "
            f"{stage.events.path} holds the reasons",
            stacklevel=3,
        )


def _improved(stage: Stage, prediction: Prediction, fitted: Prediction) -> Prediction:
    """`prediction` with the rows of `fitted` put in; a row that is not a valid answer is logged and left out."""
    mu, spread = prediction.mu.copy(), prediction.sigma.copy()
    valid = (np.isfinite(fitted.mu) & np.isfinite(fitted.sigma) & (fitted.mu >= 0) & (fitted.sigma > 0)).all(1)
    for planet in fitted.planet_id[~valid]:
        stage.events.emit(stage.name, "fallback", planet_id=int(planet), reason="negative or not finite prediction")
    rows = rows_of(prediction.planet_id, fitted.planet_id[valid])
    mu[rows], spread[rows] = fitted.mu[valid], fitted.sigma[valid]
    return Prediction(prediction.planet_id, mu, spread)

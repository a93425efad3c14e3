"""The order of things: every stage of the command line and of the notebooks. No other file knows it.

    simulate   ->  simulate.out/data, simulate.out/solution.csv
    calibrate  ->  OUT/products/lightcurves/{split}/{planet_id}.safetensors
    pretrain   ->  OUT/pretrain/: shards, model.safetensors, history.png      (simulated planets alone)
    train      ->  OUT/prior.safetensors, OUT/calibrator_*.json, OUT/fusion/fold_*/, OUT/train_posterior.safetensors
    predict    ->  OUT/submission.csv, OUT/posterior.safetensors, OUT/physics.safetensors      (works without `train`)
    diagnose   ->  OUT/scores.json, OUT/calibration.json, OUT/report.html
    inject     ->  OUT/inject.json, OUT/inject.png                            (`diagnose inject`)
    submit     ->  OUT/bundle/

Each stage also leaves OUT/configs/STAGE.yaml, OUT/manifests/STAGE.json and its lines in OUT/events.jsonl.
"""

import json
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import rules
from .base.execution import at_once
from .base.folds import fold_of
from .base.paths import ensure_writable
from .base.products import Catalogue, Posterior, Spectra
from .base.provenance import write_atomic
from .base.schema import Config
from .detector.lightcurves import calibrate_planets
from .detector.tables import read_wavelengths
from .fusion.features import read_shards
from .fusion.losses import Loss
from .fusion.model import build
from .fusion.train import train_one
from .run.budget import Guard, batches, limits_of, settings_of
from .run.inputs import (
    answered,
    calibrator_path,
    catalogue_of,
    check_choices,
    choose_priors,
    expected_planets,
    id_tables,
    learnt,
    match,
    population,
    report_rows,
    require_planets,
    rows_of,
    shipped_calibrator,
    tables,
    training_set,
    usable_catalogue,
    with_limb_darkening,
)
from .run.planets import computed, fitted_planets, improved, planet_work
from .run.root import opened_root
from .run.stage import Stage, running
from .run.training import fine_tuned, measured_stars, starting_model
from .run.verify import check_stage
from .sigma.calibrator import apply
from .sigma.fit import fit_calibrator
from .sigma.metric import naive_statistics
from .spectra.posterior import join, write_posterior
from .submission.writer import package, write_submission
from .transit.priors import shipped_priors

IN_SAMPLE = (
    "prior, model or calibrator have learnt from planets that are predicted here: unseen planets score less. "
    "Notebook 2 prints the out-of-fold score."
)


class PipelineError(ValueError):
    """A stage that cannot run; the message names the file and what to do."""


def simulate(config: Config) -> Path:
    """Simulate a campaign; returns its data root. Needs batman, which no other stage does."""
    from .simulate.observatory import simulate_campaign  # the solver's stages run without the simulator

    with running("simulate", config) as stage:
        out = ensure_writable(config.simulate.out)
        simulate_campaign(out, config.simulate, config.run.seed, stage.workers, config.run.progress)
        stage.record["outputs"] += [*(out / "data").glob("*.csv"), out / "solution.csv"]
        return out / "data"


def calibrate(config: Config) -> list[Path]:
    """Frames to light curves of `data.split`: product files, one a planet. Raises PipelineError where there is none."""
    with running("calibrate", config) as stage:
        check_choices(config)
        root = opened_root(stage)
        catalogue = usable_catalogue(root, config.data.split, stage.name, stage.events)
        stage.record["inputs"] += tables(root, config.data.split)
        paths = list(_calibrated(stage, root, config.data.split, catalogue).values())
        if left_out := len(catalogue) - len(paths):
            problem = f"{left_out} of {len(catalogue)} planets of {root / config.data.split} have no usable frames"
            if not paths:
                raise PipelineError(f"{problem}: {stage.events.path} holds the reasons")
            warnings.warn(f"{problem}: {stage.events.path} holds the reasons", stacklevel=3)
        stage.record["outputs"] += paths
        return paths


def pretrain(config: Config) -> Path:
    """Pre-train the fusion model on simulated planets, with the shipped priors; returns the model's file.

    Needs batman. This is how the shipped model is made. A killed run goes on where it stopped.
    """
    from .run.pretraining import make_pretraining_set  # both bring the simulator along
    from .simulate.optics import wavelengths_um

    with running("pretrain", config) as stage:
        check_choices(config)
        if build(config.model, wavelengths_um()) is None:  # or too big: told before planets are simulated
            raise PipelineError(f"model.kind={config.model.kind} has nothing to train: give v50")
        out = stage.out / "pretrain"
        shards = make_pretraining_set(config, shipped_priors(), out / "shards", stage.workers)
        naive = naive_statistics(read_shards(shards)[1].numpy())
        loss = Loss(*naive, wavelengths_um(), rules.from_config(config.loss))
        stage.record["inputs"] += shards
        model = train_one(shards, config, loss, out)
        stage.record["outputs"] += _files(out)
        return model


def train(config: Config) -> Path:
    """Learn priors, fine-tune the fusion model and fit the sigma calibrators; returns the calibrator of config.model.

    Everything is out of fold. Each fold's planets are fitted with priors learnt from the other folds, and answered by
    the model that was trained on those. So the calibrators see errors of the size that unseen planets have. Below
    `prior.min_train_planets` spectra the shipped priors and the shipped model are used throughout.
    """
    with running("train", config) as stage:
        check_choices(config)
        root = opened_root(stage)
        catalogue, truth = training_set(root, stage.name, stage.events)
        require_planets(len(catalogue), "have a spectrum in train.csv and a row that can be used", root, stage.events)
        folders = [(root / "train" / str(planet)).is_dir() for planet in catalogue.planet_id.tolist()]
        require_planets(sum(folders), "have a folder of frames", root, stage.events)
        if len(catalogue) >= config.prior.min_train_planets:
            starting_model(config)  # whether it can be trained, before hours are spent
            build(config.model, read_wavelengths(root / "wavelengths.csv"))
        stage.record["inputs"] += [*tables(root, "train"), root / "train.csv"]
        products = _calibrated(stage, root, "train", catalogue)
        usable = np.array([planet in products for planet in catalogue.planet_id])
        require_planets(int(usable.sum()), "have usable frames", root, stage.events)
        measured = measured_stars(config, catalogue, truth, products, stage.workers, stage.events)
        fold = fold_of(len(catalogue), config.sigma.folds, config.run.seed)
        parts = []
        for k in range(config.sigma.folds):
            chosen, others = np.flatnonzero((fold == k) & usable), np.flatnonzero(fold != k)
            if len(chosen):
                priors = choose_priors(config.prior, truth.depth[others], catalogue.take(others))
                priors = with_limb_darkening(priors, [measured[i] for i in others.tolist() if i in measured])
                parts.append(fitted_planets(stage, catalogue.take(chosen), products, priors))
        posterior, curves = join(parts)
        rows = rows_of(truth.planet_id, posterior.planet_id)
        fitted = Spectra(posterior.planet_id, truth.depth[rows])
        naive = naive_statistics(truth.depth)
        answers = {"physics": posterior}
        if config.model.kind != "physics":
            wl = read_wavelengths(root / "wavelengths.csv")
            known = (catalogue.take(rows), fitted, naive, wl)
            answers[config.model.kind] = fine_tuned(config, posterior, *known, stage.out, stage.events)
        priors = choose_priors(config.prior, truth.depth, catalogue)
        stage.record["outputs"] += [
            write_posterior(stage.out / "train_posterior.safetensors", answers[config.model.kind], curves),
            with_limb_darkening(priors, list(measured.values())).save(stage.out / "prior.safetensors"),
        ]
        for kind, answer in answers.items():
            calibrator = fit_calibrator(answer, fitted, naive, shipped_calibrator(kind))
            stage.record["outputs"].append(write_atomic(calibrator_path(stage.out, kind), calibrator.to_json()))
        stage.record["outputs"] += [*products.values(), *_files(stage.out / "fusion")]
        return calibrator_path(stage.out, config.model.kind)


def predict(config: Config) -> Path:
    """Frames to `OUT/submission.csv`, one row for every planet of the split; returns its path.

    A valid file with the population's answer is written first and improved while planets finish, in the time and memory
    of `budget`. What goes wrong with one planet costs that planet alone: it keeps the population's answer, and
    events.jsonl holds the reason.

    Raises:
        SubmissionError, InputError: there is no planet to predict. PlanetsError: not a single one could be computed.
        FrameError: a file that all planets need cannot be used; submission.csv then holds the population's answer.
    """
    with running("predict", config) as stage:
        settings = settings_of(config)
        guard = Guard(tuple(settings), limits_of(config.budget), at_once(stage.workers))
        check_choices(config)
        root, split = opened_root(stage), config.data.split
        expected = expected_planets(root, split, stage.name, stage.events)
        submission = stage.out / "submission.csv"
        # before anything else that may be damaged is read
        write_submission(submission, population(shipped_priors(), expected), expected)
        damaged: dict[int, str] = {}
        doubtful: dict[int, str] = {}
        catalogue, strangers = match(catalogue_of(root, split, damaged, doubtful), expected)
        report_rows({}, doubtful, stage.name, stage.events)
        known = learnt(config, root, stage.out, stage.name, stage.events)
        stage.record["inputs"] += sorted({*tables(root, split), *id_tables(root, split), *known.files})
        if split == "train" and known.files:
            stage.events.emit(stage.name, "in_sample", reason=IN_SAMPLE)
            warnings.warn(IN_SAMPLE, stacklevel=3)
        early = prediction = population(known.priors, expected)
        write_submission(submission, early, expected)

        work = planet_work(root, split, stage.products(split), settings, catalogue, known.priors, stage.events)
        absent = f"not in {split}_star_info.csv"
        parts = {planet: work.without_data(planet, damaged.get(planet, absent)) for planet in strangers}
        planets = [planet for planet in expected.tolist() if planet not in parts]
        with closing(computed(work, planets, guard, config.run.progress)) as results:
            for batch in batches(results, config.budget.write_s):
                fitted = {one.task: one.value or work.without_data(one.task, one.reason) for one in batch}
                part, _ = join(list(fitted.values()))
                rows = catalogue.take(rows_of(catalogue.planet_id, part.planet_id))
                prediction = improved(stage, prediction, apply(known.calibrator, answered(known.models, part, rows)))
                write_submission(submission, prediction, expected)
                parts |= fitted
        # again in the catalogue's order: the same bytes in whatever order the planets ended
        physics, curves = join([parts[planet] for planet in expected.tolist()])
        answer = answered(known.models, physics, catalogue)
        write_submission(submission, improved(stage, early, apply(known.calibrator, answer)), expected)
        stage.record["outputs"] += [
            submission,
            write_posterior(stage.out / "physics.safetensors", physics, curves),
            write_posterior(stage.out / "posterior.safetensors", answer, curves),
            *(path for planet in planets if (path := stage.products(split) / f"{planet}.safetensors").is_file()),
        ]
        _report_fallbacks(stage, physics)
        return submission


def diagnose(config: Config, what: str = "") -> dict[str, Any]:
    """What a run is worth: scores, reliability of its sigma, and the HTML report.

    Args:
        what: "" for all that follows; "calibration" for OUT/calibration.json alone, "report" for OUT/report.html alone.

    Returns:
        {"scores": {name: {"total", "fgs1", "airs"}} (empty without a truth), "data": ReportData, "submission": Path},
        and of what was made "calibration": its content, "report": Path.

    Raises:
        PipelineError: there is no submission, or no truth for `what="calibration"`.
    """
    from .report import calibration, write_report
    from .run.diagnosis import bring_run, gathered  # figures and page: not needed to predict

    bring_run(config.run.out)
    with running(f"diagnose_{what}" if what else "diagnose", config) as stage:
        root, submission = opened_root(stage), _require_submission(stage)
        heavy = config.report.heavy and what != "calibration"
        data, scores = gathered(stage, root, heavy)
        stage.record["inputs"] += [submission, stage.out / "posterior.safetensors"]
        result: dict[str, Any] = {"scores": scores, "data": data, "submission": submission}
        if not what:
            _write_json(stage, "scores.json", scores)
        if what == "calibration" or (not what and data.truth is not None):
            if data.truth is None:
                raise PipelineError("calibration needs the true spectra: data.solution, and train.csv in data.root")
            result["calibration"] = calibration(data)
            _write_json(stage, "calibration.json", result["calibration"])
        if what != "calibration":
            result["report"] = write_report(stage.out / "report.html", data)
            stage.record["outputs"].append(result["report"])
        return result


def inject(config: Config) -> dict[str, Any]:
    """Put signals of known size into planets' data and report what comes out; see `inject.inject`. Needs no truth."""
    from .inject.experiment import inject as injected  # rewriting frames: not needed to predict
    from .report.injection import plot

    with running("inject", config) as stage:
        result = injected(config, stage, opened_root(stage))
        table = write_atomic(stage.out / "inject.json", json.dumps(result, indent=1) + "\n")
        stage.record["outputs"] += [table, plot(result, stage.out / "inject.png")]
        return result


# what a sweep can compare, and what it runs for it
SCORED: dict[str, tuple[Callable[[Config], Any], ...]] = {
    "pretrain": (pretrain,),
    "train": (train,),
    "predict": (predict,),
    "diagnose": (predict, diagnose),
}
# `spectramind diagnose WORD`: what it runs instead of the whole
DIAGNOSES: dict[str, Callable[[Config], dict[str, Any]]] = {
    "calibration": partial(diagnose, what="calibration"),
    "report": partial(diagnose, what="report"),
    "inject": inject,
}


def submit(config: Config) -> Path:
    """Validate the submission and package it with configuration and checksums; returns the bundle's folder."""
    with running("submit", config) as stage:
        root, submission = opened_root(stage), _require_submission(stage)
        snapshot = stage.out / "configs" / "predict.yaml"
        check_stage(stage.out, "predict", outputs=[submission, snapshot])
        expected = expected_planets(root, config.data.split, stage.name, stage.events)
        bundle = package(stage.out, snapshot, expected)
        stage.record["inputs"].append(submission)
        stage.record["outputs"] += _files(bundle)
        return bundle


def _require_submission(stage: Stage) -> Path:
    path = stage.out / "submission.csv"
    if not path.is_file():
        raise PipelineError(f"{path}: no such file. Run `spectramind predict` first.")
    return path


def _write_json(stage: Stage, name: str, content: dict[str, Any]) -> None:
    stage.record["outputs"].append(write_atomic(stage.out / name, json.dumps(content, indent=1) + "\n"))


def _calibrated(stage: Stage, root: Path, split: str, catalogue: Catalogue) -> dict[int, Path]:
    """Product file of each planet of the catalogue that has usable frames; the others are in the event log."""
    config, folder = stage.config, stage.products(split)
    how = (config.lightcurves, stage.workers, stage.events, config.run.progress)
    paths = calibrate_planets(root, split, folder, *how)
    wanted = set(catalogue.planet_id.tolist())
    return {int(path.stem): path for path in paths if int(path.stem) in wanted}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _report_fallbacks(stage: Stage, posterior: Posterior) -> None:
    """Count the planets without a full fit in the event log, and say so aloud: a valid file can be a worthless one."""
    level, population = posterior.diagnostics["fallback"], int(posterior.is_population.sum())
    counts = {"planets": len(level), "reduced_fit": int((level == 1).sum()), "population": population}
    stage.events.emit(stage.name, "summary", **counts)
    if counts["population"]:
        warnings.warn(
            f"{counts['population']} of {counts['planets']} planets have the population's answer instead of a fit: "
            f"{stage.events.path} holds the reasons",
            stacklevel=3,
        )

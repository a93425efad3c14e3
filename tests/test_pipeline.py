"""The whole way on a small simulated campaign, with the figures recomputed independently of the pipeline."""

import csv
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from dvcfile import check_manifest

from kitlib import pipeline
from kitlib.__main__ import main
from kitlib.base.config import compose
from kitlib.base.products import Catalogue, LightCurveFit, Posterior
from kitlib.base.provenance import EventLog
from kitlib.run import planets as planet_stage
from kitlib.run.inputs import SHIPPED_MODEL, catalogue_of, match, rows_of
from kitlib.run.verify import verify
from kitlib.spectra.posterior import PosteriorError, join, read_posterior, write_posterior
from kitlib.transit.priors import shipped_priors

pytestmark = pytest.mark.usefixtures("here")


def words(campaign: Path, out: Path) -> list[str]:
    cheap = ("run.workers=1", "lightcurves.samples=100", "physfit.max_iterations=4")
    return ["env=ci", "data=sim_tiny", f"simulate.out={campaign}", f"run.out={out}", *cheap]


def planets(table: Path) -> list[int]:
    with open(table) as handle:
        return [int(float(row["planet_id"])) for row in csv.DictReader(handle)]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def run(campaign, here, tmp_path_factory):
    """One finished run: train, predict, diagnose, submit."""
    out = tmp_path_factory.mktemp("run")
    (out / "fusion" / "fold_3").mkdir(parents=True)  # of an earlier `train`, of more planets
    shutil.copy(SHIPPED_MODEL, out / "fusion" / "fold_3" / "model.safetensors")
    for stage in ("train", "predict", "diagnose", "submit"):
        getattr(pipeline, stage)(compose(stage, words(campaign, out)))
    return out


def test_submission_holds_every_planet_in_order(campaign, run):
    assert planets(run / "submission.csv") == planets(campaign / "data" / "test_star_info.csv")
    table = pl.read_csv(run / "submission.csv")
    assert table.columns == ["planet_id", *(f"wl_{i}" for i in range(1, 284)), *(f"sigma_{i}" for i in range(1, 284))]
    values = table.drop("planet_id").to_numpy()
    assert np.isfinite(values).all() and (values[:, 283:] > 0).all()


def test_predicted_depths_follow_the_truth(campaign, run):
    """Few frames, no miracle: the white AIRS level is far closer to the truth than the population's spread."""
    truth = pl.read_csv(campaign / "solution.csv").drop("planet_id").to_numpy()[:, 1:].mean(1)
    found = pl.read_csv(run / "submission.csv").select([f"wl_{i}" for i in range(2, 284)]).to_numpy().mean(1)
    assert np.median(np.abs(found - truth)) < 0.1 * np.std(truth)


def test_scores_are_those_of_the_command_line(campaign, run, capsys):
    data = campaign / "data"
    files = {"solution": campaign / "solution.csv", "submission": run / "submission.csv", "train": data / "train.csv"}
    assert main(["score", *(word for name, path in files.items() for word in (f"--{name}", str(path)))]) == 0
    printed = json.loads(capsys.readouterr().out)
    scores = json.loads((run / "scores.json").read_text())
    assert printed == pytest.approx(scores["v50"], abs=1e-12)
    assert scores["naive"]["total"] == pytest.approx(0, abs=1e-9)
    assert scores["physics"]["total"] > scores["naive"]["total"]
    assert scores["v50"] != scores["physics"]  # the baseline is always shown beside it


@pytest.mark.parametrize("stage", ["train", "predict", "diagnose", "submit"])
def test_every_stage_leaves_snapshot_manifest_and_events(campaign, run, stage):
    manifest = json.loads((run / "manifests" / f"{stage}.json").read_text())
    assert manifest["outputs"] and manifest["inputs"]
    for path, digest in manifest["outputs"].items():
        assert sha256(run / path) == digest and not Path(path).is_absolute()
    snapshot = yaml.safe_load((run / "configs" / f"{stage}.yaml").read_text())
    assert snapshot["run"]["out"] == str(run)
    assert {(e["stage"], e["event"]) for e in EventLog(run / "events.jsonl").read()} >= {
        (stage, "start"),
        (stage, "end"),
    }


@pytest.mark.parametrize("stage", ["train", "predict", "diagnose", "submit"])
def test_dvc_yaml_lists_what_the_stage_read_and_wrote(campaign, run, stage):
    check_manifest(stage, json.loads((run / "manifests" / f"{stage}.json").read_text()), campaign / "data")


def test_the_finished_run_is_verified(run):
    assert [str(difference) for difference in verify(run).differences] == []


def test_bundle_is_the_submission_with_its_configuration(run):
    bundle = run / "bundle"
    assert (bundle / "submission.csv").read_bytes() == (run / "submission.csv").read_bytes()
    with zipfile.ZipFile(bundle / "submission.zip") as archive:
        assert archive.read("submission.csv") == (run / "submission.csv").read_bytes()
    assert (bundle / "config.yaml").read_bytes() == (run / "configs" / "predict.yaml").read_bytes()
    for name, entry in json.loads((bundle / "manifest.json").read_text())["files"].items():
        assert sha256(bundle / name) == entry["sha256"]


def test_calibration_is_that_of_the_submission(campaign, run):
    """Recomputed from the two csv files, without the kit's own reliability code."""
    found = json.loads((run / "calibration.json").read_text())
    truth = pl.read_csv(campaign / "solution.csv").drop("planet_id").to_numpy()
    answer = pl.read_csv(run / "submission.csv").drop("planet_id").to_numpy()
    z = (answer[:, :283] - truth) / answer[:, 283:]
    everyone = found["groups"][0]
    assert everyone["planets"] == 8 and everyone["parts"]["FGS1"]["std"] == pytest.approx(z[:, 0].std(), rel=1e-6)
    assert everyone["parts"]["AIRS bins"]["coverage"]["0.95"] == pytest.approx((np.abs(z[:, 1:]) < 1.959964).mean())
    scores = json.loads((run / "scores.json").read_text())
    assert found["score"]["FGS1"]["score"] == pytest.approx(scores["v50"]["fgs1"])
    assert {group["name"] for group in found["groups"]} >= {"fainter half", "fewer masked pixels"}


def test_diagnose_makes_one_part_alone_and_follows_the_products(campaign, run, tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    products = ("submission.csv", "posterior.safetensors", "physics.safetensors")
    for name in (*products, "prior.safetensors", "calibrator_v50.json", "calibrator_physics.json"):
        shutil.copy(run / name, out)
    for folder in ("configs", "manifests"):
        shutil.copytree(run / folder, out / folder)
    assert main(["diagnose", "calibration", *words(campaign, out)]) == 0
    assert "luck alone" in capsys.readouterr().out
    assert (out / "calibration.json").read_bytes() == (run / "calibration.json").read_bytes()
    assert not (out / "report.html").exists() and not (out / "scores.json").exists()
    assert main(["diagnose", "report", *words(campaign, out), "report.heavy=false"]) == 0
    first = (out / "report.html").read_text()
    whole = (run / "report.html").read_text()
    assert "Residuals and latents" not in first and 'id="latents"' in whole and 'id="powers"' in whole
    table = pl.read_csv(out / "submission.csv")
    table.with_columns(pl.col("wl_1") * 1.01).write_csv(out / "submission.csv")
    (out / "inject.json").write_text(json.dumps({"bands": [{"signal": "CH4_3.3um", "slope": 0.9173}]}))
    assert main(["diagnose", "report", *words(campaign, out), "report.heavy=false"]) == 0
    second = (out / "report.html").read_text()
    assert "is not what `predict` wrote" in second and "is not what `predict` wrote" not in first
    assert "CH4_3.3um" in second and "0.917" in second and "CH4_3.3um" not in first
    changed = f"{1e6 * 1.01 * table['wl_1'][0]:,.0f}".replace(",", "\u202f")
    assert changed in second and changed not in first
    assert (out / "manifests" / "diagnose_report.json").is_file()


def test_a_new_calibrator_beside_an_old_submission_is_said(campaign, run, tmp_path, capsys):
    out = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    assert main(["diagnose", *words(campaign, out), "model=physics"]) == 2
    assert "predict.yaml says v50" in capsys.readouterr().err
    calibrator = json.loads((out / "calibrator_v50.json").read_text())
    (out / "calibrator_v50.json").write_text(json.dumps(calibrator | {"scale_level": 1.001}))
    with pytest.warns(UserWarning, match="calibrator_v50.json is not what `predict` read"):
        pipeline.diagnose(compose("diagnose", [*words(campaign, out), "report.heavy=false"]), what="calibration")
    assert main(["predict", *words(campaign, out)]) == 2  # a `train` that was killed would look like this
    assert "calibrator_v50.json is not what `train` wrote" in capsys.readouterr().err


def test_models_of_an_earlier_training_are_gone(run):
    assert not list((run / "fusion").glob("fold_*"))


def test_what_predict_did_not_finish_is_not_packaged(campaign, run, tmp_path, capsys):
    out = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    table = pl.read_csv(out / "submission.csv")
    table.with_columns(pl.col("wl_1") * 1.01).write_csv(out / "submission.csv")
    assert main(["submit", *words(campaign, out)]) == 2
    assert "submission.csv is not what `predict` wrote" in capsys.readouterr().err
    (out / "manifests" / "predict.json").unlink()
    assert main(["submit", *words(campaign, out)]) == 2
    assert "`predict` has not ended in this folder" in capsys.readouterr().err
    assert not (out / "bundle").exists()


def test_predict_takes_the_trained_run_that_kaggle_mounts(campaign, run, tmp_path, monkeypatch):
    """The output of the `train` kernel, attached to the `infer` kernel: the answers are those of the run itself."""
    mounted = tmp_path / "input" / "notebooks" / "someone" / "spectramind-v50-train"
    mounted.mkdir(parents=True)
    for name in ("prior.safetensors", "calibrator_v50.json", "calibrator_physics.json"):
        shutil.copy(run / name, mounted)
    monkeypatch.setenv("KITLIB_KAGGLE_INPUT", str(tmp_path / "input"))
    out = tmp_path / "infer"
    shutil.copytree(run / "products", out / "products")
    pipeline.predict(compose("predict", words(campaign, out)))
    assert sha256(out / "submission.csv") == sha256(run / "submission.csv")
    read = json.loads((out / "manifests" / "predict.json").read_text())["inputs"]
    assert {str(mounted / "prior.safetensors"), str(mounted / "calibrator_v50.json")} <= set(read)


def test_planets_that_it_has_learnt_from_are_said(campaign, run, tmp_path):
    """`data.split=train` with what was learnt from it. One planet with frames is enough to predict."""
    root, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(campaign / "data", root, ignore=shutil.ignore_patterns("train", "test"))
    planet = planets(root / "train_star_info.csv")[0]
    shutil.copytree(campaign / "data" / "train" / str(planet), root / "train" / str(planet), copy_function=os.link)
    out.mkdir()
    for name in ("prior.safetensors", "calibrator_v50.json", "calibrator_physics.json"):
        shutil.copy(run / name, out)
    where = [f"data.root={root}", "data.split=train", "physfit.max_iterations=1"]
    with pytest.warns(UserWarning, match="have learnt from planets that are predicted here"):
        pipeline.predict(compose("predict", [*words(campaign, out), *where]))


@pytest.mark.parametrize("part", ["calibration", "report"])
def test_diagnose_says_what_it_needs(campaign, tmp_path, capsys, part):
    assert main(["diagnose", part, *words(campaign, tmp_path)]) == 2
    assert "Run `spectramind predict` first" in capsys.readouterr().err


def test_diagnose_names_its_parts(capsys):
    assert main(["diagnose", "calibrations"]) == 2
    assert "there are calibration, report" in capsys.readouterr().err


def test_report_names_every_planet(campaign, run):
    page = (run / "report.html").read_text()
    assert all(str(planet) in page for planet in planets(campaign / "data" / "test_star_info.csv"))


def test_the_calibrator_has_not_seen_the_test_planets(campaign, run):
    fitted_on = set(json.loads((run / "calibrator_v50.json").read_text())["fitted_on"])
    assert fitted_on <= set(planets(campaign / "data" / "train_star_info.csv"))
    assert not fitted_on & set(planets(campaign / "data" / "test_star_info.csv"))


def test_running_again_resumes_and_gives_the_same_bytes(campaign, run):
    products = sorted((run / "products" / "lightcurves" / "test").glob("*.safetensors"))
    assert len(products) == 8
    before = {path: (path.stat().st_mtime_ns, sha256(path)) for path in products}
    digest = sha256(run / "submission.csv")
    pipeline.predict(compose("predict", words(campaign, run)))
    assert {path: (path.stat().st_mtime_ns, sha256(path)) for path in products} == before
    assert sha256(run / "submission.csv") == digest


def test_predict_needs_no_training_step(few, tmp_path):
    """The command of the README on a folder in the competition's layout, into an empty output folder."""
    line = ["predict", "+env=local", "+data=kaggle", f"data.root={few / 'data'}", f"run.out={tmp_path}"]
    assert main([*line, "run.progress=false", "run.workers=1"]) == 0
    assert planets(tmp_path / "submission.csv") == planets(few / "data" / "test_star_info.csv")
    assert not (tmp_path / "prior.safetensors").exists()


def test_a_fit_that_crashes_in_training_costs_its_planet_alone(campaign, run, tmp_path, monkeypatch):
    """A batch that crashes is fitted planet by planet; the planet that still crashes gets the population's answer."""
    config, real = compose("train", [*words(campaign, tmp_path), "model.width=16"]), planet_stage.fit_planets
    products = {int(path.stem): path for path in sorted((run / "products" / "lightcurves" / "test").iterdir())[:3]}
    catalogue = catalogue_of(campaign / "data", "test")
    rows = catalogue.take(rows_of(catalogue.planet_id, np.array(list(products))))
    victim = list(products)[1]

    def crashing(lightcurves, *rest):
        if any(planet.planet_id == victim and planet.visits for planet in lightcurves):
            raise MemoryError("killed")
        return real(lightcurves, *rest)

    monkeypatch.setattr(planet_stage, "fit_planets", crashing)
    stage = pipeline.Stage("train", config, tmp_path, EventLog(tmp_path / "events.jsonl"), {})
    posterior, _ = planet_stage.fitted_planets(stage, rows, products, shipped_priors())
    told = {e["event"]: e.get("planet_id") for e in stage.events.read()}
    assert told == {"fit_retried": None, "fit_failed": victim, "fallback": victim}
    assert (posterior.diagnostics["fallback"] == 2).tolist() == [planet == victim for planet in products]


def test_an_early_submission_stands_before_any_frame_is_read(campaign, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "planet_work", killed)
    with pytest.raises(KeyboardInterrupt):
        pipeline.predict(compose("predict", words(campaign, tmp_path)))
    assert planets(tmp_path / "submission.csv") == planets(campaign / "data" / "test_star_info.csv")
    assert not (tmp_path / "manifests" / "predict.json").exists()
    assert EventLog(tmp_path / "events.jsonl").read()[-1]["event"] == "failed"


def example_posterior(ids: list[int], **diagnostics) -> Posterior:
    rng = np.random.default_rng(0)
    cov = np.stack([np.eye(283, dtype=np.float32) * (i + 1) for i in range(len(ids))])
    return Posterior(np.array(ids), rng.normal(size=(len(ids), 283)), cov, diagnostics)


def test_posterior_file_round_trip_and_damage(tmp_path):
    posterior = example_posterior([3, 5], fallback=np.array([0.0, 2.0]))
    curve = LightCurveFit(5, 1, "AIRS-CH0", *(np.arange(4.0) + i for i in range(5)))
    short = LightCurveFit(3, 0, "FGS1", *(np.arange(2.0) + i for i in range(5)))
    path = write_posterior(tmp_path / "p.safetensors", posterior, [curve, short])
    again, curves = read_posterior(path)
    for name in ("planet_id", "mean", "cov"):
        np.testing.assert_array_equal(getattr(again, name), getattr(posterior, name))
    np.testing.assert_array_equal(again.diagnostics["fallback"], [0, 2])
    assert [(c.planet_id, c.visit, c.instrument, len(c.flux)) for c in curves] == [
        (5, 1, "AIRS-CH0", 4),
        (3, 0, "FGS1", 2),
    ]
    np.testing.assert_array_equal(curves[0].sigma, curve.sigma)
    np.testing.assert_array_equal(curves[0].drift, curve.drift)
    write_posterior(tmp_path / "empty.safetensors", posterior, [])
    assert read_posterior(tmp_path / "empty.safetensors")[1] == []
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PosteriorError, match=r"p\.safetensors.*predict"):
        read_posterior(path)
    with pytest.raises(FileNotFoundError, match="spectramind predict"):
        read_posterior(tmp_path / "absent.safetensors")


def test_join_fills_missing_diagnostics():
    joined, _ = join([(example_posterior([1], chi2=np.ones(1)), []), (example_posterior([2, 4]), [])])
    assert joined.planet_id.tolist() == [1, 2, 4]
    np.testing.assert_array_equal(joined.diagnostics["chi2"], [1, np.nan, np.nan])


def test_match_keeps_the_expected_order_and_names_strangers():
    catalogue = Catalogue(np.array([7, 3, 5]), *(np.array([1.0, 2.0, 30.0]) * i for i in range(1, 8)))
    rows, strangers = match(catalogue, np.array([5, 9, 7]))
    assert strangers == [9]
    assert rows.planet_id.tolist() == [5, 9, 7]
    assert rows.stellar_radius_rsun.tolist() == [30.0, 2.0, 1.0]
    with pytest.raises(KeyError, match="9"):
        rows_of(catalogue.planet_id, np.array([3, 9]))

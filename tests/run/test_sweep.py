"""Sweeps: every combination a run, one table of results; what fails or is done already does not cost the others."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from kitlib.__main__ import main
from kitlib.base.config import ConfigError, compose, sweep_overrides
from kitlib.base.paths import find_configs
from kitlib.base.provenance import EventLog
from kitlib.pipeline import SCORED
from kitlib.run.sweep import Result, as_csv, as_markdown, score_of_run, sweep
from kitlib.submission import score_files

SMALL = [
    *("env=ci", "train=quick", "train.steps=2", "train.validate_every=1", "train.validation=0.5"),
    *("pretrain.planets=2", "pretrain.shard=2", "physfit.max_iterations=1"),
    *("model.width=8", "model.airs_channels=4", "model.graph=false", "run.workers=1"),  # a graph: seconds of imports
]


@pytest.mark.timeout(900)
def test_two_searches_of_two_values_are_four_runs_and_a_table(tmp_path, capfd):
    """Both searches in parallel processes through the command line; then again, with everything there already."""
    tried = ["+search=encoder_depth,bins", "model.fgs1_layers=1,2", "lightcurves.samples=40,60"]
    command = ["pretrain", "--multirun", *tried, *SMALL, f"run.out={tmp_path}", "hydra.launcher.n_jobs=2"]
    assert main(command) == 0
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    combinations = [("1", "40"), ("1", "60"), ("2", "40"), ("2", "60")]
    assert [(row["model.fgs1_layers"], row["lightcurves.samples"]) for row in rows] == combinations
    assert (tmp_path / "results.md").read_text() in capfd.readouterr().out
    for number, (layers, samples) in enumerate(combinations):
        run = tmp_path / str(number)
        used = yaml.safe_load((run / "configs" / "pretrain.yaml").read_text())
        assert (used["model"]["fgs1_layers"], used["lightcurves"]["samples"]) == (int(layers), int(samples))
        assert used["train"]["initial"] == ""  # what the search file says beside its values
        lines = [json.loads(line) for line in (run / "pretrain" / "log.jsonl").read_text().splitlines()]
        best = max(line["score"] for line in lines if line["event"] == "validation")
        assert float(rows[number]["score"]) == pytest.approx(best, abs=1e-4)
        assert float(rows[number]["wall_s"]) > 0 and not rows[number]["problem"]

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/sweep.json")}
    (tmp_path / "results.csv").unlink()
    assert main([*command[:-1], "hydra/launcher=basic"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/sweep.json")} == before
    assert list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines())) == rows


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", ["diagnose", "predict"])
def test_planets_with_frames_are_predicted_inside_the_launchers_processes(one, tmp_path, stage):
    """The README's command and launcher: guarded processes started by joblib's workers."""
    solution = one / "solution.csv"
    words = [f"data.root={one / 'data'}", f"data.solution={solution}", f"run.out={tmp_path / 'out'}"]
    cheap = ["env=ci", "run.workers=1", "lightcurves.samples=60", "physfit.max_iterations=1"]
    cheap += ["report.planets=1", "report.heavy=false"]
    assert main([stage, "--multirun", "model=v50,physics", *words, *cheap]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert [row["model"] for row in rows] == ["v50", "physics"] and not any(row["problem"] for row in rows)
    for number, row in enumerate(rows):
        run = tmp_path / "out" / str(number)
        computed = next(e for e in EventLog(run / "events.jsonl").read() if e["event"] == "computed")
        assert computed["settings"] == {"full": 1}
        score = score_files(solution, run / "submission.csv", one / "data" / "train.csv").total
        assert float(row["score"]) == pytest.approx(score, abs=1e-4)


def test_a_predict_without_a_truth_has_no_score_and_no_problem(tmp_path):
    config = compose("predict", [f"run.out={tmp_path}"])
    assert score_of_run("predict", config) is None
    assert as_csv([Result(["model=v50"], None, 1.0), Result(["model=physics"], None, 2.0)]) == (
        "run,model,score,wall_s,problem\n0,v50,,1.0,\n1,physics,,2.0,\n"
    )


def test_a_combination_that_fails_is_a_row_with_its_reason(tmp_path):
    words = [f"data.root={tmp_path / 'absent'}", f"run.out={tmp_path / 'out'}", "hydra/launcher=basic"]
    out, results = sweep("diagnose", ["env=ci", "report.planets=1,2", *words], SCORED)
    assert [one.score for one in results] == [None, None]
    assert all("absent" in one.problem for one in results)
    assert (out / "results.md").read_text().count("absent") == 2
    with pytest.raises(ConfigError, match="holds another sweep"):
        sweep("diagnose", ["env=ci", "report.planets=1,3", *words], SCORED)


def test_the_score_of_a_run_is_read_from_its_products(tmp_path):
    config = compose("train", [f"run.out={tmp_path}"])
    with pytest.raises(ValueError, match="min_train_planets"):
        score_of_run("train", config)
    for fold, scores in enumerate([(0.1, 0.5, 0.3), (0.2, 0.1)]):
        log = tmp_path / "fusion" / f"fold_{fold}" / "log.jsonl"
        log.parent.mkdir(parents=True)
        log.write_text("".join(json.dumps({"event": "validation", "score": s}) + "\n" for s in scores))
    assert score_of_run("train", config) == pytest.approx((0.5 + 0.2) / 2)
    (tmp_path / "scores.json").write_text(json.dumps({"naive": {"total": 0.0}}))
    with pytest.raises(ValueError, match=r"data\.solution"):
        score_of_run("diagnose", config)
    (tmp_path / "scores.json").write_text(json.dumps({"v50": {"total": 0.7}}))
    assert score_of_run("diagnose", config) == 0.7


def test_the_table_shows_what_differs():
    results = [Result(["env=ci", "train.folds=2"], 0.5, 1.25), Result(["env=ci", "train.folds=3"], None, 2.0, "a|b")]
    assert as_csv(results) == "run,train.folds,score,wall_s,problem\n0,2,0.5000,1.2,\n1,3,,2.0,a|b\n"
    assert as_markdown(results).splitlines()[-1] == "| 1 | 3 |  | 2.0 | a\\|b |"


@pytest.mark.parametrize("file", sorted((find_configs() / "search").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_value_of_a_search_is_a_valid_one(file):
    for key, values in yaml.safe_load(file.read_text())["hydra"]["sweeper"]["params"].items():
        assert len(str(values).split(",")) > 1
        for value in str(values).split(","):
            compose("train", [f"{key}={value}"])


@pytest.mark.parametrize(
    ("stage", "words", "message"),
    [
        ("calibrate", [], "no score to compare: sweep one of pretrain, train, predict, diagnose"),
        ("train", ["+search=encoder_dept"], "did you mean 'encoder_depth'"),
        ("train", ["model=v50,phisics"], "did you mean 'physics'"),
        ("train", ["train.fold=2,3"], r"did you mean 'train\.folds'"),
    ],
)
def test_bad_sweeps_are_refused(tmp_path, stage, words, message):
    with pytest.raises(ConfigError, match=message):
        sweep(stage, [*words, f"run.out={tmp_path}"], SCORED)


def test_a_search_without_multirun_says_what_is_missing():
    with pytest.raises(ConfigError, match="add --multirun"):
        compose("train", ["+search=bins"])


def test_overrides_of_a_sweep():
    given = ["+search=bins", "model=v50,physics", "model.base=posterior,population", "data.root='a,b'", "run.out=x=1"]
    words, out = sweep_overrides([*given, "hydra.launcher.n_jobs=2"], find_configs())
    assert words == [
        *("+search=[bins]", "model=v50,physics", "model.base='posterior','population'", "data.root='a,b'"),
        "hydra.launcher.n_jobs=2",
    ]
    assert out == "x=1"
    assert Path(compose("train", ["data.root='a,b'"]).data.root) == Path("a,b")

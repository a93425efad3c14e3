"""Bad input: a clear error that names the file and the remedy. Damaged planets and tables: tests/faults/."""

import csv
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from kitlib import pipeline
from kitlib.__main__ import main
from kitlib.base.config import compose

pytestmark = pytest.mark.usefixtures("here")


def words(root: Path, out: Path, *more: str) -> list[str]:
    return ["env=ci", "data=kaggle", f"data.root={root}", f"run.out={out}", "run.workers=1", *more]


def ids(root: Path) -> list[int]:
    with open(root / "test_star_info.csv") as handle:
        return [int(float(row["planet_id"])) for row in csv.DictReader(handle)]


def copy_tables(campaign: Path, root: Path) -> Path:
    shutil.copytree(campaign / "data", root, ignore=shutil.ignore_patterns("train", "test"))
    (root / "test").mkdir()
    return root


@pytest.fixture
def tables_only(campaign, tmp_path):
    """A data root with its tables and no planet folders: what is wrong with tables shows before any frame is read."""
    return copy_tables(campaign, tmp_path / "data")


@pytest.fixture(scope="module")
def without_frames(campaign, here, tmp_path_factory):
    """Such a root, and the folder of a `predict` on it."""
    folder = tmp_path_factory.mktemp("without_frames")
    root, out = copy_tables(campaign, folder / "data"), folder / "out"
    with pytest.warns(UserWarning, match="8 of 8 planets"):
        pipeline.predict(compose("predict", words(root, out)))
    return root, out


def refused(capsys, *arguments: str) -> str:
    """Error text of a command that must fail without a traceback."""
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


def test_no_frames_at_all_still_gives_a_valid_submission_and_says_so(without_frames):
    root, out = without_frames
    assert pl.read_csv(out / "submission.csv")["planet_id"].to_list() == ids(root)


def test_calibrating_no_planet_is_no_success(tables_only, tmp_path, capsys):
    message = refused(capsys, "calibrate", *words(tables_only, tmp_path / "out"))
    count = len(ids(tables_only))
    assert f"{count} of {count} planets of" in message and str(tmp_path / "out" / "events.jsonl") in message


def test_train_csv_without_its_planets(tables_only, tmp_path, capsys):
    (tables_only / "train.csv").write_text((tables_only / "train.csv").read_text().splitlines()[0] + "\n")
    assert "train.csv" in refused(capsys, "train", *words(tables_only, tmp_path / "out"))


@pytest.mark.parametrize("stage", ["calibrate", "train", "predict", "diagnose", "submit", "simulate"])
def test_unwritable_output(tables_only, tmp_path, capsys, stage):
    (tmp_path / "file").touch()
    message = refused(capsys, stage, *words(tables_only, tmp_path / "file" / "out"))
    assert "file/out" in message and "run.out=DIR" in message


@pytest.mark.parametrize("stage", ["diagnose", "submit"])
def test_stage_before_predict_says_so(tables_only, tmp_path, capsys, stage):
    message = refused(capsys, stage, *words(tables_only, tmp_path / "out"))
    assert "submission.csv" in message and "predict" in message


def test_a_foreign_calibrator_is_refused(tables_only, tmp_path, capsys):
    path = tmp_path / "calibrator.json"
    path.write_text(json.dumps({"version": 99}))
    message = refused(capsys, "predict", *words(tables_only, tmp_path / "out", f"sigma.calibrator={path}"))
    assert "calibrator.json" in message and "99" in message


def test_a_solution_without_the_planets_is_refused(campaign, without_frames, tmp_path, capsys):
    root, out = without_frames
    solution = tmp_path / "solution.csv"
    solution.write_text("\n".join((campaign / "solution.csv").read_text().splitlines()[:-1]) + "\n")
    message = refused(capsys, "diagnose", *words(root, out, f"data.solution={solution}"))
    assert "solution.csv" in message and str(ids(root)[-1]) in message


def test_unknown_stage_and_no_stage(capsys):
    assert "did you mean 'predict'" in refused(capsys, "predit")
    assert main([]) == 0
    assert "usage" in capsys.readouterr().out

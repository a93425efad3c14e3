"""Bad input: a clear error that names the file and the remedy, or a fallback for that planet alone with its reason."""

import csv
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kitlib import pipeline
from kitlib.__main__ import main
from kitlib.config import compose
from kitlib.provenance import EventLog


def words(root: Path, out: Path, *more: str) -> list[str]:
    return ["env=ci", "data=kaggle", f"data.root={root}", f"run.out={out}", *more]


def ids(root: Path) -> list[int]:
    with open(root / "test_star_info.csv") as handle:
        return [int(float(row["planet_id"])) for row in csv.DictReader(handle)]


def values(out: Path) -> dict[int, np.ndarray]:
    table = pl.read_csv(out / "submission.csv")
    return dict(zip(table["planet_id"].to_list(), table.drop("planet_id").to_numpy(), strict=True))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path, damage: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    damage(pl.read_parquet(path)).write_parquet(path)


def signal(planet: Path, instrument: str) -> Path:
    return planet / f"{instrument}_signal_0.parquet"


def remove_folder(planet: Path) -> str:
    shutil.rmtree(planet)
    return "no such planet folder"


def truncate_both_signals(planet: Path) -> str:
    for path in planet.glob("*_signal_*.parquet"):
        truncate(path)
    return "signal_0.parquet"


def drop_columns(planet: Path) -> str:
    for path in planet.glob("*_signal_*.parquet"):
        change(path, lambda table: table[:, :-1])
    return "column"


def drop_calibration(planet: Path) -> str:
    for path in planet.glob("*_calibration_*/flat.parquet"):
        path.unlink()
    return "flat.parquet"


def spoil_calibration(planet: Path) -> str:
    for path in planet.glob("*_calibration_*/flat.parquet"):
        change(path, lambda table: table.select(pl.all() * np.nan))
    return "flat.parquet"


def empty_folder(planet: Path) -> str:
    shutil.rmtree(planet)
    planet.mkdir()
    return "no visit"


FATAL = [remove_folder, truncate_both_signals, drop_columns, drop_calibration, spoil_calibration, empty_folder]


@pytest.fixture(scope="module")
def damaged(campaign, tmp_path_factory):
    """Predictions on a clean root, and on one where six of eight planets are damaged, each in its own way."""
    folder = tmp_path_factory.mktemp("damaged")
    clean = campaign / "data"
    root = shutil.copytree(clean, folder / "data")
    expected = {planet: damage(root / "test" / str(planet)) for planet, damage in zip(ids(root), FATAL, strict=False)}
    for name, data in (("clean", clean), ("out", root)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pipeline.predict(compose("predict", words(data, folder / name)))
        said = [str(w.message) for w in caught if "population's answer" in str(w.message)]
        assert [text.split()[0] for text in said] == (["6"] if name == "out" else [])
        if name == "out":
            pipeline.diagnose(compose("diagnose", words(data, folder / name)))
    return folder, expected


def test_every_planet_has_its_row(damaged):
    folder, _ = damaged
    assert list(values(folder / "out")) == ids(folder / "data")


def test_a_damaged_planet_costs_itself_alone(damaged):
    folder, expected = damaged
    clean, found = values(folder / "clean"), values(folder / "out")
    for planet in ids(folder / "data"):
        assert np.array_equal(clean[planet], found[planet]) == (planet not in expected), planet


def test_a_damaged_planet_gets_the_populations_answer(damaged):
    folder, expected = damaged
    answers = [row for planet, row in values(folder / "out").items() if planet in expected]
    assert all(np.array_equal(row, answers[0]) for row in answers)
    assert (answers[0][283:] > 1e-3).all()  # and says how little it knows


@pytest.mark.parametrize("case", range(len(FATAL)), ids=[damage.__name__ for damage in FATAL])
def test_the_reason_is_in_the_events_and_in_the_report(damaged, case):
    folder, expected = damaged
    planet, fragment = list(expected.items())[case]
    events = [e for e in EventLog(folder / "out" / "events.jsonl").read() if e.get("planet_id") == planet]
    assert any(fragment in e["reason"] and str(planet) in e["reason"] for e in events), events
    assert any(e["event"] == "fallback" for e in events)
    assert str(planet) in (folder / "out" / "report.html").read_text()


def test_one_bad_instrument_or_visit_leaves_the_rest_in_use(campaign, tmp_path):
    """FGS1 truncated: AIRS still counts. A second visit without AIRS is still fitted."""
    root = shutil.copytree(campaign / "data", tmp_path / "data")
    first, second = ids(root)[:2]
    truncate(signal(root / "test" / str(first), "FGS1"))
    for path in list((root / "test").glob("*/AIRS-CH0_signal_1.parquet")):  # second visits are there in part
        path.unlink()
    pipeline.predict(compose("predict", words(root, tmp_path / "out")))
    found = values(tmp_path / "out")
    assert list(found) == ids(root)
    assert np.median(found[first][284:]) < 0.003  # AIRS sigma: far below the population's scatter of .01
    events = EventLog(tmp_path / "out" / "events.jsonl").read()
    assert any(e.get("planet_id") == first and "FGS1_signal_0" in e.get("reason", "") for e in events)
    assert not any(e.get("planet_id") == second and e["event"] == "fallback" for e in events)


@pytest.fixture
def tables_only(campaign, tmp_path):
    """A data root with its tables and no planet folders: what is wrong with tables shows before any frame is read."""
    root = tmp_path / "data"
    shutil.copytree(campaign / "data", root, ignore=shutil.ignore_patterns("train", "test"))
    (root / "test").mkdir()
    return root


def refused(capsys, *arguments: str) -> str:
    """Error text of a command that must fail without a traceback."""
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


def test_no_frames_at_all_still_gives_a_valid_submission_and_says_so(tables_only, tmp_path):
    with pytest.warns(UserWarning, match="8 of 8 planets"):
        pipeline.predict(compose("predict", words(tables_only, tmp_path / "out")))
    assert list(values(tmp_path / "out")) == ids(tables_only)


def test_empty_test_set(tables_only, tmp_path, capsys):
    table = tables_only / "test_star_info.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    message = refused(capsys, "predict", *words(tables_only, tmp_path / "out"))
    assert "test_star_info.csv" in message and "data.root" in message


def test_duplicate_planet(tables_only, tmp_path, capsys):
    table = tables_only / "test_star_info.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")
    message = refused(capsys, "predict", *words(tables_only, tmp_path / "out"))
    assert "test_star_info.csv" in message and "twice" in message


def test_missing_column(tables_only, tmp_path, capsys):
    table = tables_only / "test_star_info.csv"
    table.write_text(table.read_text().replace("sma", "SMA"))
    message = refused(capsys, "predict", *words(tables_only, tmp_path / "out"))
    assert "test_star_info.csv" in message and "sma" in message


@pytest.mark.parametrize("name", ["axis_info.parquet", "adc_info.csv"])
def test_broken_shared_file_is_named_and_leaves_the_early_submission(tables_only, tmp_path, capsys, name):
    (tables_only / name).write_text("not a table")
    message = refused(capsys, "predict", *words(tables_only, tmp_path / "out"))
    assert name in message
    assert list(values(tmp_path / "out")) == ids(tables_only)


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


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("data.root=nowhere", ["nowhere", "no such folder"]),
        ("data.split=tset", ["tset", "train or test"]),
        ("prior.source=best", ["best", "shipped"]),
        ("sigma.calibrator=nowhere.json", ["nowhere.json", "no such file"]),
    ],
)
def test_values_that_mean_nothing(tables_only, tmp_path, capsys, override, fragments):
    message = refused(capsys, "predict", *words(tables_only, tmp_path / "out", override))
    assert all(fragment in message for fragment in fragments)


def test_a_foreign_calibrator_is_refused(tables_only, tmp_path, capsys):
    path = tmp_path / "calibrator.json"
    path.write_text(json.dumps({"version": 99}))
    message = refused(capsys, "predict", *words(tables_only, tmp_path / "out", f"sigma.calibrator={path}"))
    assert "calibrator.json" in message and "99" in message


@pytest.mark.filterwarnings("ignore:8 of 8 planets")
def test_a_solution_without_the_planets_is_refused(campaign, tables_only, tmp_path, capsys):
    pipeline.predict(compose("predict", words(tables_only, tmp_path / "out")))
    solution = tmp_path / "solution.csv"
    solution.write_text("\n".join((campaign / "solution.csv").read_text().splitlines()[:-1]) + "\n")
    message = refused(capsys, "diagnose", *words(tables_only, tmp_path / "out", f"data.solution={solution}"))
    assert "solution.csv" in message and str(ids(tables_only)[-1]) in message


def test_unknown_stage_and_no_stage(capsys):
    assert "did you mean 'predict'" in refused(capsys, "predit")
    assert main([]) == 0
    assert "usage" in capsys.readouterr().out

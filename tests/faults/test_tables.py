"""Tables, configuration and products that are damaged: the message names file and remedy, and what must stay stays.

`predict` ends with status 2 wherever it cannot go on; the population's answer then stands in submission.csv, unless
nothing says which planets there are, or the command itself is wrong.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kitlib.__main__ import main
from kitlib.base.instruments import submission_columns
from kitlib.base.products import Prediction
from kitlib.base.provenance import EventLog, sha256_file
from kitlib.detector.csvtable import FrameError
from kitlib.detector.tables import read_spectra_csv, read_wavelengths
from kitlib.run.inputs import training_set
from kitlib.submission.validation import SubmissionError, possible, validate_bytes, validate_submission
from kitlib.submission.writer import read_planet_ids, write_submission

pytestmark = pytest.mark.usefixtures("here")


@dataclass(frozen=True)
class Case:
    """One damage to a root of tables alone, `damage(root, out)`, and what the message must say."""

    name: str
    damage: Callable[[Path, Path], None]
    says: tuple[str, ...]
    submission: bool = True  # whether the population's answer must stand
    words: tuple[str, ...] = ()


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path, Path], None]:
    def damage(root: Path, out: Path) -> None:
        text = (root / name).read_text().splitlines()
        (root / name).write_text("".join(line + "\n" for line in change(text)))

    return damage


def content(name: str, data: bytes) -> Callable[[Path, Path], None]:
    return lambda root, out: (root / name).write_bytes(data) and None


def encoded(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
    return lambda root, out: (root / name).write_bytes(change((root / name).read_bytes())) and None


def axis(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path, Path], None]:
    def damage(root: Path, out: Path) -> None:
        change(pl.read_parquet(root / "axis_info.parquet")).write_parquet(root / "axis_info.parquet")

    return damage


def alone(root: Path, out: Path) -> None:
    """No second table says which planets there are."""
    (root / "sample_submission.csv").unlink()
    content("test_star_info.csv", b"")(root, out)


def all_rows_bad(text: list[str]) -> list[str]:
    return [text[0], *(",".join([line.split(",")[0], *["-1"] * 8]) for line in text[1:])]


def in_hours(text: list[str]) -> list[str]:
    place = text[0].split(",").index("P")
    rows = [line.split(",") for line in text[1:]]
    return [text[0], *(",".join([*r[:place], str(24 * float(r[place])), *r[place + 1 :]]) for r in rows)]


def product(name: str, data: bytes) -> Callable[[Path, Path], None]:
    def damage(root: Path, out: Path) -> None:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)

    return damage


def as_folder(name: str) -> Callable[[Path, Path], None]:
    def damage(root: Path, out: Path) -> None:
        (root / name).unlink()
        (root / name).mkdir()

    return damage


def none(root: Path, out: Path) -> None:
    """The command is wrong, not the data."""


STARS, ADC, AXIS = "test_star_info.csv", "adc_info.csv", "axis_info.parquet"
CASES = [
    Case("a planet twice", lines(STARS, lambda t: [*t, t[1]]), (STARS, "occurs twice", "duplicate")),
    Case("an id in words", lines(STARS, lambda t: [t[0], "x" + t[1], *t[2:]]), (STARS, "row 1", "planet_id")),
    Case("half an id", lines(STARS, lambda t: [t[0], "1.5" + t[1][t[1].index(",") :], *t[2:]]), (STARS, "1.5", "id")),
    Case("a column lost", lines(STARS, lambda t: [t[0].replace("sma", "SMA"), *t[1:]]), (STARS, "['sma']", "Download")),
    Case("no id column", lines(STARS, lambda t: [t[0].replace("planet_id", "id"), *t[1:]]), (STARS, "planet_id")),
    Case("0 bytes", content(STARS, b""), (STARS, "cannot be read as CSV", "Download")),
    Case("a header alone", lines(STARS, lambda t: t[:1]), (STARS, "no planet", "data.root")),
    Case("not UTF-8", encoded(STARS, lambda d: d.replace(b"Rs", b"R\xe9")), (STARS, "Download")),
    Case("UTF-16", encoded(STARS, lambda d: d.decode().encode("utf-16")), (STARS, "Download")),
    Case("binary", content(STARS, bytes(range(256)) * 9), (STARS, "Download")),
    Case("all rows impossible", lines(STARS, all_rows_bad), (STARS, "row 1, column Rs: -1.0 is not positive")),
    Case("no table of planets", alone, (STARS, "planet_id", "download"), submission=False),
    Case("a folder as table", as_folder(STARS), ("not a data root", STARS, "data.root=DIR"), submission=False),
    Case("axis of 0 bytes", content(AXIS, b""), (AXIS, "truncated or damaged", "Download")),
    Case("axis as text in place of a table", content(AXIS, b"not a table"), (AXIS, "truncated or damaged", "Download")),
    Case("axis cut in half", encoded(AXIS, lambda d: d[: len(d) // 2]), (AXIS, "truncated or damaged")),
    Case("axis without a column", axis(lambda t: t.drop("FGS1-axis0-h")), (AXIS, "FGS1-axis0-h", "missing")),
    Case("axis backwards", axis(lambda t: t.reverse()), (AXIS, "Download")),
    Case("axis of NaN", axis(lambda t: t.with_columns(pl.col("FGS1-axis0-h") * np.nan)), (AXIS, "FGS1-axis0-h")),
    Case("axis as text", axis(lambda t: t.with_columns(pl.lit("now").alias("FGS1-axis0-h"))), (AXIS, "FGS1-axis0-h")),
    Case("axis in minutes", axis(lambda t: t.with_columns(pl.col("FGS1-axis0-h") * 60)), (AXIS, "FGS1", "in minutes?")),
    Case("commas lost", encoded(STARS, lambda d: d.replace(b",", b";")), (STARS, "separated by ';'")),
    Case("an error page", content(STARS, b"<?xml version='1.0'?><Error/>"), (STARS, "a web page", "Download")),
    Case("all periods in hours", lines(STARS, in_hours), (STARS, "column P", "days; is it in hours?")),
    Case("converters of no planet", lines(ADC, lambda t: [*t, "-1000,1,-1000,2"]), (ADC, "row 2 differs from row 1")),
    Case("converter of 0 bytes", content(ADC, b""), (ADC, "Download")),
    Case("converter of other columns", content(ADC, b"not a table"), (ADC, "missing", "Download")),
    Case("converter without a row", lines(ADC, lambda t: t[:1]), (ADC, "no row")),
    Case("gain of 0", lines(ADC, lambda t: [t[0], ",".join("0" for _ in t[1].split(","))]), (ADC, "gain", "positive")),
    Case("gain in words", lines(ADC, lambda t: [t[0], ",".join("a" for _ in t[1].split(","))]), (ADC, "row 1", "'a'")),
    Case("converter not UTF-8", encoded(ADC, lambda d: b"\xff" + d), (ADC, "Download")),
    Case("own prior damaged", product("prior.safetensors", b"\x08"), ("prior.safetensors", "spectramind train")),
    Case("own calibrator damaged", product("calibrator_physics.json", b"{"), ("calibrator_physics.json",)),
    Case(
        "own model damaged",
        product("fusion/fold_0/model.safetensors", b"\x08\0\0\0\0\0\0\0{}"),
        ("fold_0/model.safetensors", "Train it again"),
        words=("model=v50",),
    ),
    Case("unknown key", none, ("run.worker", "did you mean 'run.workers'"), False, ("run.worker=2",)),
    Case("unknown group", none, ("evn", "did you mean 'env'"), False, ("evn=ci",)),
    Case("a word for a number", none, ("run.workers",), False, ("run.workers=many",)),
    Case("negative budget", none, ("budget.hours", "give a number, 0 or more"), False, ("budget.hours=-1",)),
    Case("no such calibrator", none, ("none.json", "no such file"), False, ("sigma.calibrator=none.json",)),
    Case("no such prior", none, ("prior.source=truth", "shipped"), False, ("prior.source=truth",)),
    Case("no such split", none, ("tset", "train or test"), False, ("data.split=tset",)),
    Case("no such root", none, ("nowhere", "no such folder", "data.root"), False, ("data.root=nowhere",)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_predict_says_what_is_wrong_and_leaves_a_valid_file(root, campaign, tmp_path, capsys, case):
    out = tmp_path / "out"
    case.damage(root, out)
    words = ["env=ci", "data=kaggle", "model=physics", f"data.root={root}", f"run.out={out}", *case.words]
    assert main(["predict", *words]) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in case.says), said
    assert "Traceback" not in said
    assert (out / "submission.csv").is_file() == case.submission
    if case.submission:
        expected = read_planet_ids(campaign / "data" / STARS)
        validate_submission(out / "submission.csv", expected).raise_for_errors()
        (failed,) = [event for event in EventLog(out / "events.jsonl").read() if event["event"] == "failed"]
        assert case.says[0] in failed["reason"]
        assert all(json.loads(line) for line in (out / "events.jsonl").read_text().splitlines())
    assert not (out / "manifests").exists()  # nothing says that the stage was finished


QUIET = {  # what costs nothing: damage to the tables alone -> events, and parts of their reasons
    "commas at all line ends": ((STARS, lambda t: [line + ",," for line in t]), (ADC, lambda t: t), {
        "table_form": "test_star_info.csv has commas at its line ends; read without them"}),
    "a comma at one line's end": ((STARS, lambda t: t), (ADC, lambda t: [t[0], t[1] + ","]), {
        "table_form": "adc_info.csv has commas at its line ends; read without them"}),
    "blank last lines": ((STARS, lambda t: [*t, "", ",,,,,,,,"]), (ADC, lambda t: [*t, ""]), {}),
    "another order": ((STARS, lambda t: t), ("sample_submission.csv", lambda t: [t[0], *t[:0:-1]]), {
        "tables_differ": "in another order"}),
    "a sample of other planets": ((STARS, lambda t: t), ("sample_submission.csv", lambda t: [*t[:-1], "77" + t[-1]]), {
        "tables_differ": "names other planets"}),
    "a sample that cannot be read": ((STARS, lambda t: t), ("sample_submission.csv", lambda t: ["x", *t[1:]]), {
        "tables_differ": "no column planet_id"}),
    "an empty cell": ((STARS, lambda t: [t[0], t[1].rpartition(",")[0] + ",", *t[2:]]), (ADC, lambda t: t), {
        "fallback": "row 1, column i: not a finite number"}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", QUIET)
def test_what_costs_nothing_ends_well_and_is_named(root, campaign, tmp_path, name):
    """No frames: every planet falls back, but not for its table."""
    *damages, events = QUIET[name]
    for file, change in damages:
        lines(file, change)(root, tmp_path)
    out = tmp_path / "out"
    assert main(["predict", "env=ci", "data=kaggle", "model=physics", f"data.root={root}", f"run.out={out}"]) == 0
    validate_submission(out / "submission.csv", read_planet_ids(campaign / "data" / STARS)).raise_for_errors()
    told = [(event["event"], event.get("reason", "")) for event in EventLog(out / "events.jsonl").read()]
    for event, reason in events.items():
        assert any(one == event and reason in why for one, why in told), told
    if not events:
        assert not [why for _, why in told if "star_info" in why or "adc_info" in why]


@pytest.mark.filterwarnings("ignore")
def test_the_files_that_are_read_are_those_of_the_manifest_whatever_the_folder_is_called(root, tmp_path):
    """`data[1]` as a pattern is `data1`."""
    other, named = tmp_path / "data1", tmp_path / "data[1]"
    shutil.copytree(root, other)
    axis(lambda t: t.head(0))(other, tmp_path)
    root.rename(named)
    out = tmp_path / "out"
    words = ["env=ci", "data=kaggle", "model=physics", f"data.root='{named}'", f"run.out={out}"]
    assert main(["predict", *words]) == 0
    inputs = json.loads((out / "manifests" / "predict.json").read_text())["inputs"]
    tables = [AXIS, ADC, STARS, "sample_submission.csv"]
    assert inputs == {str(named / file): sha256_file(named / file) for file in sorted(tables)}


@pytest.fixture
def training(campaign, tmp_path) -> Path:
    """The training set of the campaign, without frames."""
    folder = tmp_path / "training"
    shutil.copytree(campaign / "data", folder, ignore=shutil.ignore_patterns("train", "test", "test*"))
    return folder


@pytest.mark.filterwarnings("ignore")
def test_a_bad_row_of_a_training_table_costs_its_planet(training, tmp_path):
    lines("train_star_info.csv", lambda t: [t[0], t[1].rpartition(",")[0] + ",", *t[2:], ""])(training, tmp_path)
    lines("train.csv", lambda t: [*t[:2], t[2].partition(",")[0] + ",1.2" * 283, *t[3:], ""])(training, tmp_path)
    events = EventLog(tmp_path / "events.jsonl")
    catalogue, truth = training_set(training, "train", events)
    assert len(catalogue) == 10 and catalogue.planet_id.tolist() == truth.planet_id.tolist()
    told = {event["planet_id"]: event["reason"] for event in events.read() if event["event"] == "planet_left_out"}
    assert len(told) == 2 and not set(told) & set(catalogue.planet_id.tolist())
    (alone,) = [event["reason"] for event in events.read() if event["event"] == "tables_differ"]
    assert "are not in both" in alone
    assert sorted("row 1, column i: not a finite number" in why for why in told.values()) == [False, True]
    assert sorted("row 2, column wl_1: 1.2 is no transit depth" in why for why in told.values()) == [False, True]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("there", [1, 12])
def test_training_counts_the_planets_that_have_frames(training, tmp_path, capsys, there):
    """Twelve spectra, but folders of one planet; or twelve folders with nothing in them."""
    for planet in read_planet_ids(training / "train_star_info.csv")[:there]:
        (training / "train" / str(planet)).mkdir(parents=True)
    out = tmp_path / "out"
    assert main(["train", "env=ci", "data=kaggle", f"data.root={training}", f"run.out={out}"]) == 2
    said = capsys.readouterr().err
    found = "1 planets have a folder of frames" if there == 1 else "0 planets have usable frames"
    assert found in said and "training needs 10" in said and "events.jsonl" in said


@pytest.mark.parametrize("key", ["data.root", "sigma.calibrator", "run.trained"])
def test_a_relative_path_says_where_it_was_looked_for_and_where_it_is(root, tmp_path, monkeypatch, capsys, key):
    """A notebook's working folder is that of the notebook."""
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    (tmp_path / "meant").touch()
    monkeypatch.chdir(tmp_path / "notebooks" / "deep")
    words = [f"data.root={root}", f"run.out={tmp_path / 'out'}", f"{key}=meant"]
    assert main(["predict", "env=ci", "data=kaggle", *words]) == 2
    said = capsys.readouterr().err
    assert f"looked for {tmp_path / 'notebooks' / 'deep' / 'meant'}; there is {tmp_path / 'meant'}" in said
    assert main(["predict", "env=ci", "data=kaggle", *words[:-1], f"{key}=nowhere"]) == 2
    said = capsys.readouterr().err
    assert f"looked for {tmp_path / 'notebooks' / 'deep' / 'nowhere'})" in said and "there is" not in said


def test_a_depth_above_one_is_never_written(tmp_path):
    ids = np.array([1, 2])
    answer = Prediction(ids, np.full((2, 283), 0.01), np.full((2, 283), 0.001))
    answer.mu[1, 7] = 1.29
    assert possible(answer).tolist() == [True, False]
    with pytest.raises(SubmissionError, match=r"row 2 .*column wl_8: 1\.29 is deeper than the star is bright"):
        write_submission(tmp_path / "submission.csv", answer, ids)
    assert not list(tmp_path.iterdir())


def test_an_unknown_key_touches_nothing(root, tmp_path):
    assert main(["predict", f"data.root={root}", f"run.out={tmp_path / 'out'}", "run.worker=2"]) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["wavelengths.csv", "train.csv"])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"planet_id\n1\n"], ids=["empty", "binary", "columns"])
def test_training_and_report_name_their_tables(tmp_path, name, data):
    read = read_wavelengths if name == "wavelengths.csv" else read_spectra_csv
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FrameError, match=name):
        read(tmp_path / name)


def test_a_hundred_thousand_rows_are_read_and_the_one_wrong_row_is_named(tmp_path):
    """Neither minutes nor many times the file's size in memory: the numbers take 8 bytes each."""
    row, count = ",0" * 283 + ",1" * 283 + "\n", 100_000
    data = "".join([",".join(submission_columns()), "\n", *(f"{planet}{row}" for planet in range(count))]).encode()
    ids = np.arange(count)
    ids[-1] = count + 1
    report = validate_bytes(tmp_path / "submission.csv", data, ids)
    assert report.planets == count and len(report.errors) == 2
    assert "row 100000 (line 100001, planet 99999)" in str(report.errors[0])
    assert f"planet {count + 1} is missing" in str(report.errors[1])

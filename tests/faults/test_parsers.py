"""Whatever is in a file or on the command line: an answer, or the parser's own error that names it. Never another one.

Rules have theirs in test_grammar.py.
"""

import functools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import small_visit as sv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kitlib.base.config import ConfigError, compose, keys
from kitlib.base.instruments import FGS1, submission_columns
from kitlib.base.provenance import EventLog
from kitlib.base.schema import Config
from kitlib.detector.axes import read_axis_info
from kitlib.detector.csvtable import FrameError
from kitlib.detector.frames import read_calibration, read_signal
from kitlib.detector.tables import read_catalogue, read_spectra_csv
from kitlib.run.diagnosis import DiagnosisError, content_of, latest_events
from kitlib.submission.validation import SubmissionError, validate_bytes
from kitlib.submission.writer import read_planet_ids

few = functools.partial(settings, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PAIRS = 4
HEADER = ",".join(submission_columns())
STARS = "planet_id,Rs,Ms,Ts,Mp,e,P,sma,i\n1.0,1.0,1.0,5800.0,1.0,0.0,4.0,10.0,89.0\n"


@pytest.fixture(scope="module")
def planet(tmp_path_factory) -> Path:
    """FGS1 alone, four pairs."""
    root = tmp_path_factory.mktemp("root")
    folder, rng = root / "test" / "7", np.random.default_rng(0)
    sv.write_calibration(folder / "FGS1_calibration_0", sv.calibration("FGS1", rng))
    frames = rng.integers(400, 60_000, (2 * PAIRS, 1024)).astype(np.uint16)
    sv.write_signal(folder / "FGS1_signal_0.parquet", frames)
    sv.write_tables(root, [7], 300)
    return folder


# what happens to a file: bytes turned, cut, put in, or repeated, at shares of its length
_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["turn", "cut", "put", "zero", "repeat"]),
        st.one_of(st.floats(0, 1), st.floats(0.97, 1)),  # the footer at the end is where the structure is
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, extra in edits:
        place = int(share * len(data))
        head, tail = data[:place], data[place:]
        if kind == "turn":
            data = head + bytes(a ^ b for a, b in zip(tail, extra, strict=False)) + tail[len(extra) :]
        else:
            data = {
                "cut": head,
                "put": head + extra + tail,
                "zero": head + bytes(min(len(tail), 8)) + tail[8:],
                "repeat": head + tail[:64] + tail,
            }[kind]
    return data


def read_fgs1(folder: Path) -> None:
    signal = read_signal(folder, FGS1, 0, PAIRS)
    assert signal.n_pairs == PAIRS and len(signal.columns) == 1024


def read_maps(folder: Path) -> None:
    raw = read_calibration(folder, FGS1, 0)
    assert all(np.isfinite(part).all() for part in (raw.dark, raw.flat, raw.linear_corr, raw.read))


def read_axis(folder: Path) -> None:
    assert np.all(np.diff(read_axis_info(folder.parents[1]).fgs1.time_h) > 0)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("FGS1_signal_0.parquet", read_fgs1),
        ("FGS1_calibration_0/dead.parquet", read_maps),
        ("FGS1_calibration_0/flat.parquet", read_maps),
        ("../../axis_info.parquet", read_axis),
    ],
    ids=["signal", "dead", "flat", "axis"],
)
def test_any_parquet_file_is_read_or_refused_by_name(planet, tmp_path_factory, name, read):
    root = tmp_path_factory.mktemp("copy") / "root"
    shutil.copytree(planet.parents[1], root)
    folder = root / "test" / "7"
    sound = (planet / name).read_bytes()

    @few(max_examples=60)
    @given(_EDITS)
    def check(edits):
        (folder / name).write_bytes(edited(sound, edits))
        try:
            read(folder)
        except FrameError as error:
            assert str(folder) in os.path.normpath(str(error)) or Path(name).name in str(error)

    check()


@pytest.mark.parametrize("kind", [pl.Int8, pl.Boolean, pl.String, pl.Date, pl.List(pl.UInt16), pl.Categorical, pl.Null])
def test_columns_of_any_type_are_refused_by_name(planet, tmp_path, kind):
    shutil.copytree(planet, tmp_path / "7")
    path = tmp_path / "7" / "FGS1_signal_0.parquet"
    table = pl.read_parquet(path)
    column = pl.Series("column_3", [None] * len(table), dtype=kind)
    table.with_columns(column).write_parquet(path)
    with pytest.raises(FrameError, match=r"FGS1_signal_0.*column column_3 is .*not UInt16"):
        read_signal(tmp_path / "7", FGS1, 0, PAIRS)


_CELLS = st.sampled_from([*"0159.,-+eE\n\r \t\"';_\0", "nan", "inf", "0x1", "1e400", "é", "\ufeff", "planet_id", "1\n"])
_TEXT = st.one_of(st.binary(max_size=60), st.lists(_CELLS, max_size=30).map("".join).map(str.encode))


@few(max_examples=150)
@given(_TEXT, st.booleans())
def test_any_submission_is_valid_or_has_findings(data, with_header):
    row = ",".join(["5", *["0.01"] * 566])
    whole = f"{HEADER}\n{row}\n".encode() + data if with_header else data
    report = validate_bytes(Path("submission.csv"), whole, np.array([5]))
    assert report.ok == (whole == f"{HEADER}\n{row}\n".encode())
    assert all(str(finding) for finding in report.errors)


@few(max_examples=100)
@given(_TEXT, st.integers(0, len(STARS)))
def test_any_table_is_read_or_refused_by_name(tmp_path, data, place):
    path = tmp_path / "test_star_info.csv"
    path.write_bytes(STARS.encode()[:place] + data + STARS.encode()[place:])
    for read, error in (
        (read_catalogue, FrameError),
        (read_spectra_csv, FrameError),
        (read_planet_ids, SubmissionError),
    ):
        try:
            read(path)
        except error as refused:
            assert "test_star_info.csv" in str(refused)


@few(max_examples=40)
@given(
    st.one_of(
        st.text(max_size=20),
        st.builds("{}={}".format, st.sampled_from(sorted(keys())), st.text(max_size=12)),
        st.builds("{}{}={}".format, st.sampled_from(["+", "~", "++"]), st.sampled_from(["env", "data"]), st.text()),
    )
)
def test_any_override_is_a_configuration_or_a_configuration_error(word):
    try:
        assert isinstance(compose("predict", [word]), Config)
    except ConfigError as error:
        assert str(error)


@few(max_examples=60)
@given(st.lists(st.binary(max_size=30), max_size=5))
def test_any_log_can_be_read_and_goes_on(tmp_path, lines):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(lines))
    log = EventLog(path)
    log.emit("predict", "start")
    assert log.read()[-1]["event"] == "start"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["time", "stage", "event", "x"]), inner)
    ),
    max_leaves=6,
)


@few(max_examples=60)
@given(st.lists(_JSON.map(json.dumps), max_size=4))
def test_events_of_any_form_are_told_or_skipped(tmp_path, lines):
    log = EventLog(tmp_path / "events.jsonl")
    log.path.write_text("".join(f"{line}\n" for line in lines))
    log.emit("predict", "fallback", planet_id=7, reason="why")
    assert any(event.get("reason") == "why" for event in latest_events(tmp_path))


@few(max_examples=60)
@given(st.one_of(_JSON.map(json.dumps), st.text(max_size=20)), st.sampled_from(["predict.json", "predict.yaml"]))
def test_a_run_s_own_files_are_read_or_refused_by_name(tmp_path, text, name):
    (tmp_path / name).write_text(text)
    try:
        assert isinstance(content_of(tmp_path / name), dict)
    except DiagnosisError as refused:
        assert name in str(refused) and "spectramind predict" in str(refused)

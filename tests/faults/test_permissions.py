"""Files and folders that this user may not read: what is refused is named, and costs no more than itself."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import small_visit as sv

from kitlib.base.provenance import EventLog
from kitlib.base.schema import LightCurveConfig
from kitlib.detector.axes import read_axis_info
from kitlib.detector.csvtable import FrameError
from kitlib.detector.lightcurves import product_maker, read_lightcurves
from kitlib.detector.tables import read_catalogue
from kitlib.submission.validation import SubmissionError
from kitlib.submission.writer import read_planet_ids

NOBODY = 65_534
PAIRS = 60


@contextmanager
def nobody() -> Iterator[None]:
    """Root may read everything: as root, run the body as someone else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sound") / "root"
    sv.write_tables(root, [7], PAIRS)
    sv.write_planet(root / "test" / "7", sv.Visit(pairs=PAIRS))
    # everything that is imported or compiled on the way is here before someone without rights comes this way
    out = root.parent / "out"
    assert (
        len(read_lightcurves(product_maker(root, "test", out, LightCurveConfig(), EventLog(out / "e"))(7)).visits[0])
        == 2
    )
    return root


@pytest.fixture
def root(sound) -> Iterator[Path]:
    """A copy where anyone may look, which pytest's own folder is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        shutil.copytree(sound, Path(folder) / "root")
        (Path(folder) / "out").mkdir()
        os.chmod(Path(folder) / "out", 0o777)
        yield Path(folder) / "root"


@pytest.mark.parametrize(
    "name",
    ["FGS1_signal_0.parquet", "FGS1_calibration_0", "FGS1_calibration_0/flat.parquet", "FGS1_calibration_0 mode"],
)
def test_what_may_not_be_read_costs_its_instrument(root, name):
    path = root / "test" / "7" / name.removesuffix(" mode")
    mode = path.stat().st_mode
    path.chmod(0o444 if name.endswith("mode") else 0)  # a folder that may be listed, but not entered
    out = root.parent / "out"
    try:
        with nobody():
            events = EventLog(out / "events.jsonl")
            product = product_maker(root, "test", out, LightCurveConfig(), events)(7)
    finally:
        path.chmod(mode)
    assert product is not None and list(read_lightcurves(product).visits[0]) == ["AIRS-CH0"]
    (event,) = [event for event in events.read() if event["event"] == "instrument_left_out"]
    assert event["instrument"] == "FGS1" and "Permission denied" in event["reason"] and "FGS1" in event["reason"]


def test_a_planet_that_may_not_be_entered_is_left_out_by_name(root):
    folder, out = root / "test" / "7", root.parent / "out"
    folder.chmod(0)
    try:
        with nobody():
            events = EventLog(out / "events.jsonl")
            assert product_maker(root, "test", out, LightCurveConfig(), events)(7) is None
    finally:
        folder.chmod(0o755)
    (event,) = events.read()
    assert event["event"] == "planet_left_out" and "Permission denied" in event["reason"]
    assert str(folder) in event["reason"]


@pytest.mark.parametrize(
    ("name", "read"),
    [("test_star_info.csv", read_catalogue), ("axis_info.parquet", lambda path: read_axis_info(path.parent))],
)
def test_a_table_that_may_not_be_read_is_named(root, name, read):
    (root / name).chmod(0)
    with nobody(), pytest.raises(FrameError, match=rf"{name}: cannot be read \(Permission denied\)"):
        read(root / name)


def test_planets_of_a_table_that_may_not_be_read_are_not_guessed(root):
    (root / "test_star_info.csv").chmod(0)
    with nobody(), pytest.raises(SubmissionError, match="Permission denied"):
        read_planet_ids(root / "test_star_info.csv")

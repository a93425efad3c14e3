"""The run's folder cannot be written, is full, is a link, or is in use: nothing that was whole is lost."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from kitlib import pipeline
from kitlib.__main__ import main
from kitlib.base import provenance
from kitlib.base.config import compose
from kitlib.base.instruments import N_BINS
from kitlib.base.paths import OutputError
from kitlib.base.products import Prediction
from kitlib.base.provenance import EventLog, write_atomic
from kitlib.run import stage
from kitlib.run.stage import running
from kitlib.submission.validation import validate_submission
from kitlib.submission.writer import read_planet_ids, write_submission

pytestmark = pytest.mark.usefixtures("here")
IDS = np.arange(1, 9)
ANSWER = Prediction(IDS, np.full((8, N_BINS), 0.01), np.full((8, N_BINS), 0.001))


@contextmanager
def mounted(folder: Path, options: str):
    """A small file system of its own; skips where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path / "small", "size=256k") as folder:
        yield folder


def fill(folder: Path, leave: int = 0) -> Path:
    """Ballast that leaves so many bytes (of whole pages) on a small disk."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    os.truncate(ballast, max(ballast.stat().st_size - leave, 0))
    return ballast


def words(root: Path, out: Path) -> list[str]:
    return ["env=ci", "data=kaggle", "model=physics", f"data.root={root}", f"run.out={out}", "run.workers=1"]


def test_a_full_disk_keeps_the_older_file_and_says_so(small_disk):
    path = write_submission(small_disk / "submission.csv", ANSWER, IDS)
    before = path.read_bytes()
    fill(small_disk)
    other = Prediction(IDS, ANSWER.mu * 1.2345678, ANSWER.sigma)
    with pytest.raises(OSError, match=r"submission\.csv.*No space.*Free some space.*run\.out=DIR"):
        write_submission(path, other, IDS)
    assert path.read_bytes() == before
    assert sorted(p.name for p in small_disk.iterdir()) == ["ballast", "submission.csv"]  # and no half one beside it


def test_a_disk_that_fills_up_while_planets_finish_leaves_the_early_submission(campaign, small_disk, capsys):
    """Space for tables and log, but not for the light curves of any planet."""
    data, out = campaign / "data", small_disk / "out"
    fill(small_disk, leave=140_000)
    assert main(["predict", *words(data, out), "lightcurves.samples=75"]) == 2
    said = capsys.readouterr().err
    assert "No space left" in said and "Free some space" in said and str(out) in said
    validate_submission(out / "submission.csv", read_planet_ids(data / "test_star_info.csv")).raise_for_errors()
    assert not list((out / "products").rglob("*.safetensors")) and not list(out.rglob("*.part"))
    assert not (out / "manifests").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_an_error_while_writing_leaves_the_older_file(tmp_path, monkeypatch, code):
    """The same without a mount: the disk refuses when the data are pressed onto it."""
    path = write_submission(tmp_path / "submission.csv", ANSWER, IDS)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(provenance.os, "fsync", full)
    with pytest.raises(OSError, match=rf"submission\.csv: {os.strerror(code)}.*run\.out=DIR"):
        write_submission(path, Prediction(IDS, ANSWER.mu * 2, ANSWER.sigma), IDS)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["submission.csv"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
@pytest.mark.parametrize("call", ["fsync", "chmod"])
def test_a_file_system_that_knows_no_such_call_is_written_all_the_same(tmp_path, monkeypatch, call, code):
    """Network mounts, FAT: neither pressing data onto a disk nor modes."""

    def refused(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(provenance.os, call, refused)
    path = write_submission(tmp_path / "submission.csv", ANSWER, IDS)
    validate_submission(path, IDS).raise_for_errors()
    assert [p.name for p in tmp_path.iterdir()] == ["submission.csv"]


def test_a_full_disk_at_the_start_is_named(root, small_disk, capsys):
    fill(small_disk)
    assert main(["predict", *words(root, small_disk / "out")]) == 2
    said = capsys.readouterr().err
    assert str(small_disk / "out") in said and "No space" in said and "run.out=DIR" in said


def test_a_read_only_disk_is_named(root, tmp_path, capsys):
    with mounted(tmp_path / "readonly", "ro") as folder:
        assert main(["predict", *words(root, folder / "out")]) == 2
        assert main(["predict", *words(root, folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("Read-only file system") == 2 and said.count("run.out=DIR") == 2


def test_the_log_survives_a_full_disk(small_disk):
    """What it cannot hold is said aloud, and written once there is space; a torn line spoils no other."""
    log = EventLog(small_disk / "events.jsonl")
    log.emit("predict", "start")
    ballast = fill(small_disk)
    with pytest.warns(RuntimeWarning, match=r"events\.jsonl.*planet_left_out"):
        for planet in range(99):
            log.emit("calibrate", "planet_left_out", planet_id=planet, reason="x" * 200)
    ballast.unlink()
    log.emit("predict", "end")
    events = log.read()
    assert [event["event"] for event in events] == ["start", *["planet_left_out"] * 99, "end"]
    assert [event["planet_id"] for event in events[1:-1]] == list(range(99))


def test_the_log_survives_a_read_only_disk(tmp_path):
    with mounted(tmp_path / "readonly", "ro") as folder:
        log = EventLog(folder / "events.jsonl")
        with pytest.warns(RuntimeWarning, match="Read-only.*failed"):
            log.emit("predict", "failed", reason="because")
        assert log.read() == []


def test_a_torn_line_does_not_take_the_next_one_along(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("predict", "start")
    with open(log.path, "ab") as stream:
        stream.write(b'{"time": 1, "stage": "pred')  # a run killed by the system in the middle of a line
    log.emit("predict", "start")
    with open(log.path, "ab") as stream:
        stream.write(b"\xff\xfe\n[1]\n")
    assert [event["event"] for event in log.read()] == ["start", "start"]


HOLD = """
import sys, time
from kitlib.base.config import compose
from kitlib.run.stage import running
with running("predict", compose("predict", ["run.out=" + sys.argv[1]])):
    print("holds", flush=True)
    time.sleep(3600)
"""


def test_two_runs_in_one_folder_do_not_mix(root, tmp_path, capsys):
    out = tmp_path / "out"
    repository = Path(pipeline.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, env=environment)
    try:
        assert first.stdout.readline() == b"holds\n"
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert main(["predict", *words(root, out)]) == 2
        said = capsys.readouterr().err
        assert f"stage predict of process {first.pid} is writing here" in said and "run.out=DIR" in said
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with running("submit", compose("submit", [f"run.out={out}"])):  # a killed run holds nothing
        pass


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(stage.fcntl, "flock", unsupported)
    with running("submit", compose("submit", [f"run.out={tmp_path}"])):
        pass
    assert (tmp_path / "manifests" / "submit.json").is_file()


def test_a_name_that_the_disk_drops_when_the_lock_is_closed_costs_nothing(tmp_path, monkeypatch):
    """Network mounts tell at `close` what they could not keep: by then the work is done."""
    closing, refused = os.close, []

    def delayed(descriptor):
        lock = os.readlink(f"/proc/self/fd/{descriptor}").endswith(stage.LOCK)
        closing(descriptor)
        if lock:
            refused.append(descriptor)
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(stage.os, "close", delayed)
    with running("submit", compose("submit", [f"run.out={tmp_path}"])):
        pass
    assert refused and (tmp_path / "manifests" / "submit.json").is_file()


def test_a_leftover_that_may_not_be_removed_stops_nothing(tmp_path, monkeypatch):
    leftover, unlink = tmp_path / ".submission.csv.x.part", os.unlink
    leftover.write_text("")

    def refused(path, **more):
        if str(path).endswith(provenance.PART):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", refused)
    with running("submit", compose("submit", [f"run.out={tmp_path}"])):
        pass
    assert leftover.exists() and (tmp_path / "manifests" / "submit.json").is_file()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EACCES])
def test_a_file_system_without_renames_is_named_before_any_work(tmp_path, monkeypatch, code):
    """Mounts of object stores: nothing could be whole or absent there."""
    before = write_submission(tmp_path / "submission.csv", ANSWER, IDS).read_bytes()

    def refused(*_, **__):
        raise OSError(code, os.strerror(code))

    for name in ("replace", "unlink"):  # nor can the part be removed: that must not hide the reason
        monkeypatch.setattr(provenance.os, name, refused)
    named = pytest.raises(OSError, match=rf"configs.*{os.strerror(code)}.*run\.out=DIR")
    with named, running("submit", compose("submit", [f"run.out={tmp_path}"])):
        pytest.fail("the stage has begun")
    assert (tmp_path / "submission.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["products", "configs", "events.jsonl"])
def test_a_link_that_leads_out_of_the_folder_is_refused(root, tmp_path, capsys, name):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir() if "." not in name else elsewhere.write_text("precious\n")
    (out / name).symlink_to(elsewhere)
    assert main(["predict", *words(root, out)]) == 2
    said = capsys.readouterr().err
    assert name in said and "Remove it" in said
    assert list(elsewhere.iterdir()) == [] if elsewhere.is_dir() else elsewhere.read_text() == "precious\n"


def test_a_link_in_place_of_a_file_is_replaced_and_its_target_kept(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "submission.csv").symlink_to(precious)
    write_submission(tmp_path / "submission.csv", ANSWER, IDS)
    assert precious.read_text() == "mine" and not (tmp_path / "submission.csv").is_symlink()


def test_half_written_files_of_a_killed_run_are_swept(tmp_path):
    mine, yours = tmp_path / "products" / "lightcurves" / ".7.safetensors.abc.part", tmp_path / "notes.part"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"half")
    yours.write_text("whole")
    with running("submit", compose("submit", [f"run.out={tmp_path}"])):
        assert not mine.exists() and yours.exists()


def test_no_module_measures_time_by_a_clock_that_can_be_set():
    """`time.time` stamps the log's lines; whatever is measured uses the monotonic clock."""
    package = Path(pipeline.__file__).parent
    found = {path.name for path in package.rglob("*.py") if "time.time()" in path.read_text()}
    assert found == {"provenance.py"}
    assert not [path for path in package.rglob("*.py") if "datetime.now" in path.read_text()]


def test_write_atomic_leaves_nothing_behind_when_it_is_interrupted(tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(provenance.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "scores.json", json.dumps({}))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "out").touch()
    with (
        pytest.raises(OutputError, match=r"out.*run\.out=DIR"),
        running("submit", compose("submit", [f"run.out={tmp_path / 'out'}"])),
    ):
        pass

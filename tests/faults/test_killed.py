"""A whole run killed at twenty moments: what is there is whole, and the same command again ends as if undisturbed."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kitlib.base.provenance import EventLog, sha256_file
from kitlib.detector.lightcurves import read_lightcurves
from kitlib.run.verify import verify
from kitlib.submission.validation import validate_submission

pytestmark = pytest.mark.timeout(1800)
KILLS = 20


class Server:
    """Forks the runs: tests/faults/killed_run.py."""

    def __init__(self, root: Path):
        _, tests, repository, *_ = Path(__file__).resolve().parents
        path = f"{repository}{os.pathsep}{tests}"
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("killed_run.py")), str(root)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)

    def run(self, out: Path, kind: str = "end", moment: float = 0) -> tuple[int, float, int]:
        """Exit status as `waitpid` gives it, CPU seconds and file operations of a run that ended by itself."""
        self.process.stdin.write(f"{out} {kind} {moment}\n")
        self.process.stdin.flush()
        status, seconds, operations = self.process.stdout.readline().split()
        return int(status), float(seconds), int(operations)


@pytest.fixture(scope="module")
def root(campaign, tmp_path_factory) -> Path:
    """Two planets of the campaign."""
    folder = tmp_path_factory.mktemp("two") / "data"
    source = campaign / "data"
    stars = pl.read_csv(source / "test_star_info.csv")
    few = stars.filter(stars["planet_id"].is_in([i for i in stars["planet_id"] if len(visits(source, i)) == 1]))[:2]
    for planet in few["planet_id"]:
        shutil.copytree(source / "test" / str(int(planet)), folder / "test" / str(int(planet)), copy_function=os.link)
    few.write_csv(folder / "test_star_info.csv")
    for name in ("axis_info.parquet", "adc_info.csv"):
        shutil.copy(source / name, folder / name)
    return folder


def visits(source: Path, planet: float) -> list[Path]:
    return list((source / "test" / str(int(planet))).glob("FGS1_signal_*"))


@pytest.fixture(scope="module")
def server(root):
    server = Server(root)
    yield server
    server.process.stdin.close()
    server.process.wait()


def check(out: Path, planets: np.ndarray, clean: dict[str, str]) -> None:
    """Every file under its final name is whole, and one of the undisturbed run's or an earlier stage of it."""
    if (out / "submission.csv").exists():
        validate_submission(out / "submission.csv", planets).raise_for_errors()
    for name in ("physics.safetensors", "posterior.safetensors"):
        if (out / name).exists():
            assert sha256_file(out / name) == clean[name]
    for path in (out / "products").rglob("*.safetensors"):
        assert read_lightcurves(path).visits and sha256_file(path) == clean[path.name]
    events = EventLog(out / "events.jsonl").read() if out.exists() else []
    assert len(events) == len((out / "events.jsonl").read_text().splitlines()) if events else True
    if (out / "manifests" / "predict.json").exists():
        assert verify(out).ok


@pytest.mark.long
def test_twenty_kills(root, server, tmp_path):
    planets = pl.read_csv(root / "test_star_info.csv")["planet_id"].cast(pl.Int64).to_numpy()
    whole, timed = tmp_path / "whole", tmp_path / "timed"
    assert server.run(whole)[0] == 0
    server.run(whole, "warm")
    status, seconds, operations = server.run(timed)
    assert status == 0 and operations > 2 * KILLS
    clean = {path.name: sha256_file(path) for path in whole.rglob("*") if path.is_file()}
    fate, seen = random.Random(7), set()
    steps = [fate.uniform(i, i + 1) * 2 / KILLS for i in range(KILLS // 2)]
    moments = [("file", 1 + int(share * (operations - 1))) for share in steps]
    moments += [("cpu", round(share * seconds * 0.9, 4)) for share in steps]
    for number, (kind, moment) in enumerate(moments):
        out = tmp_path / f"killed-{number}"
        status, _, _ = server.run(out, kind, moment)
        assert os.WIFSIGNALED(status) or (kind == "cpu" and status == 0), (kind, moment)
        if out.exists():
            check(out, planets, clean)
        seen.add(frozenset(path.name for path in out.rglob("*") if path.suffix in (".csv", ".safetensors", ".json")))
        if number % 5 == 2:  # the same command again: nothing of the killed run is in the way
            assert server.run(out)[0] == 0
            again = {path.name: sha256_file(path) for path in out.rglob("*") if path.is_file()}
            same = ("submission.csv", "posterior.safetensors", *(f"{planet}.safetensors" for planet in planets))
            assert {name: again[name] for name in same} == {name: clean[name] for name in same}
            assert not list(out.rglob("*.part"))
    assert len(seen) >= 4, "the kills must hit different moments"

"""The offline twin: the built infer kernel executed in a clean room as on Kaggle, and what a full run would cost."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pyarrow.parquet as pq

from kitlib.base.instruments import AIRS
from kitlib.base.provenance import EventLog
from kitlib.submission.validation import validate_submission
from kitlib.submission.writer import read_expected_ids

from . import MIB, KernelError
from .metadata import NOTEBOOKS
from .room import Outcome, Room
from .start import verify

PLANETS, CORES, HOURS, GB = 1_100, 4, 9.0, 30.0  # the hidden test set, and what Kaggle gives for it


@dataclass(frozen=True)
class Report:
    """What a run in the twin proved and cost."""

    layout: str
    isolation: str
    planets: int
    real_size: bool  # frames of the real number: only then does the projection mean anything
    cores: int
    outcome: Outcome
    hours: float  # projected to 1,100 planets on 4 cores
    gb: float
    table: str  # what the first cell printed

    def lines(self) -> list[str]:
        """The report as text."""
        size = "" if self.real_size else "  (frames are fewer than real: not a projection, only arithmetic)"
        return [
            self.table.rstrip(),
            f"layout      {self.layout}, cut off by {self.isolation}",
            f"submission  valid, {self.planets} planets",
            f"wall time   {self.outcome.wall_s:.0f} s on {self.cores} cores",
            f"peak memory {self.outcome.peak_mib / 1024:.2f} GiB",
            f"projected   {self.hours:.2f} h of {HOURS:.0f} h, {self.gb:.1f} GB of {GB:.0f} GB "
            f"for {PLANETS:,} planets on {CORES} cores{size}",
        ]


def run(
    build: Path, data: Path, prefix: Path, layout: str, image: str = "local", isolate: str = "", timeout_s: float = 3600
) -> Report:
    """Execute the built infer kernel on a data root, in a clean room below `prefix`, which is emptied first.

    Raises:
        KernelError: nothing is built, the kernel fails, leaves no valid submission, or touches its inputs.
    """
    kernel = build / "kernels" / "infer" / NOTEBOOKS["infer"]
    if not kernel.is_file():
        raise KernelError(f"{kernel}: no such file. Run `python build_kernel.py kernel` first.")
    clear(prefix)
    room = Room(prefix, isolate)
    room.furnish(image)
    kit = room.mount(build / "dataset", data, layout)
    words = {"overrides": ["env=kaggle", f"run.out={room.working}"]}
    target = room.working / "__notebook__.ipynb"
    command = [
        "-m",
        "papermill",
        str(kernel),
        str(target),
        "-k",
        "python3",
        "--no-progress-bar",
        "-y",
        json.dumps(words),
    ]
    outcome = room.run(command, timeout_s)
    if outcome.status:
        raise KernelError(f"the kernel failed in {prefix} ({layout}):\n{outcome.output[-3000:]}")
    verify(kit)  # the kernel has left its kit as it was
    expected = read_expected_ids(data)
    checked = validate_submission(room.working / "submission.csv", expected).raise_for_errors()
    cores = len(os.sched_getaffinity(0))
    hours, gb = project(room.working, outcome, checked.planets)
    table = "".join(output.get("text", "") for output in nbformat.read(target, as_version=4).cells[1].outputs)
    return Report(layout, room.isolate, checked.planets, real_size(data), cores, outcome, hours, gb, table)


def clear(prefix: Path) -> None:
    """Remove a former room; its kit is read-only. Raises KernelError for a folder that is no room."""
    if not prefix.exists():
        return
    if any(prefix.iterdir()) and not (prefix / "kaggle" / "input").is_dir():
        raise KernelError(f"{prefix} is not empty and no clean room: give another --prefix")
    empty(prefix)
    prefix.rmdir()


def empty(folder: Path) -> None:
    """Remove all that is in a folder, read-only folders included; links are removed, not followed."""
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o755)
    for path in folder.iterdir():
        path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)


def project(working: Path, outcome: Outcome, planets: int) -> tuple[float, float]:
    """Hours and GB of a run of 1,100 planets on 4 cores.

    Time: a planet's seconds in its process, measured by the guard past each process's first planet, plus all that was
    not spent on planets. Where too few planets were computed for that, the stage's whole time counts as spent on
    planets, which is an upper bound. Memory: all that was seen, for each core.
    """
    computed = [event for event in EventLog(working / "events.jsonl").read() if event["event"] == "computed"][-1]
    at_once = computed["workers"]
    seconds = computed["pace_s"]
    if seconds is None:
        seconds = json.loads((working / "manifests" / "predict.json").read_text())["wall_s"] * at_once / planets
    fixed = max(outcome.wall_s - seconds * planets / at_once, 0)
    total = fixed + seconds * PLANETS / CORES
    return total / 3600, outcome.peak_mib * MIB / 1e9 * max(CORES / at_once, 1)


def real_size(data: Path) -> bool:
    """Whether the first AIRS visit of the test set has the real number of frames."""
    signals = sorted((Path(data) / "test").glob(f"*/{AIRS.signal_file(0)}"))
    return bool(signals) and pq.read_metadata(signals[0]).num_rows == 2 * AIRS.pairs_per_visit

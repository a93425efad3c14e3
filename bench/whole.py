"""A whole test set, measured: `predict` on 1,100 planets whose folders link to ten full-size ones.

    python bench/whole.py [--planets 1100] [--workers N] [--frames DIR] [--out FILE.json]

Prints the minutes of `predict` from frames to submission.csv, the largest memory of all its processes together, and
what a planet's steps take, of some planets in one process on one thread: reading and calibrating frames, physical fit,
fusion and sigma. `--frames`: a campaign that is there already (a tenth of its planets seen twice, as `simulate` makes
it); else ten planets are simulated, which takes minutes. The frames of ten planets stay in memory (a disk's speed is
not measured), the planets are those of the own world.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import psutil
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from kitlib.base.config import compose  # noqa: E402
from kitlib.base.provenance import EventLog  # noqa: E402
from kitlib.base.schema import ModelConfig, SimulateConfig  # noqa: E402
from kitlib.detector import planet_lightcurves, read_adc_info, read_axis_info, read_catalogue  # noqa: E402
from kitlib.run.fits import fit_planets  # noqa: E402
from kitlib.run.inputs import answered, run_models, shipped_calibrator  # noqa: E402
from kitlib.sigma.calibrator import apply  # noqa: E402
from kitlib.simulate.observatory import simulate_campaign  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

SEED, ORIGINALS = 92, 10
TIMED = 10  # planets whose steps are timed


def linked(frames: Path, root: Path, planets: int) -> None:
    """A data root of so many planets: those of `frames`, again and again, under numbers of their own."""
    table = pl.read_csv(frames / "test_star_info.csv")
    ids = table["planet_id"].cast(pl.Int64).to_list()
    (root / "test").mkdir(parents=True)
    for name in ("axis_info.parquet", "adc_info.csv", "wavelengths.csv", "train.csv", "train_star_info.csv"):
        if (frames / name).exists():
            (root / name).symlink_to(frames / name)
    chosen = [ids[i % len(ids)] for i in range(planets)]
    numbers = [1_000_000 + i for i in range(planets)]
    for number, planet in zip(numbers, chosen, strict=True):
        (root / "test" / str(number)).symlink_to(frames / "test" / str(planet))
    rows = table[[ids.index(planet) for planet in chosen]]
    rows.with_columns(pl.Series("planet_id", numbers)).write_csv(root / "test_star_info.csv")
    sample = pl.read_csv(frames / "sample_submission.csv", n_rows=1)
    sample = sample[[0] * planets].with_columns(pl.Series("planet_id", numbers))
    sample.write_csv(root / "sample_submission.csv")


class Peak(threading.Thread):
    """The largest memory of a process and all that it starts, GiB, each process's own pages (PSS) where told."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.process, self.most = psutil.Process(pid), 0.0

    def run(self) -> None:
        """Look every two seconds until it has ended."""
        while self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE:
            used = 0
            try:
                members = [self.process, *self.process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for member in members:
                try:
                    used += member.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self.most = max(self.most, used / 2**30)
            time.sleep(2)


def predicted(root: Path, out: Path, workers: int) -> tuple[float, float, float]:
    """Seconds of `predict`, processor seconds of all its processes, largest memory in GiB."""
    words = ["data=kaggle", f"data.root='{root}'", f"run.out='{out}'", f"run.workers={workers}", "run.progress=false"]
    before, started = os.times(), time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "kitlib", "predict", *words], cwd=ROOT)
    peak = Peak(process.pid)
    peak.start()
    if process.wait() != 0:
        raise SystemExit("predict has failed: see above")
    seconds, after = time.perf_counter() - started, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, spent, peak.most


def shares(root: Path, planets: Sequence[int], events: EventLog) -> dict[str, float]:
    """Seconds a planet of each step, in one process on one thread."""
    config = compose("predict", ["data=kaggle", f"data.root='{root}'"])
    axis, adc = read_axis_info(root), read_adc_info(root)
    catalogue = read_catalogue(root / "test_star_info.csv")
    priors, models = shipped_priors(), run_models(ModelConfig(), root)[0]
    spent = {"frames": 0.0, "physical fit": 0.0, "fusion and sigma": 0.0}

    def passed(step: str, since: float) -> float:
        now = time.perf_counter()
        spent[step] += now - since
        return now

    ids = catalogue.planet_id.tolist()
    for number, planet in enumerate([planets[0], *planets]):
        if number == 1:
            spent = dict.fromkeys(spent, 0.0)  # machine code is compiled now
        row = catalogue.take(np.array([ids.index(planet)]))
        since = time.perf_counter()
        curves = planet_lightcurves(root / "test" / str(planet), axis, adc.of(planet), config.lightcurves, events)
        since = passed("frames", since)
        found, _ = fit_planets([curves], row, priors, config.physfit, progress=False)
        since = passed("physical fit", since)
        apply(shipped_calibrator("v50"), answered(models, found, row))
        passed("fusion and sigma", since)
    return {step: seconds / len(planets) for step, seconds in spent.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=1_100)
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--frames", type=Path, help="OUT/data of `simulate data=sim_full`")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        frames = given.frames
        if frames is None:
            simulate_campaign(work / "ten", SimulateConfig(str(work / "ten"), 0, ORIGINALS), SEED, given.workers, True)
            frames = work / "ten" / "data"
        linked(frames.absolute(), work / "data", given.planets)
        steps = shares(work / "data", [1_000_000 + i for i in range(TIMED)], EventLog(work / "steps"))
        seconds, spent, memory = predicted(work / "data", work / "run", given.workers)
    whole = sum(steps.values())
    for step, one in steps.items():
        print(f"{step:<20}{one:>8.2f} s a planet on one core{one / whole:>8.0%}")
    print(f"{given.planets} planets, {given.workers} processes: {seconds / 60:.1f} min, {spent / 60:.1f} min of cores")
    print(f"largest memory of all processes together {memory:.2f} GiB; load of the machine {os.getloadavg()[1]:.1f}")
    if given.out:
        figures = {"planets": given.planets, "workers": given.workers, "seconds": seconds, "processor_s": spent}
        given.out.write_text(json.dumps(figures | {"memory_gib": memory, "steps_s": steps}, indent=1) + "\n")


if __name__ == "__main__":
    main()

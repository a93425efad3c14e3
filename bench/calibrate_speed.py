"""Frames to light curves against merely decoding the frames: time, memory and agreement, on one full-size visit.

    python bench/calibrate_speed.py [--rounds 9] [--slow-rounds 3] [--cores one|all] [--peer PYTHON] [--out FILE.json]

Rows: decoding both parquet files with polars and with pyarrow (the faster one is the floor), decoding only the columns
that the kit needs, the kit, the standard recipe in numpy float64, and the package `ariel-data-preprocessing` where
--peer names the Python of an environment that has it (`make bench-speed` makes one).

Settings: "1 core"; "N cores, one visit" (N threads); "N cores, N visits" (N processes of one thread, each pinned to its
core and started together, which is how the stages run; the slowest counts). Every row lives in processes of its own,
warmed up once, and is measured in turn with the others, round after round. Files are in the page cache.
The visit comes from the simulated observatory and is kept in --data for the next time.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import numpy_recipe  # noqa: E402
import polars as pl  # noqa: E402
from speed_rows import planet_of  # noqa: E402

from kitlib.base.instruments import INSTRUMENTS, Instrument  # noqa: E402
from kitlib.base.schema import LightCurveConfig, SimulateConfig  # noqa: E402
from kitlib.detector.axes import read_axis_info  # noqa: E402
from kitlib.detector.calibrate import calibration_maps, image_statistics, kernel_parameters  # noqa: E402
from kitlib.detector.cleaning import jitter_response  # noqa: E402
from kitlib.detector.extraction import BLOCKS, extract, jitter_width, needed_pixels  # noqa: E402
from kitlib.detector.frames import read_calibration, read_signal  # noqa: E402
from kitlib.detector.profile import good_pixels, plan_extraction  # noqa: E402
from kitlib.detector.tables import read_adc_info  # noqa: E402
from kitlib.simulate.observatory import simulate_campaign  # noqa: E402

SEED = 20251124
FAST = ("decode, polars", "decode, pyarrow", "decode needed columns", "kit")
FLOOR = ("decode, polars", "decode, pyarrow")
SLOW = ("numpy float64", "ariel-data-preprocessing")
TARGET_RATIO, TARGET_GIB, TARGET_PPM = 1.0, 0.7, 1.0


@dataclass
class Row:
    """One row in one setting: its processes, and a measurement a round."""

    name: str
    setting: str
    commands: list[list[str]]
    cores: list[list[int]]  # of each process
    found: list[dict[str, float]] = field(default_factory=list)

    def start(self, threads: int) -> None:
        """Start the processes; the fast ones work once, so that machine code and files are warm."""
        names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads)) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
        self.processes = []
        for command, cores in zip(self.commands, self.cores, strict=True):
            self.processes.append(subprocess.Popen(command, **options))
            os.sched_setaffinity(self.processes[-1].pid, cores)
        if self.name in FAST:
            self.measure()
            self.found.clear()

    def measure(self) -> None:
        """All processes work at the same time; the slowest one's time counts, and the largest one's memory."""
        for process in self.processes:
            with suppress(BrokenPipeError):  # it has ended, and does not answer
                process.stdin.write("go\n")
                process.stdin.flush()
        answers = [process.stdout.readline() for process in self.processes]
        if not all(answers):
            status = [process.poll() for process in self.processes]
            raise SystemExit(f"{self.name}, {self.setting}: a process ended early (status {status}), see above")
        answers = [json.loads(answer) for answer in answers]
        self.found.append({key: max(answer[key] for answer in answers) for key in answers[0]})

    def stop(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.stdin.close()
            process.wait()

    def median(self, key: str = "seconds") -> float:
        """Median over the rounds."""
        return statistics.median(one[key] for one in self.found)


def rows_of(data: Path, peer: Path | None, cores: Sequence[int], which: str) -> list[tuple[Row, int]]:
    """Every row in every setting, with the number of threads of each of its processes; `which`: one, all or both."""

    def command(name: str, threads: int) -> list[str]:
        return [sys.executable, str(ROOT / "bench" / "speed_rows.py"), name, str(data), str(threads)]

    count, alone, together = len(cores), [[cores[0]]], [list(cores)]
    rows = [(Row(name, "1 core", [command(name, 1)], alone), 1) for name in FAST]
    if which == "all":
        rows = []
    if count > 1 and which != "one":
        one = f"{count} cores, one visit"
        rows += [(Row(name, one, [command(name, count)], together), count) for name in FAST]
        each = [[core] for core in cores]
        many = f"{count} cores, {count} visits"
        rows += [(Row(name, many, [command(name, 1)] * count, each), 1) for name in FAST]
    if which == "all":
        return rows
    rows.append((Row(SLOW[0], "1 core", [command(SLOW[0], 1)], alone), 1))
    if peer is not None:
        script = [str(peer), str(ROOT / "bench" / "peer_ariel.py"), str(data)]
        rows.append((Row(SLOW[1], "1 core", [script], alone), 1))
    return rows


def disagreement_ppm(data: Path, instrument: Instrument) -> float:
    """Largest difference between the kit's binned light curve and the recipe's float64 pixels summed alike, ppm.

    The same pixels, weights, sky fit and response to the star's place; cosmic rays stay in: the recipe keeps them.
    """
    folder, name = planet_of(data), instrument.name
    axis, adc = read_axis_info(data).of(instrument), read_adc_info(data).of(int(folder.name))[name]
    maps = calibration_maps(read_calibration(folder, instrument, 0), instrument, LightCurveConfig().hot_sigma)
    signal = read_signal(folder, instrument, 0, len(axis.time_h), needed_pixels(instrument))
    curve = extract(signal, maps, axis, adc, LightCurveConfig(cosmic_ray_sigma=np.inf))
    mean, noise, saturated = image_statistics(signal, kernel_parameters(maps, axis, adc), BLOCKS[name])
    good = good_pixels(maps, mean, noise, saturated)
    plan = plan_extraction(maps, mean, good)
    recipe_maps = numpy_recipe.read_maps(folder, name)
    frames = pl.read_parquet(folder / instrument.signal_file(0)).to_numpy()
    single = instrument.n_bins == 1
    offsets = np.mgrid[: instrument.rows, : instrument.cols].astype(float)
    offsets[0] -= instrument.centre[0]
    offsets[1] = offsets[1] - instrument.centre[1] if single else 0
    core = good & (np.hypot(*offsets) < 4)
    core[:, : instrument.crop[0]] = core[:, instrument.crop[1] :] = False
    parts, centroid = [], []
    for block in np.array_split(frames.reshape(-1, 2, frames.shape[1]), 64):
        pairs = numpy_recipe.calibrated(block.reshape(-1, frames.shape[1]), recipe_maps, name)
        weighted = pairs * plan.weights.astype(np.float64)
        both = np.stack([weighted * ~plan.sky, weighted * plan.sky])
        parts.append(both.sum(axis=(2, 3))[..., None] if single else both.sum(axis=2)[..., slice(*instrument.crop)])
        light = pairs[:, core].sum(axis=1)
        centroid.append(np.stack([(pairs[:, core] * offset[core]).sum(axis=1) / light for offset in offsets]))
    star, sky = np.concatenate(parts, axis=1)
    series = plan.light_curves(star.T, sky.T).T
    place = np.concatenate(centroid, axis=1)
    response, dropped, _ = jitter_response(series.sum(axis=1), place, jitter_width(axis.time_h))
    series = series * (1 - response)[:, None]
    dropped &= single
    starts = np.linspace(0, len(series), len(curve.time_h) + 1).astype(int)[:-1]
    kept = ~dropped
    binned = np.add.reduceat(series * kept[:, None], starts) / np.add.reduceat(kept.astype(int), starts)[:, None]
    found = curve.flux_e.astype(np.float64)[:, :: -1 if instrument.descending else 1]
    return float(np.nanmax(np.abs(found / binned - 1)) * 1e6)


def machine() -> str:
    """Processor, cores and the versions that matter."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "processor")
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "pyarrow", "numpy", "numba"))
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}, {packages}"


def table(rows: Sequence[Row]) -> tuple[str, dict]:
    """Markdown table and figures: medians, range, ratios to the setting's floor (the slow rows': one core's).

    A ratio is the median over rounds of this row's to the floor's in the same round: other work on the machine hurts
    both alike.
    """
    lines = ["| setting | what | seconds, median (range) | processor | peak GiB | ratio | of processor time |"]
    lines += ["|---|---|---|---|---|---|---|"]
    figures = {}
    for setting in dict.fromkeys(row.setting for row in rows):
        own = {row.name: row for row in rows if row.setting == setting}
        floor = min((own[name] for name in FLOOR), key=Row.median)
        for name, row in own.items():
            seconds = [one["seconds"] for one in row.found]
            paired = list(zip(row.found, floor.found, strict=False))  # the slow rows have fewer rounds
            ratio = [mine["seconds"] / its["seconds"] for mine, its in paired]
            of_cpu = statistics.median(mine["cpu_s"] / its["cpu_s"] for mine, its in paired)
            peak = max(one["peak_gib"] for one in row.found)
            wall = f"{statistics.median(ratio):.2f} ({min(ratio):.2f}-{max(ratio):.2f})"
            cells = [
                *(setting, name, f"{row.median():.2f} ({min(seconds):.2f}-{max(seconds):.2f})"),
                *(f"{row.median('cpu_s'):.2f}", f"{peak:.2f}", "the floor" if row is floor else wall, f"{of_cpu:.2f}"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
            found = {"seconds": seconds, "cpu_s": [one["cpu_s"] for one in row.found], "peak_gib": peak}
            figures[f"{setting}: {name}"] = found | {"ratio": statistics.median(ratio), "cpu_ratio": of_cpu}
    return "\n".join(lines), figures


def main() -> None:
    """Measure, print a block for EXPERIMENTS.md, check, and write the figures as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slow-rounds", type=int, default=3, help="for the two rows that take many seconds")
    parser.add_argument("--cores", choices=("one", "all", "both"), default="both", help="settings to measure")
    parser.add_argument("--peer", type=Path, help="Python of an environment with ariel-data-preprocessing")
    parser.add_argument("--data", type=Path, default=ROOT / "artifacts" / "bench_speed")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    size = SimulateConfig(train_planets=1, test_planets=0, two_visit_fraction=0.0)
    simulate_campaign(given.data, size, SEED, workers=1, progress=True)
    data, cores = given.data / "data", sorted(os.sched_getaffinity(0))
    rows = rows_of(data, given.peer, cores, given.cores)
    for row, threads in rows:
        row.start(threads)
    for number in range(given.rounds):
        for row, _ in rows:
            if row.name in FAST or number < given.slow_rounds:
                row.measure()
    for row, _ in rows:
        row.stop()
    text, figures = table([row for row, _ in rows])
    megabytes = sum((planet_of(data) / i.signal_file(0)).stat().st_size for i in INSTRUMENTS) / 1e6
    ppm = {i.name: disagreement_ppm(data, i) for i in INSTRUMENTS}
    about = f"One full-size visit, {megabytes:.0f} MB of parquet, {given.rounds} rounds in turn."
    print(f"\n{machine()}\n\n{about}\n\n{text}\n")
    print("Kit against numpy float64: " + ", ".join(f"{name} {value:.3f} ppm" for name, value in ppm.items()) + ".")
    if given.out:
        given.out.write_text(json.dumps({"machine": machine(), "rows": figures, "ppm": ppm}, indent=1) + "\n")
    if max(ppm.values()) > TARGET_PPM:
        raise SystemExit(f"the kit departs from float64 by more than {TARGET_PPM} ppm")
    for name, row in figures.items():
        if name.endswith(": kit"):
            reached = row["ratio"] <= TARGET_RATIO and row["peak_gib"] <= TARGET_GIB
            print(f"{name}: {'within' if reached else 'NOT within'} {TARGET_RATIO} x the floor and {TARGET_GIB} GiB")


if __name__ == "__main__":
    main()

"""Time and memory of calibrating one full-size visit pair, next to the time of merely decoding its two parquet files.

    python bench/calibrate_speed.py [--threads N] [--repeats R] [--out FILE.json]

Each row runs in a process of its own with warm files and a warm machine-code cache; the best of R repeats counts. The
frames are random numbers with realistic levels, read noise and photon noise, which compress like real ones.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kitlib.config import LightCurveConfig  # noqa: E402
from kitlib.frames import Adc, Axis, AxisInfo  # noqa: E402
from kitlib.instruments import ADC_GAIN, ADC_OFFSET_E, AIRS, FGS1, INSTRUMENTS  # noqa: E402
from kitlib.lightcurves import planet_lightcurves  # noqa: E402
from kitlib.provenance import EventLog  # noqa: E402


def write_visit(folder: Path) -> None:
    """One planet's visit at the real size."""
    import small_visit  # the tests' images and calibration maps

    for instrument in INSTRUMENTS:
        rng = np.random.default_rng(20251123)
        maps = small_visit.calibration(instrument.name, rng)
        small_visit.write_calibration(folder / instrument.calibration_dir(0), maps)
        star = small_visit.image(instrument.name).ravel() + 1.35
        n = instrument.pairs_per_visit
        columns = {}
        for pixel, level in enumerate(star):
            frames = np.empty(2 * n, np.uint16)
            first = 13 * rng.standard_normal(n, np.float32)
            last = level + np.sqrt(level + 169) * rng.standard_normal(n, np.float32)
            frames[::2] = np.clip((first - ADC_OFFSET_E) * ADC_GAIN, 0, 65535)
            frames[1::2] = np.clip((last - ADC_OFFSET_E) * ADC_GAIN, 0, 65535)
            columns[f"column_{pixel}"] = frames
        pl.DataFrame(columns).write_parquet(folder / instrument.signal_file(0), row_group_size=1 << 30)


def decode_polars(folder: Path, threads: int) -> None:
    """The yardstick: both files, all columns, into memory."""
    for instrument in INSTRUMENTS:
        pl.read_parquet(folder / instrument.signal_file(0))


def decode_pyarrow(folder: Path, threads: int) -> None:
    """The same with pyarrow."""
    for instrument in INSTRUMENTS:
        pq.read_table(folder / instrument.signal_file(0), use_threads=threads > 1)


def calibrate(folder: Path, threads: int) -> None:
    """Frames to light curves of both instruments."""
    axes = (
        Axis(np.arange(i.pairs_per_visit) * i.cadence_s / 3600, i.first_read_s, i.last_read_s) for i in (FGS1, AIRS)
    )
    converters = {i.name: Adc() for i in INSTRUMENTS}
    events = EventLog(folder.parent / "events.jsonl")
    curves = planet_lightcurves(
        folder, AxisInfo(*axes, np.zeros(AIRS.cols)), converters, LightCurveConfig(threads=threads), events
    )
    if len(curves.visits[0]) != 2:
        raise RuntimeError(f"an instrument was left out: {events.read()}")


ROWS = {"decode, polars": decode_polars, "decode, pyarrow": decode_pyarrow, "calibrate (kit)": calibrate}


def measure(row: str, folder: Path, threads: int, repeats: int) -> dict[str, float]:
    """Best wall time and processor time of all threads, s, and the process's peak memory, GiB."""
    seconds, cpu = [], []
    for _ in range(repeats + 1):  # the first one loads machine code
        start, start_cpu = time.perf_counter(), time.process_time()
        ROWS[row](folder, threads)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": round(min(seconds[1:]), 3), "cpu_s": round(min(cpu[1:]), 3), "peak_gib": round(peak, 2)}


def main() -> None:
    """Print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.folder, options.threads, options.repeats)))
        return
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "1"
        folder.mkdir()
        write_visit(folder)
        size = sum((folder / i.signal_file(0)).stat().st_size for i in INSTRUMENTS) / 1e6
        command = [sys.executable, __file__, "--folder", str(folder), "--repeats", str(options.repeats)]
        command += ["--threads", str(options.threads), "--measure"]
        environment = os.environ | {"POLARS_MAX_THREADS": str(options.threads)}
        for row in ROWS:
            done = subprocess.run([*command, row], env=environment, check=True, capture_output=True, text=True)
            results[row] = json.loads(done.stdout)
    fastest = min(results[row]["seconds"] for row in ROWS if row.startswith("decode"))
    print(f"one full-size visit pair, {size:.0f} MB of parquet, {options.threads} threads")
    for row, found in results.items():
        found["ratio"] = round(found["seconds"] / fastest, 2)
        times = f"{found['seconds']:6.2f} s {found['cpu_s']:6.2f} s of processor"
        print(f"  {row:16s} {times} {found['peak_gib']:6.2f} GiB {found['ratio']:6.2f} x decoding")
    if options.out:
        options.out.write_text(
            json.dumps({"threads": options.threads, "megabytes": size, "rows": results}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

"""What `calibrate_speed.py` measures, one row a process: `python bench/speed_rows.py ROW DATA_ROOT THREADS`.

The process does its work once for each line on standard input and answers with a line of JSON: wall and processor
seconds of that time, and the peak memory of the process so far.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

INSTRUMENTS = ("FGS1", "AIRS-CH0")


def planet_of(root: Path) -> Path:
    """The one planet of the campaign."""
    return next(iter(sorted((root / "train").iterdir())))


def decode_polars(root: Path, threads: int) -> Callable[[], object]:
    """The floor: both files, all columns, into memory, and nothing else."""
    import polars as pl

    files = [planet_of(root) / f"{name}_signal_0.parquet" for name in INSTRUMENTS]
    return lambda: [pl.read_parquet(file).height for file in files]  # each goes before the next is read


def decode_pyarrow(root: Path, threads: int) -> Callable[[], object]:
    """The same with pyarrow. (`read_table` on one thread of a pool of one never returns in pyarrow 26.)"""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    pa.set_cpu_count(threads)
    files = [planet_of(root) / f"{name}_signal_0.parquet" for name in INSTRUMENTS]
    return lambda: [ParquetFile(file, memory_map=True).read(use_threads=threads > 1).num_rows for file in files]


def decode_needed(root: Path, threads: int) -> Callable[[], object]:
    """The floor lowered: only the columns that the kit reads."""
    import polars as pl

    from kitlib.base.instruments import AIRS, FGS1
    from kitlib.detector.extraction import needed_pixels

    wanted = [
        (planet_of(root) / i.signal_file(0), [f"column_{pixel}" for pixel in needed_pixels(i)]) for i in (FGS1, AIRS)
    ]
    return lambda: [pl.read_parquet(file, columns=columns).height for file, columns in wanted]


def kit(root: Path, threads: int) -> Callable[[], object]:
    """Frames and calibration frames to light curves of both instruments, as the `calibrate` stage does."""
    from kitlib.base.provenance import EventLog
    from kitlib.base.schema import LightCurveConfig
    from kitlib.detector.axes import read_axis_info
    from kitlib.detector.lightcurves import planet_lightcurves
    from kitlib.detector.tables import read_adc_info

    axis, config = read_axis_info(root), LightCurveConfig(threads=threads)
    adc = read_adc_info(root).of(int(planet_of(root).name))
    events = EventLog(root.parent / "events.jsonl")

    def work() -> None:
        if len(planet_lightcurves(planet_of(root), axis, adc, config, events).visits[0]) != 2:
            raise RuntimeError(f"an instrument was left out: {events.read()}")

    return work


def numpy_float64(root: Path, threads: int) -> Callable[[], object]:
    """The standard recipe in plain numpy."""
    from numpy_recipe import light_curves

    return lambda: light_curves(planet_of(root))


ROWS = {
    "decode, polars": decode_polars,
    "decode, pyarrow": decode_pyarrow,
    "decode needed columns": decode_needed,
    "kit": kit,
    "numpy float64": numpy_float64,
}


def peak_gib() -> float:
    """Peak resident memory of this process since it started, GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def main() -> None:
    """Answer each line on standard input with one measurement."""
    work = ROWS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    for _ in sys.stdin:
        start, start_cpu = time.perf_counter(), time.process_time()
        work()
        answer = {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - start_cpu}
        print(json.dumps(answer | {"peak_gib": peak_gib()}), flush=True)


if __name__ == "__main__":
    main()

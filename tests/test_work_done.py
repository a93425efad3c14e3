"""How much work the frames' path does, without a stopwatch: files opened, bytes decoded, passes, memory allocated."""

import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest
import small_visit as sv

from kitlib.base.instruments import INSTRUMENTS
from kitlib.base.provenance import EventLog
from kitlib.base.schema import LightCurveConfig
from kitlib.detector import extraction, frames, lightcurves
from kitlib.detector.axes import read_axis_info
from kitlib.detector.calibrate import BLOCK_PAIRS
from kitlib.detector.tables import read_adc_info

PAIRS = 3_000  # a cube of the AIRS pixels in float32 is 92 MB
DECODED = {"FGS1": 0.40, "AIRS-CH0": 0.56}  # largest share of a visit's frames that may be decoded
SAMPLED_PAIRS = {"FGS1": 2_048, "AIRS-CH0": 512}  # most pairs that the mean image may look at
ALLOCATED = 0.75  # numpy's peak over the bytes of the decoded frames; a float32 cube of them alone is 1


@dataclass
class Work:
    """What one visit cost."""

    opened: list[str] = field(default_factory=list)  # signal files, once for every time
    signals: dict = field(default_factory=dict)  # instrument -> Signal decoded
    visited: dict = field(default_factory=dict)  # instrument -> pixels that went through the fused kernel
    sampled: dict = field(default_factory=dict)  # instrument -> pairs in the mean image, over all calls
    peak_bytes: int = 0


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    """One planet with a visit of 3,000 pairs for both instruments."""
    root = tmp_path_factory.mktemp("mid")
    sv.write_tables(root, [7], PAIRS)
    folder = root / "test" / "7"
    for instrument in INSTRUMENTS:
        rng = np.random.default_rng(3)
        sv.write_calibration(folder / instrument.calibration_dir(0), sv.calibration(instrument.name, rng))
        level = (sv.image(instrument.name).ravel() + 1.35).astype(np.float32)
        reads = 13 * rng.standard_normal((2 * PAIRS, len(level)), np.float32)
        reads[1::2] *= np.sqrt(1 + level / 169)
        reads[1::2] += level
        values = np.clip((reads - sv.OFFSET) * sv.GAIN, 0, 65535).astype(np.uint16)
        sv.write_signal(folder / instrument.signal_file(0), values)
    return folder


def work_of(folder, tmp_path, monkeypatch, before_extraction=lambda signal: None) -> Work:
    """Calibrate the visit with every gate to the data watched."""
    work = Work()
    scan, read, statistics = pl.scan_parquet, lightcurves.read_signal, extraction.image_statistics
    accumulate = extraction.accumulate_pixels

    def watched_scan(path, *args, **options):
        work.opened.append(path.name)
        return scan(path, *args, **options)

    def watched_read(planet_dir, instrument, *args):
        work.signals[instrument.name] = signal = read(planet_dir, instrument, *args)
        return signal

    def watched_statistics(signal, parameters, blocks, *options):
        kept = before_extraction(signal)  # noqa: F841 - lives while the statistics are made
        name = signal.instrument.name
        work.sampled[name] = work.sampled.get(name, 0) + BLOCK_PAIRS * blocks
        return statistics(signal, parameters, blocks, *options)

    def watched_accumulate(addresses, chosen, *args):
        name = next(n for n, s in work.signals.items() if s.addresses is addresses)
        work.visited.setdefault(name, []).extend(chosen.tolist())
        return accumulate(addresses, chosen, *args)

    monkeypatch.setattr(frames.pl, "scan_parquet", watched_scan)
    monkeypatch.setattr(lightcurves, "read_signal", watched_read)
    monkeypatch.setattr(extraction, "image_statistics", watched_statistics)
    monkeypatch.setattr(extraction, "accumulate_pixels", watched_accumulate)
    axis, adc = read_axis_info(folder.parents[1]), read_adc_info(folder.parents[1]).of(int(folder.name))
    tracemalloc.start()
    try:
        lightcurves.planet_lightcurves(folder, axis, adc, LightCurveConfig(), EventLog(tmp_path / "events.jsonl"))
        work.peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return work


def excesses(work: Work) -> set[str]:
    """What the visit cost too much of."""
    found = set()
    if sorted(work.opened) != sorted(i.signal_file(0) for i in INSTRUMENTS):
        found.add("files opened")
    for instrument in INSTRUMENTS:
        name, signal = instrument.name, work.signals[instrument.name]
        if sum(column.nbytes for column in signal.columns) > DECODED[name] * 4 * PAIRS * instrument.n_pixels:
            found.add("bytes decoded")
        if any(column.dtype != np.uint16 for column in signal.columns):
            found.add("type of the frames")
        if len(set(work.visited[name])) < len(work.visited[name]):
            found.add("passes over the data")
        if work.sampled[name] > SAMPLED_PAIRS[name]:
            found.add("pairs in the mean image")
    frames_bytes = max(sum(column.nbytes for column in signal.columns) for signal in work.signals.values())
    if work.peak_bytes > ALLOCATED * frames_bytes:
        found.add("memory")
    return found


def test_a_visit_is_opened_once_decoded_in_part_passed_once_and_never_a_float_cube(visit, tmp_path, monkeypatch):
    work = work_of(visit, tmp_path, monkeypatch)
    assert excesses(work) == set(), f"{work.peak_bytes / 2**20:.0f} MiB"
    assert all(len(pixels) > 300 for pixels in work.visited.values())  # the gates do see the work


def test_the_guard_sees_a_float_cube_a_second_pass_and_whole_files(visit, tmp_path, monkeypatch):
    work = work_of(visit, tmp_path, monkeypatch, lambda signal: np.array(signal.columns).astype(np.float32))
    assert excesses(work) == {"memory"}
    work.visited["FGS1"] *= 2
    assert excesses(work) == {"memory", "passes over the data"}
    monkeypatch.undo()
    monkeypatch.setattr(lightcurves, "needed_pixels", lambda instrument: np.arange(instrument.n_pixels))
    assert excesses(work_of(visit, tmp_path, monkeypatch)) == {"bytes decoded"}

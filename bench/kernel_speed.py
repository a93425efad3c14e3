"""The calibration's inner loop in numba, numpy and torch: nanoseconds for a pair of reads of one pixel, on one thread.

    python bench/kernel_speed.py [--rounds 7] [--out FILE.json]

All turn uint16 reads into electrons per pair (linearity, dark, flat) and add them, weighted, to one light curve, pixel
by pixel or in blocks of pixels that stay in the cache; "whole" makes cubes. They take turns, on the same frames: 64
pixels of FGS1's 67,500 pairs, 768 of AIRS' 5,625. The kit's row also replaces cosmic rays and adds up the centroid of
every second pixel. torch.compile is left out where there is no C++ compiler. Agreement of all within 1 ppm is checked.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from kitlib.base.instruments import ADC_GAIN, ADC_OFFSET_E, AIRS, FGS1  # noqa: E402
from kitlib.detector.calibrate import accumulate_pixels, pixel_cds  # noqa: E402
from kitlib.detector.frames import Signal  # noqa: E402

SIZES = {FGS1: 64, AIRS: 768}  # pixels
BLOCK_VALUES = 1 << 17  # reads in a block of pixels: half a megabyte in float32, the second-level cache


def frames_of(instrument, pixels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads (pixels, 2n) uint16, kernel parameters (pixels, 9), weights (pixels,)."""
    signal = rng.uniform(500, 60_000, (pixels, 1)).astype(np.float32)
    electrons = 13 * rng.standard_normal((pixels, 2 * instrument.pairs_per_visit), np.float32)
    electrons[:, 1::2] += signal
    reads = ((electrons - ADC_OFFSET_E) * ADC_GAIN).astype(np.uint16)
    table = np.zeros((pixels, 9))
    table[:, 0], table[:, 5], table[:, 6] = 1 / ADC_GAIN, 1 / ADC_GAIN, ADC_OFFSET_E
    table[:, 1:5] = [1e-8, 1.2e-11, -6e-17, 1.3e-22]
    table[:, 7], table[:, 8] = 0.03, 1 / (1 + 0.012 * rng.standard_normal(pixels))
    return reads, table.astype(np.float32), rng.uniform(0.2, 1.0, pixels).astype(np.float32)


def by_formula(reads, table, weights):
    """The calibration in whole-array operations, of numpy arrays or of torch tensors alike."""
    first, last = reads[:, 0::2], reads[:, 1::2]
    slope, c2, c3, c4, c5, inverse_gain, offset, dark, inverse_flat = (table[:, k : k + 1] for k in range(9))
    e1, e2 = first * inverse_gain + offset, last * inverse_gain + offset
    n1 = e1 * e1 * (c2 + e1 * (c3 + e1 * (c4 + e1 * c5)))
    n2 = e2 * e2 * (c2 + e2 * (c3 + e2 * (c4 + e2 * c5)))
    return weights @ ((slope * (last - first) + (n2 - n1) - dark) * inverse_flat)


def in_blocks(one: Callable, reads, table, weights) -> np.ndarray:
    """Sum over blocks of pixels, whose curves are added in float64."""
    size = max(BLOCK_VALUES // reads.shape[1], 1)
    flux = np.zeros(reads.shape[1] // 2)
    for start in range(0, len(reads), size):
        block = slice(start, start + size)
        flux += np.asarray(one(reads[block], table[block], weights[block]))
    return flux


def kit(instrument, reads, table, weights) -> np.ndarray:
    """The fused kernel, with cosmic rays and centroids."""
    pixels, n = len(reads), reads.shape[1] // 2
    signal = Signal(instrument, np.arange(pixels), list(reads))
    moments = np.zeros((pixels, 3), np.float32)
    moments[::2] = [1.0, -1.0, 1.0]
    flux, sums = np.zeros((1, n)), np.zeros((3, n), np.float32)
    events = (np.empty(16 * pixels, kind) for kind in (np.int32, np.int32, np.float32))
    limit = np.full(pixels, 1e9, np.float32)
    every = np.arange(pixels)
    blocks = (np.linspace(0, n, 61).astype(np.int64), np.empty((pixels, 60), np.float32))
    accumulate_pixels(signal.addresses, every, 0 * every, table, limit, weights, moments, flux, sums, *events, *blocks)
    return flux[0]


def numba_plain(reads, table, weights) -> np.ndarray:
    """numba, pixel by pixel, and nothing but the calibration."""
    flux, buffer = np.zeros(reads.shape[1] // 2), np.empty(reads.shape[1] // 2, np.float32)
    for pixel, numbers, weight in zip(reads, table, weights, strict=True):
        pixel_cds(pixel, numbers, buffer)
        flux += weight * buffer
    return flux


def ways(instrument, reads, table, weights) -> dict[str, Callable[[], np.ndarray]]:
    """Name -> what computes the light curve (n,)."""
    tensors = torch.from_numpy(reads), torch.from_numpy(table), torch.from_numpy(weights)

    def with_torch(function: Callable) -> np.ndarray:
        return in_blocks(lambda r, t, w: function(r.to(torch.float32), t, w), *tensors)

    found = {
        "numba, fused (the kit)": lambda: kit(instrument, reads, table, weights),
        "numba, calibration alone": lambda: numba_plain(reads, table, weights),
        "numpy float32, blocks": lambda: in_blocks(
            lambda r, t, w: by_formula(r.astype(np.float32), t, w), reads, table, weights
        ),
        "numpy float64, whole": lambda: by_formula(*(part.astype(np.float64) for part in (reads, table, weights))),
        "torch float32, blocks": lambda: with_torch(by_formula),
    }
    if shutil.which("g++"):
        faster = torch.compile(by_formula, dynamic=False)
        found["torch.compile, blocks"] = lambda: with_torch(faster)
    return found


def main() -> None:
    """Measure, check, print a block for EXPERIMENTS.md, and write the figures as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(20251124)
    found: dict[str, dict[str, list[float]]] = {}
    for instrument, pixels in SIZES.items():
        reads, table, weights = frames_of(instrument, pixels, rng)
        works = ways(instrument, reads, table, weights)
        truth = works["numpy float64, whole"]()
        for name, work in works.items():  # the first call compiles
            if (worst := np.abs(work() / truth - 1).max()) > 1e-6:
                raise SystemExit(f"{name}, {instrument.name}: departs from float64 by {worst:.1e}")
        for _ in range(given.rounds):
            for name, work in works.items():
                start = time.process_time()
                work()
                each = (time.process_time() - start) / (pixels * instrument.pairs_per_visit) * 1e9
                found.setdefault(name, {}).setdefault(instrument.name, []).append(each)
    names = [instrument.name for instrument in SIZES]
    print(f"Processor nanoseconds a pair and pixel, one thread, median (range) of {given.rounds} rounds.\n")
    print(f"| way | {' | '.join(names)} |\n" + "|---" * (len(names) + 1) + "|")
    for name, each in found.items():
        cells = [f"{statistics.median(each[n]):.2f} ({min(each[n]):.2f}-{max(each[n]):.2f})" for n in names]
        print(f"| {name} | {' | '.join(cells)} |")
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

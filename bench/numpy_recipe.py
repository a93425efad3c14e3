"""The standard recipe in plain numpy, float64, whole cubes at a time: what most published notebooks do.

It shares no code with kitlib: `bench/calibrate_speed.py` takes its time, and checks the kit's arithmetic against it.
"""

from pathlib import Path

import numpy as np
import polars as pl

GAIN, OFFSET_E = 0.4369, -1000.0
SHAPES = {"FGS1": (32, 32), "AIRS-CH0": (32, 356)}
READS_S = {"FGS1": (0.1, 0.2), "AIRS-CH0": (0.1, 4.6)}  # cumulative exposure of first and last read
CROP = slice(39, 321)


def read_maps(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The five calibration frames of one instrument; linear_corr as (6, rows, cols)."""
    kinds = ("dark", "dead", "flat", "linear_corr", "read")
    maps = {kind: pl.read_parquet(folder / f"{name}_calibration_0" / f"{kind}.parquet").to_numpy() for kind in kinds}
    maps["linear_corr"] = maps["linear_corr"].reshape(6, *SHAPES[name])
    return maps


def calibrated(frames: np.ndarray, maps: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Frames (2n, pixels) uint16 to electrons per CDS pair (n, rows, cols) float64, every pixel."""
    electrons = frames.reshape(-1, *SHAPES[name]).astype(np.float64) / GAIN + OFFSET_E
    linear = np.zeros_like(electrons)
    for coefficient in maps["linear_corr"][::-1]:
        linear = linear * electrons + coefficient
    linear[0::2] -= maps["dark"] * READS_S[name][0]
    linear[1::2] -= maps["dark"] * READS_S[name][1]
    return (linear[1::2] - linear[0::2]) / maps["flat"]


def hot_pixels(dark: np.ndarray) -> np.ndarray:
    """Five rounds of clipping the dark frame at five standard deviations about the median."""
    keep = np.ones(dark.shape, bool)
    for _ in range(5):
        keep = np.abs(dark - np.median(dark[keep])) <= 5 * dark[keep].std()
    return ~keep


def light_curves(folder: Path, samples: int = 375) -> dict[str, np.ndarray]:
    """(samples, W) light curves of both instruments: masks, background rows, aperture, crop, flip, time bins."""
    curves = {}
    for name, shape in SHAPES.items():
        maps = read_maps(folder, name)
        frames = pl.read_parquet(folder / f"{name}_signal_0.parquet").to_numpy()
        pairs = calibrated(frames, maps, name)
        pairs[:, maps["dead"] | hot_pixels(maps["dark"])] = np.nan
        if name == "FGS1":
            flux = np.nansum(pairs[:, 10:22, 10:22], axis=(1, 2))[:, None]
        else:
            background = np.nanmean(pairs[:, [0, 1, 2, 3, 28, 29, 30, 31]], axis=1)
            flux = (np.nansum(pairs[:, 8:24], axis=1) - 16 * background)[:, CROP][:, ::-1]
        starts = np.linspace(0, len(flux), samples + 1).astype(int)[:-1]
        curves[name] = np.add.reduceat(flux, starts, axis=0) / np.diff([*starts, len(flux)])[:, None]
        assert shape == pairs.shape[1:]
    return curves

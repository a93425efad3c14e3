"""A tiny dataset in the competition's layout, made for the tests of the frames' path with nothing but numpy and polars.

Physics by hand, with coefficients chosen here: Gaussian core and power-law wings, constant background, quadratic-free
trapezoid transit, known dark, flat, linearity (inverted by fixed-point iteration), read and photon noise, floor ADC.
`signal_of` hands frames in memory to the solver.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from kitlib.base.instruments import Instrument
from kitlib.detector.frames import Signal

SHAPES = {"FGS1": (32, 32), "AIRS-CH0": (32, 356)}
EXPOSURES = {"FGS1": (0.1, 0.2), "AIRS-CH0": (0.1, 4.6)}
GAIN, OFFSET = 0.4369, -1000.0
LINEARITY = np.array([0.3, 1.0, 0.0, 1.2e-11, -6e-17, 1.3e-22])


@dataclass
class Visit:
    """What to put into a visit."""

    pairs: int = 240
    depth: float = 0.02
    background_e: float = 1.35
    jitter_px: float = 0.0
    hits: int = 0
    transit: tuple[float, float] = (0.35, 0.65)  # first and last contact in units of the visit; beyond 1: no egress
    seed: int = 1


def airs_flux() -> np.ndarray:
    """Electrons per pair and column, (356,)."""
    return np.interp(
        np.arange(356), [0, 30, 39, 100, 200, 307, 321, 335, 355], [10, 400, 5e3, 27e3, 6e4, 160e3, 100e3, 4e4, 1e3]
    )


def image(name: str, row_shift: float = 0.0, col_shift: float = 0.0) -> np.ndarray:
    """Star in electrons per pair without background, (rows, cols)."""
    row, col = np.mgrid[: SHAPES[name][0], : SHAPES[name][1]].astype(float)
    if name == "FGS1":
        dr, dc = row - 15.75 - row_shift, col - 15.3 - col_shift
        core = np.exp(-0.5 * ((dr / 1.16) ** 2 + (dc / 1.01) ** 2))
        wing = (dr**2 + dc**2 + 9) ** -1.5
        return 2.2e5 * (0.83 * core / core.sum() + 0.17 * wing / wing.sum())
    sigma = np.linspace(1.6, 0.9, 356)
    dr = row - 15.6 - row_shift
    core = np.exp(-0.5 * (dr / sigma) ** 2)
    wing = 1 / (dr**2 + 4)
    return airs_flux() * (0.85 * core / core.sum(0) + 0.15 * wing / wing.sum(0))


def calibration(name: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Five frames: float64 maps, boolean dead, linear_corr stacked to (192, cols)."""
    shape = SHAPES[name]
    linear = np.broadcast_to(LINEARITY[:, None, None], (6, *shape)).copy()
    linear[1] *= 1 + 0.003 * rng.standard_normal(shape)
    dark = 0.0065 + 0.002 * rng.standard_normal(shape)
    dark[3, 5] = 2.0
    dead = np.zeros(shape, bool)
    dead[14, 17] = dead[20, 20] = True
    return {
        "dark": dark,
        "dead": dead,
        "flat": 1.01 + 0.012 * rng.standard_normal(shape),
        "linear_corr": linear.reshape(-1, shape[1]),
        "read": np.full(shape, 13.0),
    }


def transit_curve(time: np.ndarray, visit: Visit) -> np.ndarray:
    """Trapezoid, time in units of the visit."""
    first, last = visit.transit
    ramp = 0.06
    return 1 - visit.depth * np.clip(np.minimum(time - first, last - time) / ramp, 0, 1)


def frames(name: str, frames_maps: dict[str, np.ndarray], visit: Visit) -> tuple[np.ndarray, dict]:
    """(2 * pairs, rows * cols) uint16 and the truth: light curve, hits."""
    rng = np.random.default_rng(visit.seed)
    n, shape = visit.pairs, SHAPES[name]
    curve = transit_curve((np.arange(n) + 0.5) / n, visit)
    shifts = visit.jitter_px * rng.standard_normal((n, 2))
    first_s, last_s = EXPOSURES[name]
    out = np.empty((n, 2, *shape), np.uint16)
    hits = [(rng.integers(n), rng.integers(8, 24), rng.integers(8, shape[1] - 40)) for _ in range(visit.hits)]
    base = image(name)
    linear = frames_maps["linear_corr"].reshape(6, *shape)
    for t in range(n):
        star = (image(name, *shifts[t]) if visit.jitter_px else base) * curve[t] + visit.background_e
        light = rng.poisson(np.maximum(star * frames_maps["flat"], 0)).astype(float)
        for hit, row, col in hits:
            if hit == t:
                light[row, col] += 20_000
        charge = light / (last_s - first_s) * np.array([first_s, last_s])[:, None, None]
        charge[1] = charge[0] + light
        charge += frames_maps["dark"] * np.array([first_s, last_s])[:, None, None]
        read = charge.copy()
        for _ in range(6):  # invert the linearity polynomial by fixed-point iteration
            read -= sum(c * read**k for k, c in enumerate(linear)) - charge
        read[:, frames_maps["dead"]] = 0
        read += 13.0 * rng.standard_normal(read.shape)
        out[t] = np.clip(np.floor((read - OFFSET) * GAIN), 0, 65535)
    return out.reshape(2 * n, -1), {"curve": curve, "hits": hits}


def signal_of(instrument: Instrument, frames: np.ndarray, pixels: np.ndarray | None = None) -> Signal:
    """What `read_signal` gives of (frames, rows * cols) uint16; `pixels` (flat, ascending) limits what is kept."""
    wanted = np.arange(instrument.n_pixels) if pixels is None else np.asarray(pixels, np.int64)
    return Signal(instrument, wanted, list(np.ascontiguousarray(frames.T[wanted])))


def write_calibration(folder: Path, maps: dict[str, np.ndarray]) -> None:
    """The five parquet files of one calibration folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, values in maps.items():
        pl.DataFrame(values, schema=[f"column_{i}" for i in range(values.shape[1])]).write_parquet(
            folder / f"{key}.parquet"
        )


def write_signal(path: Path, values: np.ndarray) -> None:
    """One frame a row, one pixel a column."""
    pl.DataFrame(values, schema=[f"column_{i}" for i in range(values.shape[1])]).write_parquet(path)


def write_planet(planet_dir: Path, visit: Visit, number: int = 0) -> None:
    """Both instruments of one visit, with the same number of pairs."""
    for name in SHAPES:
        maps = calibration(name, np.random.default_rng(visit.seed + 100))
        write_calibration(planet_dir / f"{name}_calibration_{number}", maps)
        write_signal(planet_dir / f"{name}_signal_{number}.parquet", frames(name, maps, visit)[0])


def write_tables(root: Path, planets: list[int], pairs: int, split: str = "test") -> None:
    """axis_info, adc_info and star_info of a dataset whose two instruments have `pairs` pairs each."""
    root.mkdir(parents=True, exist_ok=True)
    starts = np.linspace(0, 7.49, pairs)
    airs = np.stack([starts + 0.1 / 3600, starts + 0.2 / 3600], 1).ravel()
    wavelengths = np.linspace(4.08, 1.63, 356)
    height = max(2 * pairs, 356)

    def pad(values):
        return np.concatenate([values, np.full(height - len(values), np.nan)])

    pl.DataFrame(
        {
            "AIRS-CH0-axis0-h": pad(airs),
            "AIRS-CH0-axis2-um": pad(wavelengths),
            "AIRS-CH0-integration_time": pad(np.tile([0.1, 4.5], pairs)),
            "FGS1-axis0-h": pad(airs),
        }
    ).with_columns(pl.all().fill_nan(None)).write_parquet(root / "axis_info.parquet")
    (root / "adc_info.csv").write_text(
        f"FGS1_adc_offset,FGS1_adc_gain,AIRS-CH0_adc_offset,AIRS-CH0_adc_gain\n{OFFSET},{GAIN},{OFFSET},{GAIN}\n"
    )
    rows = [f"{planet}.0,1.0,1.0,5800.0,1.0,0.0,4.0,10.0,89.0" for planet in planets]
    (root / f"{split}_star_info.csv").write_text("planet_id,Rs,Ms,Ts,Mp,e,P,sma,i\n" + "\n".join(rows) + "\n")

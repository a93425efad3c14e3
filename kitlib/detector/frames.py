"""Reader of the competition's frames: calibration frames, raw frames. It validates strictly.

Every refusal is a `FrameError` that names the file, what is wrong with it and what to do. Time: `axes`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..base.instruments import CALIBRATION_FRAMES, INSTRUMENTS, LINEARITY_COEFFICIENTS, Instrument
from ..base.products import Array
from .csvtable import FrameError
from .parquet import parquet_errors, read_parquet, scan_parquet

_INDEX = re.compile(r"__index_level_[0-9]+__")  # what pandas adds to the columns of a table whose rows have names
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})")
# A pixel outside of these limits is unusable. Real detectors hold dark -0.024..12 e-/s, live flats down to 0.57, read
# noise 12..153 e- and corrections of 0.88..1.2 at 30 ke-, but for single pixels (one of the real FGS1) that are broken.
DARK_LIMIT_E_PER_S = 1e4
FLAT_LIMITS = (0.2, 5.0)
READ_LIMITS_E = (1.0, 1e4)
LINEARITY_PROBE_E = 30_000.0
LINEARITY_LIMITS = (0.8, 1.25)
MAX_UNUSABLE = 0.05  # a frame with more unusable live pixels than this is not a calibration frame of this detector
MAX_DEAD = 0.5


@dataclass(frozen=True)
class RawCalibration:
    """The five calibration frames of one detector, as stored. Pixels that hold absurd values are in `unusable`."""

    instrument: Instrument
    dark: Array  # (rows, cols) float64, electrons per second
    dead: NDArray[np.bool_]  # (rows, cols)
    flat: Array  # (rows, cols) float64
    linear_corr: Array  # (6, rows, cols) float64, ascending powers of electrons
    read: Array  # (rows, cols) float64, electrons per read
    unusable: NDArray[np.bool_]  # (rows, cols): live pixels outside of the limits above; their values are neutral
    notes: tuple[str, ...] = ()  # what was found unusable, for the event log


@dataclass(frozen=True)
class Signal:
    """Raw frames of one visit, pixel by pixel: `columns[k]` are the (2N,) uint16 of flat pixel `pixels[k]`."""

    instrument: Instrument
    pixels: NDArray[np.int64]  # (n,) ascending flat index row * cols + col
    columns: Sequence[NDArray[np.uint16]]  # n contiguous arrays of one length, in ADU; N pairs of (first, last) read

    @property
    def n_pairs(self) -> int:
        """CDS pairs of the visit."""
        return len(self.columns[0]) // 2

    @cached_property
    def addresses(self) -> NDArray[np.uint64]:
        """Where the columns lie in memory, (n,): the kernels go through all of them without a copy into one array.

        Valid while this object lives. Raises ValueError where a column is not a contiguous uint16 array of 2N values.
        """
        shape = (2 * self.n_pairs,)
        if any(c.dtype != np.uint16 or c.shape != shape or not c.flags.c_contiguous for c in self.columns):
            raise ValueError(f"every column must be a contiguous uint16 array of shape {shape}")
        return np.array([c.ctypes.data for c in self.columns], np.uint64)


def list_visits(planet_dir: Path) -> list[int]:
    """Numbers of the visits of which at least one instrument's frames or calibration are present, ascending."""
    names = "|".join(re.escape(instrument.name) for instrument in INSTRUMENTS)
    pattern = re.compile(rf"(?:{names})_(?:signal_(\d+)\.parquet|calibration_(\d+))")
    matches = (pattern.fullmatch(entry.name) for entry in Path(planet_dir).iterdir())
    return sorted({int(match[1] or match[2]) for match in matches if match})


def _read_map(path: Path, shape: tuple[int, int], boolean: bool) -> NDArray[Any]:
    with parquet_errors(path):
        table = read_parquet(path)
        places = _places(path, table.columns, shape[1])
        table = table if places is None else table.select(pl.nth(places.tolist()))
    if table.shape != shape:
        raise FrameError(path, f"shape {table.shape}, not {shape}")
    kinds = set(table.dtypes)
    if boolean and kinds != {pl.Boolean}:
        raise FrameError(path, f"type {sorted(map(str, kinds))}, not Boolean")
    if not boolean and not all(kind.is_numeric() for kind in kinds):
        raise FrameError(path, f"type {sorted(map(str, kinds))}, not numeric")
    if any(table.null_count().row(0)):
        if boolean:
            raise FrameError(path, "holds missing values")
        table = table.fill_null(np.nan)
    return table.to_numpy() if boolean else table.to_numpy().astype(np.float64)


def read_calibration(planet_dir: Path, instrument: Instrument, visit: int) -> RawCalibration:
    """Read and check the five calibration frames of one visit.

    Single absurd pixels (NaN, or outside of this module's limits) are marked `unusable`, up to 5 % of the live ones in
    each frame.

    Raises:
        FrameError: more of them, or a missing, damaged or wrongly shaped frame.
    """
    folder = Path(planet_dir) / instrument.calibration_dir(visit)
    if not folder.is_dir():
        raise FrameError(folder, "calibration folder is missing")
    rows, cols = instrument.rows, instrument.cols
    maps = {}
    for name in CALIBRATION_FRAMES:
        shape = (rows * LINEARITY_COEFFICIENTS if name == "linear_corr" else rows, cols)
        maps[name] = _read_map(folder / f"{name}.parquet", shape, boolean=name == "dead")
    maps["linear_corr"] = maps["linear_corr"].reshape(LINEARITY_COEFFICIENTS, rows, cols)
    dead = maps["dead"].astype(bool)
    if dead.mean() > MAX_DEAD:
        raise FrameError(folder / "dead.parquet", f"{dead.mean():.0%} of the pixels are dead")
    unusable = np.zeros((rows, cols), bool)
    notes = []
    for name, (sane, limits) in _sanity(maps).items():
        bad = ~sane & ~dead
        path = folder / f"{name}.parquet"
        if bad.mean() > MAX_UNUSABLE:
            raise FrameError(path, f"{bad.mean():.1%} of the live pixels are NaN or outside of {limits}")
        if bad.any():
            row, col = np.argwhere(bad)[0]
            first = f"first at row {row}, column {col}"
            notes.append(f"{path}: {bad.sum()} pixels NaN or outside of {limits}, {first}: masked")
        unusable |= bad
    mask = unusable | dead
    neutral = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])[:, None, None]
    return RawCalibration(
        instrument,
        dark=np.where(mask, 0.0, maps["dark"]),
        dead=dead,
        flat=np.where(mask, 1.0, maps["flat"]),
        linear_corr=np.where(mask, neutral, maps["linear_corr"]),
        read=np.where(mask, np.median(maps["read"][~mask]), maps["read"]),
        unusable=unusable,
        notes=tuple(notes),
    )


def _sanity(maps: dict[str, NDArray[Any]]) -> dict[str, tuple[NDArray[np.bool_], str]]:
    """Where each frame holds usable values, and the limits in words. NaN compares false and is therefore not sane."""
    powers = LINEARITY_PROBE_E ** np.arange(-1, LINEARITY_COEFFICIENTS - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        gain = np.einsum("k,krc->rc", powers, maps["linear_corr"])
    low, high = LINEARITY_LIMITS
    return {
        "dark": (np.abs(maps["dark"]) <= DARK_LIMIT_E_PER_S, f"+-{DARK_LIMIT_E_PER_S:g} e-/s"),
        "flat": ((maps["flat"] >= FLAT_LIMITS[0]) & (maps["flat"] <= FLAT_LIMITS[1]), f"{FLAT_LIMITS}"),
        "read": ((maps["read"] >= READ_LIMITS_E[0]) & (maps["read"] <= READ_LIMITS_E[1]), f"{READ_LIMITS_E} e-"),
        "linear_corr": ((gain >= low) & (gain <= high), f"{LINEARITY_LIMITS} x the signal at {LINEARITY_PROBE_E:g} e-"),
    }


def read_signal(
    planet_dir: Path, instrument: Instrument, visit: int, pairs: int, pixels: NDArray[np.integer] | None = None
) -> Signal:
    """Read the raw frames of one visit without a copy in floating point: uint16, pixel by pixel.

    `pairs` is the number of CDS pairs that `axis_info.parquet` announces. `pixels` (flat, ascending) limits what is
    decoded, the parquet files being columnar; the file's shape and types are checked whole. Raises FrameError.
    """
    path = Path(planet_dir) / instrument.signal_file(visit)
    wanted = np.arange(instrument.n_pixels) if pixels is None else np.asarray(pixels, np.int64)
    with parquet_errors(path):
        lazy = scan_signal(path, instrument)
        table = lazy.select(pl.nth(wanted.tolist())).collect()  # by number: 7,000 names take polars 10 ms to look up
    if table.height % 2:
        raise FrameError(path, f"{table.height} frames: an odd number cannot be pairs of reads")
    if table.height != 2 * pairs:
        raise FrameError(
            path,
            f"{table.height} frames, but axis_info.parquet announces {2 * pairs}",
            "Use the axis_info.parquet of this dataset, or leave this visit out.",
        )
    nulls = np.array(table.null_count().row(0))
    if nulls.any():
        raise FrameError(path, f"column {table.columns[int(np.argmax(nulls > 0))]} holds missing values")
    return Signal(instrument, wanted, [column.to_numpy() for column in table.rechunk().get_columns()])


def scan_signal(path: Path, instrument: Instrument) -> pl.LazyFrame:
    """A visit's raw frames as a lazy table, pixels in order. Raises FrameError for columns that are no pixels.

    Damage further inside shows when it is collected.
    """
    with parquet_errors(path):
        lazy = scan_parquet(path)  # its footer, 2 MB, is parsed once for schema and data
        places = _check_columns(path, lazy.collect_schema(), instrument)
        return lazy if places is None else lazy.select(pl.nth(places.tolist()))


def _check_columns(path: Path, schema: pl.Schema, instrument: Instrument) -> NDArray[np.int64] | None:
    """Where the pixels stand, as `_places` has it. Raises FrameError for columns that are not pixels of uint16."""
    names = schema.names()
    places = _places(path, names, instrument.n_pixels)
    kinds = schema.dtypes() if places is None else [schema.dtypes()[place] for place in places]
    if len(kinds) != instrument.n_pixels:
        raise FrameError(path, f"{len(kinds)} columns, not {instrument.n_pixels} (one frame a row, one pixel a column)")
    if set(kinds) != {pl.UInt16}:
        wrong = [name for name, kind in schema.items() if kind != pl.UInt16 and not _INDEX.fullmatch(name)]
        raise FrameError(path, f"column {wrong[0]} is {schema[wrong[0]]}, not UInt16 ({len(wrong)} such columns)")
    return places


def _places(path: Path, names: list[str], count: int) -> NDArray[np.int64] | None:
    """Where columns 0, 1, .. stand in the file, (count,), by the numbers in their names; None: they stand in order.

    The index that pandas writes along is left out, and columns that were sorted as text come into order. Names without
    numbers say nothing of an order. Raises FrameError where some numbers are missing or twice.
    """
    kept = [place for place, name in enumerate(names) if not _INDEX.fullmatch(name)]
    prefix = names[0].removesuffix("0") if names else ""
    if len(kept) == len(names) and names == [f"{prefix}{number}" for number in range(len(names))]:
        return None
    if len(kept) != count:  # which the caller names by its shape
        return None if len(kept) == len(names) else np.array(kept)
    found = [_NUMBERED.fullmatch(names[place]) for place in kept]
    numbers = np.array([int(match[2]) for match in found if match])
    if not len(numbers):
        return np.array(kept)
    prefixes = {match[1] for match in found if match}
    first = int(numbers.min())
    if len(prefixes) > 1 or first > 1 or not np.array_equal(np.sort(numbers), first + np.arange(count)):
        odd = next((names[k] for k, match in zip(kept, found, strict=True) if match is None), f"{len(prefixes)} names")
        raise FrameError(path, f"columns are not numbered from 0 to {count - 1}, each once (first: {odd})")
    return np.array(kept)[np.argsort(numbers)]

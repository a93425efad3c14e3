"""When each frame was taken: `axis_info.parquet`.

Every number is held to what is known of the instruments, because hours that are minutes fit any file and no transit.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ..base.instruments import AIRS, FGS1, INSTRUMENTS, Instrument
from ..base.products import Array
from .csvtable import FrameError, require_columns
from .parquet import parquet_errors, read_parquet

_WAVELENGTHS, _EXPOSURES = "AIRS-CH0-axis2-um", "AIRS-CH0-integration_time"
_START_H, _END_H = (0.0, 0.5), (1.0, 24.0)  # between what a visit begins and ends; real ones at 0.00003 and 7.4999 h
_SPREAD = 5.0  # exposures may differ from the known ones by this factor
_BLUE_UM, _RED_UM = (1.0, 2.5), (3.0, 6.0)  # where the detector's ends lie; in real files at 1.63 and 4.08 um


@dataclass(frozen=True)
class Axis:
    """Time axis of one instrument: N CDS pairs a visit."""

    time_h: Array  # (N,) float64, middle of the interval that a CDS pair integrates, hours since the visit's start
    first_read_s: float  # cumulative exposure of the first read, seconds
    last_read_s: float  # cumulative exposure of the last read, seconds

    @property
    def cds_s(self) -> float:
        """Exposure of one CDS pair, seconds."""
        return self.last_read_s - self.first_read_s


@dataclass(frozen=True)
class AxisInfo:
    """`axis_info.parquet`."""

    fgs1: Axis
    airs: Axis

    def of(self, instrument: Instrument) -> Axis:
        """The time axis of one instrument."""
        return self.fgs1 if instrument.name == FGS1.name else self.airs


def read_axis_info(root: Path) -> AxisInfo:
    """Read `axis_info.parquet`: mid-exposure times of the CDS pairs, exposures of the two reads.

    A time stamp is the start of a sub-exposure and the difference of a pair collects light during the second one [M]:
    the middle of a pair is the second stamp plus half of the second exposure. FGS1's exposures are in no file.

    Raises FrameError that names column and unit where a column is no such axis.
    """
    path = Path(root) / "axis_info.parquet"
    with parquet_errors(path):
        table = read_parquet(path)
    names = [i.time_column for i in INSTRUMENTS] + [_WAVELENGTHS, _EXPOSURES]
    require_columns(path, table.columns, names)
    columns = {name: _column(path, table, name) for name in names}
    _check_wavelengths(path, columns[_WAVELENGTHS])
    first, second = _exposures(path, columns[_EXPOSURES], len(columns[AIRS.time_column]))
    axes = {}
    for instrument, (start, end) in (
        (FGS1, (FGS1.first_read_s, FGS1.last_read_s)),
        (AIRS, (first, first + second)),
    ):
        stamps = columns[instrument.time_column]
        _check_stamps(path, instrument.time_column, stamps, end)
        axes[instrument.name] = Axis(stamps[1::2] + (end - start) / 2 / 3600, start, end)
    ends = {i.name: float(columns[i.time_column][-1]) for i in INSTRUMENTS}
    if abs(ends[FGS1.name] - ends[AIRS.name]) > _START_H[1]:
        told = " and ".join(f"{i.time_column} ends at {ends[i.name]:g}" for i in INSTRUMENTS)
        raise _refused(path, f"{told} hours: one visit has one length")
    return AxisInfo(axes[FGS1.name], axes[AIRS.name])


def _refused(path: Path, problem: str) -> FrameError:
    return FrameError(path, problem, "Download the file again.")


def _column(path: Path, table: pl.DataFrame, name: str) -> Array:
    """A column without the padding at its end, null or NaN."""
    if not table[name].dtype.is_numeric():
        raise _refused(path, f"{name} is {table[name].dtype}, not numeric")
    values = table[name].cast(pl.Float64).to_numpy()  # null becomes NaN
    present = np.isfinite(values)
    count = int(present.sum())
    if not present[:count].all():
        raise _refused(path, f"{name}: row {np.argmin(present) + 1} is missing, and later ones are not")
    return values[:count]


def _check_wavelengths(path: Path, um: Array) -> None:
    if len(um) != AIRS.cols:
        raise _refused(path, f"{_WAVELENGTHS}: {len(um)} wavelengths, not {AIRS.cols}")
    first, last = um[[0, -1]]
    falling = (np.diff(um) < 0).all()  # as the detector's columns do: the spectrum would come out reversed otherwise
    if not (falling and _RED_UM[0] < first < _RED_UM[1] and _BLUE_UM[0] < last < _BLUE_UM[1]):
        problem = f"{_WAVELENGTHS} runs from {first:g} to {last:g}; it must fall from about 4.1 to 1.6 um"
        raise _refused(path, problem)


def _exposures(path: Path, seconds: Array, stamps: int) -> tuple[float, float]:
    """Exposures of the two reads of every AIRS pair."""
    if len(seconds) != stamps or len(seconds) < 2:
        raise _refused(path, "AIRS-CH0 times and integration times differ in number")
    first, second = float(seconds[0]), float(seconds[1])
    if not (np.allclose(seconds[::2], first) and np.allclose(seconds[1::2], second) and 0 < first < second):
        raise _refused(path, f"{_EXPOSURES} does not alternate short, long")
    for value, known in ((first, AIRS.first_read_s), (second, AIRS.cds_s)):
        if not known / _SPREAD < value < known * _SPREAD:
            known_s = f"{AIRS.first_read_s:g} and {AIRS.cds_s:g} seconds"
            raise _refused(path, f"{_EXPOSURES} is {first:g} and {second:g}; it must be about {known_s}")
    return first, second


def _check_stamps(path: Path, name: str, stamps: Array, pair_s: float) -> None:
    """Raise FrameError unless `stamps` are hours since a visit's start, two for each pair of reads of `pair_s`."""
    if len(stamps) < 2 or len(stamps) % 2 or not np.all(np.diff(stamps) > 0):
        raise _refused(path, f"{name}: {len(stamps)} stamps; an even number of ascending ones is needed")
    start, end = float(stamps[0]), float(stamps[-1])
    if not (_START_H[0] <= start <= _START_H[1] and _END_H[0] <= end <= _END_H[1]):
        units = {"minutes": 60.0, "seconds": 3600.0, "days": 1 / 24}
        possible = [unit for unit, factor in units.items() if _END_H[0] <= end / factor <= _END_H[1]]
        hint = f"; is it in {possible[0]}?" if possible and start < end / 10 else ""
        needed = f"hours since the visit's start are needed, from 0 to {_END_H[1]:g} at most"
        raise _refused(path, f"{name} runs from {start:g} to {end:g}; {needed}{hint}")
    if len(stamps) < 4:
        return
    cadence_s, gap_s = 3600 * np.diff(stamps[::2]), 3600 * (stamps[1::2] - stamps[::2])
    if cadence_s.min() < 0.99 * pair_s:
        known = f"{cadence_s.min():.3g} s, but its exposures {pair_s:g} s"
        raise _refused(path, f"{name}: from one pair of reads to the next it takes {known}")
    if np.median(gap_s) > np.median(cadence_s) / 2:
        raise _refused(path, f"{name}: stamps 1 and 2, 3 and 4, .. are no pairs of reads: those lie close together")

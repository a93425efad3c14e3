"""The competition's CSV tables: catalogue of systems, true spectra, converter.

Every refusal is a `FrameError` that names file, row, column and remedy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..base.instruments import ADC_GAIN, ADC_OFFSET_E, INSTRUMENTS, N_BINS
from ..base.products import Array, Catalogue, Spectra

_CATALOGUE_COLUMNS = ("planet_id", "Rs", "Ms", "Ts", "Mp", "P", "sma", "i")


class FrameError(ValueError):
    """A file of the dataset cannot be used. Its text: the file, what is wrong, what to do."""

    def __init__(
        self, path: Path | str, problem: str, remedy: str = "Download the file again, or leave this visit out."
    ):
        super().__init__(f"{path}: {problem}. {remedy}")

    def __reduce__(
        self,
    ) -> tuple[Any, ...]:  # the text is built from three parts: rebuild from the text alone in another process
        return _rebuild_error, (str(self),)


def _rebuild_error(text: str) -> FrameError:
    error = FrameError.__new__(FrameError)
    ValueError.__init__(error, text)
    return error


@dataclass(frozen=True)
class Adc:
    """Analogue-to-digital converter: electrons = ADU / gain + offset."""

    gain: float = ADC_GAIN  # ADU per electron
    offset_e: float = ADC_OFFSET_E  # electrons


def _read_csv(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise FrameError(path, "file is missing", "Give the competition's folder as data.root.")
    try:
        return pl.read_csv(path, infer_schema_length=None)
    except (Exception, pl.exceptions.PanicException) as error:  # polars raises many types for malformed text
        raise FrameError(path, f"cannot be read as CSV ({short_reason(error)})", "Download the file again.") from error


def short_reason(error: BaseException) -> str:
    """First line of an error's text."""
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


def require_columns(path: Path, table: pl.DataFrame, names: Sequence[str]) -> None:
    """Raise FrameError unless `table`, read from `path`, has all columns `names`."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise FrameError(
            path, f"columns {missing[:5]} are missing ({len(missing)} of {len(names)})", "Download the file again."
        )


def _finite_column(path: Path, table: pl.DataFrame, name: str, first: int = 1) -> Array:
    """A column as float64. FrameError names the row, where the table's first one is row `first` of the file."""
    column = table[name]
    if not column.dtype.is_numeric():  # text, or a column without any value
        numbers = column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
        wrong = np.flatnonzero((numbers.is_null() & column.is_not_null()).to_numpy())
        if len(wrong):
            row = int(wrong[0])
            text = f"row {row + first}, column {name}: {column[row]!r} is not a number"
            raise FrameError(path, text, "Correct the row.")
        column = numbers
    values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        text = f"row {bad[0] + first}, column {name}: not a finite number"
        raise FrameError(path, text, "Correct or remove the row.")
    return values


def _planet_ids(path: Path, table: pl.DataFrame) -> NDArray[np.int64]:
    values = _finite_column(path, table, "planet_id")
    ids = values.astype(np.int64)
    bad = np.flatnonzero((ids != values) | (ids < 0))
    if len(bad):
        raise FrameError(
            path,
            f"row {bad[0] + 1}, column planet_id: {values[bad[0]]} is not an id",
            "Ids are integers (1234 or 1234.0).",
        )
    unique, first, counts = np.unique(ids, return_index=True, return_counts=True)
    if len(unique) < len(ids):
        twice = unique[counts > 1][0]
        second = np.flatnonzero(ids == twice)[1]
        raise FrameError(path, f"row {second + 1}, column planet_id: {twice} occurs twice", "Remove the duplicate row.")
    return ids


def read_catalogue(path: Path, damaged: dict[int, str] | None = None) -> Catalogue:
    """Read `{train,test}_star_info.csv`. Ids may be written as floats (`1103775.0`). Raises FrameError.

    With `damaged`, planets whose row holds an impossible value are left out, and their reasons are put into it.
    """
    path = Path(path)
    table = _read_csv(path)
    require_columns(path, table, _CATALOGUE_COLUMNS)
    ids = _planet_ids(path, table)
    try:
        return Catalogue(ids, *_parameters(path, table, 1))
    except FrameError:
        if damaged is None:
            raise
    for row, planet in enumerate(ids.tolist()):
        try:
            _parameters(path, table[row : row + 1], row + 1)
        except FrameError as error:
            damaged[planet] = str(error)
    sound = ~np.isin(ids, list(damaged))
    return Catalogue(ids[sound], *_parameters(path, table.filter(pl.Series(sound)), 1))


def _parameters(path: Path, table: pl.DataFrame, first: int) -> list[Array]:
    """The catalogue's columns but for the ids; FrameError where one holds a value that no system has."""
    columns = [_finite_column(path, table, name, first) for name in _CATALOGUE_COLUMNS[1:]]
    for name, values in zip(_CATALOGUE_COLUMNS[1:], columns, strict=True):
        bad = np.flatnonzero(values <= 0) if name != "Mp" else np.flatnonzero(values < 0)
        if len(bad):
            text = f"row {bad[0] + first}, column {name}: {values[bad[0]]} is not positive"
            raise FrameError(path, text, "Correct the row.")
    return columns


def read_spectra_csv(path: Path) -> Spectra:
    """Read `train.csv`: planet_id, wl_1..wl_283 as depths (P, 283). Raises FrameError."""
    path = Path(path)
    table = _read_csv(path)
    names = [f"wl_{i}" for i in range(1, N_BINS + 1)]
    require_columns(path, table, ["planet_id", *names])
    return Spectra(_planet_ids(path, table), np.stack([_finite_column(path, table, name) for name in names], axis=1))


def read_adc_info(root: Path) -> dict[str, Adc]:
    """Read `adc_info.csv`: the converter of each instrument, by its name. Raises FrameError."""
    path = Path(root) / "adc_info.csv"
    table = _read_csv(path)
    converters = {}
    for instrument in INSTRUMENTS:
        names = [f"{instrument.name}_adc_gain", f"{instrument.name}_adc_offset"]
        require_columns(path, table, names)
        if table.height == 0:
            raise FrameError(path, "has no row", "Download the file again.")
        gain, offset = (float(_finite_column(path, table, name)[0]) for name in names)
        if not gain > 0:
            raise FrameError(path, f"row 1, column {names[0]}: gain {gain} is not positive", "Download the file again.")
        converters[instrument.name] = Adc(gain, offset)
    return converters


def read_wavelengths(path: Path) -> Array:
    """Wavelengths of the bins, (283,) um, ascending, of a `wavelengths.csv`. Raises FrameError naming the file."""
    table = _read_csv(path)
    remedy = "Copy it from the competition's data."
    if len(table) < 1 or table.width != N_BINS or not all(kind.is_numeric() for kind in table.dtypes):
        raise FrameError(path, f"expected one row of {N_BINS} numbers, found {len(table)} x {table.width}", remedy)
    values = np.array(table.row(0), np.float64)
    if not (np.diff(values) > 0).all():
        raise FrameError(path, "wavelengths do not ascend", remedy)
    return values

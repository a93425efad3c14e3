"""CSV files as rows of text, whatever a spreadsheet, pandas, R or an object store has done to their form.

Byte order marks, quotes, blanks around cells, any line ends, blank lines, further columns and the order of columns
change nothing. Nor do commas at line ends, which `CsvTable.commas` tells. What could change an answer is a `FrameError`
that names file, row, column and remedy.
"""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..base.products import Array

AGAIN = "Download the file again, or save it as CSV in UTF-8, with commas and decimal points."
_PLAIN = re.compile(r"[0-9eE+.,-]*")  # all that a row of numbers can hold: `float` alone takes digit separators as well
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_ABSENT = ("", "na", "n/a", "nan", "null", "none", "inf", "+inf", "-inf", "infinity", "-infinity")
# what a file is that begins so: downloads that went wrong leave such things under the name of the table
_FOREIGN = (
    (codecs.BOM_UTF16_LE, "UTF-16 text"),
    (codecs.BOM_UTF16_BE, "UTF-16 text"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet"),
    (b"PAR1", "a parquet file"),
    (b"<", "a web page or XML, as a refused download leaves it"),
    (b"{", "JSON, as a refused download leaves it"),
    (b"version https://git-lfs", "a pointer of Git LFS instead of the file"),
)


class FrameError(ValueError):
    """A file of the dataset cannot be used. Its text: the file, what is wrong, what to do."""

    def __init__(
        self, path: Path | str, problem: str, remedy: str = "Download the file again, or leave this visit out."
    ):
        super().__init__(f"{path}: {problem}. {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:  # in another process: rebuilt from the text alone, not from its parts
        return FrameError.of_text, (str(self),)

    @classmethod
    def of_text(cls, text: str) -> "FrameError":
        """The error whose text this is."""
        error = cls.__new__(cls)
        ValueError.__init__(error, text)
        return error


def short_reason(error: BaseException) -> str:
    """First line of an error's text."""
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


def foreign(start: bytes) -> str:
    """What a file that begins with these bytes is instead of a table, in words; "" where nothing is known."""
    return next((what for mark, what in _FOREIGN if start.lstrip(b" \t\r\n").startswith(mark)), "")


def require_columns(path: Path, present: Sequence[str], names: Sequence[str]) -> None:
    """Raise FrameError unless all columns `names` are among those `present` in `path`, each once."""
    missing = [name for name in names if name not in present]
    if missing:
        raise FrameError(
            path, f"columns {missing[:5]} are missing ({len(missing)} of {len(names)})", "Download the file again."
        )
    if twice := [name for name in names if present.count(name) > 1]:
        raise FrameError(path, f"column {twice[0]} is there {present.count(twice[0])} times", "Keep the right one.")


@dataclass(frozen=True)
class CsvTable:
    """A CSV file: n rows of one cell a name."""

    path: Path
    names: list[str]
    rows: list[list[str]]  # cells without blanks around them
    lines: list[int]  # in which line of the file each row stands
    faults: dict[int, str]  # row, counted from 0 -> what is wrong with it as a whole
    commas: bool  # whether commas at the line's end were left out, of the header or of a row

    def error(self, row: int, fault: str, remedy: str = "Correct the row.") -> FrameError:
        """What to raise for a fault in a row, counted from 0."""
        return FrameError(self.path, f"row {row + 1}, {fault}", remedy)

    def column(self, name: str) -> list[str]:
        """The cells of one column."""
        require_columns(self.path, self.names, [name])
        index = self.names.index(name)
        return [cells[index] for cells in self.rows]

    def numbers(self, names: Sequence[str]) -> tuple[Array, dict[int, str]]:
        """Columns as finite numbers, (n, len(names)), and what is wrong with the rows that do not hold such."""
        require_columns(self.path, self.names, names)
        places = [self.names.index(name) for name in names]
        values, faults = np.full((len(self.rows), len(names)), np.nan), dict(self.faults)
        for row, cells in enumerate(self.rows):
            chosen = [cells[place] for place in places]
            if row not in faults and (fault := _filled(values[row], chosen)) is not None:
                faults[row] = f"column {names[fault[0]]}: {fault[1]}"
        return values, faults


def _filled(target: Array, cells: list[str]) -> tuple[int, str] | None:
    """Put cells into `target` as numbers; or the first that is no finite one: its index and what it is in words."""
    try:
        if _PLAIN.fullmatch(",".join(cells)):
            target[:] = list(map(float, cells))
    except ValueError:
        pass  # found below
    bad = np.flatnonzero(~np.isfinite(target))
    if not len(bad):
        return None
    for index, cell in enumerate(cells):
        if cell.lower() in _ABSENT:
            return index, "not a finite number"
        try:
            number = float(cell) if _PLAIN.fullmatch(cell) else None
        except ValueError:
            number = None
        if number is None:
            comma = ", but has a decimal comma" if _DECIMAL_COMMA.fullmatch(cell) else ""
            return index, f"{cell[:40]!r} is not a number{comma}"
        if not np.isfinite(number):
            return index, "not a finite number"
    raise AssertionError(cells)  # every cell is a finite number, so the row is


def read_csv(path: Path) -> CsvTable:
    """Read a CSV file with a header. Raises FrameError for a file that is missing, of another kind, or has no header.

    A row with other cells than the header names is one of `faults`, unless all rows are: then the header is wrong.
    """
    path = Path(path)
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    read: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                read.append((reader.line_num, stripped))
    except csv.Error as error:
        problem = f"cannot be read as CSV (line {reader.line_num}: {short_reason(error)})"
        raise FrameError(path, problem, AGAIN) from error
    if not read:
        raise FrameError(path, "cannot be read as CSV (it is empty)", "Download the file again.")
    names = _used(read[0][1], 0)
    if len(names) == 1 and (marks := [mark for mark in ";\t| " if names[0].count(mark) > 3 * (mark == " ")]):
        raise FrameError(path, f"columns are separated by {marks[0]!r}, not by commas", AGAIN)
    return _table(path, names, read[1:], commas=len(names) < len(read[0][1]))


def _table(path: Path, names: list[str], read: list[tuple[int, list[str]]], commas: bool) -> CsvTable:
    width, rows, faults = len(names), [], {}
    for row, (line, cells) in enumerate(read):
        used = _used(cells, width)
        if len(used) != width:
            faults[row] = f"line {line} has {len(used)} cells, the header {width}"
        commas |= len(used) < len(cells)
        rows.append([*used[:width], *[""] * (width - len(used))])
    if rows and len(faults) == len(rows):
        causes = "row names without a name, decimal commas, or a column lost"
        raise FrameError(path, f"no row has the header's {width} cells: row 1, {faults[0]} ({causes})", AGAIN)
    return CsvTable(path, names, rows, [line for line, _ in read], faults, commas)


def _used(cells: list[str], width: int) -> list[str]:
    """A line's cells without the empty ones at its end that lie beyond `width`."""
    used = len(cells)
    while used > width and not cells[used - 1]:
        used -= 1
    return cells[:used]


def _text(path: Path) -> str:
    if not path.is_file():
        raise FrameError(path, "file is missing", "Give the competition's folder as data.root.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FrameError(path, f"cannot be read ({error.strerror or error})", "Check disk and permissions.") from error
    what = foreign(data) or ("binary, or text in UTF-16" if b"\0" in data else "")
    if what:
        raise FrameError(path, f"cannot be read as CSV (it is {what})", AGAIN)
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"cannot be read as CSV (line {line}: byte {data[error.start]:#04x} is not UTF-8)"
        raise FrameError(path, problem, AGAIN) from error

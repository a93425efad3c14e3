"""Is a file a valid submission? Every complaint names the row and the column, as counted in the file.

The text is read strictly (plain UTF-8, commas, no quotes, decimal points, one line a planet): what pandas forgives on
one machine may be refused on another. Header, number of planets and the least value of each column are held to
`submission.schema.json`; the numbers themselves are checked as arrays, which keeps 1,100 rows under a second.
"""

import codecs
import json
import re
from array import array
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

from ..base.instruments import N_BINS, submission_columns
from ..base.products import Array, Prediction

MAX_FINDINGS = 100  # kept of a kind of trouble; a report of 600,000 lines helps no one
DEPTH_RANGE = (0.0005, 0.2)  # legal outside, but real depths run from 0.0037 to 0.080
MAX_DEPTH = 1.0  # no planet hides more than its star: what is above is an error
SIGMA_RANGE = (1e-6, 0.02)  # legal outside; the naive sigma is 0.0106
_COLUMNS = submission_columns()
_PLAIN = re.compile(r"[0-9eE+.,-]*")  # all that a row of numbers can hold
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ID = re.compile(r"0|[1-9][0-9]*")
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class SubmissionError(ValueError):
    """A submission that would be refused; the message names file, row, column and what to do."""


@dataclass(frozen=True)
class Finding:
    """One complaint. `row` counts data rows from 1: it is line row + 1 of the file; row 0 is the header."""

    message: str
    row: int | None = None
    column: str | None = None
    planet_id: int | None = None

    def __str__(self) -> str:
        """Place and message in one line."""
        place = []
        if self.row is not None:
            planet = "" if self.planet_id is None else f", planet {self.planet_id}"
            place.append("header (line 1)" if self.row == 0 else f"row {self.row} (line {self.row + 1}{planet})")
        if self.column is not None:
            place.append(f"column {self.column}")
        return f"{', '.join(place)}: {self.message}" if place else self.message


@dataclass(frozen=True)
class ValidationReport:
    """What `validate_submission` found. Errors would be refused by the competition or by us; warnings are legal."""

    path: Path
    planets: int
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True without errors."""
        return not self.errors

    def raise_for_errors(self) -> "ValidationReport":
        """This report; SubmissionError listing the first errors where there are any."""
        if self.errors:
            shown = "\n".join(f"  {finding}" for finding in self.errors[:10])
            more = f"\n  and {len(self.errors) - 10} more" if len(self.errors) > 10 else ""
            raise SubmissionError(
                f"{self.path} is not a valid submission:\n{shown}{more}\n"
                "Write it with kitlib.submission.writer.write_submission, or run `spectramind predict` again."
            )
        return self


@dataclass
class _Table:
    """A submission as far as it could be read, and what is wrong with it."""

    header: list[str] = field(default_factory=list)
    planet_id: list[int] = field(default_factory=list)
    numbers: "array[float]" = field(default_factory=lambda: array("d"))  # 566 a row: 8 bytes each, for 100,000 rows too
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    @property
    def values(self) -> Array:
        """The numbers, (P, 566)."""
        return np.frombuffer(self.numbers).reshape(-1, 2 * N_BINS)

    def error(self, message: str, row: int | None = None, column: str | None = None, planet: int | None = None) -> None:
        if len(self.errors) < MAX_FINDINGS:
            self.errors.append(Finding(message, row, column, planet))


def validate_submission(path: Path, expected_planet_ids: NDArray[np.int64] | None = None) -> ValidationReport:
    """Check a submission file against format, schema and the planets it must hold, in their order.

    Args:
        path: of `submission.csv`.
        expected_planet_ids: (P,) as `submission.read_expected_ids` gives them; None: any set of planets.
    """
    return _report(Path(path), _read(Path(path)), expected_planet_ids)


def validate_bytes(path: Path, data: bytes, expected_planet_ids: NDArray[np.int64] | None = None) -> ValidationReport:
    """The same check of a file's content before it is written to `path`."""
    return _report(Path(path), _parse(data), expected_planet_ids)


def possible(answer: Prediction) -> NDArray[np.bool_]:
    """(P,) which planets' answers a planet can have: finite, no depth above 1, no error larger than that."""
    depth = (answer.mu >= 0) & (answer.mu <= MAX_DEPTH)  # NaN compares false
    return np.asarray((depth & (answer.sigma > 0) & (answer.sigma <= MAX_DEPTH)).all(axis=1))


def read_submission(path: Path) -> Prediction:
    """A submission file as arrays, rows in the file's order. Raises SubmissionError where it is not valid."""
    table = _read(Path(path))
    _report(Path(path), table, None).raise_for_errors()
    return Prediction(np.array(table.planet_id, np.int64), table.values[:, :N_BINS], table.values[:, N_BINS:])


def _report(path: Path, table: _Table, expected: NDArray[np.int64] | None) -> ValidationReport:
    if not table.errors:
        _check_ids(table, None if expected is None else [int(i) for i in expected])
        _check_numbers(table, table.values)
    return ValidationReport(path, len(table.planet_id), tuple(table.errors), tuple(table.warnings))


def _read(path: Path) -> _Table:
    if not path.is_file():
        table = _Table()
        table.error("no such file: run `spectramind predict` first")
        return table
    return _parse(path.read_bytes())


def _parse(data: bytes) -> _Table:
    table = _Table()
    if not data.strip():
        table.error("the file is empty")
    elif data.startswith(_MARKS):
        table.error("the file starts with a byte order mark: write it as plain UTF-8", 0, "planet_id")
    else:
        _parse_text(table, data)
    return table


def _parse_text(table: _Table, data: bytes) -> None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8").split("\n")
        index = min(before[-1].count(","), len(_COLUMNS) - 1)
        table.error(f"byte {data[error.start]:#04x} is not UTF-8", len(before) - 1, _COLUMNS[index])
        return
    lines = text.split("\n")
    if lines[-1]:
        column = _COLUMNS[min(lines[-1].count(","), len(_COLUMNS) - 1)]
        table.error("the last line does not end: the file may be cut off", len(lines) - 1, column)
    else:
        lines.pop()
    if any(line.endswith("\r") for line in lines):
        table.warnings.append(Finding("lines end in carriage return and line feed; a plain line feed is usual"))
        lines = [line.removesuffix("\r") for line in lines]
    _check_header(table, lines[0])
    if table.errors:
        return
    if len(lines) == 1:
        table.error("there is a header but no planet: the test set's ids are in test_star_info.csv", 1, "planet_id")
    for row, line in enumerate(lines[1:], start=1):
        _parse_row(table, row, line)


def _check_header(table: _Table, line: str) -> None:
    names = table.header = line.split(",")
    for index, expected in enumerate(_COLUMNS):
        found = names[index] if index < len(names) else None
        if found == expected:
            continue
        if found is None:
            table.error("is missing", 0, expected)
        elif len(names) == 1 and any(mark in line for mark in ";\t|"):
            table.error("columns are not separated by commas", 0, expected)
        elif found.strip().strip('"').strip("'").strip() == expected:
            table.error(f"is written {found!r}, with blanks or quotes around it", 0, expected)
        elif found in ("", "Unnamed: 0", "index") and names[index + 1 : index + 2] == [expected]:
            table.error(f"the file has an index column {found!r} in front: write it without", 0, expected)
        else:
            table.error(f"stands where {expected} must be (column {index + 1})", 0, found)
        return  # what follows a wrong column is wrong as well
    if len(names) > len(_COLUMNS):
        table.error(f"is one of {len(names) - len(_COLUMNS)} columns too many", 0, names[len(_COLUMNS)])


def _parse_row(table: _Table, row: int, line: str) -> None:
    if not line.strip(", \t"):
        table.error("the line is empty", row, "planet_id")
        return
    cells = line.split(",")
    planet = int(cells[0]) if _ID.fullmatch(cells[0]) and len(cells[0]) < 20 else None
    if planet is None or planet > np.iinfo(np.int64).max:
        table.error(f"{_shown(cells[0])} is not an integer planet id{_why(cells[0])}", row, "planet_id")
        planet = None
    numbers = _numbers(line, cells)
    if numbers is None:
        for cell, column in zip(cells[1:], _COLUMNS[1:], strict=False):
            if not _NUMBER.fullmatch(cell):
                table.error(f"{_shown(cell)} is not a decimal number{_why(cell)}", row, column, planet)
    if len(cells) != len(_COLUMNS):
        column = _COLUMNS[min(len(cells), len(_COLUMNS)) - 1]
        table.error(f"{len(cells)} cells instead of {len(_COLUMNS)}: cut off, or decimal commas", row, column, planet)
    if planet is not None and not table.errors:
        table.planet_id.append(planet)
        table.numbers.extend(numbers if numbers is not None else map(float, cells[1:]))


def _numbers(line: str, cells: list[str]) -> "array[float] | None":
    """A row's numbers, or None: with these characters alone `float` takes what `_NUMBER` describes, far faster."""
    try:
        return array("d", map(float, cells[1:])) if _PLAIN.fullmatch(line) else None
    except ValueError:
        return None


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 24 else cell[:24] + "...")


def _why(cell: str) -> str:
    """What a bad cell most probably is, as an addition to a message."""
    bare = cell.strip()
    reasons = (
        (not bare, " (empty cell)"),
        (bare != cell, " (blanks around it)"),
        (bare[:1] in "\"'" or bare[-1:] in "\"'", " (quotes)"),
        (bare.lower().lstrip("+-") in ("nan", "inf", "infinity", "na", "null", "none"), " (not finite)"),
        (bare.lower().lstrip("+-").startswith("0x"), " (hexadecimal)"),
        (re.fullmatch(r"[0-9]+\.0*", bare) is not None, " (written as a float)"),
        (bare.isdigit() and len(bare) > 18, " (too large)"),
        ("_" in bare, " (digit separators)"),
    )
    return next((text for hit, text in reasons if hit), "")


def _check_ids(table: _Table, expected: list[int] | None) -> None:
    first: dict[int, int] = {}
    for row, planet in enumerate(table.planet_id, start=1):
        if planet in first:
            table.error(f"the planet occurs twice, first in row {first[planet]}", row, "planet_id", planet)
        first.setdefault(planet, row)
    if expected is None:
        return
    wanted = set(expected)
    for planet, row in first.items():
        if planet not in wanted:
            table.error("the planet is not in the test set", row, "planet_id", planet)
    for row, planet in enumerate(expected, start=1):
        if planet not in first:
            table.error(f"planet {planet} is missing; it belongs here", row, "planet_id")
    if not table.errors:
        for row, (planet, wanted_here) in enumerate(zip(table.planet_id, expected, strict=True), start=1):
            if planet != wanted_here:
                table.error(f"planet {wanted_here} belongs here: keep the test set's order", row, "planet_id", planet)
                return


def _check_numbers(table: _Table, values: Array) -> None:
    finite = np.isfinite(values)
    for row, index in np.argwhere(~finite)[:MAX_FINDINGS]:
        table.error("the number is too large", int(row) + 1, _COLUMNS[index + 1], table.planet_id[row])
    least = [min(table.planet_id), *values.min(axis=0, where=finite, initial=1e300).tolist()]
    summary = {
        "header": table.header,
        "planets": len(values),
        "least": dict(zip(table.header, least, strict=True)),
    }
    for error in _schema().iter_errors(summary):
        column = error.path[-1] if len(error.path) == 2 else None
        if column is None or error.validator not in ("minimum", "exclusiveMinimum"):
            table.error(f"the summary breaks the schema: {error.message}")
            continue
        numbers = values[:, _COLUMNS.index(column) - 1]
        bound = error.validator_value
        for row in np.flatnonzero(numbers < bound if error.validator == "minimum" else numbers <= bound):
            rule = "not negative" if error.validator == "minimum" else f"greater than {bound}"
            table.error(f"{numbers[row]:.6g} must be {rule}", int(row) + 1, column, table.planet_id[row])
    for row, index in np.argwhere(finite[:, :N_BINS] & (values[:, :N_BINS] > MAX_DEPTH))[:MAX_FINDINGS]:
        message = f"{values[row, index]:.6g} is deeper than the star is bright: at most {MAX_DEPTH:g}"
        table.error(message, int(row) + 1, _COLUMNS[index + 1], table.planet_id[row])
    if not table.errors:
        _warn(table, values)


def _warn(table: _Table, values: Array) -> None:
    for name, block, (low, high), start in (
        ("depths", values[:, :N_BINS], DEPTH_RANGE, 1),
        ("sigmas", values[:, N_BINS:], SIGMA_RANGE, 1 + N_BINS),
    ):
        outside = np.argwhere((block < low) | (block > high))
        if len(outside):
            row, index = map(int, outside[0])
            message = f"{len(outside)} {name} lie outside {low:g} to {high:g}; the first is {block[row, index]:.6g}"
            table.warnings.append(Finding(message, row + 1, _COLUMNS[start + index], table.planet_id[row]))
    if len(values) > 1 and (values == values[0]).all():
        table.warnings.append(Finding("every planet has the same spectrum and sigma, as a population prior has"))


def _schema() -> Draft202012Validator:
    text = resources.files("kitlib.submission").joinpath("submission.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))

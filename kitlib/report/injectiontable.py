"""OUT/inject.json as tables of text for the page: whatever its columns are called, one row for each amplitude."""

from collections.abc import Iterator, Mapping
from typing import Any

_LEFT_OUT = ("points", "summary")  # single planets: too many; what a signal is: the README says it
_MAX_ROWS = 200


def injection_tables(content: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """[{caption, columns, words, rows}] of each list of records, named after its key; empty without a file.

    `words`: which columns hold no number.
    """
    found = []
    for name, records in (content or {}).items():
        if name in _LEFT_OUT or not isinstance(records, list) or not all(isinstance(one, Mapping) for one in records):
            continue
        flat = [row for one in records for row in _flat(one)]
        if not flat:
            continue
        columns = list(dict.fromkeys(key for row in flat for key in row))
        left = len(flat) - _MAX_ROWS
        found.append(
            {
                "caption": name.replace("_", " ") + (f", {left} more rows in inject.json" if left > 0 else ""),
                "columns": [key.replace("_", " ") for key in columns],
                "words": [not any(row.get(key, "").lstrip("-")[:1].isdigit() for row in flat) for key in columns],
                "rows": [[row.get(key, "") for key in columns] for row in flat[:_MAX_ROWS]],
            }
        )
    return found


def _flat(record: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """One row for each record of a list inside `record` (its ladder of amplitudes), or one where it has none."""
    about: dict[str, str] = {}
    steps: list[Mapping[str, Any]] = []
    for key, value in record.items():
        if key in _LEFT_OUT:
            continue
        if isinstance(value, list):
            steps += [one for one in value if isinstance(one, Mapping)]
        elif isinstance(value, Mapping):
            about |= {f"{key}: {name}": _shown(one) for name, one in value.items()}
        else:
            about[key] = _shown(value)
    for step in steps or [{}]:
        yield about | {key: _shown(value) for key, value in step.items()}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):  # a fitted line
        return " ± ".join(_shown(value[name]) for name in ("slope", "error") if name in value)
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)

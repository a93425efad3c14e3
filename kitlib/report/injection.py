"""OUT/inject.json as tables of text: any list of records in it is a table, whatever its columns are called."""

from collections.abc import Mapping
from typing import Any

_MAX_ROWS = 400


def injection_tables(content: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """[{caption, columns, rows}] of each list of flat records, named after its key; empty without a file."""
    if content is None:
        return []
    found = []
    for name, records in content.items():
        if not isinstance(records, list) or not records or not all(isinstance(one, Mapping) for one in records):
            continue
        plain = {key for one in records for key, value in one.items() if not isinstance(value, Mapping | list)}
        columns = [key for key in dict.fromkeys(key for one in records for key in one) if key in plain]
        rows = [[_shown(one.get(key)) for key in columns] for one in records[:_MAX_ROWS]]
        left = len(records) - len(rows)
        caption = str(name).replace("_", " ") + (f" ({left} more rows in inject.json)" if left else "")
        heads = [str(key).replace("_", " ") for key in columns]
        found.append({"caption": caption, "columns": heads, "rows": rows})
    return found


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""What a notebook's cells are made of: their `overrides` as words, cells that only show something, short tables."""

import html
import math
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..base.config import ConfigError
from ..base.provenance import EventLog
from ..detector import short_reason


def words_of(overrides: Any) -> list[str]:
    """A notebook's parameter as words: a list as it is; one string, which `papermill -p` makes of it, as a shell does.

    Raises ConfigError for anything else.
    """
    given = overrides
    try:
        if isinstance(given, str) and given.lstrip().startswith("["):  # a list that has become text
            given = yaml.safe_load(given)
        if isinstance(given, str):
            return shlex.split(given)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"overrides={overrides!r} cannot be taken apart ({short_reason(error)}). {_REMEDY}"
        ) from error
    if not isinstance(given, list | tuple) or not all(isinstance(word, str) for word in given):
        raise ConfigError(f"overrides={overrides!r} is neither a list of words nor one string of them. {_REMEDY}")
    return list(given)


_REMEDY = 'Give a list such as ["data.root=DIR", "run.out=OUT"], or a string such as "data.root=DIR run.out=OUT".'


@contextmanager
def displaying(what: str, stage: str, out: str | Path) -> Iterator[None]:
    """Run what only shows products of `stage` in `out`: an error in it is a warning and an event, and ends nothing."""
    try:
        yield
    except Exception as error:  # whatever it is: the products are written
        reason = f"{what} cannot be shown: {type(error).__name__}: {error}"
        EventLog(Path(out).expanduser() / "events.jsonl").emit(stage, "not_shown", reason=reason)
        warnings.warn(reason, RuntimeWarning, stacklevel=3)


class Table:
    """Rows as a short table: numbers of four digits, empty cells for what is not known. Wide ones scroll.

    Without rows it is the sentence `otherwise`.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], otherwise: str = "Nothing to list."):
        self._head = list(dict.fromkeys(name for row in rows for name in row))
        self._cells = [[_word(row.get(name)) for name in self._head] for row in rows]
        self._otherwise = otherwise

    def __repr__(self) -> str:
        if not self._cells:
            return self._otherwise
        lines = [self._head, *self._cells]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self._head))]
        return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)

    def _repr_html_(self) -> str:
        if not self._cells:
            return f"<p>{html.escape(self._otherwise)}</p>"
        head, *rows = (
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            for tag, cells in (("th", self._head), *(("td", cells) for cells in self._cells))
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f'<div style="overflow-x:auto"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _word(value: Any) -> str:
    """A cell's value as text."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        number = float(value)
        return "" if not math.isfinite(number) else f"{number:.0f}" if abs(number) >= 1000 else f"{number:.4g}"
    return str(value)

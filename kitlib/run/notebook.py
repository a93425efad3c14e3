"""What a notebook's cells are made of: their `overrides` as words, and cells that only show something."""

import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

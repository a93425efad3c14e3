"""Parquet files by their paths, as they are: no character of a path is a pattern, none of a folder's name a column."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from .csvtable import FrameError, foreign, short_reason


def read_parquet(path: Path) -> pl.DataFrame:
    """The table of one file."""
    return pl.read_parquet(path, glob=False, hive_partitioning=False)


def scan_parquet(path: Path) -> pl.LazyFrame:
    """The same, of which nothing is read but the schema before it is asked for."""
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Whatever goes wrong while `path` is read becomes a FrameError that says what the file is or lacks."""
    if not path.is_file():
        raise FrameError(path, "file is missing")
    try:
        yield
    except FrameError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:  # its own, OS and Rust's errors, for damaged files
        raise FrameError(path, _trouble(path, error)) from error


def _trouble(path: Path, error: BaseException) -> str:
    try:
        with open(path, "rb") as stream:
            start = stream.read(64)
    except OSError as refused:
        return f"cannot be read ({refused.strerror or refused})"
    what = foreign(start)
    return f"is {what}" if what and what != "a parquet file" else f"is truncated or damaged ({short_reason(error)})"

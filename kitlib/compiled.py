"""How inner loops are compiled: by numba, without the interpreter's lock, cached on disk where that is possible."""

from collections.abc import Callable

import numba


def compiled(function: Callable) -> Callable:
    """Machine code of `function`; its cache is in NUMBA_CACHE_DIR, else beside the file, else there is none."""
    return _machine_code(function)


def compiled_sums(function: Callable) -> Callable:
    """`compiled`, with sums in any order: they run in vector registers. Not for loops that must add in order."""
    return _machine_code(function, "reassoc")


def _machine_code(function: Callable, *also: str) -> Callable:
    options = {"nogil": True, "fastmath": {"contract", "nsz", "arcp", *also}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": read-only install without a home folder
        return numba.njit(**options)(function)

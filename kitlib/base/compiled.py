"""How inner loops are compiled: by numba, without the interpreter's lock, cached on disk where that is possible."""

from collections.abc import Callable
from typing import Any

import numba

Function = Callable[..., Any]


def compiled(function: Function) -> Function:
    """Machine code of `function`; its cache is in NUMBA_CACHE_DIR, else beside the file, else there is none."""
    return _machine_code(function)


def compiled_sums(function: Function) -> Function:
    """`compiled`, with sums in any order: they run in vector registers. Not for loops that must add in order."""
    return _machine_code(function, "reassoc")


def _machine_code(function: Function, *also: str) -> Function:
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "nsz", "arcp", *also}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": read-only install without a home folder
        return numba.njit(**options)(function)


@compiled_sums
def dot(a: Any, b: Any) -> Any:
    """Sum of products of two vectors; inside other compiled loops, where a library's call would cost more."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@compiled_sums
def sums_between(values: Any, edges: Any, sums: Any) -> None:
    """Sums of a vector from each edge to the next, into `sums`, one shorter than `edges`."""
    for k in range(len(sums)):
        total = values[0] - values[0]
        for i in range(edges[k], edges[k + 1]):
            total += values[i]
        sums[k] = total

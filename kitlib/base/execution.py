"""Many pieces of work in processes of one thread each, with a progress bar."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm


def in_processes(
    work: Callable[..., Any],
    given: Sequence[tuple[Any, ...]],
    workers: int,
    title: str,
    unit: str = "planet",
    progress: bool = True,
    ordered: bool = True,
) -> Iterator[Any]:
    """Results of `work(*one)` for each of `given`, as they come; without `ordered` in the order in which they end.

    Args:
        work: a function of an importable module; it, its arguments and its results are pickled.
        given: the arguments of each call.
        workers: processes; 1: this one; 0 or less: one a core.
        title, unit, progress: of the progress bar, and whether it is shown.

    What `work` raises is raised here, and ends the rest.
    """
    # loky replaces a process that has grown by what it imported: no harm, and nothing that a user could do
    warnings.filterwarnings("ignore", "A worker stopped while some jobs")
    size = max(1, min(workers, len(given))) if workers > 0 else -1
    way = "generator" if ordered else "generator_unordered"
    with parallel_config(backend="loky", inner_max_num_threads=1):
        running = Parallel(n_jobs=size, return_as=way)(delayed(work)(*one) for one in given)
        yield from tqdm(running, total=len(given), desc=title, unit=unit, disable=not progress)

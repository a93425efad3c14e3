"""Where work runs: many independent pieces, or guarded ones, in processes of this machine or on a dask cluster.

`running_on` says once for a whole stage where its pieces go (`run.backend`, `run.scheduler`); what hands them out need
not know. Independent pieces of this machine are joblib's (loky); `guarded` has processes for pieces that may hang or
die, `cluster` has both for dask.
"""

import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from typing import Any

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky import reusable_executor
from tqdm import tqdm

from .cluster import ClusterWorkers, connected, pieces, threads_of
from .guarded import Pool, Workers

BACKENDS = ("loky", "dask")
_ADDRESS = re.compile(r"\w+://\S+:\d+")
_HIDDEN_S = 1e-9  # no progress bar before the first result

_scheduler: ContextVar[str] = ContextVar("scheduler", default="")  # its address; "": processes of this machine


@contextmanager
def running_on(backend: str = "loky", scheduler: str = "") -> Iterator[None]:
    """While active, pieces of this thread go to processes of this machine (loky) or to a dask cluster.

    Args:
        backend: loky or dask.
        scheduler: dask: the address of a running scheduler, tcp://HOST:PORT. Its machines have this kit installed and
            see the same folders; `dask worker --nthreads 1` computes one piece at a time.

    Raises ValueError for another backend, or for dask without such an address.
    """
    if backend not in BACKENDS:
        raise ValueError(f"run.backend={backend}: give {' or '.join(BACKENDS)}")
    if backend == "dask" and not _ADDRESS.fullmatch(scheduler):
        found = f"run.scheduler={scheduler}: run.backend=dask needs the address of a dask scheduler"
        raise ValueError(f"{found}, as in run.scheduler=tcp://HOST:PORT")
    before = _scheduler.set(scheduler if backend == "dask" else "")
    try:
        yield
    finally:
        _scheduler.reset(before)


def on_cluster() -> bool:
    """Whether pieces go to a cluster."""
    return bool(_scheduler.get())


def at_once(workers: int) -> int:
    """How many pieces are computed at once: `workers`, for 0 one a core, and on a cluster what it has."""
    if on_cluster():
        with connected(_scheduler.get()) as client:
            return threads_of(client)
    return workers if workers > 0 else cpu_count()


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
        workers: processes of one thread each; 1: this one; 0 or less: as many as there are, one a core or the whole
            cluster. Where processes cannot be started (in a daemonic one, say, or below threads) joblib warns and this
            process does the work.
        title, unit, progress: of the progress bar, and whether it is shown.

    What `work` raises is raised here, and ends the rest. A piece whose cluster worker dies goes to another.
    """
    if workers == 1 or len(given) < 2:
        results: Iterable[Any] = (work(*one) for one in given)
    else:
        address = _scheduler.get()
        results = pieces(address, work, given, ordered) if address else _here(work, given, workers, ordered)
    yield from counted(results, len(given), title, unit, progress)


def guarded(work: Callable[[int, str], Any], size: int, clock: Callable[[], float] = time.monotonic) -> Pool:
    """Processes for guarded pieces: up to `size` of this machine, or as many as the cluster has. See `Workers`."""
    address = _scheduler.get()
    return ClusterWorkers(address, work, clock) if address else Workers(work, size, clock)


def counted(results: Iterable[Any], total: int, title: str, unit: str, progress: bool) -> Iterator[Any]:
    """The same results with a progress bar, which appears with the first of them."""
    hidden = not progress or total == 0
    yield from tqdm(results, total=total, desc=title, unit=unit, disable=hidden, delay=_HIDDEN_S)


@contextmanager
def _one_polars_thread() -> Iterator[None]:
    """While active, new processes read tables on one thread each, which loky sees to for all other libraries."""
    name = "POLARS_MAX_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


@cache
def _pool_ends_with(process: int) -> None:
    """Have this process, the child of another, end its pool before it waits for it.

    A process of multiprocessing or loky that leaves waits for its children first, and loky's wait for work for 300 s
    before they leave: so long the process stands still, and with it the pool whose worker it is. (One that has grown
    leaves between two pieces.)

    Args:
        process: its number; a fork has another, and nothing of what its parent has asked for.
    """
    if parent_process() is not None:
        Finalize(None, _end_pool, exitpriority=20)  # before the queues, which have 10


def _end_pool() -> None:
    # loky's own question, get_reusable_executor, makes a pool where there is none
    if (pool := reusable_executor._executor) is not None:
        pool.shutdown()


def _here(work: Callable[..., Any], given: Sequence[tuple[Any, ...]], workers: int, ordered: bool) -> Iterator[Any]:
    # loky replaces a process that has grown by what it imported: no harm, and nothing that a user could do
    warnings.filterwarnings("ignore", "A worker stopped while some jobs")
    _pool_ends_with(os.getpid())
    size = min(workers, len(given)) if workers > 0 else -1
    way = "generator" if ordered else "generator_unordered"
    with _one_polars_thread(), parallel_config(backend="loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs=size, return_as=way)(delayed(work)(*one) for one in given)

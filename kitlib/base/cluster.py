"""Work on a dask cluster: independent pieces, and guarded ones.

Pieces are handed out by `distributed` itself, not by joblib's dask backend: that one keeps a piece's arguments on a
single worker, and with this worker they are lost.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from .guarded import CHECK_S, Ended, Workers

CONNECT_S = 30.0  # for a cluster's scheduler to answer, and for its first worker to be there
_AHEAD = 2  # pieces a thread of the cluster that are handed out: one computes, one is on its way


class ClusterError(OSError):
    """A cluster that cannot be used; the message names key and remedy."""


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of a cluster, by its scheduler's address. ClusterError where it does not answer or has no worker."""
    try:
        from distributed import Client  # not needed on a single machine
    except ImportError as error:
        raise ClusterError("run.backend=dask needs the package distributed: pip install distributed") from error
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except OSError as error:
        raise ClusterError(f"run.scheduler={address}: no dask scheduler answers there ({error})") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError as error:
            remedy = f"Start some: dask worker {address} --nthreads 1"
            raise ClusterError(f"run.scheduler={address}: it has no workers. {remedy}") from error
        yield client


def threads_of(client: Any) -> int:
    """Pieces that the workers of a cluster compute at once, as many as there are now."""
    return sum(client.nthreads().values())


@dataclass(frozen=True)
class _Piece:
    """A call in one parcel, which dask does not look into."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]


def _done(piece: _Piece) -> Any:
    return piece.work(*piece.arguments)


def pieces(address: str, work: Callable[..., Any], given: Sequence[tuple[Any, ...]], ordered: bool) -> Iterator[Any]:
    """Results of `work(*one)` for each of `given`; a piece whose worker dies goes to another (dask: three times)."""
    run, ended, waiting = uuid4().hex, SimpleQueue[Any](), iter(enumerate(given))
    running: dict[Any, int] = {}  # future -> its place
    held: dict[int, Any] = {}  # results that came before their turn
    turn = 0
    with connected(address) as client:
        while turn < len(given):
            while len(running) < _AHEAD * max(threads_of(client), 1) and (one := next(waiting, None)):
                place, arguments = one
                future = client.submit(_done, _Piece(work, arguments), key=f"piece-{run}-{place}", pure=False)
                running[future] = place
                future.add_done_callback(ended.put)
            future = ended.get()
            if future.status == "cancelled":
                raise ClusterError(f"run.scheduler={address}: the connection to the scheduler was lost")
            place = running.pop(future)
            held[place] = future.result()
            future.release()
            while (following := turn if ordered else place) in held:
                turn += 1
                yield held.pop(following)


class ClusterWorkers:
    """As `Workers`, on a dask cluster: a process beside each thread of its workers.

    The dask worker itself never computes: a piece that hangs or dies costs a process of ours. A piece whose dask worker
    dies goes to another (dask's own rule: three times). `size` follows the cluster.
    """

    def __init__(self, address: str, work: Callable[[int, str], Any], clock: Callable[[], float] = time.monotonic):
        self._clock, self._run, self._count = clock, uuid4().hex, 0
        self._stack = ExitStack()
        self._client = self._stack.enter_context(connected(address))
        self._station = self._client.submit(_Station, work, key=f"station-{self._run}", pure=False)
        self._running: dict[int, tuple[Any, float]] = {}  # task -> future, when it was started
        self._ended: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._listener: threading.Thread | None = None
        self._said: list[float] = []
        self.size = threads_of(self._client)

    def running(self) -> dict[int, float]:
        """Task -> when it was started, on this pool's clock."""
        return {task: since for task, (_, since) in self._running.items()}

    def start(self, task: int, setting: str) -> None:
        """Hand a task to the cluster."""
        self._count += 1
        given = (self._station, task, setting)
        future = self._client.submit(_beside, *given, key=f"guarded-{self._run}-{self._count}", pure=False)
        self._running[task] = future, self._clock()
        future.add_done_callback(lambda ended: self._ended.put((task, ended)))

    def wait(self, timeout_s: float) -> list[Ended]:
        """Tasks that ended, as soon as there is one, or none after `timeout_s`."""
        with suppress(OSError):  # no answer for now: the cluster's last known size
            self.size = max(1, threads_of(self._client))
        ended: list[Ended] = []
        end = time.monotonic() + timeout_s
        with suppress(Empty):
            while True:
                left = max(end - time.monotonic(), 0.0)
                task, future = self._ended.get(timeout=left) if left and not ended else self._ended.get_nowait()
                if self._running.get(task, (None,))[0] is future:  # else it was killed
                    del self._running[task]
                    ended.append(_outcome(task, future))
        return ended

    def kill(self, task: int) -> None:
        """Cancel a task; the process that works on it is ended."""
        future, _ = self._running.pop(task)
        future.cancel()

    def close(self) -> None:
        """End every process and leave the cluster as it was."""
        for task in list(self._running):
            self.kill(task)
        self._station.release()
        self._stack.close()

    def on_each_machine(self, ask: Callable[[], float]) -> list[float]:
        """What a function last said in each dask worker; it is asked anew meanwhile, so that nobody waits here."""

        def listen() -> None:
            with suppress(Exception):  # no answer for now: what was said before holds
                answers = self._client.run(ask, on_error="return").values()
                self._said = [one for one in answers if not isinstance(one, BaseException)]

        if self._listener is None or not self._listener.is_alive():
            self._listener = threading.Thread(target=listen, daemon=True)
            self._listener.start()
        return self._said


def _outcome(task: int, future: Any) -> Ended:
    try:
        return replace(future.result(), task=task)
    except Exception as error:  # dask gave it up, or the scheduler is gone
        return Ended(task, failure=f"{type(error).__name__}: {error}", died=True)


@dataclass(eq=False)
class _Station:
    """The processes beside the threads of one dask worker; they end with the run that they work for."""

    work: Callable[[int, str], Any]
    idle: list[Workers] = field(default_factory=list)

    def __post_init__(self) -> None:
        weakref.finalize(self, _close_all, self.idle)

    def __reduce__(self) -> Any:
        return type(self), (self.work,)  # elsewhere it has processes of its own


def _close_all(idle: list[Workers]) -> None:
    for pool in idle:
        threading.Thread(target=pool.close, daemon=True).start()


def _beside(station: _Station, task: int, setting: str) -> Ended:
    """One piece in a process beside this thread of a dask worker, until it ends or nobody wants it any more."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    pool = station.idle.pop() if station.idle else Workers(station.work, 1)
    try:
        pool.start(task, setting)
        while not (ended := pool.wait(CHECK_S)):
            state = worker.state.tasks.get(key)
            if state is None or state.state != "executing":  # cancelled, or its client is gone
                pool.kill(task)
                return Ended(task, failure="it was cancelled", died=True)
        return ended[0]
    finally:
        station.idle.append(pool)

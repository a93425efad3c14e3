"""Processes that work on one planet at a time and may hang, be killed or run out of memory without taking others along.

joblib and concurrent.futures lose the whole pool with one killed process and cannot stop one that hangs.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
_PARENT_CHECK_S = 0.5
_CLOSING_S = 5.0


@dataclass(frozen=True)
class Ended:
    """A task that is no longer running."""

    task: int
    value: Any = None
    failure: str = ""  # the exception that the work raised, or what became of its process
    died: bool = False  # the process ended without an answer: the task itself may be sound


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: int | None = None
    since: float = 0.0


class Workers:
    """Up to `size` processes that call `work(task, setting)`; a process starts with its first task, on one thread.

    Args:
        work: a function or callable object of an importable module, not of the script that runs; it, its arguments and
            its results are pickled between this program's own processes.
        size: the number of processes.
        clock: seconds, monotonic.
    """

    def __init__(self, work: Callable[[int, str], Any], size: int, clock: Callable[[], float] = time.monotonic):
        self._work, self.size, self._clock = work, max(1, size), clock
        self._context = get_context("spawn")  # a fork would inherit locks of torch's and polars' threads
        self._workers: list[_Worker] = []

    def running(self) -> dict[int, float]:
        """Task -> when it was started, on this pool's clock."""
        return {worker.task: worker.since for worker in self._workers if worker.task is not None}

    def start(self, task: int, setting: str) -> None:
        """Give a task to an idle process, or to a new one. Raises RuntimeError where all are busy."""
        idle = [worker for worker in self._workers if worker.task is None]
        if not idle and len(self._workers) >= self.size:
            raise RuntimeError(f"all {self.size} workers are busy")
        worker = idle[0] if idle else self._spawn()
        worker.task, worker.since = task, self._clock()
        with suppress(OSError):  # it died while it was idle: `wait` finds it dead and says so
            worker.pipe.send((task, setting))

    def wait(self, timeout_s: float) -> list[Ended]:
        """Tasks that ended, as soon as there is one, or none after `timeout_s`."""
        busy = [(worker, worker.task) for worker in self._workers if worker.task is not None]
        ready = set(wait([worker.pipe for worker, _ in busy], timeout_s)) if busy else set()
        ended = []
        for worker, task in busy:
            if worker.pipe in ready:
                try:
                    value, failure = worker.pipe.recv()
                except (EOFError, OSError):
                    self._remove(worker)
                    reason = f"its process ended with status {worker.process.exitcode}"
                    ended.append(Ended(task, failure=reason, died=True))
                else:
                    worker.task = None
                    ended.append(Ended(task, value, failure))
        return ended

    def kill(self, task: int) -> None:
        """End the process that works on a task; another takes its place when it is needed."""
        for worker in [worker for worker in self._workers if worker.task == task]:
            self._remove(worker)

    def close(self) -> None:
        """End every process: idle ones by themselves, so that they leave nothing behind, the others by force."""
        for worker in [worker for worker in self._workers if worker.task is None]:
            worker.pipe.close()
            worker.process.join(_CLOSING_S)
        for worker in list(self._workers):
            self._remove(worker)

    def _spawn(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._work), daemon=True)
        with _one_thread(), _without_main():
            process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


@contextmanager
def _one_thread() -> Iterator[None]:
    """While active, new processes compute on one thread each: the processes fill the cores already."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@contextmanager
def _without_main() -> Iterator[None]:
    """While active, new processes do not run the caller's own script or notebook again, as `spawn` would."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(pipe: Connection, work: Callable[[int, str], Any]) -> None:
    """A worker process: tasks come in, values or the text of an exception go out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    end_with_parent()
    while True:
        try:
            task, setting = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = work(task, setting), ""
        except Exception as error:
            answer = None, f"{type(error).__name__}: {error}"
        try:
            pipe.send(answer)
        except BrokenPipeError:  # nobody waits for it any more
            return


def end_with_parent() -> None:
    """A killed parent cannot end its processes: each that calls this looks for itself, in a thread."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

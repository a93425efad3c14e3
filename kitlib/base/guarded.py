"""Processes of this machine for pieces of work that may hang, be killed or run out of memory without harm to others.

joblib and concurrent.futures lose the whole pool with one killed process and cannot stop one that hangs. pebble
(tried: 5.2.3) ends a hanging one, but its processes are multiprocessing's: a daemonic process (multiprocessing.Pool, a
dask worker) may start none, and inside a joblib worker they die, because `spawn` hands loky's start method on. One that
dies before it has taken its work then breaks its whole pool, and a start has no time limit. Here a process is a plain
`subprocess` that says when it is ready, and waiting for it has time limits.
"""

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

# what keeps a process on one thread: the processes fill the cores already
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"), "1"
)
START_S = 120  # from the start of a process until it can take work; also for a message to get through
CHECK_S = 0.5
_CLOSING_S = 5.0
_READY = "ready"
_COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # the parent decides what an interrupt means
    "from kitlib.base.guarded import serve; serve({})"
)


@dataclass(frozen=True)
class Ended:
    """A task that is no longer running."""

    task: int
    value: Any = None
    failure: str = ""  # the exception that the work raised, or what became of its process
    died: bool = False  # the process ended without an answer: the task itself may be sound


class Pool(Protocol):
    """Processes for guarded pieces: what `Workers` and `cluster.ClusterWorkers` have in common."""

    size: int

    def running(self) -> dict[int, float]: ...  # noqa: D102
    def start(self, task: int, setting: str) -> None: ...  # noqa: D102
    def wait(self, timeout_s: float) -> list[Ended]: ...  # noqa: D102
    def kill(self, task: int) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    def on_each_machine(self, ask: Callable[[], float]) -> list[float]: ...  # noqa: D102


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    begun: float  # on the system's clock
    ready: bool = False
    task: int | None = None
    setting: str = ""
    since: float = 0.0  # on the pool's clock


class Workers:
    """Up to `size` processes that call `work(task, setting)`; a process starts with its first task, on one thread.

    Args:
        work: a function or callable object of an importable module, not of the script that runs; it, its arguments and
            its results are pickled between this program's own processes.
        size: the number of processes.
        clock: seconds, monotonic.
        start_s: a process that is not ready after so long is ended, and its task has failed.
    """

    def __init__(
        self,
        work: Callable[[int, str], Any],
        size: int,
        clock: Callable[[], float] = time.monotonic,
        start_s: float = START_S,
    ):
        self._packed, self.size, self._clock = bytes(ForkingPickler.dumps(work)), max(1, size), clock
        self._start_s = start_s
        self._workers: list[_Worker] = []
        self._unstarted: dict[int, tuple[float, str]] = {}  # task -> when it should have started, why it did not

    def running(self) -> dict[int, float]:
        """Task -> when it was started, on this pool's clock."""
        started = {worker.task: worker.since for worker in self._workers if worker.task is not None}
        return started | {task: since for task, (since, _) in self._unstarted.items()}

    def start(self, task: int, setting: str) -> None:
        """Give a task to an idle process, or to a new one. Raises RuntimeError where all are busy."""
        for worker in [worker for worker in self._workers if worker.task is None]:
            if worker.process.poll() is not None:  # it died while it was idle
                self._remove(worker)
        idle = [worker for worker in self._workers if worker.task is None]
        if not idle and len(self._workers) >= self.size:
            raise RuntimeError(f"all {self.size} workers are busy")
        try:
            worker = idle[0] if idle else self._spawn()
        except OSError as error:  # no memory for one more process, say
            self._unstarted[task] = self._clock(), f"its process could not be started: {error}"
            return
        worker.task, worker.setting, worker.since = task, setting, self._clock()
        if worker.ready:
            self._give(worker)

    def wait(self, timeout_s: float) -> list[Ended]:
        """Tasks that ended, as soon as there is one, or none after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while True:
            ended = [Ended(task, failure=reason, died=True) for task, (_, reason) in self._unstarted.items()]
            self._unstarted.clear()
            busy = [worker for worker in self._workers if worker.task is not None]
            left = 0.0 if ended else max(end - time.monotonic(), 0.0)
            late = [worker.begun + self._start_s - time.monotonic() for worker in busy if not worker.ready]
            readable = set(wait([worker.pipe for worker in busy], max(min([left, *late]), 0.0))) if busy else set()
            for worker in busy:
                if worker.pipe in readable:
                    ended += self._heard(worker)
                elif not worker.ready and time.monotonic() - worker.begun >= self._start_s:
                    ended.append(self._lost(worker, f"its process was not ready within {self._start_s:g} s"))
            if ended or not busy or time.monotonic() >= end:
                return ended

    def kill(self, task: int) -> None:
        """End the process that works on a task; another takes its place when it is needed."""
        self._unstarted.pop(task, None)
        for worker in [worker for worker in self._workers if worker.task == task]:
            self._remove(worker)

    def close(self) -> None:
        """End every process: idle ones by themselves, so that they leave nothing behind, the others by force."""
        idle = [worker for worker in self._workers if worker.task is None]
        for worker in idle:
            worker.pipe.close()
        for worker in idle:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(_CLOSING_S)
        for worker in list(self._workers):
            self._remove(worker)

    def on_each_machine(self, ask: Callable[[], float]) -> list[float]:
        """What a function says on each machine: there is this one."""
        return [ask()]

    def _spawn(self) -> _Worker:
        ours, theirs = Pipe()
        try:
            _limit(ours, START_S)
            # -P: what lies in the current folder is not imported instead of the kit and the packages that run here
            command = [sys.executable, "-P", "-c", _COMMAND.format(theirs.fileno())]
            path = os.pathsep.join(path or os.getcwd() for path in sys.path)
            env = os.environ | ONE_THREAD | {"PYTHONPATH": path}
            begun = time.monotonic()
            pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "pass_fds": [theirs.fileno()]}
            process = subprocess.Popen(command, env=env, **pipes)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._workers.append(_Worker(process, ours, begun))
        return self._workers[-1]

    def _give(self, worker: _Worker) -> None:
        with suppress(OSError):  # it is dead: `wait` will find the pipe closed and say so
            worker.pipe.send((worker.task, worker.setting))

    def _heard(self, worker: _Worker) -> list[Ended]:
        """What a process has sent: that it is ready, or how its task ended."""
        assert worker.task is not None
        try:
            message = worker.pipe.recv()
            if message == _READY:
                worker.ready = True
                worker.pipe.send_bytes(self._packed)
                self._give(worker)
                return []
        except (EOFError, OSError):
            return [self._lost(worker, "its process ended with status {}")]
        except Exception as error:
            message = None, f"its answer cannot be unpickled: {type(error).__name__}: {error}"
        ended = Ended(worker.task, *message)
        worker.task = None
        return [ended]

    def _lost(self, worker: _Worker, reason: str) -> Ended:
        task = worker.task
        assert task is not None
        if "{}" in reason:  # the pipe is closed: its end is near
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(_CLOSING_S)
        self._remove(worker)
        return Ended(task, failure=reason.format(worker.process.returncode), died=True)

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.wait()
        worker.pipe.close()


def _limit(pipe: Connection, seconds: int) -> None:
    """Reading and writing fail after so long without a byte, instead of waiting for ever for a process that is stuck.

    A reader waits for its first byte by `multiprocessing.connection.wait` or `poll`, without this limit.
    """
    with socket.socket(fileno=os.dup(pipe.fileno())) as both:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            both.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))


def serve(descriptor: int) -> None:
    """A worker process: tasks come in, values or the text of an exception go out, until the pipe closes."""
    end_with_parent()
    pipe = Connection(descriptor)
    with suppress(EOFError, OSError):  # nobody is there any more
        pipe.send(_READY)
        pipe.poll(None)
        work, problem = None, ""
        try:
            work = pipe.recv()
        except (EOFError, OSError):
            raise
        except Exception as error:  # what cannot be imported here, say
            problem = f"the work cannot be unpickled: {type(error).__name__}: {error}"
        while pipe.poll(None):
            task, setting = pipe.recv()
            _answer(pipe, work, problem, task, setting)


def _answer(pipe: Connection, work: Any, problem: str, task: int, setting: str) -> None:
    try:
        answer = ForkingPickler.dumps((None, problem) if problem else (work(task, setting), ""))
    except Exception as error:
        answer = ForkingPickler.dumps((None, f"{type(error).__name__}: {error}"))
    pipe.send_bytes(answer)


def end_with_parent() -> None:
    """A killed parent cannot end its processes: each that calls this looks for itself, in a thread."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

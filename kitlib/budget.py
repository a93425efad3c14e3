"""The guard of a run's time: Kaggle stops a kernel after 9 hours, and what is not written by then is lost.

A valid file is written before anything is computed and improved while planets finish. The pace of the first planets
says when the run would end; where that is too late, the remaining planets get a cheaper setting, in a declared order. A
planet that hangs is ended, one whose process died is tried once more, and low memory leaves fewer planets in flight.
Whatever has no answer when the time is up keeps the answer of the first file.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .workers import Ended

TICK_S = 1.0  # how often time and memory are looked at while planets compute
CALM_S = 120.0  # without memory pressure for so long, one planet more may be in flight
WINDOW = 32  # the latest planets of a setting, whose mean time is its pace


@dataclass(frozen=True)
class Setting:
    """One way to compute a planet. `cost` is its time relative to the other settings', until it has been measured."""

    name: str
    cost: float


@dataclass(frozen=True)
class Limits:
    """What a run may take."""

    total_s: float  # from the guard's start to the end of the last planet
    planet_s: float  # a planet that takes longer hangs
    memory_bytes: float = 2e9  # free memory below which fewer planets are computed at once
    first: int = 8  # planets of the first setting, after one a worker, that are measured before the pace is trusted
    attempts: int = 2  # for a planet whose process dies


@dataclass(frozen=True)
class Result:
    """What became of one planet: a value, or None and the reason."""

    task: int
    value: Any
    reason: str = ""
    setting: str = ""
    seconds: float = 0.0


class Pool(Protocol):
    """What the guard needs of `workers.Workers`."""

    size: int

    def running(self) -> dict[int, float]: ...  # noqa: D102
    def start(self, task: int, setting: str) -> None: ...  # noqa: D102
    def wait(self, timeout_s: float) -> list[Ended]: ...  # noqa: D102
    def kill(self, task: int) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass
class Guard:
    """Chooses settings so that all planets are done in time.

    Args:
        settings: from the best to the cheapest.
        limits: what the run may take.
        workers: planets that are computed at once.
        clock: seconds, monotonic; the run starts when the guard is made.
    """

    settings: Sequence[Setting]
    limits: Limits
    workers: int
    clock: Callable[[], float] = time.monotonic
    _spent: dict[str, deque[float]] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self._start, self._recorded = self.clock(), 0

    def left_s(self) -> float:
        """Seconds until planets must be done; negative when the time is up."""
        return self._start + self.limits.total_s - self.clock()

    def record(self, setting: str, seconds: float) -> None:
        """Take note of what a planet took. The first one of each worker pays for its start-up and says little."""
        self._recorded += 1
        if self._recorded > self.workers:
            self._spent.setdefault(setting, deque(maxlen=WINDOW)).append(seconds)

    def pace_s(self, setting: Setting) -> float | None:
        """Expected seconds of a planet: measured, else by relative cost from the nearest setting that was measured."""
        if known := self._spent.get(setting.name):
            return sum(known) / len(known)
        measured = [other for other in self.settings if other.name in self._spent]
        if not measured:
            return None
        position = self.settings.index
        nearest = min(measured, key=lambda other: abs(position(other) - position(setting)))
        return self.pace_s(nearest) * setting.cost / nearest.cost

    def projected_s(self, setting: Setting, planets: int) -> float:
        """Seconds until `planets` more are done with this setting; 0 before anything was measured."""
        return planets * (self.pace_s(setting) or 0.0) / self.workers

    def choose(self, planets: int) -> Setting:
        """The best setting with which `planets` more are done in time; the cheapest where none is."""
        if self._recorded < self.workers + self.limits.first:
            return self.settings[0]
        fitting = (setting for setting in self.settings if self.projected_s(setting, planets) <= self.left_s())
        return next(fitting, self.settings[-1])


def free_memory_bytes() -> float:
    """Memory that can still be taken: of the machine, and of this container where it has a limit of its own."""
    machine = _fields(Path("/proc/meminfo"))
    free = float(machine["MemAvailable:"]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
        files = _fields(group / "memory.stat")
    except OSError:
        return free
    if not limit.isdigit():
        return free
    cached = int(files["active_file"]) + int(files["inactive_file"])  # given back when it is needed
    return min(free, int(limit) - used + cached)


def _fields(path: Path) -> dict[str, str]:
    return {words[0]: words[1] for words in map(str.split, path.read_text().splitlines())}


class _Throttle:
    """How many planets may be in flight: fewer where memory is short, one more again after a while without that."""

    def __init__(self, size: int, floor_bytes: float, clock: Callable[[], float]):
        self.size, self.allowed, self._floor, self._clock, self._since = size, size, floor_bytes, clock, clock()

    def tightened(self, free_bytes: float, running: int) -> bool:
        """Look at the free memory; True where one of the running planets has to go."""
        if free_bytes < self._floor:
            self._since = self._clock()
            self.allowed = max(min(self.allowed, running) - 1, 1)
            return running > self.allowed
        if self.allowed < self.size and self._clock() - self._since >= CALM_S:
            self._since = self._clock()
            self.allowed += 1
        return False


def run(
    tasks: Iterable[int], pool: Pool, guard: Guard, free_memory: Callable[[], float] = free_memory_bytes
) -> Iterator[Result]:
    """One result for each task, as they end. The pool is closed at the end, also when the caller stops early."""
    waiting, running, attempts = deque(tasks), {}, Counter()  # running: task -> setting
    throttle = _Throttle(pool.size, guard.limits.memory_bytes, guard.clock)
    try:
        while (waiting or running) and guard.left_s() > 0:
            if throttle.tightened(free_memory(), len(running)):
                since = pool.running()
                youngest = max(running, key=lambda task: since[task])
                pool.kill(youngest)
                del running[youngest]
                waiting.appendleft(youngest)
            while waiting and len(running) < throttle.allowed:
                setting = guard.choose(len(waiting) + len(running))
                task = waiting.popleft()
                running[task] = setting.name
                pool.start(task, setting.name)
            since = pool.running()
            for ended in pool.wait(min(TICK_S, max(guard.left_s(), 0))):
                setting = running.pop(ended.task)
                attempts[ended.task] += 1
                seconds = guard.clock() - since[ended.task]
                if ended.died and attempts[ended.task] < guard.limits.attempts:
                    waiting.append(ended.task)
                    continue
                if not ended.failure:
                    guard.record(setting, seconds)
                yield Result(ended.task, ended.value, ended.failure, setting, seconds)
            for task in _hanging(pool, guard):
                pool.kill(task)
                yield Result(task, None, f"took more than {guard.limits.planet_s:.0f} s", running.pop(task))
    finally:
        pool.close()
    for task in [*running, *waiting]:
        yield Result(task, None, "the time was up")


def improve(
    write: Callable[[Any], Any],
    first: Any,
    results: Iterable[Result],
    merge: Callable[[Any, list[Result]], Any],
    every_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
) -> list[Result]:
    """Write `first` at once, then again with every result so far, at most every `every_s` seconds and at the end.

    Args:
        write: writes a whole answer atomically.
        first: the answer without data.
        results: as they come from `run`.
        merge: an answer and new results with a value -> the better answer.

    Returns:
        All results.
    """
    write(first)
    answer, done, fresh, last = first, [], [], clock()
    for result in results:
        done.append(result)
        if result.value is not None:
            fresh.append(result)
        if fresh and clock() - last >= every_s:
            answer, fresh, last = merge(answer, fresh), [], clock()
            write(answer)
    if fresh:
        write(merge(answer, fresh))
    return done


def _hanging(pool: Pool, guard: Guard) -> list[int]:
    now = guard.clock()
    return [task for task, since in pool.running().items() if now - since > guard.limits.planet_s]

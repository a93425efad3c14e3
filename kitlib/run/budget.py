"""The guard of a run's time: Kaggle stops a kernel after 9 hours, and what is not written by then is lost.

A valid file is written before anything is computed and improved while planets finish. The pace of the first planets
says when the run would end; where that is too late, the remaining planets get a cheaper setting, in a declared order. A
planet that hangs is ended, one whose process died is tried once more, and low memory leaves fewer planets in flight.
Whatever has no answer when the time is up keeps the answer of the first file.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..base.config import ConfigError
from ..base.guarded import Pool
from ..base.schema import BudgetConfig, Config, StepConfig

TICK_S = 1.0  # how often time and memory are looked at while planets compute
CALM_S = 120.0  # without memory pressure for so long, one planet more may be in flight
WINDOW = 32  # the latest planets of a setting, whose mean time is its pace
FULL = "full"  # the run's own setting
TIME_UP = "the time was up"


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


def settings_of(config: Config) -> dict[Setting, Config]:
    """The run's own setting and `budget.steps`, best first, each with the configuration that it stands for.

    Raises ConfigError for a step without a name of its own, or one that is not cheaper than the step before it.
    """
    found = {Setting(FULL, 1.0): config}
    for step in config.budget.steps:
        before = list(found)
        if step.name in {"", *(setting.name for setting in before)}:
            raise ConfigError(f"budget.steps: {step.name!r} is no new name. Give each step a name of its own.")
        if not 0 < step.cost < before[-1].cost:
            raise ConfigError(
                f"budget.steps: {step.name} has cost {step.cost:g}; it must lie between 0 and {before[-1].cost:g}, "
                f"the cost of {before[-1].name}. Put the steps in order, the cheapest last."
            )
        found[Setting(step.name, step.cost)] = _cheaper(config, step)
    return found


def _cheaper(config: Config, step: StepConfig) -> Config:
    curves, fit = config.lightcurves, config.physfit
    if step.samples is not None:
        curves = replace(curves, samples=step.samples)
    if step.max_iterations is not None:
        fit = replace(fit, max_iterations=step.max_iterations)
    return replace(config, lightcurves=curves, physfit=fit)


def _mean(seconds: Collection[float]) -> float:
    return sum(seconds) / len(seconds)


def limits_of(budget: BudgetConfig) -> Limits:
    """The limits that a configuration gives."""
    total_s = budget.hours * 3600 or float("inf")
    return Limits(total_s, budget.planet_minutes * 60, budget.memory_gb * 1e9, budget.first)


@dataclass(frozen=True)
class Result:
    """What became of one planet: a value, or None and the reason."""

    task: int
    value: Any
    reason: str = ""
    setting: str = ""
    seconds: float = 0.0


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

    def __post_init__(self) -> None:
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
            return _mean(known)
        measured = [other for other in self.settings if other.name in self._spent]
        if not measured:
            return None
        position = self.settings.index
        nearest = min(measured, key=lambda other: abs(position(other) - position(setting)))
        return _mean(self._spent[nearest.name]) * setting.cost / nearest.cost

    def projected_s(self, setting: Setting, planets: int, at_once: int | None = None) -> float:
        """Seconds until `planets` more are done with this setting, `at_once` together; 0 before any was measured."""
        return planets * (self.pace_s(setting) or 0.0) / (at_once or self.workers)

    def choose(self, planets: int, at_once: int | None = None) -> Setting:
        """The best setting with which `planets` more are done in time; the cheapest where none is."""
        if not self.measured():
            return self.settings[0]
        left = self.left_s()
        fitting = (setting for setting in self.settings if self.projected_s(setting, planets, at_once) <= left)
        return next(fitting, self.settings[-1])

    def measured(self) -> bool:
        """Whether enough planets are done for the pace to be trusted."""
        return self._recorded >= self.workers + self.limits.first


_CGROUPS = (  # limit, use, and the two counts of cached file pages, of a container: version 2, version 1
    ("memory.max", "memory.current", "memory.stat", ("active_file", "inactive_file")),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat",
     ("total_active_file", "total_inactive_file")),
)  # fmt: skip


def free_memory_bytes(proc: Path = Path("/proc"), group: Path = Path("/sys/fs/cgroup")) -> float:
    """Memory that can still be taken: of the machine, and of this container where it has a limit of its own.

    Infinite on a system that does not say (anything but Linux).
    """
    try:
        free = float(_fields(proc / "meminfo")["MemAvailable:"]) * 1024
    except (OSError, KeyError):
        return float("inf")
    for limit, used, stat, caches in _CGROUPS:
        try:
            allowed, taken = (group / limit).read_text().strip(), int((group / used).read_text())
            files = _fields(group / stat)
            cached = sum(int(files[name]) for name in caches)  # given back when it is needed
        except (OSError, KeyError):
            continue
        if allowed.isdigit():
            free = min(free, int(allowed) - taken + cached)
    return free


def _fields(path: Path) -> dict[str, str]:
    return {words[0]: words[1] for words in map(str.split, path.read_text().splitlines())}


class _Throttle:
    """How many planets may be in flight: fewer where memory is short, one more again after a while without that."""

    def __init__(self, pool: Pool, floor_bytes: float, clock: Callable[[], float], say: Callable[..., None]):
        self._pool, self._cap, self._floor = pool, float("inf"), floor_bytes
        self._clock, self._since, self._say = clock, clock(), say

    @property
    def allowed(self) -> int:
        """Planets that may be in flight: what the pool has processes for (a cluster grows and shrinks), or less."""
        return int(min(self._cap, self._pool.size))

    def tightened(self, free_bytes: float, running: int) -> bool:
        """Look at the free memory; True where one of the running planets has to go."""
        if free_bytes < self._floor:
            self._since = self._clock()
            before, self._cap = self.allowed, max(min(self.allowed, running) - 1, 1)
            if self.allowed < before:
                reason = f"{free_bytes / 1e9:.2f} GB of memory are free, less than budget.memory_gb"
                self._say("memory", at_once=self.allowed, reason=reason)
            return running > self.allowed
        if self._cap < self._pool.size and self._clock() - self._since >= CALM_S:
            self._since = self._clock()
            self._cap += 1
        return False


def run(
    tasks: Iterable[int],
    pool: Pool,
    guard: Guard,
    free_memory: Callable[[], float] | None = None,
    say: Callable[..., None] = lambda event, **fields: None,
) -> Generator[Result]:
    """One result for each task, as they end. The pool is closed at the end, also when the caller stops early.

    `say(event, **fields)` hears of what the guard does: `pace` once it is known, `step` when a cheaper setting is used
    for the first time, `memory` when fewer planets are computed at once, `retry` with a planet whose process died.
    `free_memory`: bytes; by default of that machine of the pool that has least.
    """
    waiting, attempts = deque(tasks), Counter[int]()
    running: dict[int, str] = {}  # task -> setting
    free = free_memory or (lambda: min(pool.on_each_machine(free_memory_bytes), default=float("inf")))
    throttle = _Throttle(pool, guard.limits.memory_bytes, guard.clock, say)
    told: set[str] = set()
    try:
        while (waiting or running) and guard.left_s() > 0:
            if throttle.tightened(free(), len(running)):
                since = pool.running()
                youngest = max(running, key=lambda task: since[task])
                pool.kill(youngest)
                del running[youngest]
                waiting.appendleft(youngest)
            while waiting and len(running) < throttle.allowed:
                setting = guard.choose(len(waiting) + len(running), throttle.allowed)
                _tell(say, guard, setting, len(waiting) + len(running), throttle.allowed, told)
                task = waiting.popleft()
                running[task] = setting.name
                pool.start(task, setting.name)
            since = pool.running()
            for ended in pool.wait(min(TICK_S, max(guard.left_s(), 0))):
                used = running.pop(ended.task)
                attempts[ended.task] += 1
                seconds = guard.clock() - since[ended.task]
                if ended.died and attempts[ended.task] < guard.limits.attempts:
                    waiting.append(ended.task)
                    say("retry", planet_id=ended.task, reason=ended.failure)
                    continue
                if not ended.failure:
                    guard.record(used, seconds)
                yield Result(ended.task, ended.value, ended.failure, used, seconds)
            for task in _hanging(pool, guard):
                pool.kill(task)
                yield Result(task, None, f"took more than {guard.limits.planet_s:.0f} s", running.pop(task))
    finally:
        pool.close()
    for task in [*running, *waiting]:
        yield Result(task, None, TIME_UP)


def _tell(say: Callable[..., None], guard: Guard, setting: Setting, planets: int, at_once: int, told: set[str]) -> None:
    """Say when the run is expected to end: once the pace is known, and when a setting is used for the first time."""
    if not guard.measured() or setting.name in told:
        return
    fields = {"setting": setting.name, "planets": planets}
    fields["projected_s"] = round(guard.projected_s(setting, planets, at_once), 1)
    if guard.left_s() < float("inf"):
        fields["left_s"] = round(guard.left_s(), 1)
    say("step" if told else "pace", **fields)
    told.add(setting.name)


def batches(
    results: Iterable[Result], every_s: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[list[Result]]:
    """Results in lists: those of at least `every_s` seconds together, and the rest at the end; never an empty list."""
    batch, last = [], clock()
    for result in results:
        batch.append(result)
        if clock() - last >= every_s:
            yield batch
            batch, last = [], clock()
    if batch:
        yield batch


def _hanging(pool: Pool, guard: Guard) -> list[int]:
    now = guard.clock()
    return [task for task, since in pool.running().items() if now - since > guard.limits.planet_s]

"""Guarded pieces without processes: for tests of what becomes of planets, where a process is not the subject.

A process that imports the kit costs seconds of a core, and a `predict` starts `run.workers` of them. The real ones are
tested in run/test_budget.py and run/test_guarded_predict.py; they also run in faults/test_planets.py,
base/test_hosts.py, base/test_cluster.py, run/test_sweep.py, the notebooks and the twin.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kitlib.base.guarded import Ended
from kitlib.run import planets


class Here:
    """A pool of this process: a piece is computed when it is waited for. It takes its words from `Workers`."""

    size = 1

    def __init__(self, work: Callable[[int, str], Any], _: int, clock: Callable[[], float]):
        self._work, self._clock = work, clock
        self._waiting: deque[tuple[int, str, float]] = deque()

    def running(self) -> dict[int, float]:
        return {task: since for task, _, since in self._waiting}

    def start(self, task: int, setting: str) -> None:
        self._waiting.append((task, setting, self._clock()))

    def wait(self, _: float) -> list[Ended]:
        task, setting, _ = self._waiting.popleft()
        try:
            return [Ended(task, self._work(task, setting))]
        except Exception as error:
            return [Ended(task, failure=f"{type(error).__name__}: {error}")]

    def kill(self, task: int) -> None:
        self._waiting = deque(one for one in self._waiting if one[0] != task)

    def close(self) -> None:
        self._waiting.clear()

    def on_each_machine(self, ask: Callable[[], float]) -> list[float]:
        return [ask()]


@contextmanager
def planets_here() -> Iterator[None]:
    """While active, `predict` computes its planets in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planets, "guarded", Here)
        yield

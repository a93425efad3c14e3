"""Work for the guard's real processes, and a run to be killed: `python budget_work.py SUBMISSION PIDS`."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

_TESTS = Path(__file__).resolve().parent
PATHS = [_TESTS, _TESTS / "base", _TESTS.parent]
PLANETS = np.arange(1_000, 1_040, dtype=np.int64)


def square(task: int, setting: str) -> tuple[int, str, str]:
    return task * task, setting, os.environ["OMP_NUM_THREADS"]


def ignoring(luggage: bytes, task: int, setting: str) -> int:
    return task


def unsendable(task: int, setting: str) -> object:
    return lambda: task


class Unimportable:
    """Work whose module is not there in another process."""

    def __reduce__(self):
        return __import__, ("absent_module",)

    def __call__(self, task: int, setting: str) -> None: ...


def half(number: int) -> float:
    return number / 2


def located(folder: str, number: int) -> tuple[int, int]:
    """A square and the process that computed it; leaves a mark that it began."""
    (Path(folder) / f"{number}-{os.getpid()}").touch()
    time.sleep(0.1)
    return number * number, os.getpid()


def fails(number: int) -> None:
    raise ValueError(f"number {number}")


def environment() -> dict[str, str]:
    """Of a new interpreter that finds the kit and the tests' modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}


def slow(task: int, setting: str) -> int:
    """Long enough for the guard to look at the memory meanwhile."""
    time.sleep(1.5)
    return task


def misbehave(folder: str, task: int, setting: str) -> int:
    """1 hangs, 2 is killed the first time, 3 is killed always, 4 raises; the others answer."""
    marker = Path(folder) / str(task)
    if task == 1:
        time.sleep(3_600)
    if task == 3 or (task == 2 and not marker.exists()):
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 4:
        raise ValueError("negative flux")
    return task


def answer(pids: str, task: int, setting: str) -> np.ndarray:
    """A planet's depths, after a moment; leaves the process's id and a mark that it began."""
    (Path(pids) / str(os.getpid())).touch()
    (Path(pids) / f"began-{task}").touch()
    time.sleep(0.02)
    return np.full(283, task * 1e-5)


def main(submission: Path, pids: Path) -> None:
    from budget_work import answer  # as a worker imports it

    from kitlib.base.guarded import Workers
    from kitlib.base.products import Prediction
    from kitlib.run.budget import Guard, Limits, Setting, batches, run
    from kitlib.submission.writer import write_submission

    shape = (len(PLANETS), 283)
    mu, sigma = np.full(shape, 0.0146), np.full(shape, 0.0106)
    write_submission(submission, Prediction(PLANETS, mu, sigma), PLANETS)
    guard = Guard([Setting("full", 1.0)], Limits(600, 300, memory_bytes=0), 2)
    for batch in batches(run(PLANETS.tolist(), Workers(partial(answer, str(pids)), 2), guard), 0.0):
        for result in batch:
            mu[result.task == PLANETS] = result.value
        write_submission(submission, Prediction(PLANETS, mu, sigma), PLANETS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

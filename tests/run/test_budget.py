"""The 9-hour guard: on a simulated clock, with real processes that hang and die, and under a random kill."""

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import budget_work
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitlib.base import guarded
from kitlib.base.config import ConfigError, compose
from kitlib.base.guarded import Ended, Workers
from kitlib.run.budget import (
    CALM_S,
    TICK_S,
    TIME_UP,
    Guard,
    Limits,
    Result,
    Setting,
    batches,
    free_memory_bytes,
    limits_of,
    run,
    settings_of,
)
from kitlib.submission.validation import read_submission, validate_submission

FULL, SHORT, COARSE = Setting("full", 1.0), Setting("short", 0.5), Setting("coarse", 0.1)
ALL = [FULL, SHORT, COARSE]
SECONDS = {"full": 20.0, "short": 10.0, "coarse": 2.0}


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class SimulatedPool:
    """Processes on a simulated clock. `seconds(task, setting)`: how long a task takes; negative: it dies after that."""

    def __init__(self, clock: Clock, size: int, seconds):
        self.clock, self.size, self.seconds = clock, size, seconds
        self.started: list[tuple[int, str]] = []
        self.killed: list[int] = []
        self.most, self.closed = 0, False
        self._busy: dict[int, tuple[float, float, bool]] = {}  # task -> start, end, dies

    def running(self):
        return {task: start for task, (start, _, _) in self._busy.items()}

    def start(self, task, setting):
        assert len(self._busy) < self.size and task not in self._busy
        self.started.append((task, setting))
        takes = self.seconds(task, setting)
        self._busy[task] = self.clock(), self.clock() + abs(takes), takes < 0
        self.most = max(self.most, len(self._busy))

    def wait(self, timeout_s):
        until = self.clock() + timeout_s
        self.clock.now = max(self.clock(), min([until, *(end for _, end, _ in self._busy.values())]))
        ended = [task for task, (_, end, _) in self._busy.items() if end <= self.clock()]
        return [
            Ended(task, None, "ended with status -9", died=True) if self._busy.pop(task)[2] else Ended(task, task)
            for task in ended
        ]

    def kill(self, task):
        self.killed.append(task)
        del self._busy[task]

    def on_each_machine(self, ask):
        return [ask()]

    def close(self):
        self.closed = True
        self._busy.clear()


def simulated(planets, total_s, seconds, free=lambda pool: 1e12, size=4, said=None, **limits):
    """Run on a simulated clock: results, the pool, and when it ended. `said` collects what the guard tells."""
    clock = Clock()
    pool = SimulatedPool(clock, size, seconds)
    guard = Guard(ALL, Limits(total_s, **{"planet_s": 600, **limits}), size, clock)
    told = [] if said is None else said
    results = list(run(range(planets), pool, guard, lambda: free(pool), lambda event, **f: told.append((event, f))))
    assert pool.closed and sorted(result.task for result in results) == list(range(planets))
    return results, pool, clock.now - 1_000.0


def used(results) -> dict[str, int]:
    return {name: sum(r.setting == name and r.value is not None for r in results) for name in SECONDS}


def by_setting(task, setting):
    return SECONDS[setting]


def test_with_enough_time_every_planet_gets_the_best_setting():
    results, _, took = simulated(100, 600, by_setting)
    assert used(results) == {"full": 100, "short": 0, "coarse": 0} and took == pytest.approx(500)


def test_the_nine_hours_of_kaggle():
    """1,100 planets at 20 s are 1.5 h on four cores; at 150 s they would be 11.5 h and must be cut to 8.5 h."""
    results, _, took = simulated(1_100, 8.5 * 3600, by_setting)
    assert used(results)["full"] == 1_100 and took == pytest.approx(1_100 * 20 / 4, rel=0.01)
    results, _, took = simulated(1_100, 8.5 * 3600, lambda task, setting: 7.5 * by_setting(task, setting))
    assert all(result.value is not None for result in results)
    assert 8.0 * 3600 < took <= 8.5 * 3600 and used(results)["full"] > 500


@pytest.mark.parametrize(("total_s", "expected"), [(350, "short"), (120, "coarse")])
def test_settings_step_down_in_their_order_as_the_projection_demands(total_s, expected):
    results, pool, took = simulated(100, total_s, by_setting)
    assert all(result.value is not None for result in results) and took <= total_s
    assert used(results)[expected] > 30
    assert [name for _, name in pool.started[:12]] == ["full"] * 12  # nothing is cut before the pace is known


def test_the_guard_tells_its_projection_and_each_setting_once():
    said = []
    simulated(100, 350, by_setting, said=said)
    assert [event for event, _ in said] == ["pace", "step"]
    (_, pace), (_, step) = said
    # 12 planets of 20 s are done on four workers after 60 s: 88 are left
    assert pace == {"setting": "short", "planets": 88, "projected_s": 220.0, "left_s": 290.0}
    assert step["setting"] == "full"
    said.clear()
    simulated(100, float("inf"), by_setting, said=said)
    assert said == [("pace", {"setting": "full", "planets": 88, "projected_s": 440.0})]


def test_what_cannot_be_done_in_time_is_left_out_in_time():
    results, pool, took = simulated(1_000, 100, by_setting)
    assert took == pytest.approx(100, abs=TICK_S)
    late = [result for result in results if result.value is None]
    assert 700 < len(late) < 950 and {result.reason for result in late} == {TIME_UP}
    assert pool.started[-1][1] == "coarse"


def test_a_slow_start_does_not_cost_the_whole_run_its_quality():
    """Each worker's first planet pays for its start-up and says nothing about the pace."""
    results, _, took = simulated(400, 2_300, lambda task, setting: SECONDS[setting] + (200 if task < 4 else 0))
    assert used(results)["full"] == 400 and took == pytest.approx(2_200, abs=20)


def test_relative_costs_stand_in_until_a_setting_has_been_measured():
    guard = Guard(ALL, Limits(1_000, 600, first=1), 4, Clock())
    for _ in range(4):
        guard.record("full", 500.0)  # the first of each worker
    assert guard.pace_s(FULL) is None and guard.choose(10_000) is FULL
    guard.record("full", 20.0)
    assert [guard.pace_s(setting) for setting in ALL] == pytest.approx([20.0, 10.0, 2.0])
    guard.record("short", 18.0)
    assert [guard.pace_s(setting) for setting in ALL] == pytest.approx([20.0, 18.0, 3.6])
    assert [guard.projected_s(setting, 100) for setting in ALL] == pytest.approx([500, 450, 90])
    assert [guard.choose(planets) for planets in (200, 210, 230)] == [FULL, SHORT, COARSE]


def test_a_planet_that_hangs_is_ended_and_the_others_go_on():
    results, pool, took = simulated(20, 5_000, lambda task, setting: 1e9 if task == 3 else 20.0, planet_s=100)
    (lost,) = [result for result in results if result.value is None]
    assert lost.task == 3 and "more than 100 s" in lost.reason and pool.killed == [3]
    assert took < 250


def test_a_planet_whose_process_dies_is_tried_once_more():
    fates = {5: iter([-3.0, 20.0]), 7: iter([-3.0, -3.0])}
    said = []
    results, pool, _ = simulated(
        20, 5_000, lambda task, setting: next(fates[task]) if task in fates else 20.0, said=said
    )
    assert {result.task for result in results if result.value is None} == {7}
    assert [task for task, _ in pool.started].count(7) == 2
    assert [f for e, f in said if e == "retry"] == [{"planet_id": n, "reason": "ended with status -9"} for n in (5, 7)]


def test_low_memory_leaves_fewer_planets_in_flight():
    """3 GB a planet of 8 GB: two at once leave 2 GB, three would not. Every 2 minutes a third one is tried."""
    results, pool, took = simulated(
        80, 5_000, by_setting, lambda pool: 8e9 - 3e9 * len(pool.running()), memory_bytes=1.5e9
    )
    assert all(result.value is not None for result in results)
    assert took == pytest.approx(80 * 20 / 2, rel=0.1)
    assert 2 <= len(pool.killed) <= 2 + took / CALM_S


def test_the_projection_counts_the_planets_that_memory_allows():
    """Two at once instead of four: at the full setting 100 planets would need 1,000 s, not 500."""
    said = []
    results, _, took = simulated(
        100, 700, by_setting, lambda pool: 8e9 - 3e9 * len(pool.running()), memory_bytes=1.5e9, said=said
    )
    assert all(result.value is not None for result in results) and took <= 700
    assert used(results)["short"] > 20
    assert next(fields for event, fields in said if event == "memory")["at_once"] < 4


def test_memory_pressure_that_passes_leaves_no_trace():
    def free(pool):
        return 0.0 if 1_100 < pool.clock() < 1_110 else 1e12

    results, pool, took = simulated(400, 5_000, by_setting, free)
    assert pool.killed and len(results) == 400 and took < 400 * 20 / 4 + 4 * CALM_S
    assert len(pool.running()) == 0 and pool.most == 4


def test_no_memory_at_all_still_computes_one_planet_at_a_time():
    results, pool, took = simulated(10, 5_000, by_setting, lambda pool: 0.0)
    assert all(result.value is not None for result in results) and took == pytest.approx(200, abs=10 * TICK_S)


@settings(max_examples=60, deadline=None)
@given(
    planets=st.integers(1, 60),
    total_s=st.floats(5, 500),
    seed=st.integers(0, 10_000),
    dying=st.floats(0, 0.5),
    hanging=st.floats(0, 0.2),
    memory=st.floats(0, 6e9),
)
def test_whatever_happens_each_planet_has_one_result_in_time(planets, total_s, seed, dying, hanging, memory):
    fate = random.Random(seed)

    def seconds(task, setting):
        takes = fate.uniform(0.5, 1.5) * SECONDS[setting]
        return 1e9 if fate.random() < hanging else -takes if fate.random() < dying else takes

    _, _, took = simulated(planets, total_s, seconds, lambda pool: memory * fate.random(), planet_s=50)
    assert took <= total_s + TICK_S


def test_batches_hold_what_came_in_a_while_and_at_the_end_the_rest():
    clock = Clock()

    def results():
        for task in range(10):
            clock.now += 30
            yield Result(task, task)

    assert [[r.task for r in batch] for batch in batches(results(), 100, clock)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(batches([], 100, clock)) == []


MEMINFO = "MemTotal: 32000000 kB\nMemAvailable: 20000000 kB\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 20.48e9),
        ({"memory.max": "max", "memory.current": "5", "memory.stat": "active_file 0\ninactive_file 0"}, 20.48e9),
        (
            {"memory.max": "8000000000", "memory.current": "5000000000",
             "memory.stat": "active_file 600000000\ninactive_file 400000000"},
            4e9,
        ),
        (
            {"memory/memory.limit_in_bytes": "8000000000", "memory/memory.usage_in_bytes": "7000000000",
             "memory/memory.stat": "total_active_file 0\ntotal_inactive_file 500000000"},
            1.5e9,
        ),
    ],
    ids=["no container", "no limit", "version 2", "version 1"],
)  # fmt: skip
def test_free_memory_is_what_machine_and_container_leave(tmp_path, files, expected):
    (tmp_path / "meminfo").write_text(MEMINFO)
    for name, text in files.items():
        path = tmp_path / "group" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert free_memory_bytes(tmp_path, tmp_path / "group") == pytest.approx(expected)


def test_free_memory_is_less_than_this_machine_has(tmp_path):
    assert 0 < free_memory_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert free_memory_bytes(tmp_path, tmp_path) == float("inf")  # a system without /proc


# configuration ------------------------------------------------------------------------------------------------------


def test_kaggle_has_a_limit_below_its_nine_hours_and_steps_that_get_cheaper():
    config = compose("predict", ["env=kaggle"])
    limits = limits_of(config.budget)
    assert 7.5 * 3600 < limits.total_s < 9 * 3600
    settings = settings_of(config)
    assert len(settings) >= 3 and [s.cost for s in settings] == sorted((s.cost for s in settings), reverse=True)
    full, *cheaper = settings.values()
    assert full == config
    assert all(one.lightcurves.samples < config.lightcurves.samples for one in cheaper)
    assert limits_of(compose("predict", ["env=local"]).budget).total_s == float("inf")


def test_a_step_changes_what_it_names_and_nothing_else():
    config = compose("predict", ["budget.steps=[{name: a, cost: 0.5, max_iterations: 3}]"])
    _, (_, step) = settings_of(config).items()
    assert step.physfit.max_iterations == 3 and step.lightcurves == config.lightcurves
    assert step.physfit.drift_order == config.physfit.drift_order


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.steps=[{name: a, cost: 1.5}]", r"budget.steps\[0\].cost=1.5: give a number, above 0, below 1"),
        ("budget.steps=[{name: a, cost: 0.5}, {name: b, cost: 0.6}]", "between 0 and 0.5, the cost of a"),
        ("budget.steps=[{name: full, cost: 0.5}]", "'full' is no new name"),
        ("budget.steps=[{name: a, cost: 0.5, sample: 3}]", "sample"),
        ("budget.hours=-1", "budget.hours=-1: give a number, 0 or more"),
    ],
)
def test_steps_and_limits_that_mean_nothing_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        config = compose("predict", [override])
        limits_of(config.budget), settings_of(config)


# real processes -----------------------------------------------------------------------------------------------------


def test_processes_answer_with_one_thread_each():
    before = os.environ.get("OMP_NUM_THREADS")
    results = list(run(range(9), Workers(budget_work.square, 2), Guard([FULL], Limits(600, 300), 2)))
    assert {result.task: result.value for result in results} == {n: (n * n, "full", "1") for n in range(9)}
    assert os.environ.get("OMP_NUM_THREADS") == before


class JumpingClock:
    """Real time, and `jump` seconds more: a process hangs for an hour without anybody waiting for it."""

    jump = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.jump


def test_a_hang_a_kill_and_an_exception_cost_their_own_planet_alone(tmp_path):
    clock, results = JumpingClock(), []
    pool = Workers(partial(budget_work.misbehave, str(tmp_path)), 2, clock)
    for result in run(range(12), pool, Guard([FULL], Limits(1e6, planet_s=3_000), 2, clock)):
        results.append(result)
        clock.jump = 3_600.0 * (len(results) == 11)  # all but the one that hangs
    reasons = {result.task: result.reason for result in results if result.value is None}
    assert set(reasons) == {1, 3, 4}  # 2 was killed once and tried again
    assert reasons[1] == "took more than 3000 s"
    assert "status -9" in reasons[3] and reasons[4] == "ValueError: negative flux"
    assert sorted(result.value for result in results if result.value is not None) == [0, 2, *range(5, 12)]


def test_the_run_stops_in_time_though_everything_hangs(tmp_path):
    start = time.monotonic()
    pool = Workers(partial(budget_work.misbehave, str(tmp_path)), 2)
    results = list(run([1], pool, Guard([FULL], Limits(2.0, planet_s=600), 2)))
    assert results[0].reason == TIME_UP and time.monotonic() - start < 60
    assert pool.running() == {}


def test_workers_do_not_run_the_callers_script_again(tmp_path):
    """As a notebook or a script without `if __name__ == "__main__"` would be, where it asks for a prediction."""
    script = tmp_path / "script.py"
    script.write_text(
        "import budget_work\nfrom kitlib.base.guarded import Workers\nprint('once')\n"
        "pool = Workers(budget_work.square, 1)\npool.start(3, 'full')\n"
        "print(pool.wait(200)[0].value[0])\npool.close()\n"
    )
    here = Path(budget_work.__file__).resolve().parent
    env = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=250)
    assert (done.stdout, done.stderr) == ("once\n9\n", "")


def test_a_process_that_dies_or_hangs_before_it_takes_its_work_is_a_failed_piece(monkeypatch):
    """However large the work is: it is not written into a pipe that nobody reads."""
    work = partial(budget_work.ignoring, bytes(10_000_000))
    for command, start_s, reason in [("raise SystemExit(7)  # {}", 120, "ended with status 7"),
                                     ("import time; time.sleep(600)  # {}", 1, "not ready within 1 s")]:  # fmt: skip
        monkeypatch.setattr(guarded, "_COMMAND", command)
        pool = Workers(work, 1, start_s=start_s)
        (result,) = run([5], pool, Guard([FULL], Limits(600, 300), 1))
        assert result.value is None and reason in result.reason
        assert pool.running() == {}
    monkeypatch.undo()
    (result,) = run([5], Workers(work, 1), Guard([FULL], Limits(600, 300), 1))
    assert result.value == 5


def test_a_process_that_stops_while_it_is_given_work_ends_the_wait(monkeypatch):
    monkeypatch.setattr(guarded, "START_S", 1)
    monkeypatch.setattr(guarded, "_CLOSING_S", 0.1)  # it will not end by itself
    ready = "from multiprocessing.connection import Connection; pipe = Connection({}); pipe.send('ready')"
    only_ready = ready + "; import time; time.sleep(600)"
    monkeypatch.setattr(guarded, "_COMMAND", only_ready)
    pool = Workers(partial(budget_work.ignoring, bytes(10_000_000)), 1)
    (result,) = run([5], pool, Guard([FULL], Limits(600, 300), 1))
    assert result.value is None and "its process ended" in result.reason


def test_work_that_cannot_be_imported_there_and_answers_that_cannot_be_sent_say_so():
    unimportable = (budget_work.Unimportable(), "the work cannot be unpickled")
    for work, reason in [unimportable, (budget_work.unsendable, "pickle")]:
        (result,) = run([5], Workers(work, 1), Guard([FULL], Limits(600, 300), 1))
        assert result.value is None and reason in result.reason


def test_a_machine_that_can_start_no_process_costs_the_piece_alone(monkeypatch):
    def full(*_, **__):
        raise BlockingIOError("no process left")

    monkeypatch.setattr(guarded.subprocess, "Popen", full)
    (result,) = run([5], Workers(budget_work.square, 1), Guard([FULL], Limits(600, 300), 1))
    assert "could not be started: no process left" in result.reason


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_run_killed_at_any_moment_leaves_a_valid_file_and_no_process(tmp_path):
    """Five runs, killed between the first file and after the end; the file is whole each time, and ever better."""
    fate, states = random.Random(4), set()
    for trial, begun in enumerate([0, 4, 16, 30, 40]):
        folder = tmp_path / str(trial)
        folder.mkdir()
        submission = folder / "submission.csv"
        command = [sys.executable, budget_work.__file__, str(submission), str(folder)]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        process = subprocess.Popen(command, env=env)
        end = time.monotonic() + 120
        while not submission.exists() or len(list(folder.glob("began-*"))) < begun:
            assert time.monotonic() < end
            time.sleep(0.002)
        time.sleep(fate.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        validate_submission(submission, budget_work.PLANETS).raise_for_errors()
        mu = read_submission(submission).mu
        finished = np.isclose(mu, budget_work.PLANETS[:, None] * 1e-5, rtol=1e-6).all(1)
        assert (finished | (mu == 0.0146).all(1)).all()
        states.add(int(finished.sum()))
    assert len(states) >= 3, "every kill hit the same moment: the trials prove nothing"
    pids = [int(path.name) for path in tmp_path.glob("*/*") if path.name.isdigit()]
    end = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.1)
    assert pids and not [pid for pid in pids if alive(pid)]

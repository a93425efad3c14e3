"""Work in processes: every result, in order where that is asked for, and a failure is heard of."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor, process_executor

from kitlib.base.execution import in_processes


def _slow_first(number):
    time.sleep(0.5 if number == 0 else 0)
    return number, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def _fails(number):
    raise ValueError(f"number {number}")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_in_order_from_so_many_processes(workers):
    found = list(in_processes(_slow_first, [(n,) for n in range(6)], workers, "", progress=False))
    assert [number for number, _, _ in found] == list(range(6))
    here = {pid for _, pid, _ in found} == {os.getpid()}
    assert here == (workers == 1 or (workers == 0 and os.cpu_count() == 1))
    if not here:
        assert {threads for _, _, threads in found} == {"1"}


def test_without_order_the_first_to_end_comes_first():
    found = list(in_processes(_slow_first, [(n,) for n in range(6)], 2, "", progress=False, ordered=False))
    assert sorted(number for number, _, _ in found) == list(range(6)) and found[0][0] != 0


def test_nothing_to_do_is_nothing():
    assert list(in_processes(_slow_first, [], 2, "", progress=False)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_is_raised(workers):
    with pytest.raises(ValueError, match="number 3"):
        list(in_processes(_fails, [(3,)], workers, "", progress=False))


def _pools(_):
    """This process, and those of its own pool."""
    found = list(in_processes(_slow_first, [(n,) for n in range(4)], 2, "", progress=False))
    return os.getpid(), {pid for _, pid, _ in found}


def _grows(_):
    """Has loky end this process after its next piece, as it does with one that has grown by 300 MB."""
    process_executor._MEMORY_LEAK_CHECK_DELAY, process_executor._MAX_MEMORY_LEAK_SIZE = 0, -(2**60)
    return os.getpid()


@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs")
def test_a_worker_with_a_pool_of_its_own_leaves_at_once():
    """Else work stands still for 300 s, in which that pool waits for more."""
    parallel, began = Parallel(n_jobs=2), time.monotonic()
    first = parallel(delayed(_pools)(n) for n in range(4))
    assert all(pool and worker not in pool for worker, pool in first)
    later = parallel(delayed(_grows)(n) for n in range(8))
    get_reusable_executor(reuse=True).shutdown()  # the next pool's processes know nothing of this
    assert set(later) - {worker for worker, _ in first}, "no worker has left"
    assert time.monotonic() - began < 200


def test_a_process_of_others_with_a_pool_ends_at_once():
    began = time.monotonic()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        worker, own = pool.submit(_pools, 0).result(timeout=250)
    assert own and worker not in own and time.monotonic() - began < 200


def _bar(capfd, count, workers=1, progress=True):
    list(in_processes(abs, [(-n,) for n in range(count)], workers, "bar", progress=progress))
    return capfd.readouterr().err


def test_the_progress_bar_comes_with_the_first_result(capfd):
    assert _bar(capfd, 0) == "" and _bar(capfd, 3, progress=False) == ""
    shown = _bar(capfd, 3)
    assert "3/3" in shown and "0/3" not in shown and "?planet/s" not in shown

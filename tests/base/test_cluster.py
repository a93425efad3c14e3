"""A dask cluster by configuration alone: the bytes of one machine, though a worker is killed; guarded pieces there."""

import os
import signal
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import budget_work
import pytest

from kitlib import pipeline
from kitlib.base.config import compose
from kitlib.base.execution import at_once, guarded, in_processes, running_on
from kitlib.base.provenance import EventLog
from kitlib.run.budget import Guard, Limits, Setting, run

distributed = pytest.importorskip("distributed", reason="requirements-dev.txt has it, a kernel does not need it")
pytestmark = pytest.mark.timeout(600)
FULL = Setting("full", 1.0)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def two_workers(cluster):
    """The nanny of a killed worker has started another."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)


@contextmanager
def one_killed(cluster, moment, tmp_path):
    """While active: once `moment()` is true the process of a busy worker is killed. Yields what was done, when."""
    killed = {}

    def kill():
        while not moment():
            time.sleep(0.01)
        worker = next(w for w in cluster.scheduler.workers.values() if w.processing)
        killed["address"] = worker.address
        os.kill(next(n.pid for n in cluster.workers.values() if n.worker_address == worker.address), signal.SIGKILL)

    killer = Thread(target=kill, daemon=True)
    killer.start()
    yield killed
    killer.join(timeout=60)
    assert killed and killed["address"] not in cluster.scheduler.workers


def words(campaign, out, *more):
    root, cheap = f"data.root={campaign / 'data'}", ("lightcurves.samples=60", "physfit.max_iterations=3")
    return ["env=ci", "data=kaggle", root, f"run.out={out}", *cheap, *more]


def results_of(out: Path) -> dict[str, bytes]:
    """The bytes of everything that a prediction computes."""
    files = [*out.glob("*.csv"), *out.glob("*.safetensors"), *out.glob("products/**/*.safetensors")]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_a_whole_predict_with_one_of_two_workers_killed_gives_the_bytes_of_one_machine(few, cluster, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    pipeline.predict(compose("predict", words(few, here, "run.workers=1")))
    products = there / "products" / "lightcurves" / "test"
    with one_killed(cluster, lambda: list(products.glob("*.safetensors")), tmp_path):
        where = ("run.backend=dask", f"run.scheduler={cluster.scheduler_address}")
        pipeline.predict(compose("predict", words(few, there, *where)))
    assert len(list(products.glob("*.safetensors"))) == 2
    assert results_of(there) == results_of(here)
    events = EventLog(there / "events.jsonl").read()
    assert next(event for event in events if event["event"] == "computed")["workers"] <= 2
    assert not [event for event in events if event["event"] == "fallback"]


def test_training_pretraining_and_injection_there_give_the_bytes_of_one_machine(campaign, cluster, tmp_path):
    small = ["lightcurves.samples=60", "train=quick", "train.steps=2", "train.validation=0.5"]
    small += ["physfit.max_iterations=2"]
    small += ["prior.min_train_planets=10", "pretrain.planets=2", "pretrain.shard=1"]
    small += ["inject.planets=2", "inject.signals=[H2O,drift]", "inject.amplitudes=[100]"]
    found = {}
    for name, where in {
        "here": ["run.workers=1"],
        "there": ["run.backend=dask", f"run.scheduler={cluster.scheduler_address}"],
    }.items():
        stages = {"train": pipeline.train, "pretrain": pipeline.pretrain, "diagnose": pipeline.inject}
        for stage, run_stage in stages.items():
            run_stage(compose(stage, words(campaign, tmp_path / name, *small, *where)))
        # not what holds paths or times
        files = [*(tmp_path / name).rglob("*.safetensors"), *(tmp_path / name).glob("*.json")]
        found[name] = {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}
    assert {"prior.safetensors", "inject.json", "train_posterior.safetensors"} <= set(found["here"])
    assert len([path for path in found["there"] if "shard_" in path]) == 2
    assert found["there"] == found["here"]


@pytest.mark.parametrize("ordered", [True, False])
def test_independent_pieces_survive_a_killed_worker(cluster, tmp_path, ordered):
    def began() -> set[str]:
        """Processes that have begun a piece, the killed one among them."""
        return {path.name.rpartition("-")[2] for path in tmp_path.iterdir()}

    with running_on("dask", cluster.scheduler_address), one_killed(cluster, lambda: len(began()) > 1, tmp_path):
        given = [(str(tmp_path), number) for number in range(30)]
        found = list(in_processes(budget_work.located, given, 0, "", progress=False, ordered=ordered))
    squares = [square for square, _ in found]
    assert (squares if ordered else sorted(squares)) == [number * number for number in range(30)]
    assert str(os.getpid()) not in began() >= {str(pid) for _, pid in found}


def test_what_fails_there_is_raised_here(cluster):
    with running_on("dask", cluster.scheduler_address), pytest.raises(ValueError, match="number 3"):
        list(in_processes(budget_work.fails, [(3,), (3,)], 0, "", progress=False))


class JumpingClock:
    jump = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.jump


def test_a_hang_a_kill_and_an_exception_cost_their_own_piece_alone(cluster, tmp_path):
    """As on one machine: the process beside a dask worker is what is ended; the worker lives on."""
    clock, results = JumpingClock(), []
    workers = set(cluster.scheduler.workers)
    with running_on("dask", cluster.scheduler_address):
        pool = guarded(partial(budget_work.misbehave, str(tmp_path)), 1, clock)
        for result in run(range(8), pool, Guard([FULL], Limits(1e6, planet_s=3_000), at_once(0), clock)):
            results.append(result)
            clock.jump = 3_600.0 * (len(results) == 7)  # all but the one that hangs
    reasons = {result.task: result.reason for result in results if result.value is None}
    assert set(reasons) == {1, 3, 4}  # 2 was killed once and tried again
    assert reasons[1] == "took more than 3000 s"
    assert "status -9" in reasons[3] and reasons[4] == "ValueError: negative flux"
    assert set(cluster.scheduler.workers) == workers
    end = time.monotonic() + 60
    while (children_of(cluster) or busy(cluster)) and time.monotonic() < end:  # the hanging one too
        time.sleep(0.1)
    assert not children_of(cluster) and not busy(cluster)


def busy(cluster) -> int:
    """Threads of the cluster's workers that compute something."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        return sum(client.run(lambda dask_worker: len(dask_worker.active_threads)).values())


def children_of(cluster) -> list[str]:
    """Commands of the processes that were started beside the cluster's workers."""
    workers = {str(nanny.pid) for nanny in cluster.workers.values()}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = path.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            command = path.joinpath("cmdline").read_text()
        except OSError:  # it has just ended
            continue
        found += [command] if parent in workers and "kitlib.base.guarded" in command else []
    return found


def test_short_memory_on_a_machine_of_the_cluster_leaves_fewer_in_flight(cluster):
    said = []
    with running_on("dask", cluster.scheduler_address):
        pool = guarded(budget_work.slow, 1)
        guard = Guard([FULL], Limits(1e6, 600, memory_bytes=1e18), at_once(0))  # more than any machine has
        results = list(run(range(3), pool, guard, say=lambda event, **fields: said.append((event, fields))))
    assert sorted(result.value for result in results) == [0, 1, 2]
    assert [fields["at_once"] for event, fields in said if event == "memory"] == [1]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (("slurm", ""), "run.backend=slurm: give loky or dask"),
        (("dask", ""), "needs the address of a dask scheduler, as in run.scheduler=tcp://"),
        (("dask", "nonsense"), "run.scheduler=nonsense: "),
        (("dask", "tcp://127.0.0.1:9"), "no dask scheduler answers there"),
    ],
)
def test_a_backend_that_is_not_there_is_a_clear_error(monkeypatch, where, message):
    monkeypatch.setattr("kitlib.base.cluster.CONNECT_S", 1.0)
    with pytest.raises((ValueError, OSError), match=message), running_on(*where):
        at_once(0)


def test_a_cluster_without_workers_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("kitlib.base.cluster.CONNECT_S", 1.0)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        running_on("dask", empty.scheduler_address),
        pytest.raises(OSError, match="it has no workers"),
    ):
        at_once(0)

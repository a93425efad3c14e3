"""Calibration on a dask cluster, by configuration alone: the bytes of the serial run, though a worker is killed."""

import os
import shutil
import signal
import time
from threading import Thread

import pytest
import small_visit as sv

from kitlib import pipeline
from kitlib.base.config import compose
from kitlib.detector.lightcurves import calibrate_planets

distributed = pytest.importorskip("distributed", reason="requirements-dev.txt has it, a kernel does not need it")
PLANETS = list(range(1, 17))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    sv.write_tables(root, PLANETS, 120)
    sv.write_planet(root / "test" / "1", sv.Visit(pairs=120))
    for planet in PLANETS[1:]:
        shutil.copytree(root / "test" / "1", root / "test" / str(planet))
    return root


def calibrated(root, out, *words):
    """Bytes of every product, by name."""
    base = [f"data.root={root}", f"run.out={out}", "env=ci", *words]
    return {path.name: path.read_bytes() for path in pipeline.calibrate(compose("calibrate", base))}


@pytest.mark.timeout(600)
def test_two_workers_one_killed_give_the_bytes_of_the_serial_run(dataset, tmp_path):
    serial = calibrated(dataset, tmp_path / "serial", "run.workers=1")
    assert len(serial) == len(PLANETS)
    products = tmp_path / "cluster" / "products" / "lightcurves" / "test"
    killed = {}

    def kill_a_worker(cluster):
        """Once the first product is there: the process of a worker that has planets to do."""
        while not list(products.glob("*.safetensors")):
            time.sleep(0.01)
        worker = next(w for w in cluster.scheduler.workers.values() if w.processing)
        pid = next(n.pid for n in cluster.workers.values() if n.worker_address == worker.address)
        killed.update(done=len(list(products.glob("*.safetensors"))), address=worker.address)
        os.kill(pid, signal.SIGKILL)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        killer = Thread(target=kill_a_worker, args=[cluster], daemon=True)
        killer.start()
        words = ["run.backend=dask", f"run.scheduler={cluster.scheduler_address}"]
        found = calibrated(dataset, tmp_path / "cluster", *words)
        killer.join(timeout=120)
        assert killed and killed["done"] < len(PLANETS)  # on the way, not at the end
        assert killed["address"] not in cluster.scheduler.workers
    assert found == serial


@pytest.mark.parametrize(
    "options, message",
    [({"backend": "slurm"}, "run.backend=slurm: give loky or dask"), ({"backend": "dask"}, "needs run.scheduler")],
)
def test_a_backend_that_is_not_there_is_a_clear_error(dataset, tmp_path, options, message):
    from kitlib.base.provenance import EventLog
    from kitlib.base.schema import LightCurveConfig

    with pytest.raises(ValueError, match=message):
        calibrate_planets(dataset, "test", tmp_path, LightCurveConfig(), 1, EventLog(tmp_path / "e"), False, **options)

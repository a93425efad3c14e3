"""Work from inside other people's processes: joblib's, multiprocessing's daemonic ones, a dask worker, a notebook."""

import subprocess
import sys
import warnings
from functools import partial
from multiprocessing import current_process, get_context

import budget_work
import pytest
from joblib import Parallel, delayed

from kitlib.base.execution import in_processes
from kitlib.base.guarded import Workers
from kitlib.run.budget import Guard, Limits, Setting, run

pytestmark = pytest.mark.timeout(300)


def work_here(folder: str) -> tuple[dict[int, int], list[float], bool]:
    """Results of guarded pieces, of independent ones, and whether this process is a daemonic one."""
    pool = Workers(partial(budget_work.misbehave, folder), 2)
    results = list(run([0, 2], pool, Guard([Setting("full", 1.0)], Limits(250, 200), 2)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Loky-backed parallel loops|Inside a Dask worker")  # what joblib does then
        halves = list(in_processes(budget_work.half, [(4,), (16,)], 2, "", progress=False))
    return {result.task: result.value for result in results}, halves, bool(current_process().daemon)


def check(found, daemonic):
    assert found == ({0: 0, 2: 2}, [2.0, 8.0], daemonic)  # 2 was killed once and tried again


def test_in_a_joblib_worker(tmp_path):
    """Where `spawn` dies of loky's start method."""
    folders = [tmp_path / str(number) for number in range(2)]
    for folder in folders:
        folder.mkdir()
    for found in Parallel(n_jobs=2)(delayed(work_here)(str(folder)) for folder in folders):
        check(found, False)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_a_daemonic_process(tmp_path, method):
    """Whose children multiprocessing forbids. A fork of a bare interpreter: this one has threads already."""
    code = (
        "import sys; from multiprocessing import get_context\nfrom test_hosts import work_here\n"
        "if __name__ == '__main__':\n"
        f"    with get_context({method!r}).Pool(1) as pool: print(pool.apply(work_here, [{str(tmp_path)!r}]))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], env=budget_work.environment(), capture_output=True, text=True)
    assert not done.returncode, done.stderr
    check(eval(done.stdout), True)  # noqa: S307 (this test's own tuple)


def test_in_a_dask_worker(tmp_path):
    distributed = pytest.importorskip("distributed", reason="requirements-dev.txt has it")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        check(client.submit(work_here, str(tmp_path), pure=False).result(timeout=250), True)


def test_in_a_notebook(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    path = [*map(str, budget_work.PATHS)]
    cell = f"import sys; sys.path[:0] = {path!r}\nfrom test_hosts import work_here\nprint(work_here({str(tmp_path)!r}))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.NotebookClient(notebook, timeout=250, kernel_name="python3").execute()
    (output,) = [one["text"] for one in notebook.cells[0].outputs if one.get("name") == "stdout"]
    check(eval(output), False)  # noqa: S307 (this test's own tuple)


def test_get_context_is_not_what_starts_processes(monkeypatch, tmp_path):
    """Nothing of multiprocessing's start methods is used: whatever the host has set stays its own affair."""
    before = get_context().get_start_method()
    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", lambda self: pytest.fail("multiprocessing"))
    pool = Workers(budget_work.square, 1)
    pool.start(3, "full")
    assert pool.wait(200)[0].value[0] == 9
    pool.close()
    assert get_context().get_start_method() == before

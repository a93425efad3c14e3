"""The first cell of a kernel: finds its kit among others, checks it, installs what is absent, hides unusable GPUs."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from kernelkit import bundle, kernels, start
from kernelkit.metadata import DATASET
from kernelkit.room import LAYOUTS
from kitlib.base.paths import mounted_folders


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged") / "dataset"
    bundle.stage(folder, "jane-doe")
    return folder


def test_verify_names_the_file_that_is_missing_or_changed(dataset, tmp_path):
    kit = Path(shutil.copytree(dataset, tmp_path / "kit"))
    assert start.verify(kit)["bundle"] == bundle.read_manifest(dataset)["bundle"]
    changed = kit / "kitlib" / "sigma" / "metric.py"
    changed.write_text(changed.read_text() + "\n")
    with pytest.raises(start.StartError, match=r"metric\.py is not the file"):
        start.verify(kit)
    changed.unlink()
    with pytest.raises(start.StartError, match=r"metric\.py is missing"):
        start.verify(kit)


def test_verify_refuses_a_manifest_of_other_files(dataset, tmp_path):
    kit = Path(shutil.copytree(dataset, tmp_path / "kit"))
    content = bundle.read_manifest(kit)
    content["bundle"] = "0" * 64
    (kit / bundle.MANIFEST).write_text(json.dumps(content))
    with pytest.raises(start.StartError, match="does not belong"):
        start.verify(kit)


def first_cell(prefix: Path, hashed: str) -> subprocess.CompletedProcess:
    """Run the first cell up to the point where it would start the kit."""
    code = kernels.first_cell(hashed).replace("start(kit)", "print(kit)")
    env = {**os.environ, "KITLIB_KAGGLE_INPUT": str(prefix)}
    return subprocess.run([sys.executable, "-c", code], cwd=prefix, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_cell_finds_its_kit_among_others_in_every_layout(dataset, tmp_path, layout):
    old = tmp_path / "a-stale-version"
    shutil.copytree(dataset, old)
    content = bundle.read_manifest(old)
    (old / bundle.MANIFEST).write_text(json.dumps({**content, "bundle": "1" * 64}))
    kit = tmp_path / LAYOUTS[layout][0]
    shutil.copytree(dataset, kit)
    for form in ("", "notebooks/jane-doe/"):  # what the train kernel left, which holds no kit
        trained = tmp_path / f"{form}spectramind-v50-train"
        (trained / "products" / "lightcurves" / "train").mkdir(parents=True)
        (trained / "prior.safetensors").write_bytes(b"")
    result = first_cell(tmp_path, content["bundle"])
    assert result.stdout.strip() == str(kit), result.stderr
    assert kit in list(mounted_folders(tmp_path))  # kitlib looks for data in the same places


def test_the_first_cell_refuses_another_bundle_and_says_what_is_mounted(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / DATASET)
    result = first_cell(tmp_path, "f" * 64)
    assert result.returncode == 1
    assert bundle.read_manifest(dataset)["bundle"][:16] in result.stderr and "mounts some minutes late" in result.stderr
    shutil.rmtree(tmp_path / DATASET)
    assert "no kit at all" in first_cell(tmp_path, "f" * 64).stderr


INSTALL = """
import json, sys
sys.path.insert(0, {kit!r})
from pathlib import Path
from kernelkit.start import install
print(json.dumps(install(Path({kit!r}))))
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A virtual environment with nothing but pip. Its copies work as well: it holds no path of its own that is used."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, with_pip=True)
    return folder


def test_only_absent_wheels_are_installed_and_nothing_is_upgraded(dataset, empty, tmp_path):
    """An environment that has an old omegaconf keeps it; the others come from the kit, without an index."""
    shutil.copytree(empty, tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (site / "omegaconf-2.0.0.dist-info").mkdir()
    (site / "omegaconf-2.0.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: omegaconf\nVersion: 2.0.0\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(dataset)!r})\nfrom pathlib import Path\nfrom kernelkit.start import *\n"
    )
    code += f"import json; print(json.dumps(install(Path({str(dataset)!r}))))"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    runs = [subprocess.run([python, "-c", code], env=env, capture_output=True, text=True) for _ in range(2)]
    assert all(run.returncode == 0 for run in runs), runs[0].stderr + runs[1].stderr
    first, second = (json.loads(run.stdout) for run in runs)
    assert first["omegaconf"] == "2.0.0 of the image, not 2.3.1"
    assert all("installed from cp" in text for name, text in first.items() if name != "omegaconf")
    assert all("as in the kit" in text for name, text in second.items() if name != "omegaconf")
    names = {path.name for path in site.glob("*.dist-info")}
    assert "omegaconf-2.0.0.dist-info" in names and "omegaconf-2.3.1.dist-info" not in names


def test_a_damaged_wheel_is_not_installed(dataset, empty, tmp_path):
    kit = Path(shutil.copytree(dataset, tmp_path / "kit"))
    for wheel in (kit / "wheels").glob("*.whl"):
        wheel.write_bytes(wheel.read_bytes() + b"x")
    shutil.copytree(empty, tmp_path / "venv", symlinks=True)
    command = [tmp_path / "venv" / "bin" / "python", "-c", INSTALL.format(kit=str(kit))]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode and "StartError" in run.stderr and "hash" in run.stderr.lower()


def test_the_lock_is_that_of_the_python_or_the_newest(dataset):
    names = {version: start.lock_for(dataset / "wheels", version).name for version in ((3, 12), (3, 13), (3, 14))}
    assert names == {(3, 12): "cp312.lock", (3, 13): "cp313.lock", (3, 14): "cp313.lock"}


TORCH = """
class cuda:
    is_available = staticmethod(lambda: {available})
    device_count = staticmethod(lambda: {count})
    get_device_name = staticmethod(lambda i: ["Tesla T4", "Tesla P100"][i])
    get_device_capability = staticmethod(lambda i: [(7, 5), (6, 0)][i])
    get_arch_list = staticmethod(lambda: ["sm_75", "sm_80"])
class ones:
    def __init__(self, n, device): self.device = device
    def add(self, n):
        if {broken}: raise RuntimeError("CUDA error: no kernel image is available\\nmore")
        return self
    def item(self): return 2
"""


@pytest.mark.parametrize(
    ("values", "states", "visible"),
    [
        ({"available": False, "count": 0, "broken": False}, [], None),
        ({"available": True, "count": 2, "broken": False}, ["ok", "torch is not compiled for sm_60"], "0"),
        ({"available": True, "count": 1, "broken": True}, ["fails: CUDA error: no kernel image is available"], ""),
    ],
)
def test_only_gpus_that_compute_are_used(tmp_path, monkeypatch, values, states, visible):
    """A P100 that reports itself available and dies on the first operation is hidden from everything that follows."""
    (tmp_path / "torch.py").write_text(TORCH.format(**values))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is restored in the end
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    found = start.gpus()
    assert [gpu["state"] for gpu in found] == states
    start.hide_unusable(found)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible


def test_memory_is_that_of_the_machine():
    total, free = start.memory_gib()
    assert 0 < free <= total
    assert total <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 * 1.001


def test_a_torch_that_cannot_be_imported_is_told_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("import nothing_of_this_name")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = start.gpus()
    assert found["state"].startswith("fails: ModuleNotFoundError") and "\n" not in found["state"]

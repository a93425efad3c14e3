"""The wheel, as `pip install .` makes it, in an environment that knows no checkout: it is whole, and it works."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from kitlib import __version__
from kitlib.base.schema import STAGES

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("kitlib", "configs")


def tracked(*folders: str) -> list[str]:
    """What belongs to the project: no caches, no results."""
    found = [path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in found if "__pycache__" not in path.parts)


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    environment = {**known, "OMP_NUM_THREADS": "1", **variables}  # no PYTHONPATH: no way back to the checkout
    return subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a source distribution, which a build from the checkout would have to equal."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    for name in (*tracked(*PARTS), "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    code = "from setuptools import build_meta; print(build_meta.build_sdist('.'))"
    made = run(sys.executable, "-c", code, cwd=source)
    assert made.returncode == 0, made.stdout + made.stderr
    archive = source / made.stdout.split()[-1]
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir")
    made = run(sys.executable, "-m", "pip", "wheel", *offline, "-w", folder, archive, cwd=folder)
    assert made.returncode == 0, made.stdout + made.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel; all else comes from the tests' one, without its link to a checkout."""
    folder = tmp_path_factory.mktemp("clean") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    # a .pth file puts a folder on the path, and does not read the .pth files in there, of which one is the checkout's
    (packages / "others.pth").write_text(f"{Path(pytest.__file__).parent.parent}\n")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install")
    made = run(*pip, "--no-deps", "--no-index", "--force-reinstall", "--no-cache-dir", wheel, cwd=folder)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_the_wheel_holds_every_file_of_the_package_and_every_configuration(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    inside = {name: f"kitlib/{name}" if name.startswith("configs/") else name for name in tracked(*PARTS)}
    assert set(held) == set(inside.values())
    assert all(held[there] == (ROOT / here).read_bytes() for here, there in inside.items())
    assert f"-{__version__}-" in wheel.name


def test_every_import_is_of_a_package_that_the_wheel_asks_for(wheel):
    """Of the wheel's own requirements, extras included; `mamba_ssm` is tried and need not be there."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        asked = re.findall(r"^Requires-Dist: ([\w.-]+)", archive.read(name).decode(), re.M)
    trees = [ast.parse(path.read_text()) for path in (ROOT / "kitlib").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    foreign = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"kitlib", "mamba_ssm"}
    packages = packages_distributions()
    known = {re.sub(r"[-_.]+", "-", name).lower() for name in asked}
    lacking = {m for m in foreign if not {re.sub(r"[-_.]+", "-", d).lower() for d in packages.get(m, [])} & known}
    assert len(foreign) > 10 and not lacking


def test_it_is_the_wheels_files_that_run(installed, tmp_path):
    code = (
        "import json, kitlib.base.config as c, kitlib.base.paths as p, kitlib.base.version as v\n"
        "config = c.compose('predict', ['env=kaggle', 'model=physics'])\n"
        "print(json.dumps([c.__file__, str(p.find_configs()), v.__version__, config.run.out, config.model.kind]))"
    )
    ran = run(installed / "bin" / "python", "-c", code, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    file, configs, version, *values = json.loads(ran.stdout)
    packages = next(installed.glob("lib/python*/site-packages")).resolve()
    assert Path(file).resolve() == packages / "kitlib" / "base" / "config.py"
    assert Path(configs) == packages / "kitlib" / "configs"
    assert (version, *values) == (__version__, "/kaggle/working", "physics")


def test_the_program_is_there_under_both_names(installed, tmp_path):
    program, module = (installed / "bin" / "spectramind",), (installed / "bin" / "python", "-m", "kitlib")
    for words in (("--version",), ("--help",), ("predict", "--help")):
        first, second = (run(*start, *words, cwd=tmp_path) for start in (program, module))
        assert first.returncode == second.returncode == 0, first.stderr + second.stderr
        assert first.stdout == second.stdout
        expected = {"--version": f"{__version__}\n", "--help": "simulate", "predict": "lightcurves.samples"}[words[0]]
        assert expected in first.stdout


def test_a_campaign_is_simulated_and_calibrated(installed, tmp_path):
    """In processes of their own, from another folder, with paths relative to it."""
    sizes = ["simulate.train_planets=1", "simulate.test_planets=1", "simulate.airs_pairs=60", "simulate.fgs1_pairs=600"]
    words = ["env=ci", "data=sim_tiny", "simulate.out=sky", "run.out=run", *sizes, "lightcurves.samples=30"]
    for stage in ("simulate", "calibrate"):
        ran = run(installed / "bin" / "spectramind", stage, *words, cwd=tmp_path)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert list((tmp_path / "run" / "products" / "lightcurves" / "test").glob("*.safetensors"))
    assert {path.stem for path in (tmp_path / "run" / "configs").glob("*.yaml")} <= set(STAGES)
    shipped = "import kitlib.run.inputs as i; i.shipped_priors(); i.load_model(i.SHIPPED_MODEL)"
    ran = run(installed / "bin" / "python", "-c", shipped, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr

"""The wheelhouse: pinned, pure, small, licensed; with Kaggle's image enough for everything that kitlib imports."""

import ast
import re
import shutil
import sys
import tomllib
import zipfile
from email.parser import Parser
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from kernelkit import KernelError
from kernelkit.wheels import LOCKS, SOURCES, Pin, fill, missing, read_lock, wanted

ROOT = Path(__file__).resolve().parents[2]
WHEELS = ROOT / "wheels"
PINS = list(wanted(WHEELS).values())


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def image() -> dict[str, Requirement]:
    lines = (WHEELS / "image.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonical(item.name): item for item in found}


def pinned(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports from outside its own package, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


def at_inference() -> list[Path]:
    """Everything that a kernel may import: kitlib without the simulator, the first cell's module, three notebooks."""
    files = [path for path in (ROOT / "kitlib").rglob("*.py") if "simulate" not in path.parts]
    return [
        *files,
        ROOT / "kernelkit" / "start.py",
        *(ROOT / "notebooks" / f"{n}.py" for n in ("02_train", "03_infer", "04_diagnose")),
    ]


@cache
def distributions() -> dict[str, list[str]]:
    """Top-level name -> the installed distributions that it comes from."""
    return dict(metadata.packages_distributions())


OPTIONAL = {"distributed"}  # run.backend=dask, on a cluster of the user's own


@pytest.mark.parametrize("path", at_inference(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_import_at_inference_is_in_the_image_or_in_the_wheelhouse(path):
    provided = {*image(), *(pin.name for pin in PINS)}
    foreign = imported(path) - sys.stdlib_module_names - {"kitlib"} - OPTIONAL
    for name in foreign:
        found = {canonical(item) for item in distributions().get(name, [name])}
        assert found & provided, f"{name}: in neither wheels/image.txt nor wheels/*.lock"


def test_the_reader_of_imports_sees_the_wheelhouse():
    """Were it blind, the test above could not fail."""
    seen = set().union(*(imported(path) for path in at_inference()))
    assert {"hydra", "omegaconf", "torch", "numpy", "polars"} <= seen
    assert "batman" not in seen


def requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(item for item in archive.namelist() if item.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(name).decode())
    found = [Requirement(text) for text in fields.get_all("Requires-Dist") or []]
    return [item for item in found if item.marker is None or item.marker.evaluate({"extra": ""})]


@pytest.mark.parametrize("pin", PINS, ids=lambda p: p.name)
def test_what_a_wheel_requires_is_there_too(pin):
    """They are installed with --no-deps. ninja, setuptools and triton serve mamba-ssm's build and its GPU kernels."""
    ours = {other.name: other.version for other in PINS}
    for item in requirements(WHEELS / pin.wheel):
        name = canonical(item.name)
        if pin.name == "mamba-ssm" and name not in ("torch", "einops", "transformers", "packaging"):
            continue
        assert name in {*image(), *ours}, f"{pin.name} requires {item}"
        assert name not in ours or Version(ours[name]) in item.specifier


def test_the_image_satisfies_what_the_project_requires():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {pin.name: pin.version for pin in PINS}
    for item in map(Requirement, project["dependencies"]):
        name = canonical(item.name)
        if name in ours:
            assert Version(ours[name]) in item.specifier
        else:
            known = [part.version.removesuffix(".*") for part in image()[name].specifier if part.operator != "<"]
            assert all(Version(version) in item.specifier for version in known), f"the image has {image()[name]}"


def test_requirements_and_development_environment_have_the_locked_versions():
    locked = {pin.name: pin.version for pin in PINS}
    assert pinned(ROOT / "requirements-kaggle.txt") == locked
    developed = pinned(ROOT / "requirements-dev.txt")
    shared = locked.keys() & developed.keys()
    assert {"hydra-core", "omegaconf", "torch-geometric"} <= shared
    assert {name: developed[name] for name in shared} == {name: locked[name] for name in shared}


def test_the_repository_holds_every_wheel_and_no_other():
    assert missing(WHEELS) == []
    assert sum(path.stat().st_size for path in WHEELS.glob("*.whl")) < 3e6
    assert {pin.name for pin in read_lock(WHEELS / SOURCES)} <= {pin.name for pin in PINS}


@pytest.mark.parametrize("pin", PINS, ids=lambda p: p.name)
def test_wheels_are_pure_python_and_their_licence_is_listed(pin):
    with zipfile.ZipFile(WHEELS / pin.wheel) as archive:
        names = archive.namelist()
        tags = archive.read(next(name for name in names if name.endswith(".dist-info/WHEEL"))).decode()
    assert "Root-Is-Purelib: true" in tags and "-none-any" in tags
    assert not [name for name in names if name.endswith((".so", ".pyd", ".dll"))]
    row = re.search(
        rf"^\| {re.escape(pin.name)} {re.escape(pin.version)} \|.*$", (WHEELS / "LICENCES.md").read_text(), re.M
    )
    assert row, f"{pin.name} {pin.version} is not in wheels/LICENCES.md"
    assert all(path in names for path in re.findall(r"`([^`]+)`", row[0]))
    assert f"{pin.name} {pin.version}" in (WHEELS / "BUILDING.md").read_text()


@pytest.fixture
def house(tmp_path):
    return Path(shutil.copytree(WHEELS, tmp_path / "wheels"))


def test_a_wheel_with_another_hash_is_refused(house):
    wheel = next(house.glob("omegaconf*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(KernelError, match=r"omegaconf.*sha256.*build_kernel\.py wheels"):
        fill(house)


def test_a_wheel_that_no_lock_names_is_refused(house):
    shutil.copy(next(house.glob("omegaconf*.whl")), house / "stranger-1.0-py3-none-any.whl")
    with pytest.raises(KernelError, match="stranger.*in no lock"):
        missing(house)


def test_missing_wheels_are_fetched_and_held_to_the_lock(house, monkeypatch):
    """pip is pointed at the repository's wheels instead of the index: no network, the same code."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(WHEELS))
    wheel = next(house.glob("omegaconf*.whl"))
    before = wheel.read_bytes()
    wheel.unlink()
    assert [pin.name for pin in missing(house)] == ["omegaconf"]
    assert fill(house) == [wheel] and wheel.read_bytes() == before
    wheel.unlink()
    for lock in LOCKS:
        text = (house / lock).read_text()
        (house / lock).write_text(re.sub(r"(omegaconf==\S+ --hash=sha256:)[0-9a-f]{64}", r"\g<1>" + "0" * 64, text))
    with pytest.raises(KernelError, match="omegaconf"):
        fill(house)
    assert not wheel.exists()


@pytest.mark.parametrize("line", ["omegaconf==2.3.1", f"omegaconf --hash=sha256:{0:064d}", "a==1 --hash=md5:00"])
def test_a_lock_line_without_version_or_hash_is_refused(tmp_path, line):
    (tmp_path / "x.lock").write_text(f"# comment\n\n{line}\n")
    with pytest.raises(KernelError, match="line 3"):
        read_lock(tmp_path / "x.lock")


def test_two_locks_may_not_disagree_on_one_wheel(house):
    text = (house / LOCKS[1]).read_text()
    (house / LOCKS[1]).write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, text, count=1))
    with pytest.raises(KernelError, match="another hash"):
        wanted(house)


def test_wheel_names_follow_the_package_name():
    assert Pin("torch-geometric", "2.8.1", "0" * 64).wheel == "torch_geometric-2.8.1-py3-none-any.whl"

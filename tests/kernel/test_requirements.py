"""Pins of the development environment: one version each, hashes of all but torch, and what is installed."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from kernelkit.wheels import wanted

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)((?:\s+--hash=sha256:[0-9a-f]{64})*)$")


def read(name: str) -> dict[str, tuple[str, list[str]]]:
    """Package -> (version, hashes) of a requirements file, each line of which must pin one package."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found = {}
    for line in filter(None, (line.split("#")[0].strip() for line in text.splitlines())):
        pin = PIN.match(line)
        assert pin, f"{name}: {line[:80]!r} is no pin"
        package = canonicalize_name(pin[1])
        assert package not in found, f"{name}: {package} twice"
        found[package] = (pin[2], pin[3].split())
    return found


PINS, LOCKED = read("requirements-dev.txt"), read("requirements-dev.lock")


def test_lock_holds_the_pinned_versions_with_hashes_of_all_but_torch():
    expected = {package: pinned for package, (pinned, _) in PINS.items() if package != "torch"}
    found = {package: pinned for package, (pinned, _) in LOCKED.items()}
    assert found == expected, "run `make lock` after a change of requirements-dev.txt"
    assert [package for package, (_, hashes) in LOCKED.items() if not hashes] == []


@pytest.mark.parametrize("package", PINS)
def test_installed_is_what_is_pinned(package):
    assert version(package).split("+")[0] == PINS[package][0], "run `make` anew: the environment is older than the pins"


def test_wheelhouse_and_environment_hold_one_package_to_one_hash():
    shared = [pin for pin in wanted(ROOT / "wheels").values() if canonicalize_name(pin.name) in LOCKED]
    assert {"hydra-core", "omegaconf", "torch-geometric"} <= {canonicalize_name(pin.name) for pin in shared}
    for pin in shared:
        if pin.name != "antlr4-python3-runtime":  # that wheel is built from the archive
            assert f"--hash=sha256:{pin.sha256}" in LOCKED[canonicalize_name(pin.name)][1], pin.name


def test_make_installs_the_lock_with_hashes_required():
    recipe = (ROOT / "Makefile").read_text().split("$(STAMP): ")[-1]
    installs = [line for line in recipe.splitlines() if "pip install" in line]
    assert "--require-hashes --no-deps -r requirements-dev.lock" in installs[0]
    assert [line for line in installs if "-r " in line and line != installs[0]] == [installs[1]]
    assert "-r requirements-dev.txt |" in installs[1]

"""The wheelhouse: what Kaggle's image lacks, one pure wheel a package, each held to the hash in a lock file.

A lock file has pip's own format, one `name==version --hash=sha256:HEX` a line. `cpXY.lock` pins the wheels of one
Python; `sources.lock` pins the source archives of those wheels that the package index does not have.
"""

import os
import re
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

from kitlib.base.provenance import sha256_file

from . import KernelError

LOCKS = ("cp312.lock", "cp313.lock")
SOURCES = "sources.lock"
BUILD_TOOLS = ("setuptools==80.9.0", "wheel==0.48.0", "ninja==1.13.2")
# SOURCE_DATE_EPOCH: 1980-01-01, the earliest date in a zip. MAMBA_*: no compiled extension, and no download of one.
BUILD_ENV = {"SOURCE_DATE_EPOCH": "315532800", "MAMBA_SKIP_CUDA_BUILD": "TRUE", "MAMBA_FORCE_BUILD": "TRUE"}
_LINE = re.compile(r"([A-Za-z0-9._-]+)==([^\s]+) --hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One line of a lock file."""

    name: str  # as on the package index, lower case
    version: str
    sha256: str

    @property
    def wheel(self) -> str:
        """File name of the pure wheel."""
        return f"{re.sub('[-_.]+', '_', self.name)}-{self.version}-py3-none-any.whl"

    def __str__(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def read_lock(path: Path) -> list[Pin]:
    """Pins of a lock file, in its order. Raises KernelError for a missing file, or a line that pins nothing."""
    if not path.is_file():
        raise KernelError(f"{path}: no such file. Restore it from the repository.")
    pins = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise KernelError(f"{path}, line {number}: not of the form name==version --hash=sha256:HEX")
            pins.append(Pin(match[1].lower(), match[2], match[3]))
    return pins


def wanted(folder: Path) -> dict[str, Pin]:
    """Wheel file name -> pin, of all lock files. Raises KernelError where two locks give one file two hashes."""
    pins: dict[str, Pin] = {}
    for lock in LOCKS:
        for pin in read_lock(folder / lock):
            if pins.setdefault(pin.wheel, pin) != pin:
                raise KernelError(f"{folder / lock}: {pin.wheel} has another hash than in the other lock file")
    return pins


def missing(folder: Path) -> list[Pin]:
    """Pins without a wheel in the folder.

    Raises:
        KernelError: a wheel with another hash than its pin, or one that no lock file names.
    """
    pins = wanted(folder)
    for wheel in sorted(folder.glob("*.whl")):
        if wheel.name not in pins:
            raise KernelError(f"{wheel} is in no lock file: delete it, or pin it in {', '.join(LOCKS)}")
        if (found := sha256_file(wheel)) != pins[wheel.name].sha256:
            raise KernelError(
                f"{wheel}: sha256 {found}, but {LOCKS[0]} has {pins[wheel.name].sha256}. "
                "Delete the file and run `python build_kernel.py wheels`, or restore it from the repository."
            )
    return [pin for name, pin in pins.items() if not (folder / name).is_file()]


def fill(folder: Path) -> list[Path]:
    """Download or build every missing wheel; returns the wheels that were added. Nothing is kept whose hash differs."""
    absent = missing(folder)
    sources = {pin.name: pin for pin in read_lock(folder / SOURCES)}
    added = []
    with tempfile.TemporaryDirectory() as scratch:
        for pin in absent:
            out = Path(scratch) / pin.name
            make = _build if pin.name in sources else _download
            make(sources.get(pin.name, pin), out)
            made = out / pin.wheel
            if not made.is_file():
                raise KernelError(f"{pin.name}: expected {pin.wheel}, got {sorted(p.name for p in out.glob('*'))}")
            if (found := sha256_file(made)) != pin.sha256:
                raise KernelError(
                    f"{pin.wheel}: what was made has sha256 {found}, the lock file {pin.sha256}. The wheel is refused: "
                    "restore it from the repository, or look at wheels/BUILDING.md and change the pin knowingly."
                )
            (folder / pin.wheel).write_bytes(made.read_bytes())
            added.append(folder / pin.wheel)
    return added


def _download(pin: Pin, out: Path) -> None:
    platform = ["--only-binary", ":all:", "--python-version", "3.12"]
    _pip(sys.executable, ["download", "--no-deps", *platform, "-d", str(out)], pin)


def _build(source: Pin, out: Path) -> None:
    """A pure wheel from a pinned source archive, in a throw-away environment with pinned build tools.

    The archives' build scripts import torch and packaging: both come from the environment that runs this.
    """
    with tempfile.TemporaryDirectory() as scratch:
        room = Path(scratch) / "venv"
        venv.create(room, with_pip=True)
        python = str(room / "bin" / "python")
        site = next(room.glob("lib/python*/site-packages"))
        (site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
        _run([python, "-m", "pip", "install", "--quiet", *BUILD_TOOLS], "build tools")
        words = ["wheel", "--no-cache-dir", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-w", str(out)]
        _pip(python, words, source)


def _pip(python: str, words: list[str], pin: Pin) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
        requirement.write(f"{pin}\n")
        requirement.flush()
        _run([python, "-m", "pip", *words, "--quiet", "--require-hashes", "-r", requirement.name], str(pin))


def _run(command: list[str], what: str) -> None:
    result = subprocess.run(command, env={**os.environ, **BUILD_ENV}, capture_output=True, text=True)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip() and "WARNING" not in line]
        raise KernelError(f"{what}: pip failed. {' | '.join(lines[-4:])}")

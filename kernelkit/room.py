"""A clean room in Kaggle's shape: an environment with the image's packages, read-only inputs, no network.

Everything lies below one folder, the prefix, so that no root is needed: PREFIX/kaggle/{input,working,tmp}, the
environment in PREFIX/venv, and an empty working directory in PREFIX/elsewhere.

Where the system allows user namespaces (`unshare`), the process has no network but loopback, and nothing can be written
except working, tmp and venv. Elsewhere sockets to other machines are refused inside Python, and the kit's files lose
their write permission.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from kitlib.base.paths import COMPETITION

from . import MIB, ROOT, KernelError
from .bundle import METADATA
from .metadata import DATASET

# kit and data below kaggle/input, for each form in which Kaggle mounts them
LAYOUTS = {
    "flat": (DATASET, COMPETITION),
    "dataset": (f"datasets/twin/{DATASET}", f"competitions/{COMPETITION}"),
    "notebook": (f"notebooks/twin/{DATASET}", f"competitions/{COMPETITION}"),
    "model": ("models/twin/spectramind-v50/other/kit/1", f"competitions/{COMPETITION}"),
}
IMAGE = ROOT / "wheels" / "image.txt"
_INSIDE = Path(__file__).parent / "inside.py"
_UNSHARE = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
_NO_SOCKETS = '''"""Refuses every connection that leaves this machine."""

import socket

_connect = socket.socket.connect


def _local_only(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"network is cut: {address}")
    return _connect(self, address)


socket.socket.connect = _local_only
socket.getaddrinfo = lambda host, *rest, **named: (_ for _ in ()).throw(OSError(f"network is cut: {host}"))
'''


@dataclass(frozen=True)
class Outcome:
    """What a process in the room did: exit status, output, wall time in seconds, peak resident memory in MiB.

    The peak is the largest sum over the process and its descendants; pages that they share count several times.
    """

    status: int
    output: str
    wall_s: float
    peak_mib: float


def namespaces() -> bool:
    """Whether this system lets the user cut a process off: user, network and mount namespaces."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [*_UNSHARE, sys.executable, str(_INSIDE), folder, "--", "true"]
        return subprocess.run(command, capture_output=True).returncode == 0


class Room:
    """One clean room below `prefix`, which must be an empty or absent folder.

    Args:
        prefix: where everything goes.
        isolate: "namespace", "sockets", or "" for the first that the system allows.
    """

    def __init__(self, prefix: Path, isolate: str = ""):
        self.prefix = Path(prefix).resolve()
        self.isolate = isolate or ("namespace" if namespaces() else "sockets")
        self.input, self.working, self.tmp = (self.prefix / "kaggle" / name for name in ("input", "working", "tmp"))
        self.elsewhere = self.prefix / "elsewhere"
        for folder in (self.input, self.working, self.tmp, self.elsewhere):
            folder.mkdir(parents=True)
        self.python = self.prefix / "venv" / "bin" / "python"

    def furnish(self, image: str = "local") -> dict[str, str]:
        """Make the environment; returns name -> version of what is in it.

        Args:
            image: "local" links this environment's versions of the image's packages, without a download. "index"
                installs the image's own versions from the package index. Of torch the build for this Python is linked.
        """
        venv.create(self.prefix / "venv", with_pip=True)
        site = next((self.prefix / "venv").glob("lib/python*/site-packages"))
        wanted = [Requirement(line) for line in IMAGE.read_text().splitlines() if line and not line.startswith("#")]
        if image == "index":
            self._install([str(item) for item in wanted if item.name != "torch"])
            wanted = [item for item in wanted if item.name == "torch"]
        linked = closure(item.name for item in wanted)
        for distribution in linked.values():
            _link(distribution, site)
        found = metadata.distributions(path=[str(site)])
        return {_canonical(item.metadata["Name"]): item.version for item in found}

    def mount(self, kit: Path, data: Path, layout: str) -> Path:
        """Put the staged dataset and a data root where this layout has them; returns the kit's folder."""
        kit_place, data_place = (self.input / part for part in LAYOUTS[layout])
        shutil.copytree(kit, kit_place, ignore=shutil.ignore_patterns(METADATA))
        for path in kit_place.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        data_place.parent.mkdir(parents=True, exist_ok=True)
        data_place.symlink_to(Path(data).resolve())
        return kit_place

    def run(self, arguments: list[str], timeout_s: float) -> Outcome:
        """Run the room's Python with these arguments, cut off. Raises KernelError after `timeout_s` seconds."""
        command = [str(self.python), *arguments]
        environment = {
            "PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.tmp),
            "TMPDIR": str(self.tmp),
            "LANG": "C.UTF-8",
            "KITLIB_KAGGLE_INPUT": str(self.input),
        }
        if self.isolate == "namespace":
            writable = [str(path) for path in (self.working, self.tmp, self.prefix / "venv")]
            command = [*_UNSHARE, sys.executable, str(_INSIDE), *writable, "--", *command]
        else:
            guard = self.prefix / "guard"
            guard.mkdir(exist_ok=True)
            (guard / "sitecustomize.py").write_text(_NO_SOCKETS)
            environment["PYTHONPATH"] = str(guard)
        log = self.tmp / "room.log"
        start = time.monotonic()
        with open(log, "wb") as stream:
            process = subprocess.Popen(
                command, cwd=self.elsewhere, env=environment, stdout=stream, stderr=stream, start_new_session=True
            )
            peak = _watch(process.pid)
            try:
                status = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                for child in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                    child.kill()
                raise KernelError(f"not finished after {timeout_s:.0f} s; its output is in {log}") from None
        return Outcome(status, log.read_text(errors="replace"), time.monotonic() - start, peak())

    def _install(self, requirements: list[str]) -> None:
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *requirements]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if "ERROR" in line]
            raise KernelError(f"the index does not offer the image's versions for this Python: {' | '.join(lines)}")


def closure(names: Iterable[str]) -> dict[str, metadata.Distribution]:
    """Distributions of this environment with these names, and all that they require; absent ones are left out."""
    found: dict[str, metadata.Distribution] = {}
    todo = [_canonical(name) for name in names]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for text in found[name].requires or []:
            required = Requirement(text)
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                todo.append(_canonical(required.name))
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _link(distribution: metadata.Distribution, site: Path) -> None:
    """Link a distribution's top-level files and folders into another site-packages."""
    base = Path(str(distribution.locate_file("")))
    for top in {Path(str(item)).parts[0] for item in distribution.files or []} - {"..", "__pycache__"}:
        target = site / top
        if (base / top).exists() and not target.exists():
            target.symlink_to(base / top)


def _watch(pid: int) -> Callable[[], float]:
    """Follow a process and its descendants; the returned function ends that and gives the peak in MiB."""
    peak, ended = [0.0], threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            try:
                family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            total = 0
            for member in family:
                try:
                    total += member.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total / MIB)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()

    def end() -> float:
        ended.set()
        thread.join()
        return peak[0]

    return end

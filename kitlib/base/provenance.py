"""Where results came from: checksums, atomic writes, a manifest per stage and the JSON-lines event log."""

import errno
import hashlib
import json
import os
import platform
import resource
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from .version import __version__

PART = ".part"  # ends the name of a file that is not whole yet
_REMEDIES = dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free some space, or give a folder on another disk (run.out=DIR)."
)
_PACKAGES = ("numpy", "scipy", "polars", "pyarrow", "numba", "torch", "hydra-core")


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex sha256 of a JSON-serialisable value in canonical form (sorted keys)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def write_atomic(path: Path, data: bytes | str) -> Path:
    """Write a whole file or nothing: temporary file in the same folder, fsync, rename. Raises OSError naming it.

    A symbolic link at `path` is replaced, never written through.
    """
    path = Path(path)
    payload = data.encode() if isinstance(data, str) else data
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        with os.fdopen(handle, "wb") as stream:
            stream.write(payload)
            stream.flush()
            _pressed(stream.fileno())
        with suppress(OSError):  # a file system without modes, as FAT and some mounts are
            os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):  # what is told is why it could not be written
                os.unlink(temporary)
        if isinstance(error, OSError):
            remedy = _REMEDIES.get(error.errno or 0, "Give an output folder you may write to (run.out=DIR).")
            raise OSError(f"cannot write {path}: {error.strerror}. {remedy}") from error
        raise
    return path


def _pressed(descriptor: int) -> None:
    """fsync, where the file system has it: some network mounts refuse the call, and no write is lost by that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


class EventLog:
    """JSON-lines log of everything out of the ordinary: one object a line, appended, never rewritten.

    Every event has `time` (UTC seconds), `stage`, `event` and, where it concerns one, `planet_id` and `reason`; its
    form is that of `events.schema.json`. A log that cannot be written costs no result: its lines are warnings
    meanwhile, and go into the file as soon as it can be written again.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._unwritten: list[bytes] = []

    def emit(self, stage: str, event: str, **fields: Any) -> None:
        """Append one event, its line in a single system call: parallel workers do not mix lines."""
        line = json.dumps({"time": round(time.time(), 3), "stage": stage, "event": event, **fields}, default=str)
        self._unwritten.append(line.encode() + b"\n")
        try:
            self._append()
        except OSError as error:
            warnings.warn(f"{self.path}: {error.strerror or error}; it lacks {line}", RuntimeWarning, stacklevel=2)

    def _append(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            while self._unwritten:
                size = os.fstat(descriptor).st_size
                torn = size and os.pread(descriptor, 1, size - 1) != b"\n"  # by a kill, or by a full disk
                data = b"\n" * bool(torn) + self._unwritten[0]
                if os.write(descriptor, data) < len(data):
                    raise OSError(errno.ENOSPC, "no space left for a whole line")
                del self._unwritten[0]
        finally:
            os.close(descriptor)

    def read(self) -> list[dict[str, Any]]:
        """All events; a half-written line (a killed run, a full disk) is skipped."""
        if not self.path.exists():
            return []
        events = []
        for line in self.path.read_bytes().split(b"\n"):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events


def _versions() -> dict[str, str]:
    found = {"kitlib": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@contextmanager
def stage_manifest(folder: Path, stage: str, config: Any, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """Record a stage: yields a dict whose "inputs" and "outputs" lists of paths the stage fills.

    On success `folder/manifests/{stage}.json` holds sha256 of both, config hash, versions, seed, wall time (s) and
    peak resident memory (MiB, of this process and of its largest child). Paths inside of `folder` are relative to it,
    the others absolute: a run can be moved, and `verify` still finds what is its own.
    """
    record: dict[str, Any] = {"inputs": [], "outputs": []}
    start = time.monotonic()
    yield record
    usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    manifest = {
        "stage": stage,
        "seed": seed,
        "config_sha256": sha256_json(config),
        "versions": _versions(),
        "wall_s": round(time.monotonic() - start, 3),
        "peak_mib": usage // 1024,
        "inputs": _hash_all(folder, record["inputs"]),
        "outputs": _hash_all(folder, record["outputs"]),
    }
    write_atomic(Path(folder) / "manifests" / f"{stage}.json", json.dumps(manifest, indent=1) + "\n")


def _hash_all(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    return {recorded(Path(folder), path): sha256_file(path) for path in sorted(map(Path, paths))}


def recorded(folder: Path, path: Path) -> str:
    """A path as manifests hold it; links are followed in neither."""
    folder, path = Path(os.path.abspath(folder)), Path(os.path.abspath(path))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)

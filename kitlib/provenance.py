"""Where results came from: checksums, atomic writes, a manifest per stage and the JSON-lines event log."""

import hashlib
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__

_PACKAGES = ("numpy", "scipy", "polars", "pyarrow", "numba", "torch", "hydra-core")


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex sha256 of a JSON-serialisable value in canonical form (sorted keys)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def write_atomic(path: Path, data: bytes | str) -> Path:
    """Write a whole file or nothing: temporary file in the same folder, fsync, rename. Raises OSError naming it."""
    path = Path(path)
    payload = data.encode() if isinstance(data, str) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise OSError(
            f"cannot write {path}: {error.strerror}. Give an output folder you may write to (run.out=DIR)."
        ) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


class EventLog:
    """JSON-lines log of everything out of the ordinary: one object a line, appended, never rewritten.

    Every event has `time` (UTC seconds), `stage`, `event` and, where it concerns one, `planet_id` and `reason`.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    def emit(self, stage: str, event: str, **fields: Any) -> None:
        """Append one event, its line in a single system call: parallel workers do not mix lines."""
        line = json.dumps({"time": round(time.time(), 3), "stage": stage, "event": event, **fields}, default=str)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (line + "\n").encode())
        finally:
            os.close(descriptor)

    def read(self) -> list[dict[str, Any]]:
        """All events; a half-written last line (a killed run) is skipped."""
        if not self.path.exists():
            return []
        events = []
        for line in self.path.read_text().splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                continue
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
    peak resident memory (MiB, of this process and of its largest child).
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
        "inputs": _hash_all(record["inputs"]),
        "outputs": _hash_all(record["outputs"]),
    }
    write_atomic(Path(folder) / "manifests" / f"{stage}.json", json.dumps(manifest, indent=1) + "\n")


def _hash_all(paths: Iterable[Path]) -> dict[str, str]:
    return {str(path): sha256_file(path) for path in sorted(map(Path, paths))}

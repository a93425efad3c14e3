"""A running stage: where it writes, its event log, and the manifest that it leaves behind."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.config import as_dict, write_snapshot
from ..base.execution import on_cluster, running_on
from ..base.paths import OutputError, ensure_writable
from ..base.provenance import PART, EventLog, stage_manifest
from ..base.schema import Config

LOCK = ".lock"
PRODUCTS = Path("products") / "lightcurves"
# what is written into, file by file: a link there would lead out of the folder (whole files replace a link)
_OWN = ("bundle", "configs", "events.jsonl", "fusion", "manifests", "pretrain", "products")


@dataclass(frozen=True)
class Stage:
    """A running stage: its configuration, output folder, event log and manifest record."""

    name: str
    config: Config
    out: Path
    events: EventLog
    record: dict[str, Any]

    @property
    def workers(self) -> int:
        """Processes to use: `run.workers`; 0: as many as there are, one a core or what the cluster has."""
        return 0 if on_cluster() else self.config.run.workers

    def products(self, split: str) -> Path:
        """The folder of a split's light curves, one file a planet."""
        return self.out / PRODUCTS / split


@contextmanager
def running(name: str, config: Config) -> Iterator[Stage]:
    """Run the body as stage `name`: snapshot of its configuration first, manifest after it, failure in the log.

    Raises OutputError where the folder cannot be written, where another run writes in it, or where it holds a link
    that leads out of it.
    """
    out = ensure_writable(config.run.out)
    with running_on(config.run.backend, config.run.scheduler), _alone(out, name):
        _refuse_links(out)
        _sweep(out)
        snapshot = write_snapshot(config, out, name)
        events = EventLog(out / "events.jsonl")
        events.emit(name, "start")
        with stage_manifest(out, name, as_dict(config), config.run.seed) as record:
            record["outputs"].append(snapshot)
            try:
                yield Stage(name, config, out, events, record)
            except BaseException as error:
                events.emit(name, "failed", reason=f"{type(error).__name__}: {error}")
                raise
        events.emit(name, "end")


@contextmanager
def _alone(out: Path, name: str) -> Iterator[None]:
    """Hold OUT/.lock, which the system frees when this process ends in whatever way: two runs would mix their files."""
    descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "another run"
                raise OutputError(
                    f"{out}: {holder} is writing here. Wait until it has ended, or give another folder (run.out=DIR)."
                ) from error
            # else: a file system without locks, as some network mounts are
        with suppress(OSError):  # the name is a courtesy; a full disk shows where it matters
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"stage {name} of process {os.getpid()}".encode(), 0)
        yield
    finally:
        with suppress(OSError):  # a network mount tells only now that it did not keep the name
            os.close(descriptor)


def _refuse_links(out: Path) -> None:
    for entry in (out / name for name in _OWN):
        if entry.is_symlink() and not entry.resolve().is_relative_to(out.resolve()):
            raise OutputError(
                f"{entry} is a link that leads out of the run's folder, where nothing may be written. Remove it, or "
                "give the folder that the results shall lie in (run.out=DIR)."
            )


def _sweep(out: Path) -> None:
    """Remove what killed runs left half-written: nobody reads it, and with the lock held nobody writes it."""
    for folder in (out, *(out / name for name in _OWN)):
        found = folder.glob if folder == out else folder.rglob
        for leftover in found(f".*{PART}"):
            with suppress(OSError):  # litter of another user, which costs no result
                leftover.unlink()

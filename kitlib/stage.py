"""A running stage: where it writes, its event log, and the manifest that it leaves behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import cpu_count

from .config import as_dict, write_snapshot
from .paths import ensure_writable
from .provenance import EventLog, stage_manifest
from .schema import Config


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
        """Processes to use: `run.workers`, or every core that this process may use."""
        return self.config.run.workers or cpu_count()


@contextmanager
def running(name: str, config: Config) -> Iterator[Stage]:
    """Run the body as stage `name`: snapshot of its configuration first, manifest after it, failure in the log."""
    out = ensure_writable(config.run.out)
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

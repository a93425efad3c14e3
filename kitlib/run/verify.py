"""Does a run still hold what its manifests say? `spectramind verify RUN` computes every checksum again.

Paths inside of the run are relative to it in the manifests: a run that was moved is verified where it lies now.
"""

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..base.provenance import EventLog, recorded, sha256_file, sha256_json

# what no manifest names: the records themselves, and what a person or a notebook leaves beside the stages' files
_RECORDS = ("events.jsonl", ".lock", "manifests", "notebooks")


class VerifyError(ValueError):
    """A folder that is no run, or not the run that it should be; the message says what to do."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was: `kind` is changed, missing, added or unfinished."""

    kind: str
    what: str  # "predict output", "predict input", "predict configuration", "file"
    path: str  # as the manifest has it

    def __str__(self) -> str:
        """One line of the report."""
        return f"{self.kind:<11}{self.what:<24}{self.path}"


@dataclass(frozen=True)
class Verification:
    """What became of a run since its stages ended."""

    run: Path
    stages: tuple[str, ...]
    files: int  # whose checksum was computed
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """True where everything is as it was."""
        return not self.differences


def verify(run: Path, inside: bool = False) -> Verification:
    """Compare a run with its manifests.

    Args:
        run: the folder (`run.out`).
        inside: leave out what lies outside of it, the dataset above all, which may be on another machine.

    Raises:
        VerifyError: the folder holds no manifest.
    """
    run = Path(run)
    paths = sorted((run / "manifests").glob("*.json"))
    if not paths:
        raise VerifyError(
            f"{run} holds no manifests/STAGE.json. Give the folder of a run (run.out) in which a stage ended."
        )
    digest = functools.cache(lambda path: sha256_file(path) if path.is_file() else None)
    manifests = {path: _manifest(path) for path in paths}
    found = [Difference("changed", "manifest", f"manifests/{p.name}") for p, held in manifests.items() if held is None]
    known: set[Path] = set()
    stages = []
    final = _last_writers(run, [held for held in manifests.values() if held is not None])
    for path, manifest in manifests.items():
        if manifest is None:
            continue
        stages.append(manifest["stage"])
        if _config_hash(run / "configs" / f"{manifest['stage']}.yaml") != manifest["config_sha256"]:
            found.append(Difference("changed", f"{manifest['stage']} configuration", f"configs/{path.stem}.yaml"))
        for kind in ("inputs", "outputs"):
            for name, expected in manifest[kind].items():
                if inside and Path(name).is_absolute():
                    continue
                known.add(run / name)  # an absolute name stays what it is
                if kind == "outputs" and final[name] != manifest["stage"]:
                    continue  # written again since, by a stage that makes it too
                if (now := digest(run / name)) != expected:
                    change = "missing" if now is None else "changed"
                    found.append(Difference(change, f"{manifest['stage']} {kind[:-1]}", name))
    found += [Difference("added", "file", str(path.relative_to(run))) for path in _files(run) if path not in known]
    found += [Difference("unfinished", stage, "started again and did not end") for stage in _unfinished(run, stages)]
    return Verification(run, tuple(stages), len(known), tuple(found))


def check_stage(run: Path, stage: str, outputs: Iterable[Path] = (), inputs: Iterable[Path] = ()) -> None:
    """Refuse a run in which `stage` has not ended, or in which what it made or read is no longer the same.

    Args:
        run: the folder (`run.out`).
        stage: its name.
        outputs: files that it must have written.
        inputs: files that it must have read; all that it read inside of the run are compared in any case.

    Raises:
        VerifyError: it has not ended, or one of the files is another one or gone.
    """
    again = f"Run `spectramind {stage}` again: finished planets are kept."
    path = run / "manifests" / f"{stage}.json"
    manifest = _manifest(path) if path.is_file() else None
    if manifest is None:
        raise VerifyError(f"{path}: `{stage}` has not ended in this folder. {again}")
    own = [run / name for name in manifest["inputs"] if not Path(name).is_absolute()]
    for kind, verb, files in (("outputs", "wrote", outputs), ("inputs", "read", [*own, *inputs])):
        for file in files:
            if not file.is_file() or manifest[kind].get(recorded(run, file)) != sha256_file(file):
                raise VerifyError(f"{file} is not what `{stage}` {verb} in {run}. {again}")


def _last_writers(run: Path, manifests: list[dict[str, Any]]) -> dict[str, str]:
    """Which stage wrote each output last, by the order in which the stages ended."""
    ended = {event.get("stage"): place for place, event in enumerate(EventLog(run / "events.jsonl").read())
             if event.get("event") == "end"}  # fmt: skip
    ordered = sorted(manifests, key=lambda manifest: ended.get(manifest["stage"], -1))
    return {name: manifest["stage"] for manifest in ordered for name in manifest["outputs"]}


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads(path.read_bytes())
        whole = manifest["stage"] == path.stem and manifest["config_sha256"]
        return manifest if whole and isinstance(manifest["inputs"] | manifest["outputs"], dict) else None
    except (ValueError, KeyError, TypeError):
        return None


def _config_hash(path: Path) -> str | None:
    try:
        return sha256_json(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _files(run: Path) -> Iterator[Path]:
    """Files of the run that a stage should have recorded."""
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.relative_to(run).parts[0] not in _RECORDS:
            yield path


def _unfinished(run: Path, stages: list[str]) -> list[str]:
    """Stages that were started once more after they had ended, and failed or were killed."""
    last = {event.get("stage"): event["event"] for event in EventLog(run / "events.jsonl").read()
            if event.get("event") in ("start", "end")}  # fmt: skip
    return [stage for stage in stages if last.get(stage) == "start"]

"""What `spectramind STAGE --help` prints: the keys that the stage reads, from schema and configuration files."""

import dataclasses
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .configfiles import SEARCH, groups
from .keytable import keys_of, wanted
from .schema import STAGES, Config

WIDTH = 100


def stage_help(stage: str, config: Config, folder: Path, part: str = "") -> str:
    """Groups and keys that a stage reads, each key with its value, type, choices and the schema's sentence.

    Args:
        stage: one of `STAGES`.
        config: what the stage would run with, whose values are shown.
        folder: the configuration files.
        part: "inject" for `diagnose inject`, which reads other keys than the rest of `diagnose`.
    """
    keys = keys_of(part or stage)
    lines = [f"usage: spectramind {f'{stage} {part}'.strip()} [group=option ...] [key=value ...]", "", STAGES[stage]]
    names = {key.name for key in keys}
    chosen = {
        group: options
        for group, options in groups(folder).items()
        if group != SEARCH and any(names & set(_set_by(folder / group / f"{one}.yaml")) for one in options)
    }
    if chosen:
        lines += ["", "groups, each option a set of values (configs/GROUP/OPTION.yaml):"]
        lines += [f"  {group}={'|'.join(options)}" for group, options in chosen.items()]
    section = ""
    for key in keys:
        value: Any = config
        for name in key.name.split("."):
            owner, value = value, getattr(value, name)
        if (own := key.name.rpartition(".")[0]) != section:
            section = own
            lines += ["", f"{section}: {(type(owner).__doc__ or '').splitlines()[0]}"]
        lines.append(f"  {key.name}={_shown(value)}   [{wanted(key.declared)}]")
        lines += textwrap.wrap(key.sentence, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def _set_by(file: Path) -> Iterator[str]:
    """Every key, and every section, that a configuration file gives a value."""

    def walk(content: Any, prefix: str) -> Iterator[str]:
        for name, value in content.items() if isinstance(content, dict) else ():
            yield prefix + name
            yield from walk(value, f"{prefix}{name}.")

    return walk(yaml.safe_load(file.read_text(encoding="utf-8")), "")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=dataclasses.asdict)

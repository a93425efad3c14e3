"""What the schema says of each key (type, limits, sentence), which stage reads it, and what a value must hold to."""

import ast
import dataclasses
import inspect
import io
import tokenize
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from . import schema
from .configfiles import ConfigError
from .schema import Config
from .values import OneOf, Range

# What each stage reads: sections, single keys, and -keys of a section that it does not read. `inject` is a part of
# `diagnose`. tests/base/test_keytable.py follows the code from each stage and holds this to it.
READS = {
    "simulate": "run -run.trained simulate",
    "calibrate": "run -run.trained data -data.solution lightcurves",
    "pretrain": "run -run.trained lightcurves.samples physfit loss model "
    "train -train.initial -train.folds pretrain simulate.world",
    "train": "run -run.trained data.root lightcurves physfit prior sigma.folds loss model train -train.validation",
    "predict": "run data -data.solution lightcurves physfit prior -prior.limb_planets "
    "sigma.calibrator model.kind budget",
    "diagnose": "run.out run.seed run.backend run.scheduler run.trained data sigma.calibrator loss model.kind report",
    "inject": "run data -data.solution lightcurves physfit prior -prior.limb_planets "
    "sigma.calibrator model.kind inject",
    "submit": "run.out run.seed run.backend run.scheduler data -data.solution",
}


@dataclasses.dataclass(frozen=True)
class Key:
    """One key: dotted name, declared type with its limits, and the sentence that stands beside it in the schema."""

    name: str
    declared: Any
    sentence: str


def leaves(section: type = Config, prefix: str = "") -> Iterator[Key]:
    """Every key that holds a value, in the schema's order."""
    for item in dataclasses.fields(section):
        if dataclasses.is_dataclass(item.type):
            yield from leaves(item.type, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        else:
            yield Key(prefix + item.name, item.type, _sentences()[section.__name__, item.name])


def keys_of(stage: str) -> list[Key]:
    """The keys that a stage (or `inject`) reads."""
    words = READS[stage].split()
    left_out = {word[1:] for word in words if word.startswith("-")}
    taken = [word for word in words if not word.startswith("-")]
    return [
        key
        for key in leaves()
        if key.name not in left_out and any(f"{key.name}.".startswith(f"{word}.") for word in taken)
    ]


def check(section: Any, name: str = "") -> None:
    """Refuse numbers and words that the schema does not allow. Raises ConfigError, which names each such key.

    Args:
        section: a `Config`, or one of its sections.
        name: that section's name, "" for the whole.
    """
    if problems := list(_problems(type(section), section, name)):
        raise ConfigError("; ".join(problems))


def declared(key: str) -> Any:
    """Type of a key as declared; inside a mapping (`loss.rules.NAME`) that of its values; None for an unknown key."""
    found: Any = Config
    for part in key.split("."):
        if dataclasses.is_dataclass(found):
            found = {item.name: item.type for item in dataclasses.fields(found)}.get(part)
        elif get_origin(found) is dict:
            found = get_args(found)[1]
        else:
            return None
    return found


def bare(kind: Any) -> Any:
    """A type without its limits."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def wanted(kind: Any) -> str:
    """What a declared type asks for, in words: "a whole number, 0 to 1,024"."""
    plain, limit = bare(kind), _limit(kind)
    if isinstance(limit, OneOf):
        return str(limit)
    if get_origin(plain) in (Union, types.UnionType):
        return f"{wanted(get_args(plain)[0])}, or null"
    if get_origin(plain) is list:
        return f"a list, each {wanted(get_args(plain)[0])}"
    if get_origin(plain) is dict:
        return f"names, each with {wanted(get_args(plain)[1])}"
    if dataclasses.is_dataclass(plain):
        return "{" + ", ".join(item.name for item in dataclasses.fields(plain)) + "}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return ", ".join([names.get(plain, "a value"), *([str(limit)] if limit else [])])


def _limit(kind: Any) -> Range | OneOf | None:
    return get_args(kind)[1] if get_origin(kind) is Annotated else None


def _problems(kind: Any, value: Any, key: str) -> Iterator[str]:
    plain, limit = bare(kind), _limit(kind)
    if dataclasses.is_dataclass(plain):
        for item in dataclasses.fields(plain):
            yield from _problems(item.type, getattr(value, item.name), f"{key}.{item.name}".lstrip("."))
    elif get_origin(plain) in (Union, types.UnionType):
        if value is not None:
            yield from _problems(get_args(plain)[0], value, key)
    elif get_origin(plain) is list:
        for number, one in enumerate(value):
            yield from _problems(get_args(plain)[0], one, f"{key}[{number}]")
    elif get_origin(plain) is dict:
        for name, one in value.items():
            yield from _problems(get_args(plain)[1], one, f"{key}.{name}")
    elif limit is not None and not limit.holds(value):
        shown = f"{value:g}" if isinstance(value, float) else value
        yield f"{key}={shown}: give {wanted(kind)}"
    elif isinstance(value, str) and value.encode(errors="ignore").decode() != value:  # a file name of other bytes
        yield f"{key}={value!a}: these bytes are not UTF-8, in which table libraries take paths; rename it"


@cache
def _sentences() -> dict[tuple[str, str], str]:
    """(schema class, field) -> the comment beside it, or in the lines above it."""
    source = inspect.getsource(schema)
    above: dict[int, str] = {}  # line -> comment; lines of their own, and ends of lines
    beside: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            (above if token.line.lstrip().startswith("#") else beside)[token.start[0]] = token.string.lstrip("# ")
    found = {}
    for node in (one for one in ast.parse(source).body if isinstance(one, ast.ClassDef)):
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                lines, line = [beside.get(part.end_lineno or part.lineno, "")], part.lineno - 1
                while line in above:
                    lines.insert(0, above[line])
                    line -= 1
                found[node.name, part.target.id] = " ".join(lines).strip()
    return found

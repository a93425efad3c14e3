"""`compose`, the one place where a configuration is put together: schema (kitlib/base/schema.py), then configs/*.yaml.

An unknown key, group or option is an error that names the nearest one, and nothing in a configuration is ever executed.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_origin

import yaml

from .configfiles import SEARCH, ConfigError, check_files, groups
from .keytable import bare, check, declared, wanted
from .paths import find_configs
from .provenance import write_atomic
from .schema import STAGES, Config


def keys(schema: Any = Config, prefix: str = "") -> Iterator[str]:
    """Every configuration key as a dotted path, sections included."""
    for item in dataclasses.fields(schema):
        yield prefix + item.name
        if dataclasses.is_dataclass(item.type):
            yield from keys(item.type, f"{prefix}{item.name}.")


def compose(stage: str, overrides: Sequence[str] = (), folder: Path | None = None) -> Config:
    """The configuration of one stage: schema defaults < configs/STAGE.yaml and its groups < `overrides`.

    Args:
        stage: one of `STAGES`.
        overrides: hydra overrides: `key.path=value`, `group=option` or `+group=option`.
        folder: configuration files; by default `paths.find_configs()`.

    Raises:
        ConfigError: unknown stage, key, group or option, or a value of the wrong type or out of the schema's range.
    """
    # Imported here: layers above need the schema alone, and hydra takes 0.2 s to load.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if stage not in STAGES:
        raise ConfigError(f"unknown stage {stage!r}{nearest(stage, list(STAGES))} (stages: {', '.join(STAGES)})")
    folder = find_configs() if folder is None else Path(folder).resolve()
    check_files(folder)
    checked = [_checked(override, groups(folder)) for override in overrides]
    store_schema()
    try:
        with initialize_config_dir(config_dir=str(folder), version_base=None):
            composed = hydra_compose(config_name=stage, overrides=checked)
        return typed(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error, stage, overrides)) from error


@cache
def store_schema() -> None:
    """Make the schema known to hydra under the name that the root files' defaults give it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Config)


def typed(composed: Any) -> Config:
    """What hydra composed, as the schema's dataclasses; the environment's variables cannot be reached from it.

    Raises ConfigError for a root file that does not start from the schema, and for values out of its ranges.
    """
    from omegaconf import OmegaConf

    # ${oc.env:NAME} would put a token into the snapshot, and from there into the submission's bundle
    OmegaConf.clear_resolver("oc.env")
    config = OmegaConf.to_object(composed)
    if not isinstance(config, Config):
        raise ConfigError("a root file of configs/ does not start from the schema: its first default is `schema`")
    check(config)
    return config


def sweep_overrides(overrides: Sequence[str], folder: Path) -> tuple[list[str], str]:
    """Overrides of a sweep in the form that hydra's sweeper takes, and `run.out`, "" where it is not given.

    Values parted by commas are swept, of groups as well. `search=a,b` is both files of configs/search together. Of
    hydra's own keys those of its launcher pass. Raises ConfigError as `compose` does.
    """
    check_files(folder)
    words, out, known = [], "", groups(folder)
    for override in overrides:
        name, _, value = override.partition("=")
        key = name.lstrip("+").strip()
        if key == "hydra/launcher" or (key.startswith("hydra.launcher.") and "_target_" not in key):
            words.append(override)
        elif key == "run.out":
            out = value
        else:
            word = _checked(override, known, sweep=True)
            if key not in known and not _in_mapping(key):
                _check_swept(key, word)
            words.append(word)
    return words, out


def write_snapshot(config: Config, out: Path, stage: str) -> Path:
    """Write the composed configuration to OUT/configs/STAGE.yaml and return that path."""
    text = f"# composed by: spectramind {stage}\n" + yaml.safe_dump(as_dict(config), sort_keys=False)
    return write_atomic(Path(out) / "configs" / f"{stage}.yaml", text)


def as_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain nested dictionaries, ready for JSON or YAML."""
    return dataclasses.asdict(config)


def nearest(word: str, known: Sequence[str]) -> str:
    """ "; did you mean ...?" for a mistyped word, "" where none of the known ones is near."""
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def _checked(override: str, known_groups: dict[str, list[str]], sweep: bool = False) -> str:
    """The override in the form that hydra takes, once its key is known to exist.

    Every group but `search` is in the stages' defaults lists already, which makes hydra refuse the `+` of `+env=local`:
    here both spellings mean the same.
    """
    name, equals, value = override.partition("=")
    key = name.lstrip("+").strip()
    if not equals or not key or key.startswith("~"):
        raise ConfigError(f"override {override!r} is not of the form key.path=value or group=option")
    if key in known_groups:
        return _checked_group(key, value, known_groups[key], sweep)
    kind = bare(declared(key))
    if kind is None:
        known = list(keys())
        leaves = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
        near = f"; did you mean {leaves[0]!r}?" if leaves else nearest(key, [*known, *known_groups])
        raise ConfigError(f"unknown configuration key {key!r}{near}")
    if dataclasses.is_dataclass(kind):
        children = ", ".join(k for k in keys() if k.startswith(f"{key}."))
        raise ConfigError(f"{key!r} is a section, not a value. Its keys: {children}")
    if kind is Any:  # a rule: text, unless it is a mapping or switched off
        return f"++{key}={value if value[:1] == '{' or value == 'null' else _quoted(value)}"
    if kind is not str:  # what lies in a mapping need not be there yet
        return f"{'++' if _in_mapping(key) else ''}{key}={value}"
    swept = value.split(",") if sweep and value[:1] not in ("'", '"') else [value]
    return f"{key}={','.join(map(_quoted, swept))}"


def _check_swept(key: str, word: str) -> None:
    """Refuse a sweep's value that its key cannot have before any combination runs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        (override,) = OverridesParser.create().parse_overrides([word])
        swept = override.is_sweep_override()
        values = list(override.sweep_iterator()) if swept else [override.value()]
    except HydraException as error:
        raise ConfigError(f"{word}: {str(error).splitlines()[0]}") from error
    for value in values:
        plain = getattr(value, "text", value)  # of a quoted text
        config = OmegaConf.structured(Config)
        try:
            OmegaConf.update(config, key, plain)
            whole = OmegaConf.to_object(config)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{key}={plain}: give {wanted(declared(key))}") from error
        check(whole)


def _checked_group(group: str, value: str, options: list[str], sweep: bool) -> str:
    chosen = value.strip("[]").split(",") if sweep else [value]
    for option in chosen:
        if option not in options:
            raise ConfigError(
                f"{group}={option}: no such option{nearest(option, options)} (options: {', '.join(options)})"
            )
    if group == SEARCH:
        if not sweep:
            raise ConfigError(f"{group}={value} sweeps: add --multirun")
        return f"+{group}=[{','.join(chosen)}]"
    return f"{group}={','.join(chosen)}"


def _in_mapping(key: str) -> bool:
    return any(get_origin(bare(declared(part))) is dict for part in (key, key.rpartition(".")[0]))


def _quoted(text: str) -> str:
    """A text value (a path, mostly) as hydra's grammar takes it whatever its characters; `${...}` stays what it is."""
    if text[:1] in ("'", '"') or "${" in text:
        return text
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def _explain(error: BaseException, stage: str, overrides: Sequence[str]) -> str:
    """One line out of hydra's several, with the nearest key where a YAML file names an unknown one."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)  # under a debugger omegaconf's errors are their own cause
    key = next((found for cause in causes if (found := getattr(cause, "full_key", None))), None)
    known = list(keys())
    if key in known and (given := next((w for w in overrides if w.lstrip("+").partition("=")[0].strip() == key), "")):
        return f"{given.lstrip('+')}: give {wanted(declared(key))}"
    if key and key not in known:
        return f"configs of {stage}: unknown key {key!r}{nearest(key, known)}"
    lines = [line.strip() for line in str(causes[-1]).splitlines() if line.strip()]
    message = f"{stage} {' '.join(overrides)}".strip() + f": {lines[0] if lines else type(causes[-1]).__name__}"
    return f"{message} ({key})" if key else message

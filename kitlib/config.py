"""`compose`, the one place where a configuration is put together: schema (kitlib/schema.py), then configs/*.yaml.

An unknown key, group or option is an error that names the nearest one, and nothing in a configuration is ever executed.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from .paths import find_configs
from .provenance import write_atomic
from .schema import STAGES, Config


class ConfigError(ValueError):
    """A configuration that cannot be composed; the message names the key, and the nearest known one."""


def keys(schema: Any = Config, prefix: str = "") -> Iterator[str]:
    """Every configuration key as a dotted path, sections included."""
    for item in dataclasses.fields(schema):
        yield prefix + item.name
        if dataclasses.is_dataclass(item.type):
            yield from keys(item.type, f"{prefix}{item.name}.")


def groups(folder: Path) -> dict[str, list[str]]:
    """Config groups in `folder` and the options of each, e.g. {"env": ["ci", "kaggle", "local"], ...}."""
    return {
        group.name: sorted(option.stem for option in group.glob("*.yaml"))
        for group in sorted(folder.iterdir())
        if group.is_dir() and any(group.glob("*.yaml"))
    }


def compose(stage: str, overrides: Sequence[str] = (), folder: Path | None = None) -> Config:
    """The configuration of one stage: schema defaults < configs/STAGE.yaml and its groups < `overrides`.

    Args:
        stage: one of `STAGES`.
        overrides: hydra overrides: `key.path=value`, `group=option` or `+group=option`.
        folder: configuration files; by default `paths.find_configs()`.

    Raises:
        ConfigError: unknown stage, key, group or option, or a value of the wrong type.
    """
    # Imported here: layers above need the schema alone, and hydra takes .2 s to load.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if stage not in STAGES:
        raise ConfigError(f"unknown stage {stage!r}{_nearest(stage, STAGES)} (stages: {', '.join(STAGES)})")
    folder = find_configs() if folder is None else Path(folder).resolve()
    checked = [_checked(override, groups(folder)) for override in overrides]
    ConfigStore.instance().store(name="schema", node=Config)
    try:
        with initialize_config_dir(config_dir=str(folder), version_base=None):
            composed = hydra_compose(config_name=stage, overrides=checked)
        config = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error, stage, overrides)) from error
    if not isinstance(config, Config):
        raise ConfigError(f"{folder / stage}.yaml does not start from the schema: its first default is `schema`")
    return config


def write_snapshot(config: Config, out: Path, stage: str) -> Path:
    """Write the composed configuration to OUT/configs/STAGE.yaml and return that path."""
    text = f"# composed by: python -m kitlib {stage}\n" + yaml.safe_dump(as_dict(config), sort_keys=False)
    return write_atomic(Path(out) / "configs" / f"{stage}.yaml", text)


def as_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain nested dictionaries, ready for JSON or YAML."""
    return dataclasses.asdict(config)


def _nearest(word: str, known: Sequence[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def _checked(override: str, known_groups: dict[str, list[str]]) -> str:
    """The override in the form that hydra takes, once its key is known to exist.

    Every group is in the stages' defaults lists already, which makes hydra refuse the `+` of `+env=local`: here both
    spellings mean the same.
    """
    name, equals, value = override.partition("=")
    key = name.lstrip("+").strip()
    if not equals or not key or key.startswith("~"):
        raise ConfigError(f"override {override!r} is not of the form key.path=value or group=option")
    if key in known_groups:
        if value not in known_groups[key]:
            near = _nearest(value, known_groups[key])
            raise ConfigError(f"{key}={value}: no such option{near} (options: {', '.join(known_groups[key])})")
        return f"{key}={value}"
    known = list(keys())
    if key not in known:
        leaves = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
        near = f"; did you mean {leaves[0]!r}?" if leaves else _nearest(key, [*known, *known_groups])
        raise ConfigError(f"unknown configuration key {key!r}{near}")
    declared: Any = Config
    for part in key.split("."):
        declared = declared.__dataclass_fields__[part].type
    if dataclasses.is_dataclass(declared):
        children = ", ".join(k for k in known if k.startswith(f"{key}."))
        raise ConfigError(f"{key!r} is a section, not a value. Its keys: {children}")
    return f"{key}={_quoted(value) if declared is str else value}"


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
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    key = next((found for cause in causes if (found := getattr(cause, "full_key", None))), None)
    known = list(keys())
    if key and key not in known:
        return f"configs of {stage}: unknown key {key!r}{_nearest(key, known)}"
    lines = [line.strip() for line in str(causes[-1]).splitlines() if line.strip()]
    message = f"{stage} {' '.join(overrides)}".strip() + f": {lines[0] if lines else type(causes[-1]).__name__}"
    return f"{message} ({key})" if key else message

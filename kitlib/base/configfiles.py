"""What may stand in the files of configs/: values for the schema's keys, and nothing that hydra would execute.

hydra itself lets a file replace its launcher, its logging or its callbacks by any Python object. A folder of
configurations is data that people pass around: here it can choose values, and what a sweep tries, and no more.
"""

import re
from pathlib import Path
from typing import Any

import yaml

SEARCH = "search"  # the group whose files say what a sweep tries
_PACKAGE = re.compile(r"^\s*#.*@package\b(.*)$", re.M)


class ConfigError(ValueError):
    """A configuration that cannot be composed; the message names the key, and the nearest known one."""


def groups(folder: Path) -> dict[str, list[str]]:
    """Config groups in `folder` and the options of each, e.g. {"env": ["ci", "kaggle", "local"], ...}."""
    return {
        group.name: sorted(option.stem for option in group.glob("*.yaml"))
        for group in sorted(folder.iterdir())
        if group.is_dir() and any(group.glob("*.yaml"))
    }


def check_files(folder: Path) -> None:
    """Refuse files that reach for hydra's own settings. Raises ConfigError naming the file."""
    known = set(groups(folder))
    if (folder / "hydra").exists():
        raise ConfigError(f"{folder / 'hydra'}: hydra's own settings are not configurable")
    for file in sorted(folder.rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}: not plain YAML ({' '.join(str(error).split())})") from None
        if any(package.strip() != "_global_" for package in _PACKAGE.findall(text)):
            raise ConfigError(f"{file}: its package may be _global_ alone")
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: not a mapping of sections")
        for entry in content.get("defaults", []):
            if not (entry in ("schema", "_self_") or (isinstance(entry, dict) and set(entry) <= known)):
                raise ConfigError(f"{file}: {entry!r} in its defaults is neither the schema nor a group of this folder")
        if "hydra" in content and not (file.parent.name == SEARCH and _only_values(content["hydra"])):
            raise ConfigError(f"{file}: only files of {SEARCH}/ speak to hydra, of hydra.sweeper.params alone")


def _only_values(hydra: Any) -> bool:
    """Whether a search file's part for hydra is {"sweeper": {"params": {key: values}}}."""
    sweeper = hydra.get("sweeper") if isinstance(hydra, dict) and set(hydra) == {"sweeper"} else None
    params = sweeper.get("params") if isinstance(sweeper, dict) and set(sweeper) == {"params"} else None
    return isinstance(params, dict) and not any(str(key).startswith("hydra") for key in params)

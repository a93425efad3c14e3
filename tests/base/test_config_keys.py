"""Every configuration key is read by code, every key that code reads is in the schema, in every file and both ways."""

import dataclasses
import importlib.util

import pytest
import yaml
from configreads import Reads

from kitlib.base import schema
from kitlib.base.config import keys
from kitlib.base.paths import find_configs, find_kit_root

ROOT = find_kit_root()
LIBRARY = [path for path in sorted((ROOT / "kitlib").rglob("*.py")) if path.name != "schema.py"]
AROUND = [
    *ROOT.glob("bench/*.py"),
    *ROOT.glob("kernelkit/*.py"),
    *ROOT.glob("notebooks/*.py"),
    ROOT / "build_kernel.py",
]


@pytest.fixture(scope="module")
def reads() -> Reads:
    return Reads(schema, [*LIBRARY, *AROUND, ROOT / "build_kernel.py"])


def classes_of_keys() -> dict[str, tuple[str, str]]:
    """Dotted key -> (schema class, field); of a list of sections, the keys inside as well."""
    found = {}

    def walk(section: type, prefix: str) -> None:
        for item in dataclasses.fields(section):
            found[prefix + item.name] = (section.__name__, item.name)
            inner = next(
                (k for k in (item.type, *getattr(item.type, "__args__", ())) if dataclasses.is_dataclass(k)), None
            )
            if inner:
                walk(inner, f"{prefix}{item.name}.")

    walk(schema.Config, "")
    return found


@pytest.mark.parametrize("key", classes_of_keys())
def test_every_key_of_the_schema_is_read_by_the_library(reads, key):
    readers = reads.found[classes_of_keys()[key]]
    assert readers & {path.name for path in LIBRARY}, f"no code reads {key}: a promise without effect"


def test_code_reads_no_key_that_the_schema_lacks(reads):
    assert not reads.unknown


def files() -> list:
    return sorted(find_configs().rglob("*.yaml"))


@pytest.mark.parametrize("file", files(), ids=lambda path: str(path.relative_to(find_configs())))
def test_every_key_of_a_file_is_one_of_the_schema(file):
    """compose refuses unknown ones too, but only where the file is used."""
    known, free = set(keys()), {"loss.rules", "loss.bands.ranges_um"}  # whose own keys are the user's

    def walk(content: dict, prefix: str) -> None:
        for name, value in content.items():
            key = prefix + name
            assert key in known
            if isinstance(value, dict) and key not in free:
                walk(value, f"{key}.")

    content = yaml.safe_load(file.read_text())
    content.pop("defaults", None)
    searched = content.pop("hydra", {}).get("sweeper", {}).get("params", {})  # configs/search
    assert set(searched) <= known
    walk(content, "")


def test_the_walk_can_fail(tmp_path):
    """A key without a reader and a reader without a key are found, through parameters, calls, attributes and loops."""
    (tmp_path / "schema.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Step:\n    cost: float\n    never: int\n"
        "@dataclass\nclass Config:\n    steps: list[Step]\n    seed: int\n    idle: int\n"
    )
    (tmp_path / "code.py").write_text(
        "class Work:\n    def __init__(self, config: Config):\n        self.config = config\n"
        "    def run(self):\n        return self.config.seed + self.config.sed\n"
        "def compose() -> Config: ...\n"
        "def f():\n    config = compose()\n    return [step.cost for step in config.steps] + [config.stepps]\n"
        "def g(other: Other):\n    return other.idle\n"
    )
    spec = importlib.util.spec_from_file_location("small_schema", tmp_path / "schema.py")
    small = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small)
    reads = Reads(small, [tmp_path / "code.py"])
    assert reads.leaves() - set(reads.found) == {("Config", "idle"), ("Step", "never")}
    assert {line.split(": ")[1] for line in reads.unknown} == {"self.config.sed (Config)", "config.stepps (Config)"}

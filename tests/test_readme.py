"""The README tells the truth: its file tree, its stages, its commands."""

import re
import shlex
from pathlib import Path

import pytest

from kitlib.config import compose, sweep_overrides
from kitlib.pipeline import DIAGNOSES
from kitlib.schema import STAGES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def tree() -> list[Path]:
    """Paths of the commented file tree; indented lines are inside the last folder."""
    block = re.search(r"## What is where\n\n```\n(.*?)```", README, re.S).group(1)
    found, folder = [], Path()
    for line in block.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            folder = Path(name)
            found.append(folder)
        else:
            found.append(folder / name)
    return found


@pytest.mark.parametrize("path", tree(), ids=str)
def test_the_tree_names_only_what_exists(path):
    assert (ROOT / path).exists()


def test_the_tree_names_every_module():
    listed = {str(path) for path in tree()}
    modules = {f"kitlib/{path.name}" for path in (ROOT / "kitlib").glob("*.py")} - {"kitlib/__init__.py"}
    packages = {f"kitlib/{path.parent.name}" for path in (ROOT / "kitlib").glob("*/__init__.py")}
    assert modules | packages <= listed


def commands() -> list[str]:
    """Stage commands of the README's shell blocks, continuation lines joined, comments removed."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.S)).replace("\\\n", " ")
    return [line.split("#")[0].strip() for line in blocks.splitlines() if line.startswith("python -m kitlib")]


def test_commands_compose():
    found = commands()
    assert len(found) >= 5
    for command in found:
        stage, *overrides = shlex.split(command)[3:]
        if "--multirun" in overrides:
            sweep_overrides([word for word in overrides if word != "--multirun"], ROOT / "configs")
        elif stage != "score":
            compose(stage, [word for word in overrides if word not in DIAGNOSES])


def test_every_stage_and_make_target_is_explained():
    assert all(f"| `{stage}` |" in README for stage in (*STAGES, "score"))
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M)

"""README and docs tell the truth: file tree, stages, commands; README leads to all of it, and is short."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from kernelkit.kernels import KINDS
from kitlib.base.config import compose, sweep_overrides
from kitlib.base.schema import STAGES
from kitlib.pipeline import DIAGNOSES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
LAYOUT = (ROOT / "docs" / "layout.md").read_text()


def tree() -> list[Path]:
    """Paths of the commented file tree; indented lines are inside the last folder."""
    block = re.search(r"# What is where\n\n```\n(.*?)```", LAYOUT, re.S).group(1)
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
    """Stage commands in shell blocks of README and docs, continuation lines joined, comments removed."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README + COMMANDS, re.S)).replace("\\\n", " ")
    return [line.split("#")[0].strip() for line in blocks.splitlines() if line.startswith("spectramind")]


def test_commands_compose():
    found = commands()
    assert len(found) >= 5
    for command in found:
        stage, *overrides = shlex.split(command)[1:]
        if "--multirun" in overrides:
            sweep_overrides([word for word in overrides if word != "--multirun"], ROOT / "configs")
        elif stage != "score":
            compose(stage, [word for word in overrides if word not in DIAGNOSES])


def test_the_program_is_called_by_one_name():
    """What README, pages and messages print can be typed as it stands, once the environment is active."""
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "kitlib").rglob("*.py"), ROOT / "dvc.yaml"]
    found = {path.name for path in texts if "-m kitlib" in path.read_text()}
    assert found == {"__main__.py"}  # which says that it is the same


def make_lines() -> list[str]:
    """`make ...` as README and CONTRIBUTING give it, in blocks and in tables, with its overrides."""
    text = README + COMMANDS + (ROOT / "docs" / "kaggle.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    return re.findall(r"(?:^|`)(make [a-z][^`#\n]*)", text, re.M)


def test_every_stage_and_make_target_is_explained():
    assert all(f"| `{stage}` |" in COMMANDS for stage in (*STAGES, "score"))
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    targets = set(re.search(r"^\.PHONY: (.*)", makefile, re.M).group(1).split())
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    assert {"run", "test", "bench", "docs", "lint", "clean", "dev"} <= targets
    for line in make_lines():
        assert shlex.split(line)[1] in targets, line


def test_overrides_of_make_run_compose_for_every_notebook():
    found = [word.removeprefix("OVERRIDES=") for line in make_lines() for word in shlex.split(line)[2:]]
    assert len(found) >= 3
    for words in found:
        for stage in ("simulate", "calibrate", "train", "predict", "diagnose"):
            compose(stage, shlex.split(words))


def test_words_of_the_table_of_changes_compose():
    table = re.search(r"## Change one thing\n\n(.*?)\n\n", README, re.S).group(1)
    words = [span for span in re.findall(r"`([^`]*)`", table) if re.match(r"[a-z_.]+=", span)]
    assert len(words) >= 5
    for span in words:
        compose("train", shlex.split(span))


def test_files_that_the_texts_name_exist():
    named = ("CONTRIBUTING.md", "docs/trust.md", "docs/kaggle.md")
    for text in (README, COMMANDS, LAYOUT, *((ROOT / name).read_text() for name in named)):
        for name in re.findall(r"`((?:kitlib|configs|docs|tests|wheels|bench|kernelkit|notebooks)/[\w./]*)`", text):
            assert (ROOT / name).exists(), name
        for name in re.findall(r"`(\w+\.(?:md|py|txt|toml))`", text):
            assert list(ROOT.glob(name)) or list(ROOT.glob(f"[a-z]*/{name}")), name


def test_links_of_the_readme_lead_somewhere_and_its_contents_name_every_part():
    for link in re.findall(r"\]\(((?!https?:|#)[^)]+)\)", README):
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)", (ROOT / path).read_text(), re.M)
            assert anchor in {head.lower().replace(" ", "-") for head in heads}, link
    contents = re.search(r"\*\*Contents:\*\*(.*?)\n\n", README, re.S)[1]
    heads = [head.lower().replace(" ", "-") for head in re.findall(r"^## (.*)", README, re.M)]
    assert re.findall(r"\(#([\w-]+)\)", contents) == heads
    assert len(README.splitlines()) < 200  # the rest is in docs/


def test_every_kernel_is_named_where_kaggle_is_explained():
    steps = (ROOT / "docs" / "kaggle.md").read_text()
    for kind in KINDS:
        assert f"`{kind}`" in README and f"the {kind} kernel" in steps.lower()


def test_ci_lints_and_tests():
    steps = re.findall(r"^(?:exec )?make (\w+)", (ROOT / ".ci" / "run").read_text(), re.M)
    assert steps == ["lint", "test"]
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.M).group(1)
    assert all(tool in recipe for tool in ("ruff check", "ruff format --check", "mypy"))


def test_the_commit_hook_runs_what_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]  # nothing is downloaded
    entries = [hook["entry"] for hook in hooks[0]["hooks"]]
    assert [entry.split()[0] for entry in entries] == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]

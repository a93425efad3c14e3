"""dvc.yaml is true: its commands are ours, its parameters are keys of the schema, its files those of the manifests.

`make bench-dvc` runs it with the real dvc, which is too large for the development environment.
"""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from dvcfile import ROOT, STAGES, check_manifest, listed

from kitlib.base.config import as_dict, compose

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
NAME = re.compile(r"\$\{([\w.]+)\}")


def value(name: str, tree: dict | None = None):
    for part in name.split("."):
        tree = (PARAMS if tree is None else tree)[part]
    return tree


def command(stage: str) -> str:
    """The stage's line for the shell, as it is written."""
    lines = STAGES[stage]["cmd"]
    (line,) = [line for line in ([lines] if isinstance(lines, str) else lines) if "spectramind" in line]
    return line


def words(stage: str) -> list[str]:
    program, given, *overrides = shlex.split(NAME.sub(lambda match: str(value(match[1])), command(stage)))
    assert (program, given) == ("spectramind", stage)
    return overrides


@pytest.mark.parametrize("stage", STAGES)
def test_commands_compose_and_say_what_the_defaults_say(stage):
    """An untouched params.yaml changes nothing but places."""
    found, usual = as_dict(compose(stage, words(stage))), as_dict(compose(stage))
    for section in ("run", "data"):
        for name in PARAMS[section]:
            if name != "seed":
                found[section].pop(name), usual[section].pop(name)
    assert found == usual


@pytest.mark.parametrize("stage", STAGES)
def test_every_word_of_a_command_carries_its_own_parameter(stage):
    for word in shlex.split(command(stage))[4:]:
        key, _, text = word.partition("=")
        assert text == f"${{{key}}}"


def test_every_parameter_is_used_and_every_used_one_is_there():
    used = {name for stage in STAGES for name in NAME.findall(str(STAGES[stage]))}
    there = {f"{section}.{name}" for section, names in PARAMS.items() for name in names}
    assert used == there


def test_the_stages_that_share_light_curves_and_fit_share_their_parameters():
    """Else a changed one would run again a part of them only, on products of two settings."""
    keys = {stage: {name for name in NAME.findall(command(stage)) if "." in name} for stage in STAGES}
    curves = {name for name in keys["calibrate"] if name.startswith("lightcurves.")}
    fit = {name for name in keys["predict"] if name.startswith("physfit.")}
    assert curves and curves <= keys["predict"] and curves <= keys["train"]
    assert fit and fit <= keys["train"] and not fit & (keys["calibrate"] | keys["diagnose"] | keys["submit"])


def test_no_file_is_made_by_two_stages_and_every_one_that_is_read_is_made_or_given():
    made = [path for stage in STAGES for path in listed(stage, "outs", "metrics")]
    assert len(made) == len(set(made))
    for stage in STAGES:
        for path in listed(stage, "deps"):
            assert path in made or path.startswith("${data.root}") or (ROOT / path).is_dir(), path


def test_the_reader_of_manifests_sees_what_is_wrong():
    manifest = {"inputs": {"submission.csv": ""}, "outputs": {"bundle/submission.csv": "", "configs/submit.yaml": ""}}
    check_manifest("submit", manifest, Path("root"))
    for part, name in (("inputs", "prior.safetensors"), ("outputs", "scores.json")):
        with pytest.raises(AssertionError):
            check_manifest("submit", {**manifest, part: {**manifest[part], name: ""}}, Path("root"))
    with pytest.raises(AssertionError):
        check_manifest("submit", {**manifest, "outputs": {}}, Path("root"))

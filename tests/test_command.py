"""The command line as a person meets it: help, typing errors, pipes, locales, and a Python without the packages."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kitlib import __main__ as command
from kitlib.__main__ import main
from kitlib.base.config import compose, sweep_overrides
from kitlib.base.keytable import keys_of
from kitlib.base.paths import find_configs
from kitlib.base.schema import STAGES

ROOT = Path(__file__).resolve().parent.parent
TINY = ["simulate.train_planets=1", "simulate.test_planets=1", "simulate.airs_pairs=40", "simulate.fgs1_pairs=400"]


def run(*words: str, options: tuple[str, ...] = (), **more) -> subprocess.CompletedProcess:
    """In a process of its own, from this checkout."""
    more = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stdout": subprocess.PIPE, **more}
    line = [sys.executable, *options, "-m", "kitlib", *words]
    return subprocess.run(line, stderr=subprocess.PIPE, text=True, timeout=300, **more)


def test_help_names_the_stages_in_their_order_and_examples_that_work(capsys):
    for words in (["--help"], ["-h"], ["help"], []):
        assert main(words) == 0
    text = capsys.readouterr().out
    named = re.findall(r"^  (\w+) +\S", text[: text.index("of what")], re.M)
    assert named == list(STAGES)
    examples = [shlex.split(line) for line in re.findall(r"^  spectramind (.*)", text, re.M)][-3:]
    assert [stage for stage, *_ in examples] == ["simulate", "predict", "train"]
    for stage, *words in examples:
        if "--multirun" in words:
            sweep_overrides([word for word in words if word != "--multirun"], find_configs())
        else:
            compose(stage, words)


@pytest.mark.parametrize(("words", "keys"), [(["predict"], "predict"), (["diagnose", "inject"], "inject")])
def test_help_of_a_stage_is_its_own(words, keys, capsys):
    assert main([*words, "run.out=elsewhere", "--help"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^  (\w+\.[\w.]+)=", text, re.M) == [key.name for key in keys_of(keys)]
    assert "run.out=elsewhere" in text


def test_what_computes_nothing_needs_no_torch(tmp_path):
    """Which takes seconds to import: help, the check of a run, and the guard whose processes wait for work."""
    code = f"""
import sys
import kitlib.run.budget, kitlib.run.sweep, kitlib.base.guarded
from kitlib.__main__ import main
assert main(["--help"]) == main(["predict", "--help"]) == 0 and main(["verify", {str(tmp_path)!r}]) == 2
print("torch" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False" and "verify" in found.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["diagnose", "repotr"],
            "spectramind diagnose: unknown part 'repotr'; did you mean 'report'? (there are calib",
        ),
        (["predit"], "unknown stage 'predit'; did you mean 'predict'?"),
        (["verfy", "DIR"], "unknown stage 'verfy'; did you mean 'verify'?"),
        (["predict", "run.seed=abc"], "spectramind predict: run.seed=abc: give a whole number, 0 to 4,294,967,295"),
        (["predict", "run.sed=1"], "did you mean 'run.seed'?"),
        (["predict", "model=v5"], "did you mean 'v50'?"),
    ],
)
def test_signs_of_a_typing_error_are_answered_by_the_nearest_word(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("word", ["run.workers=-1", "budget.hours=nan", "lightcurves.samples=0", "data.split=tset"])
def test_a_bad_value_is_refused_before_anything_is_touched(word, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", f"data.root={tmp_path}", f"run.out={out}", word]) == 2
    assert capsys.readouterr().err.startswith(f"spectramind predict: {word}: give ")
    assert not out.exists()


@pytest.mark.parametrize(
    ("word", "message"), [("model.width=1024", "lower model.width"), ("model=physics", "give v50")]
)
def test_a_model_that_cannot_be_trained_is_told_before_planets_are_made(word, message, tmp_path, capsys):
    assert main(["pretrain", f"run.out={tmp_path}", "run.workers=1", word]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "pretrain").exists()


def test_a_python_without_the_packages_says_what_to_do():
    """`-S`: no site-packages, as `python3 -m kitlib` before `make dev`."""
    for words in (["predict"], ["diagnose", "report"], ["predict", "--help"], ["train", "--multirun"], ["score"]):
        ran = run(*words, options=("-S",), cwd=ROOT)
        assert ran.returncode == 2
        assert re.fullmatch(
            r"spectramind \w+: this Python \(.*\) has no package \w+\. .*make dev.*activate.*\n", ran.stderr
        )
    assert run("--help", options=("-S",), cwd=ROOT).stdout.startswith("usage: spectramind STAGE")
    assert run("--version", options=("-S",), cwd=ROOT).returncode == 0


def test_a_missing_file_of_the_kit_itself_is_no_missing_package(monkeypatch):
    def broken(*_):
        raise ModuleNotFoundError("No module named 'kitlib.base.nothing'", name="kitlib.base.nothing")

    monkeypatch.setattr(command, "_run", broken)
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        main(["predict"])


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["score", "--help"]])
def test_a_closed_pipe_is_silence(words):
    reader, writer = os.pipe()
    os.close(reader)  # as `| head -0` does
    with os.fdopen(writer, "w") as gone:
        ran = run(*words, stdout=gone)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_pipe_that_breaks_inside_the_work_is_an_error(monkeypatch, capsys):
    def broken(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(command, "_stage", broken)
    assert main(["predict"]) == 2
    assert "Broken pipe" in capsys.readouterr().err


def test_any_letter_in_a_path_in_an_ascii_locale(tmp_path):
    """Neither the locale nor the surroundings of Python's UTF-8 mode help here."""
    plain = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | plain
    out, sky = tmp_path / "Größe", tmp_path / "Ψ Σ"
    words = ["env=ci", "data=sim_tiny", f"simulate.out={sky}", f"run.out={out}", "run.workers=1", *TINY]
    ran = run("simulate", *words, env=environment, encoding="utf-8")
    assert (ran.returncode, ran.stdout) == (0, f"{sky / 'data'}\n"), ran.stderr
    assert (sky / "solution.csv").is_file() and (out / "manifests" / "simulate.json").is_file()
    ran = run("verify", str(out), env=environment, encoding="utf-8")
    assert ran.returncode == 0 and "no differences" in ran.stdout, ran.stdout + ran.stderr


def test_a_path_that_is_not_utf8_is_refused_before_the_work(tmp_path, capsys):
    out = os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfcn")
    assert main(["predict", f"run.out={out}"]) == 2
    assert "not UTF-8" in capsys.readouterr().err
    assert not os.path.exists(out)

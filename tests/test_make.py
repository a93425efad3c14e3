"""`make run`: its words reach the script as they were typed, and what it says on the way."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))
import run as demonstration  # noqa: E402


def make(tmp_path: Path, *words: str, python: str = "#!/bin/sh\n") -> str:
    """Output of make with an installed environment whose python is a script."""
    binaries, stamp = tmp_path / "bin", tmp_path / "installed"
    binaries.mkdir()
    (binaries / "python").write_text(python)
    (binaries / "python").chmod(0o755)
    stamp.touch()
    line = ["make", "--no-print-directory", "-C", str(ROOT), *words, f"BIN={binaries}", f"STAMP={stamp}"]
    made = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("data=sim_tiny loss.rules.mine=mu>0", ["data=sim_tiny", "loss.rules.mine=mu>0"]),
        ("loss.rules.mine='mu <= 0.1; mu >= 0'", ["loss.rules.mine=mu <= 0.1; mu >= 0"]),
        ('run.out="a b"/c data.root=x&y', ["run.out=a b/c", "data.root=x&y"]),
        ("run.out=`pwd`/*", ["run.out=`pwd`/*"]),
    ],
)
def test_words_of_make_run_are_data_and_no_shell_command(tmp_path, monkeypatch, given, words):
    said = make(tmp_path, "run", f"OVERRIDES={given}", python='#!/bin/sh\nprintf "%s\\n" "$#" "$OVERRIDES"\n')
    arguments, passed = said.rstrip("\n").split("\n", 1)
    assert arguments == "1"  # the script alone
    monkeypatch.setenv("OVERRIDES", passed)
    assert demonstration.words_given([]) == [*words, "run.progress=false"]
    assert not (ROOT / "0").exists()


def test_words_without_any_are_the_small_campaign(tmp_path, monkeypatch):
    assert make(tmp_path, "run", python='#!/bin/sh\nprintf "%s\\n" "$OVERRIDES"\n') == "data=sim_tiny\n"
    monkeypatch.delenv("OVERRIDES", raising=False)
    assert demonstration.words_given([]) == ["data=sim_tiny", "run.progress=false"]
    assert demonstration.words_given(["run.progress=true"]) == ["run.progress=true"]


def test_an_installation_tells_its_steps_and_an_old_python_is_refused_first():
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile[makefile.index("\n$(STAMP): ") :]
    assert re.findall(r'@echo "(\d) of 4', recipe) == list("1234")
    check = re.search(r"\$\(PYTHON\) -c '(.*)'", recipe).group(1)
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
    old = f"import sys; sys.version_info = (3, 9); {check.removeprefix('import sys; ')}"
    refused = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True)
    assert refused.returncode == 1 and "make needs 3.11 or newer" in refused.stderr

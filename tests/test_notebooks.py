"""Notebooks: the .ipynb is what the .py generates, cells are thin, and each has one `parameters` cell."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from campaign import FRAMES
from jupyter_client.manager import start_new_kernel

from kitlib import pipeline
from kitlib.base.config import compose
from kitlib.base.provenance import EventLog
from kitlib.report.page import PLOTLY
from kitlib.run.diagnosis import DiagnosisError
from kitlib.run.inputs import MIN_TRAIN

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
sys.path.insert(0, str(FOLDER))
import build  # noqa: E402
import run  # noqa: E402

SOURCES = build.sources()


def test_the_four_notebooks_are_there():
    assert [path.stem for path in SOURCES] == ["01_calibrate", "02_train", "03_infer", "04_diagnose"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_source_and_notebook_agree(source):
    assert source.with_suffix(".ipynb").read_text() == build.build(source), "run `make notebooks`"


def test_a_changed_source_gives_another_notebook_and_other_ids(tmp_path):
    changed = tmp_path / SOURCES[0].name
    changed.write_text(SOURCES[0].read_text() + "\n# %%\n1 + 1\n")
    before, after = (json.loads(build.build(path))["cells"] for path in (SOURCES[0], changed))
    assert len(after) == len(before) + 1
    assert [c["id"] for c in after[:-1]] == [c["id"] for c in before]
    assert build.build(changed) == build.build(changed)


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_notebook_is_valid_and_output_free(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_one_parameters_cell_with_one_overrides_list(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    statements = ast.parse(tagged[0].source).body
    assert len(statements) == 1
    assert statements[0].target.id == "overrides"
    assert ast.literal_eval(statements[0].value) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_notebooks_are_thin(source):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    tree = ast.parse(source.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]
    assert "compose(" in source.read_text() and "pipeline." in source.read_text()


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory):
    """What `make run` executes, into a log, on a campaign as small as can be, from another working directory.

    Its output, the campaign's folder and the run's. A planet under other skies costs seconds: there are two of them.
    """
    folder = tmp_path_factory.mktemp("demonstration")
    campaign, out = folder / "campaign", folder / "run"
    words = ["env=local", "data=sim_tiny", "run.seed=5", *FRAMES, f"simulate.out={campaign}", f"run.out={out}"]
    few = [f"simulate.train_planets={MIN_TRAIN}", "simulate.test_planets=2"]
    quick = ["lightcurves.samples=50", "physfit.max_iterations=2", "run.workers=1"]
    given = {"OVERRIDES": shlex.join([*words, *few, *quick]), "PYTHONPATH": str(FOLDER.parent), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(FOLDER / "run.py")]
    ran = subprocess.run(line, env={**os.environ, **given}, cwd=folder, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    return ran, campaign, out


@pytest.mark.parametrize(("words", "silent"), [(run.QUIET_KERNEL, True), ([], False)], ids=["quiet", "as it comes"])
def test_a_kernel_that_its_shutdown_interrupts_says_nothing(tmp_path, words, silent):
    """A shutdown starts with an interrupt; the kernel logs one that meets the end of a cell."""
    cell = "async def interrupted(*_, **__): raise KeyboardInterrupt\nget_ipython().kernel.do_execute = interrupted"
    with (tmp_path / "stderr.txt").open("w") as log:
        manager, client = start_new_kernel(kernel_name="python3", stderr=log, extra_arguments=words)
        client.execute_interactive(cell, timeout=60)
        client.execute("1")
        client.kernel_info(reply=True, timeout=60)
        client.stop_channels()
        manager.shutdown_kernel()
    said = (tmp_path / "stderr.txt").read_text()
    assert (not said) == silent, said


@pytest.mark.parametrize("word", ["simulate.train_planets=9", "simulate.test_planets=0"])
def test_a_campaign_too_small_is_refused_before_anything_is_simulated(tmp_path, word):
    least = "10" if "train" in word else "1"
    with pytest.raises(ValueError, match=rf"^{re.escape(word)}: the notebooks need {least} or more$"):
        run.main(["data=sim_tiny", f"simulate.out={tmp_path / 'sim'}", f"run.out={tmp_path / 'run'}", word])
    assert not list(tmp_path.iterdir())


def test_another_campaign_has_other_skies(tmp_path, monkeypatch):
    """`make run` with another seed, as README shows it: the results go into the same folder as before."""
    asked = []

    def simulate(config):
        asked.append(config.simulate.out)
        raise InterruptedError

    monkeypatch.setattr(run.pipeline, "simulate", simulate)
    for seed in (5, 7):
        words = [f"run.seed={seed}", f"simulate.out={tmp_path / str(seed)}", f"run.out={tmp_path / 'run'}"]
        with pytest.raises(InterruptedError):
            run.under_other_skies(compose("simulate", ["data=sim_tiny", *words]), words)
    assert asked == [str(tmp_path / seed / "skies") for seed in ("5", "7")]


def test_it_tells_steps_results_and_what_to_open(demonstration):
    """No bars in a log, no warnings of other people's libraries, paths that exist."""
    ran, _, out = demonstration
    assert re.findall(r"^step (\d) of 6", ran.stdout, re.M) == list("123456")
    assert "inner loops are compiled" in ran.stdout
    assert not re.search(r"IPKernelApp|planet/s|s/planet|\d%\|", ran.stderr)
    shown = re.findall(r"^  (/\S+)", ran.stdout[ran.stdout.index("open next") :], re.M)
    assert len(shown) == 5 and all(Path(path).is_file() for path in shown)
    tables = re.split("under other skies, that nothing was learnt from", ran.stdout)
    assert len(tables) == 2 and all(re.search(r"^physics +-?\d", table, re.M) for table in tables)
    assert str(out / "submission.csv") in ran.stdout


def test_all_four_notebooks_show_figures_and_their_pages_ask_for_nothing(demonstration):
    _, _, out = demonstration
    for source in SOURCES:
        executed = nbformat.read(out / "notebooks" / source.with_suffix(".ipynb").name, as_version=4)
        shown = [o for cell in executed.cells for o in cell.get("outputs", [])]
        plotly = sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in shown)
        pictures = sum("image/png" in o.get("data", {}) for o in shown)
        assert plotly + pictures, f"{source.stem} shows no figure"
        page = (out / "notebooks" / f"{source.stem}.html").read_text().replace(PLOTLY.read_text(encoding="utf-8"), "")
        assert page.count("data:image/png") == pictures and page.count(' id="figure-') == plotly
        assert page.count("<script") == (3 if plotly else 0) and not re.search(r'(src|href)="(?!data:|#)', page)
    assert (out / "submission.csv").is_file() and (out / "report.html").is_file()
    assert all(word in page for word in ("naive", "physics", "submission.csv", "report.html"))
    assert all(word in page for word in ("luck alone", "smoothness", "AIRS shape"))


def test_what_they_show_can_be_read(demonstration):
    """Rounded numbers, no raw JSON, no empty tables, nothing that could not be shown; formulae are drawn, not spelt."""
    _, _, out = demonstration
    figures = {}
    for source in SOURCES:
        executed = nbformat.read(out / "notebooks" / source.with_suffix(".ipynb").name, as_version=4)
        shown = [o for cell in executed.cells for o in cell.get("outputs", [])]
        drawn = [o for o in shown if {"image/png", "application/vnd.plotly.v1+json"} & set(o.get("data", {}))]
        told = [o for o in shown if o not in drawn]
        text = "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in told)
        assert not re.search(r"\d\.0*[1-9]\d{6,}|[{}]|shape: |cannot be shown|Error", text), source.stem
        assert not any("<tbody></tbody>" in o.get("data", {}).get("text/html", "") for o in shown)
        figures[source.stem] = len(drawn)
        page = (out / "notebooks" / f"{source.stem}.html").read_text()
        assert "$" not in re.sub(r"<(pre|script).*?</\1>", "", page, flags=re.S)
    assert all(count >= 2 for count in figures.values()) and figures["03_infer"] >= 4, figures


def test_diagnose_shows_a_run_that_kaggle_mounts(demonstration, tmp_path, monkeypatch):
    """What the infer kernel leaves is read-only and lies elsewhere; a second mounted run is one too many."""
    _, campaign, out = demonstration
    left = tmp_path / "input" / "notebooks" / "jane-doe" / "spectramind-v50-infer"
    shutil.copytree(out, left, ignore=shutil.ignore_patterns("notebooks", "report.html", "calibration.json", ".lock"))
    monkeypatch.setenv("KITLIB_KAGGLE_INPUT", str(tmp_path / "input"))
    words = ["env=ci", "data=sim_tiny", f"simulate.out={campaign}", "report.heavy=false"]
    result = pipeline.diagnose(compose("diagnose", [*words, f"run.out={tmp_path / 'run'}"]))
    assert result["report"] == tmp_path / "run" / "report.html" and result["report"].is_file()
    assert result["scores"] == json.loads((out / "scores.json").read_text())
    assert not (tmp_path / "run" / "products").exists() and not (left / "report.html").exists()
    assert not [e for e in EventLog(tmp_path / "run" / "events.jsonl").read() if e["event"] == "mixed"]
    shutil.copytree(left, left.with_name("another"))
    with pytest.raises(DiagnosisError, match="several runs are mounted"):
        pipeline.diagnose(compose("diagnose", [*words, f"run.out={tmp_path / 'second'}"]))

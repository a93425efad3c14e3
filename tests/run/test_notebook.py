"""What notebooks are made of: parameters of any form, cells whose failure ends no kernel."""

import ast
import json
import warnings
from pathlib import Path

import nbformat
import pytest

from kitlib import pipeline
from kitlib.base.config import ConfigError, compose
from kitlib.base.provenance import EventLog
from kitlib.run.notebook import Table, displaying, words_of

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("0*.ipynb"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], []),
        ("", []),
        (["data.root=a b", "run.seed=1"], ["data.root=a b", "run.seed=1"]),
        ("data.root=R", ["data.root=R"]),  # papermill -p overrides data.root=R
        ("data=sim_tiny  run.out='my results' run.seed=7", ["data=sim_tiny", "run.out=my results", "run.seed=7"]),
        ("['data.root=R', 'run.seed=7']", ["data.root=R", "run.seed=7"]),
        (("data.root=R",), ["data.root=R"]),
    ],
)
def test_a_parameter_of_any_form_becomes_words(given, words):
    assert words_of(given) == words


@pytest.mark.parametrize("given", ["run.out='my", 7, None, {"data.root": "R"}, [["data.root=R"]], "[data.root=R"])
def test_what_is_no_words_is_refused_with_an_example(given):
    with pytest.raises(ConfigError, match=r"overrides=.*Give a list such as"):
        words_of(given)


def test_a_string_s_words_reach_the_configuration():
    config = compose("predict", ["env=local", *words_of("data.root=R 'run.out=my results'")])
    assert (config.data.root, config.run.out) == ("R", "my results")


def test_what_cannot_be_shown_is_said_and_logged(tmp_path):
    said = "the table cannot be shown: KeyError: 'wl'"
    with pytest.warns(RuntimeWarning, match=said), displaying("the table", "predict", tmp_path):
        raise KeyError("wl")
    (event,) = EventLog(tmp_path / "events.jsonl").read()
    assert event["event"] == "not_shown" and event["stage"] == "predict"
    with pytest.raises(KeyboardInterrupt), displaying("the table", "predict", tmp_path):
        raise KeyboardInterrupt


def test_a_table_rounds_leaves_the_unknown_empty_and_can_be_wider_than_the_page():
    table = Table([{"planet": 123456789, "depth": 0.74131234, "count": 12345.6}, {"planet": 7, "why": "<b> & more"}])
    assert [line.split() for line in repr(table).splitlines()] == [
        ["planet", "depth", "count", "why"],
        ["123456789", "0.7413", "12346"],
        ["7", "<b>", "&", "more"],
    ]
    page = table._repr_html_()
    assert "overflow-x:auto" in page and "&lt;b&gt; &amp; more" in page and page.count("<td></td>") == 3
    assert repr(Table([{"z": float("nan")}])).split() == ["z"]
    assert repr(Table([], "No planet.")) == "No planet." and Table([], "a < b")._repr_html_() == "<p>a &lt; b</p>"


def cells(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_infer_ends_well_though_nothing_can_be_shown(tmp_path, monkeypatch):
    """The submission stands; the posterior, the events and the wavelengths that its other cells want do not."""
    (tmp_path / "submission.csv").write_text("planet_id\n")
    monkeypatch.setattr(pipeline, "predict", lambda config: tmp_path / "submission.csv")
    space: dict = {}
    (infer,) = [path for path in NOTEBOOKS if "infer" in path.name]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for source in cells(infer):
            exec(compile(source, infer.name, "exec"), space)
    shown = " ".join(str(warning.message) for warning in said)
    assert all(f"{what} cannot be shown" in shown for what in ("the submission", "the fits", "the spectra"))
    logged = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in logged].count("not_shown") >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_after_the_stage_s_own_can_end_no_kernel(path):
    """The parameters, the stage, and then nothing that stands outside of `displaying`."""
    parameters, stage, *shows = cells(path)
    assert "overrides: list = []" in parameters and "pipeline." in stage
    assert "matplotlib" not in stage and shows
    for source in shows:
        (statement,) = ast.parse(source).body
        assert isinstance(statement, ast.With) and source.startswith("with displaying(")

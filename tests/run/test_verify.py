"""`verify` names what changed, is missing or was added, wherever the run lies; every event has the schema's form."""

import ast
import json
import shutil
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import kitlib
from kitlib.__main__ import main
from kitlib.base.config import compose
from kitlib.base.provenance import EventLog, write_atomic
from kitlib.base.schema import STAGES
from kitlib.pipeline import DIAGNOSES
from kitlib.run.stage import running
from kitlib.run.verify import VerifyError, check_stage, verify

SCHEMA = json.loads(resources.files("kitlib.base").joinpath("events.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path) -> Path:
    """Two stages: one reads a dataset's table, the other what the first wrote."""
    table = tmp_path / "data" / "axis_info.parquet"
    table.parent.mkdir()
    table.write_bytes(b"axis")
    out = tmp_path / "run"
    with running("predict", compose("predict", [f"run.out={out}", "run.seed=3"])) as stage:
        stage.record["inputs"].append(table)
        names = ("submission.csv", "products/lightcurves/test/7.safetensors")
        stage.record["outputs"] += [write_atomic(out / name, name) for name in names]
    with running("submit", compose("submit", [f"run.out={out}"])) as stage:
        stage.record["inputs"].append(out / "submission.csv")
        stage.record["outputs"].append(write_atomic(out / "bundle" / "submission.csv", "submission.csv"))
    return out


def differences(run: Path, **options) -> set[str]:
    return {" ".join(str(one).split()) for one in verify(run, **options).differences}


def test_an_untouched_run_is_as_it_was(run, capsys):
    found = verify(run)
    assert found.ok and found.stages == ("predict", "submit") and found.files == 6
    assert main(["verify", str(run)]) == 0
    assert "6 files of predict, submit: no differences" in capsys.readouterr().out


def test_a_run_that_was_moved_is_verified_where_it_lies(run, tmp_path, monkeypatch):
    moved = shutil.move(run, tmp_path / "elsewhere")
    assert verify(moved).ok
    monkeypatch.chdir(tmp_path)
    assert verify("elsewhere").ok
    (tmp_path / "elsewhere" / "submission.csv").write_text("other")
    assert differences("elsewhere") == {
        "changed predict output submission.csv",
        "changed submit input submission.csv",
    }


def test_data_on_another_machine_can_be_left_out(run, tmp_path):
    shutil.rmtree(tmp_path / "data")
    assert differences(run) == {f"missing predict input {tmp_path}/data/axis_info.parquet"}
    assert verify(run, inside=True).ok
    assert main(["verify", str(run)]) == 1 and main(["verify", str(run), "--inside"]) == 0


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda run: (run / "submission.csv").unlink(), {"missing predict output submission.csv",
                                                         "missing submit input submission.csv"}),
        (lambda run: (run / "bundle" / "more.csv").write_text("x"), {"added file bundle/more.csv"}),
        (lambda run: (run / "products" / "lightcurves" / "test" / "8.safetensors").write_text("x"),
         {"added file products/lightcurves/test/8.safetensors"}),
        (lambda run: (run / "configs" / "predict.yaml").write_text("run: {seed: 4}\n"),
         {"changed predict configuration configs/predict.yaml", "changed predict output configs/predict.yaml"}),
        (lambda run: (run / "manifests" / "submit.json").write_text("{}"),
         {"changed manifest manifests/submit.json", "added file bundle/submission.csv",
          "added file configs/submit.yaml"}),
        (lambda run: EventLog(run / "events.jsonl").emit("predict", "start"),
         {"unfinished predict started again and did not end"}),
        (lambda run: (run / "events.jsonl").unlink(), set()),
    ],
    ids=["missing", "added", "added product", "configuration", "manifest", "unfinished", "no log"],
)  # fmt: skip
def test_what_happened_to_a_run_is_named(run, capsys, damage, expected):
    damage(run)
    assert differences(run) == expected
    assert main(["verify", str(run)]) == (1 if expected else 0)
    said = capsys.readouterr().out
    assert all(line.split()[-1] in said for line in expected)


def test_a_comment_in_a_configuration_changes_the_file_and_not_its_meaning(run):
    path = run / "configs" / "submit.yaml"
    path.write_text(path.read_text() + "# seen\n")
    assert differences(run) == {"changed submit output configs/submit.yaml"}


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    with pytest.raises(VerifyError, match=r"manifests/STAGE\.json.*run\.out"):
        verify(tmp_path)
    assert main(["verify", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_page_that_two_stages_make_is_that_of_the_last(run, capsys):
    for name in ("diagnose", "diagnose_report", "diagnose"):
        with running(name, compose("diagnose", [f"run.out={run}"])) as stage:
            stage.record["outputs"].append(write_atomic(run / "report.html", f"{name} {name == 'diagnose_report'}"))
        assert differences(run) == set(), name
    (run / "report.html").write_text("another page")
    assert differences(run) == {"changed diagnose output report.html"}


def test_what_a_stage_made_and_read_is_compared(run):
    made = [run / "submission.csv"]
    check_stage(run, "predict", made, [run.parent / "data" / "axis_info.parquet"])
    with pytest.raises(VerifyError, match="`train` has not ended in this folder"):
        check_stage(run, "train")
    with pytest.raises(VerifyError, match="calibrator_v50.json is not what `predict` read"):
        check_stage(run, "predict", made, [write_atomic(run / "calibrator_v50.json", "{}")])
    (run / "submission.csv").write_text("by hand")
    with pytest.raises(VerifyError, match="submission.csv is not what `predict` wrote .* again"):
        check_stage(run, "predict", made)
    with pytest.raises(VerifyError, match="submission.csv is not what `submit` read"):
        check_stage(run, "submit")


# --- events ---


def emitted() -> set[str]:
    """Names of the events in the library's calls of `emit(stage, event)` and `say(event)`."""
    found = set()
    for path in Path(kitlib.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                place = {"emit": 1, "say": 0, "_say": 0}.get(name)
                if place is not None and len(node.args) > place:
                    found |= {n.value for n in ast.walk(node.args[place]) if isinstance(n, ast.Constant)}
    return found


def test_the_schema_knows_every_event_that_is_emitted_and_no_other():
    assert emitted() == set(SCHEMA["properties"]["event"]["enum"])


def test_the_schema_knows_every_stage_that_runs():
    named = {f"diagnose_{part}" for part in DIAGNOSES if part != "inject"} | {"inject", "physfit"}
    assert set(SCHEMA["properties"]["stage"]["enum"]) == set(STAGES) | named


def test_events_of_a_run_have_the_schemas_form(run):
    validator = Draft202012Validator(SCHEMA)
    Draft202012Validator.check_schema(SCHEMA)
    events = EventLog(run / "events.jsonl").read()
    assert [event["event"] for event in events] == ["start", "end", "start", "end"]
    assert all(validator.is_valid(event) for event in events)
    for wrong in ({"stage": "cook"}, {"event": "fallback"}, {"time": "now"}, {"planet_id": "7"}):
        assert not validator.is_valid(events[0] | wrong)

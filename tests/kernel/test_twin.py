"""The offline twin: the built kernel runs to a valid submission with nothing but the image, the kit and no network.

The whole notebook runs in one mount layout here, the first cell in all of them; `build_kernel.py twin --layout all`
runs the whole notebook in each, which takes minutes.
"""

import json

import pytest

import build_kernel
from kernelkit import KernelError, bundle, kernels, twin
from kernelkit.room import LAYOUTS, Outcome, Room, closure, namespaces
from kernelkit.start import StartError
from kernelkit.wheels import wanted
from kitlib import pipeline
from kitlib.base.instruments import AIRS
from kitlib.base.provenance import EventLog
from kitlib.submission.validation import read_submission
from kitlib.submission.writer import read_expected_ids

ISOLATIONS = ["sockets", *(["namespace"] if namespaces() else [])]
PROBE = """
import os, socket
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
client = socket.socket(); client.connect(server.getsockname()); print("loopback works")
for address in ("192.0.2.1", "2001:db8::1"):
    try:
        socket.create_connection((address, 80), timeout=5); print("REACHED")
    except OSError as error:
        print("cut:", type(error).__name__)
"""
WRITE = """
import os, sys
for place in sys.argv[1:]:
    try:
        open(os.path.join(place, "x"), "w").close(); print("written", place)
    except OSError:
        print("refused", place)
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build folder with dataset and kernels."""
    folder = tmp_path_factory.mktemp("build")
    hashed = bundle.stage(folder / "dataset", "twin")["bundle"]
    for kind in kernels.KINDS:
        kernels.build(kind, folder / "kernels" / kind, "twin", hashed)
    return folder


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A furnished room without a kit."""
    room = Room(tmp_path_factory.mktemp("twin") / "room")
    room.packages = room.furnish()
    return room


@pytest.mark.timeout(1000)
def test_the_kernel_runs_to_a_valid_submission(one, build, tmp_path):
    report = twin.run(build, one / "data", tmp_path / "room", "dataset", timeout_s=900)
    working = tmp_path / "room" / "kaggle" / "working"
    expected = read_expected_ids(one / "data")
    assert read_submission(working / "submission.csv").planet_id.tolist() == expected.tolist()
    assert report.planets == len(expected) and not report.real_size and report.hours > 0 and report.gb > 0.2
    fitted = [event for event in EventLog(working / "events.jsonl").read() if event["event"] == "summary"]
    assert fitted[-1]["population"] < len(expected), "no planet was fitted: the submission is the population's"
    assert all("installed from cp" in line for line in report.table.splitlines() if line.startswith("hydra-core"))
    text = "\n".join(report.lines())
    assert "hydra-core" in text and "not a projection" in text


def test_the_room_holds_the_image_and_nothing_of_the_wheelhouse_or_the_kit(room):
    ours = {pin.name for pin in wanted(bundle.ROOT / "wheels").values()}
    assert {"numpy", "torch", "polars", "papermill", "ipykernel"} <= set(room.packages)
    assert not set(room.packages) & {*ours, "spectramind-v50", "batman-package", "pytest"}
    code = (
        "import importlib.util as u; print([n for n in ('kitlib', 'hydra', 'batman', 'omegaconf') if u.find_spec(n)])"
    )
    assert room.run(["-c", code], 60).output.strip() == "[]"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kit_and_data_are_found_in_every_mount_layout(campaign, build, room, layout):
    twin.empty(room.input)
    kit = room.mount(build / "dataset", campaign / "data", layout)
    trained = room.input / "notebooks" / "twin" / "spectramind-v50-train"  # beside them, the output of another kernel
    (trained / "manifests").mkdir(parents=True)
    (trained / "prior.safetensors").write_bytes(b"")
    code = kernels.first_cell(bundle.read_manifest(build / "dataset")["bundle"])
    code += "\nimport kitlib.base.config, kitlib.base.paths as paths"  # the whole run imports the rest
    code += "\nprint('kitlib', kitlib.__file__)"
    code += "\nprint('data', paths.find_data_root())\nkitlib.base.config.compose('predict', ['env=kaggle'])"
    outcome = room.run(["-c", code], 280)
    assert outcome.status == 0, outcome.output
    assert f"kitlib {kit}/kitlib/__init__.py" in outcome.output
    assert f"data {room.input / LAYOUTS[layout][1]}" in outcome.output


@pytest.mark.parametrize("isolate", ISOLATIONS)
def test_the_network_is_cut_but_for_loopback(room, isolate, monkeypatch):
    monkeypatch.setattr(room, "isolate", isolate)
    lines = room.run(["-c", PROBE], 60).output.splitlines()
    assert lines[0] == "loopback works" and len(lines) == 3 and all(line.startswith("cut:") for line in lines[1:])


@pytest.mark.skipif("namespace" not in ISOLATIONS, reason="this system allows no user namespaces")
def test_nothing_but_the_working_folders_can_be_written(room, build, campaign, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "isolate", "namespace")
    twin.empty(room.input)
    kit = room.mount(build / "dataset", campaign / "data", "flat")
    refused = [kit, kit / "kitlib", room.input, room.elsewhere, room.prefix, tmp_path, campaign / "data"]
    places = [str(place) for place in (*refused, room.working, room.tmp)]
    lines = room.run(["-c", WRITE, *places], 60).output.splitlines()
    assert lines == [f"{'refused' if i < len(refused) else 'written'} {place}" for i, place in enumerate(places)]


def test_a_kernel_of_another_dataset_fails_and_says_why(campaign, build, tmp_path):
    other = tmp_path / "build"
    bundle.stage(other / "dataset", "twin")
    kernels.build("infer", other / "kernels" / "infer", "twin", "f" * 64)
    with pytest.raises(KernelError, match="is not mounted below"):
        twin.run(other, campaign / "data", tmp_path / "room", "flat", timeout_s=280)
    with pytest.raises(KernelError, match=r"build_kernel\.py kernel"):
        twin.run(tmp_path, campaign / "data", tmp_path / "room", "flat")


def test_a_process_that_does_not_end_is_ended(room):
    with pytest.raises(KernelError, match="not finished after 1 s"):
        room.run(["-c", "import time; time.sleep(600)"], 1)


def test_the_peak_memory_counts_children(room):
    child = "import time; x = b'1' * (300 << 20); time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert 300 < room.run(["-c", code], 60).peak_mib < 600


def test_the_projection_is_planet_seconds_over_four_cores(tmp_path):
    """10 planets of 8 s on 2 cores and 20 s beside them: 20 s + 1,100 x 8 s / 4; two workers' memory counts twice."""
    EventLog(tmp_path / "events.jsonl").emit("predict", "computed", workers=2, pace_s=8.0)
    hours, gb = twin.project(tmp_path, Outcome(0, "", 60.0, 2_000.0), 10)
    assert hours * 3600 == pytest.approx(20 + 1_100 * 8 / 4)
    assert gb == pytest.approx(2 * 2_000 * 2**20 / 1e9)


@pytest.mark.parametrize(("size", "frames", "planets"), [("tiny", False, 12), ("full", True, 10)])
def test_what_is_simulated_for_the_twin(tmp_path, monkeypatch, size, frames, planets):
    """Real frames for a projection; more planets than processes, or no pace could be measured."""
    monkeypatch.setattr(pipeline, "simulate", lambda config: config.simulate)
    found = build_kernel._simulated(tmp_path, size)
    assert (found.airs_pairs == AIRS.pairs_per_visit, found.test_planets) == (frames, planets)
    assert found.out.startswith(str(tmp_path))


def test_without_a_measured_pace_the_projection_is_an_upper_bound(tmp_path):
    EventLog(tmp_path / "events.jsonl").emit("predict", "computed", workers=2, pace_s=None)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "predict.json").write_text(json.dumps({"wall_s": 40.0}))
    hours, _ = twin.project(tmp_path, Outcome(0, "", 60.0, 2_000.0), 10)
    assert hours * 3600 == pytest.approx(20 + 1_100 * 8 / 4)


def test_a_folder_that_is_no_room_is_not_removed(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(KernelError, match="no clean room"):
        twin.clear(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_changed_kit_is_noticed(build, room, campaign):
    twin.empty(room.input)
    kit = room.mount(build / "dataset", campaign / "data", "flat")
    target = kit / "kitlib" / "sigma" / "metric.py"
    target.chmod(0o644)
    target.write_text("")
    with pytest.raises(StartError, match=r"metric\.py is not the file"):
        twin.verify(kit)


def test_closure_follows_requirements_but_no_extras():
    assert "markupsafe" in closure(["jinja2"]) and "pytest" not in closure(["numpy", "pandas"])


def test_the_command_line_offers_every_layout(capsys):
    with pytest.raises(SystemExit):
        build_kernel.main(["twin", "--help"])
    assert f"{{{','.join([*LAYOUTS, 'all'])}}}" in capsys.readouterr().out

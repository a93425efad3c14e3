"""push, status, submit, fetch: the real `kaggle` client against a loopback server, as a person would run them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kaggle_loopback import KEY, USER, Loopback

from kernelkit.bundle import MANIFEST
from kernelkit.start import verify
from kitlib.base.instruments import submission_columns
from kitlib.base.paths import COMPETITION

ROOT = Path(__file__).resolve().parents[2]
KERNEL, TRAIN = f"{USER}/spectramind-v50-infer", f"{USER}/spectramind-v50-train"


class Person:
    """Someone at a shell, with a build folder of their own."""

    def __init__(self, kaggle: Loopback, home: Path, shell: "Shell"):
        self.kaggle, self.home, self.build, self.shell = kaggle, home, home / "build", shell

    def line(self, step: str, *words: str, user: str = USER) -> list[str]:
        build = ["--build", str(self.build), "--poll", "0.01"]
        return [sys.executable, "build_kernel.py", step, "--user", user, *build, *words]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.kaggle.environment(self.home)}

    def does(self, step: str, *words: str, user: str = USER, **environment: str) -> tuple[int, str]:
        line, env = self.line(step, *words, user=user), {**self.environment(), **environment}
        code, said = self.shell.run(line[1:], env)
        assert KEY not in said
        assert "Traceback" not in said, said
        return code, said


@pytest.fixture
def kaggle():
    server = Loopback()
    yield server
    server.server.shutdown()


class Shell:
    """Runs scripts in processes of their own: tests/kernel/kaggle_shell.py, which has imported what they import."""

    def __init__(self):
        line = [sys.executable, str(Path(__file__).with_name("kaggle_shell.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(line, cwd=ROOT, text=True, **pipes)

    def run(self, line: list[str], environment: dict[str, str]) -> tuple[int, str]:
        """Exit status and output of a script with its words."""
        self.process.stdin.write(json.dumps([line, environment]) + "\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def shell():
    shell = Shell()
    yield shell
    shell.process.stdin.close()
    shell.process.wait(60)


@pytest.fixture
def person(kaggle, shell, tmp_path):
    return Person(kaggle, tmp_path, shell)


def mounted(kaggle: Loopback, folder: Path, version: int = -1) -> Path:
    """A dataset version as a folder."""
    for name, data in kaggle.versions[version].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_first_push_creates_the_dataset_waits_and_pushes_the_kernel(kaggle, person, tmp_path):
    kaggle.unready = 3
    code, said = person.does("push")
    assert code == 0, said
    assert "CreateDataset" in kaggle.calls and "CreateDatasetVersion" not in kaggle.calls
    assert kaggle.calls.count("GetDatasetStatus") >= 4 and kaggle.calls[-1] == "SaveKernel"
    content = verify(mounted(kaggle, tmp_path / "mount"))  # what Kaggle mounts is what the manifest says
    assert "kitlib/data/prior.safetensors" in content["files"]
    (kernel,) = kaggle.kernels
    assert kernel["slug"] == KERNEL and kernel["enableInternet"] is False
    assert kernel["machineShape"] == "None" and kernel["enableGpu"] is False
    assert kernel["datasetDataSources"] == [f"{USER}/spectramind-v50-kit"]
    assert kernel["competitionDataSources"] == [COMPETITION]
    assert content["bundle"] in kernel["text"]


def test_the_same_bundle_is_uploaded_once_and_another_one_as_a_new_version(kaggle, person):
    assert person.does("push")[0] == 0
    code, said = person.does("push")
    assert code == 0 and "holds" in said
    assert len(kaggle.versions) == 1 and len(kaggle.kernels) == 2
    (person.build / "state.json").unlink()  # another checkout does not know what is there
    assert person.does("push")[0] == 0
    assert kaggle.calls.count("CreateDataset") == 1 and kaggle.calls.count("CreateDatasetVersion") == 1
    assert kaggle.versions[0][MANIFEST] == kaggle.versions[1][MANIFEST]


def test_a_dataset_that_is_not_ready_in_time_is_waited_for_again(kaggle, person):
    kaggle.unready = 10_000
    code, said = person.does("push", "--wait", "0.2")
    assert code == 1 and "still blobs_received" in said and "continues" in said
    assert not kaggle.kernels
    kaggle.unready = 2
    assert person.does("push")[0] == 0
    assert len(kaggle.versions) == 1 and len(kaggle.kernels) == 1


def test_a_quota_error_is_told_and_the_next_run_only_pushes_the_kernel(kaggle, person):
    kaggle.kernel_error = "Maximum weekly GPU quota of 30.00 hours reached."
    code, said = person.does("push", "--kernel", "train")
    assert code == 1 and "weekly GPU quota" in said
    assert person.does("push", "--kernel", "train")[0] == 0
    assert len(kaggle.versions) == 1 and len(kaggle.kernels) == 1
    (kernel,) = kaggle.kernels
    assert kernel["machineShape"] == "NvidiaTeslaT4" and kernel["enableGpu"] is True


def test_wrong_credentials_are_named_and_nothing_is_uploaded(kaggle, person):
    code, said = person.does("push", KAGGLE_KEY="f" * 32)
    assert code == 1 and "refused the credentials" in said and "f" * 32 not in said
    assert set(kaggle.calls) == {"GetDatasetStatus"}


def test_no_credentials_at_all_are_named(kaggle, person):
    code, said = person.does("status", KAGGLE_USERNAME="", KAGGLE_KEY="")
    assert code == 1 and "credentials" in said


def test_a_token_of_another_user_is_refused(kaggle, person):
    code, said = person.does("push", user="someone-else")
    assert code == 1 and f"belongs to {USER}" in said
    assert not kaggle.calls


@pytest.mark.parametrize("name", ["wheels.zip", "kitlib.zip", MANIFEST])
def test_a_broken_upload_makes_no_dataset_and_the_next_run_completes_it(kaggle, person, tmp_path, name):
    """The client alone would create the dataset without the file."""
    kaggle.failing_upload = name
    code, said = person.does("push")
    assert code == 1 and f"{name} failed" in said and "continues" in said
    assert not kaggle.versions and not kaggle.kernels
    assert person.does("push")[0] == 0
    verify(mounted(kaggle, tmp_path / "mount"))


def test_a_connection_that_ends_in_an_upload_is_taken_up_again(kaggle, person, tmp_path):
    kaggle.cut_upload = "kitlib.zip"
    code, said = person.does("push")
    assert code == 0 and not kaggle.cut_upload, said
    verify(mounted(kaggle, tmp_path / "mount"))


@pytest.mark.parametrize(
    ("method", "status", "message"),
    [
        ("CreateDataset", 500, "Kaggle has trouble"),
        ("SaveKernel", 429, "limit on requests"),
        ("SaveKernel", 503, "503"),
    ],
)
def test_a_step_that_the_server_refuses_is_named_and_the_next_run_goes_on(kaggle, person, method, status, message):
    kaggle.http[method] = [status]
    code, said = person.does("push")
    assert code == 1 and f"HTTP {status}" in said and message in said
    assert not kaggle.kernels and len(kaggle.versions) == (method == "SaveKernel")
    assert person.does("push")[0] == 0
    assert len(kaggle.versions) == len(kaggle.kernels) == 1


def test_a_dataset_that_kaggle_cannot_process_is_told_and_uploaded_again(kaggle, person):
    kaggle.dataset_status = "FAILED"
    code, said = person.does("push")
    assert code == 1 and "Kaggle says failed" in said and not kaggle.kernels
    kaggle.dataset_status = "READY"
    (person.build / "state.json").unlink()
    assert person.does("push")[0] == 0 and len(kaggle.versions) == 2


def test_a_kernel_whose_competition_is_unknown_is_not_taken_for_pushed(kaggle, person):
    """The client itself only prints a line for it."""
    kaggle.unknown_sources = [COMPETITION]
    code, said = person.does("push")
    assert code == 1 and f"unknown sources {COMPETITION}" in said
    code, said = person.does("submit")
    assert code == 1 and "push first" in said


def test_an_unreachable_server_is_an_error_not_a_traceback(kaggle, person):
    code, said = person.does("status", http_proxy="http://127.0.0.1:9")
    assert code == 1 and "cannot be reached" in said


def test_submit_waits_for_a_complete_run_and_names_the_pushed_version(kaggle, person):
    assert person.does("push")[0] == 0
    kaggle.kernel_status = "RUNNING"
    code, said = person.does("submit")
    assert code == 1 and "is running" in said and not kaggle.submissions
    kaggle.kernel_status = "COMPLETE"
    code, said = person.does("submit", "--message", "first try")
    assert code == 0 and "Successfully submitted" in said
    (sent,) = kaggle.submissions
    assert sent["competitionName"] == COMPETITION and sent["fileName"] == "submission.csv"
    assert (sent["kernelOwner"], sent["kernelSlug"]) == tuple(KERNEL.split("/"))
    assert sent["kernelVersion"] == 1 and sent["submissionDescription"] == "first try"


def test_submit_without_a_push_asks_for_one(kaggle, person):
    code, said = person.does("submit")
    assert code == 1 and "push first" in said


def test_a_refused_submission_names_the_competition_rules(kaggle, person):
    kaggle.elsewhere, kaggle.http["CreateCodeSubmission"] = {KERNEL}, [403]
    code, said = person.does("submit", "--version", "3")
    assert code == 1 and f"rules of {COMPETITION}" in said


def test_status_fails_with_the_kernel(kaggle, person):
    code, said = person.does("status")
    assert code == 1 and f"no kernel {KERNEL}. Push it first" in said
    kaggle.elsewhere = {KERNEL}
    kaggle.kernel_status, kaggle.failure = "ERROR", "Your notebook ran out of memory"
    code, said = person.does("status")
    assert code == 1 and "ran out of memory" in said


def submission(depth: float) -> bytes:
    row = ",".join(["5", *[f"{depth}"] * 283, *["0.001"] * 283])
    return f"{','.join(submission_columns())}\n{row}\n".encode()


def test_fetch_brings_output_and_log(kaggle, person):
    kaggle.outputs = {"submission.csv": submission(0.01), "report.html": b"<p>", "fusion/a b.json": b"{}"}
    kaggle.page = 2
    code, said = person.does("fetch")
    folder = person.build / "output" / "infer"
    assert code == 0 and (folder / "submission.csv").read_bytes() == submission(0.01), said
    assert (folder / "report.html").read_bytes() == b"<p>" and "the log" in next(folder.glob("*.log")).read_text()
    assert (folder / "fusion" / "a b.json").read_bytes() == b"{}" and str(folder / "submission.csv") in said
    kaggle.outputs["submission.csv"] = submission(0.02)
    assert person.does("fetch")[0] == 0 and (folder / "submission.csv").read_bytes() == submission(0.02)


FETCHES = {
    "forbidden": ({"http": {"output": [403]}}, "submission.csv: HTTP 403"),
    "no content": ({"http": {"output": [204]}}, "submission.csv: HTTP 204"),
    "trouble with the last file": ({"http": {"output": [200, 503]}}, "report.html: HTTP 503"),
    "cut": ({"cut_output": "submission.csv"}, "submission.csv: Kaggle cannot be reached"),
    "an error page": ({"outputs": {"submission.csv": b"<html>"}}, "is not a valid submission"),
    "cut at a line": ({"outputs": {"submission.csv": submission(0.02)[:-20]}}, "the last line does not end"),
    "a name that leads out": ({"outputs": {"../other.csv": b"x"}}, "leads out of"),
}


@pytest.mark.parametrize("case", FETCHES)
def test_a_fetch_that_fails_leaves_the_older_files(kaggle, person, case):
    kaggle.outputs = {"submission.csv": submission(0.01), "report.html": b"<p>old"}
    assert person.does("fetch")[0] == 0
    folder = person.build / "output" / "infer"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    kaggle.outputs = {"submission.csv": submission(0.02), "report.html": b"<p>new"}
    trouble, message = FETCHES[case]
    vars(kaggle).update(trouble)
    code, said = person.does("fetch")
    assert code == 1 and message in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before  # and nothing half beside them
    assert not (folder.parent / "other.csv").exists()


def test_a_damaged_memory_of_what_was_pushed_is_named(kaggle, person):
    person.build.mkdir()
    (person.build / "state.json").write_text("{")
    code, said = person.does("submit")
    assert code == 1 and "state.json is damaged" in said and "delete it" in said and not kaggle.submissions


def test_fetch_without_output_is_an_error(kaggle, person):
    kaggle.log = ""
    code, said = person.does("fetch")
    assert code == 1 and "has no output" in said


# waiting ------------------------------------------------------------------------------------------------------------


def test_a_wait_endures_trouble_on_kaggles_side_and_says_so_once(kaggle, person):
    kaggle.unready, kaggle.running = 2, 2
    kaggle.http["GetDatasetStatus"] = [200, 200, 502, 0, 429]  # twice ahead of the upload, then in the wait
    kaggle.http["GetKernelSessionStatus"] = [200, 503, 0, 500, 429, 502]
    code, said = person.does("all")
    assert code == 0, said
    assert not any(kaggle.http.values()) and len(kaggle.kernels) == len(kaggle.submissions) == 1
    assert said.count("asking again for up to 15 minutes") == 2
    assert "kernel status: HTTP 503" in said and "dataset status: HTTP 502" in said


def test_trouble_that_lasts_ends_the_wait(kaggle, person):
    kaggle.http["GetKernelSessionStatus"] = [502] * 10_000
    code, said = person.does("all", "--patience", "0.2")
    assert code == 1 and "HTTP 502" in said and "continues from here" in said and not kaggle.submissions
    assert kaggle.calls.count("GetKernelSessionStatus") > 1
    kaggle.http = {}
    assert person.does("all")[0] == 0 and len(kaggle.kernels) == len(kaggle.submissions) == 1


def test_any_answer_renews_the_patience(kaggle, person):
    """Every other question fails, for longer than one failure may last."""
    kaggle.running, kaggle.http["GetKernelSessionStatus"] = 100, [502, 200] * 100
    code, said = person.does("all", "--patience", "1")
    assert code == 0 and not kaggle.running and len(kaggle.submissions) == 1, said


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_answer_that_will_stay_the_same_ends_the_wait_at_once(kaggle, person, status):
    kaggle.http["GetKernelSessionStatus"] = [status]
    code, said = person.does("all")
    assert code == 1 and "asking again" not in said and not kaggle.submissions
    assert kaggle.calls.count("GetKernelSessionStatus") == 1


# all: from clone to submission ---------------------------------------------------------------------------------------


def test_all_goes_from_clone_to_submission_and_then_once_more(kaggle, person):
    code, said = person.does("all")
    assert code == 0, said
    assert len(kaggle.versions) == len(kaggle.kernels) == len(kaggle.submissions) == 1
    code, said = person.does("all")  # the user wants another one
    assert code == 0 and "was submitted already: pushing another" in said
    assert [sent["kernelVersion"] for sent in kaggle.submissions] == [1, 2]
    assert len(kaggle.versions) == 1 and len(kaggle.kernels) == 2


def test_all_goes_on_with_what_it_had_pushed_when_it_was_killed(kaggle, person):
    kaggle.running = 1_000_000
    process = subprocess.Popen(person.line("all"), cwd=ROOT, env=person.environment(), stdout=subprocess.DEVNULL)
    while "GetKernelSessionStatus" not in kaggle.calls and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    kaggle.running = 3
    code, said = person.does("all")
    assert code == 0 and "version 1" in said and "was pushed already" in said
    assert len(kaggle.versions) == len(kaggle.kernels) == len(kaggle.submissions) == 1


def test_all_submits_what_push_has_pushed(kaggle, person):
    assert person.does("push")[0] == 0
    assert person.does("push")[0] == 0
    code, said = person.does("all")
    assert code == 0 and len(kaggle.kernels) == 2 and kaggle.submissions[0]["kernelVersion"] == 2
    assert person.does("submit")[0] == 0 and kaggle.submissions[1]["kernelVersion"] == 2


def test_all_only_submits_again_what_was_refused(kaggle, person):
    kaggle.http["CreateCodeSubmission"] = [429]
    code, said = person.does("all")
    assert code == 1 and "limit on requests or submissions" in said
    assert person.does("all")[0] == 0 and len(kaggle.kernels) == len(kaggle.submissions) == 1


@pytest.mark.parametrize("changed", ["bundle", "code", "kernel"])
def test_all_pushes_anew_what_is_not_what_it_had_pushed(kaggle, person, changed):
    assert person.does("push")[0] == 0
    state = json.loads((person.build / "state.json").read_text())
    state["pushed"]["infer"][changed] = "other"
    (person.build / "state.json").write_text(json.dumps(state))
    assert person.does("all")[0] == 0
    assert len(kaggle.kernels) == 2 and [sent["kernelVersion"] for sent in kaggle.submissions] == [2]


@pytest.mark.parametrize(
    ("status", "failure", "message"),
    [
        ("ERROR", "Your notebook ran out of memory", "ran out of memory"),
        ("CANCEL_ACKNOWLEDGED", "", "again pushes it anew"),
    ],
)
def test_all_submits_nothing_when_the_run_fails_and_then_pushes_anew(kaggle, person, status, failure, message):
    kaggle.kernel_status, kaggle.failure = status, failure
    code, said = person.does("all")
    assert code == 1 and message in said and not kaggle.submissions
    kaggle.cured = True
    code, said = person.does("all")
    assert code == 0 and f"failed ({failure or status.lower()}): pushing it anew" in said
    assert len(kaggle.kernels) == 2 and kaggle.submissions[0]["kernelVersion"] == 2


# all --trained: what the train kernel has learnt ---------------------------------------------------------------------


def test_infer_mounts_what_the_train_kernel_has_left(kaggle, person):
    assert person.does("push", "--kernel", "train")[0] == 0
    kaggle.http["CreateCodeSubmission"] = [429]
    assert person.does("all", "--trained")[0] == 1
    train, infer = kaggle.kernels
    assert (train["slug"], train.get("kernelDataSources", [])) == (TRAIN, [])
    assert (infer["slug"], infer["kernelDataSources"]) == (KERNEL, [TRAIN])
    assert person.does("push", "--kernel", "train")[0] == 0  # by now it has learnt something else
    code, said = person.does("all", "--trained")
    assert code == 0, said
    assert [kernel["slug"] for kernel in kaggle.kernels] == [TRAIN, KERNEL, TRAIN, KERNEL]
    (sent,) = kaggle.submissions
    assert (sent["kernelSlug"], sent["kernelVersion"]) == ("spectramind-v50-infer", 2)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({}, f"no kernel {TRAIN}"),
        ({"http": {"GetKernelSessionStatus": [404]}}, "HTTP 404"),
        ({"kernel_status": "ERROR", "failure": "out of memory", "elsewhere": {TRAIN}}, "no success: out of memory"),
        ({"kernel_status": "CANCEL_ACKNOWLEDGED", "elsewhere": {TRAIN}}, "no success: cancel_acknowledged"),
    ],
)
def test_trained_asks_for_a_train_kernel_that_has_run(kaggle, person, run, message):
    vars(kaggle).update(run)
    code, said = person.does("all", "--trained")
    assert code == 1 and message in said
    assert f"Run `python build_kernel.py push --kernel train --user {USER}`, then wait until `python" in said
    assert f"status --kernel train --user {USER}` says complete" in said
    assert kaggle.calls == ["GetKernelSessionStatus"]


def test_trained_asks_to_wait_for_a_train_kernel_that_runs(kaggle, person):
    kaggle.elsewhere, kaggle.running = {TRAIN}, 1
    code, said = person.does("push", "--trained")
    assert code == 1 and f"{TRAIN} is running: wait until" in said and "push --kernel train" not in said
    assert kaggle.calls == ["GetKernelSessionStatus"]


def test_diagnose_mounts_what_infer_has_made_and_waits_for_it(kaggle, person):
    kaggle.elsewhere, kaggle.running = {KERNEL}, 1
    code, said = person.does("push", "--kernel", "diagnose")
    assert code == 1 and f"--kernel diagnose: kernel {KERNEL} is running: wait until" in said
    assert kaggle.calls == ["GetKernelSessionStatus"]
    code, said = person.does("push", "--kernel", "diagnose")
    assert code == 0, said
    (diagnose,) = kaggle.kernels
    assert (diagnose["slug"], diagnose["kernelDataSources"]) == (f"{USER}/spectramind-v50-diagnose", [KERNEL])


def test_diagnose_of_a_trained_run_mounts_both(kaggle, person):
    kaggle.elsewhere = {KERNEL, TRAIN}
    code, said = person.does("push", "--kernel", "diagnose", "--trained")
    assert code == 0, said
    assert kaggle.kernels[0]["kernelDataSources"] == [KERNEL, TRAIN]


def test_diagnose_without_an_infer_kernel_says_what_to_run(kaggle, person):
    code, said = person.does("push", "--kernel", "diagnose")
    assert code == 1 and f"Run `python build_kernel.py push --kernel infer --user {USER}`" in said


def test_train_does_not_mount_itself(kaggle, person):
    code, said = person.does("push", "--kernel", "train", "--trained")
    assert code == 1 and "--trained is for the infer kernel" in said and not kaggle.calls

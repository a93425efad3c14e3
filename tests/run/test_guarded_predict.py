"""The real `predict` under its guard: planets that hang, die or run out of memory, low memory, no time, a killed run.

Real frames, fits and fusion model in real processes; only the faults, the clock and the free memory are made up.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import faulty_work
import numpy as np
import pytest
from here import planets_here

from kitlib import pipeline
from kitlib.base.config import compose
from kitlib.base.provenance import EventLog
from kitlib.run import budget, planets
from kitlib.spectra.posterior import read_posterior
from kitlib.submission.validation import read_submission, validate_submission
from kitlib.submission.writer import read_expected_ids

HOUR = 3_600.0


def words(campaign: Path, out: Path) -> list[str]:
    """Every planet that ends is written at once; fits are coarse, which no fault knows of."""
    root, cheap = f"data.root={campaign / 'data'}", ("lightcurves.samples=60", "physfit.max_iterations=2")
    return ["env=ci", "data=kaggle", root, f"run.out={out}", "run.workers=2", "budget.write_s=0", *cheap]


class Run:
    """`predict` in this process; `jump(n)` says how many seconds the guard's clock is ahead after n results."""

    def __init__(self, monkeypatch, out: Path, faults: dict[int, str], jump=lambda done: 0.0):
        self.out, self.done = out, 0
        make_work, compute = pipeline.planet_work, pipeline.computed
        monkeypatch.setattr(pipeline, "Guard", partial(budget.Guard, clock=lambda: time.monotonic() + jump(self.done)))
        monkeypatch.setattr(pipeline, "planet_work", lambda *a: faulty_work.Faulty(make_work(*a), str(out), faults))

        def counted(*arguments):
            for result in compute(*arguments):
                self.done += 1
                yield result

        monkeypatch.setattr(pipeline, "computed", counted)

    def predict(self, campaign: Path, *more: str):
        """The submission, after it has been found valid, and the reason of each fallback."""
        expected = read_expected_ids(campaign / "data")
        path = pipeline.predict(compose("predict", [*words(campaign, self.out), *more]))
        validate_submission(path, expected).raise_for_errors()
        events = EventLog(self.out / "events.jsonl").read()
        return read_submission(path), {e["planet_id"]: e["reason"] for e in events if e["event"] == "fallback"}


@pytest.fixture(scope="module")
def ids(campaign) -> list[int]:
    return read_expected_ids(campaign / "data").tolist()


@pytest.fixture(scope="module")
def undisturbed(campaign, tmp_path_factory):
    """Folder of a run in which nothing goes wrong."""
    out = tmp_path_factory.mktemp("undisturbed")
    with planets_here():
        pipeline.predict(compose("predict", words(campaign, out)))
    assert not [event for event in EventLog(out / "events.jsonl").read() if event["event"] == "fallback"]
    return out


def same_rows(found, other) -> list[bool]:
    """Planet by planet, whether two submissions give the same answer."""
    return (np.isclose(found.mu, other.mu, rtol=1e-5) & np.isclose(found.sigma, other.sigma, rtol=1e-4)).all(1).tolist()


def test_a_hang_a_kill_and_lack_of_memory_cost_their_own_planet_alone(
    campaign, ids, undisturbed, tmp_path, monkeypatch
):
    faults = {ids[1]: "hang", ids[2]: "killed once", ids[3]: "killed", ids[5]: "memory"}
    run = Run(monkeypatch, tmp_path, faults, lambda done: HOUR * (done == len(ids) - 1))  # all but the one that hangs
    found, reasons = run.predict(campaign, "budget.planet_minutes=30")
    assert set(reasons) == {ids[1], ids[3], ids[5]}
    assert reasons[ids[1]] == "took more than 1800 s"
    assert "status -9" in reasons[ids[3]] and "MemoryError" in reasons[ids[5]]
    clean = read_submission(undisturbed / "submission.csv")
    assert same_rows(found, clean) == [planet not in reasons for planet in ids]
    posterior, _ = read_posterior(tmp_path / "posterior.safetensors")
    assert (posterior.diagnostics["fallback"] == 2).tolist() == [planet in reasons for planet in ids]


def test_low_memory_leaves_one_planet_at_a_time_and_loses_none(campaign, ids, undisturbed, tmp_path, monkeypatch):
    run = Run(monkeypatch, tmp_path, {})  # memory becomes short while two planets are computed
    monkeypatch.setattr(planets, "run", partial(budget.run, free_memory=lambda: 0.5e9 if run.done else 1e12))
    shutil.copytree(undisturbed / "products", tmp_path / "products")
    found, reasons = run.predict(campaign, "budget.memory_gb=1")
    assert not reasons and all(same_rows(found, read_submission(undisturbed / "submission.csv")))
    (told,) = [event for event in EventLog(tmp_path / "events.jsonl").read() if event["event"] == "memory"]
    assert told["at_once"] == 1


def test_when_the_time_is_up_the_rest_keeps_the_populations_answer(campaign, ids, undisturbed, tmp_path, monkeypatch):
    run = Run(monkeypatch, tmp_path, {ids[6]: "hang", ids[7]: "hang"}, lambda done: 9 * HOUR * (done >= 4))
    shutil.copytree(undisturbed / "products", tmp_path / "products")
    found, reasons = run.predict(campaign, "budget.hours=8.5", "budget.planet_minutes=1000")
    assert set(reasons.values()) == {budget.TIME_UP} and {ids[6], ids[7]} <= set(reasons)
    same = same_rows(found, read_submission(undisturbed / "submission.csv"))
    assert same == [planet not in reasons for planet in ids] and sum(same) >= 4


@pytest.mark.long
def test_predict_killed_at_random_moments_leaves_a_valid_file_and_goes_on(campaign, ids, undisturbed, tmp_path):
    """Kills of `spectramind predict` and, each time, the same command again; the end is the undisturbed one's."""
    fate, submission, seen = random.Random(4), tmp_path / "submission.csv", []
    clean, command = read_submission(undisturbed / "submission.csv"), [sys.executable, "-m", "kitlib", "predict"]
    environment = {**os.environ, "PYTHONPATH": str(Path(pipeline.__file__).parents[1])}
    for wanted in (0, 2, 5):
        submission.unlink(missing_ok=True)  # so that the early file of this start is what is waited for
        process = subprocess.Popen(
            [*command, *words(campaign, tmp_path), "run.workers=1"], env=environment, cwd=tmp_path
        )
        try:
            while not submission.exists() or sum(same_rows(read_submission(submission), clean)) < wanted:
                assert process.poll() is None, "the run ended before it was killed"
                time.sleep(0.01)
            time.sleep(fate.uniform(0, 0.2))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        validate_submission(submission, np.array(ids)).raise_for_errors()
        finished = np.array(same_rows(read_submission(submission), clean))
        rest = read_submission(submission).mu[~finished]
        assert (rest == rest[:1]).all(), "an answer that is neither the population's nor the planet's own"
        seen.append(int(finished.sum()))
    assert len(set(seen)) == 3, f"every kill hit the same moment: {seen}"
    pipeline.predict(compose("predict", [*words(campaign, tmp_path), "run.workers=1"]))
    assert submission.read_bytes() == (undisturbed / "submission.csv").read_bytes()

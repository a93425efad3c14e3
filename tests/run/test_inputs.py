"""What a stage starts from: which trained run it takes, and which words it refuses before anything else."""

import pytest

from kitlib.base.config import compose
from kitlib.run.inputs import TRAINED, InputError, check_choices, trained_run


def trained(folder):
    folder.mkdir(parents=True)
    for name in TRAINED:
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    monkeypatch.setenv("KITLIB_KAGGLE_INPUT", str(tmp_path / "input"))
    return tmp_path / "input"


def test_the_named_run_comes_before_ones_own_and_that_before_a_mounted_one(tmp_path, mounts):
    out = tmp_path / "out"
    assert trained_run("", out) == out
    mounted = trained(mounts / "notebooks" / "someone" / "spectramind-v50-train")
    assert trained_run("", out) == mounted
    trained(out)
    assert trained_run("", out) == out
    other = trained(tmp_path / "other")
    assert trained_run(str(other), out) == other


def test_one_run_mounted_in_two_places_is_one(tmp_path, mounts):
    folder = trained(mounts / "datasets" / "someone" / "trained")
    (mounts / "trained").symlink_to(folder)
    assert trained_run("", tmp_path / "out").resolve() == folder.resolve()


def test_a_choice_that_is_none_is_refused_with_its_remedy(tmp_path, mounts):
    with pytest.raises(InputError, match=f"run.trained={tmp_path} lacks prior.safetensors, calibrator_physics.json"):
        trained_run(str(tmp_path), tmp_path / "out")
    for name in ("one", "two"):
        trained(mounts / name)
    with pytest.raises(InputError, match="several trained runs .* Choose by run.trained=DIR"):
        trained_run("", tmp_path / "out")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("prior.source=simulated", "give auto, train or shipped"),
        ("data.split=both", "give train or test"),
        ("model.kind=v5O", "model.kind=v5O: give v50 or physics"),
        ("train.precision=float16", "give float32 or half"),
        ("sigma.folds=1", "sigma.folds=1: give a whole number, 2 to 100"),
        ("train.initial=/nowhere/model.safetensors", "train.initial=/nowhere/model.safetensors: no such file"),
        ("sigma.calibrator=/nowhere/c.json", "sigma.calibrator=/nowhere/c.json: no such file"),
        ("loss.rules.mine=mu <== 0.1", "mine"),
    ],
)
def test_words_that_mean_nothing_are_refused_before_the_work(word, message):
    with pytest.raises(ValueError, match=message):
        check_choices(compose("train", [word]))


def test_a_file_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.json").write_text("{}")
    check_choices(compose("predict", ["sigma.calibrator=~/mine.json"]))

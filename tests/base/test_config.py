"""Composition: groups, overrides, snapshots, and clear refusals."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from kitlib.base.config import ConfigError, as_dict, compose, groups, sweep_overrides, write_snapshot
from kitlib.base.paths import find_configs, find_kit_root
from kitlib.base.schema import STAGES, Config

GROUPS = {group: options for group, options in groups(find_configs()).items() if group != "search"}


# an option of every group at once, until each has had its turn
ROUNDS = [
    [f"{group}={options[turn % len(options)]}" for group, options in GROUPS.items()]
    for turn in range(max(map(len, GROUPS.values())))
]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("words", ROUNDS, ids=" ".join)
def test_every_stage_composes_with_every_option(stage, words):
    """The notebooks and `make run` give all stages the same words."""
    assert isinstance(compose(stage, words), Config)


@pytest.mark.parametrize("words", ROUNDS, ids=" ".join)
def test_options_with_and_without_plus_are_the_same(words):
    assert compose("predict", [f"+{word}" for word in words]) == compose("predict", words)


def test_the_readme_line_works_with_and_without_plus():
    words = ["env=local", "data=kaggle", "data.root=DIR", "run.out=OUT"]
    plain = compose("predict", words)
    assert plain == compose("predict", ["+env=local", "+data=kaggle", *words[2:]])
    assert (plain.data.root, plain.run.out, plain.data.split) == ("DIR", "OUT", "test")


def test_values_go_over_groups_whatever_their_order():
    config = compose("calibrate", ["run.workers=3", "simulate.out=a b", "data=sim_tiny", "env=ci"])
    assert config.run.workers == 3
    assert config.data.root == "a b/data"
    assert config.data.solution == "a b/solution.csv"


def test_paths_with_special_characters_survive():
    assert compose("predict", ["data.root='/a b/x=1,[y]'"]).data.root == "/a b/x=1,[y]"
    for name in (
        "it's",
        "a,b",
        "a=b",
        "{x}(1)",
        "123",
        "null",
        "a\\'b",
        "end\\",
        'say "hi"',
        "Größe",
        "~/x",
        "a:b #c",
        "",
    ):
        assert compose("predict", [f"data.root={name}"]).data.root == name


def test_composing_twice_gives_equal_and_separate_configs():
    first, second = compose("predict"), compose("predict")
    assert first == second
    first.run.out = "changed"
    assert second.run.out != "changed"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.ot=x", r"'run\.ot'; did you mean 'run\.out'\?"),
        ("out=x", r"'out'; did you mean 'run\.out'\?"),
        ("physfit.max_iteration=3", r"did you mean 'physfit\.max_iterations'"),
        ("data=sim_tny", r"did you mean 'sim_tiny'"),
        ("evn=local", r"did you mean 'env'"),
        ("run.workers=many", r"run\.workers"),
        ("run.progress=perhaps", r"run\.progress"),
        ("physfit.outlier_sigma=[1]", r"physfit\.outlier_sigma"),
        ("run=x", r"is a section.*run\.out"),
        ("run.workers", r"key\.path=value"),
        ("~run.out", r"key\.path=value"),
        ("run.workers=1,2", r"run\.workers=1,2"),
        ("run.out=${nowhere}", r"nowhere"),
        ("+run._target_=os.system", r"unknown configuration key"),
        ("run.seed='", r"run\.seed"),
    ],
)
def test_bad_overrides_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        compose("predict", [override])


@pytest.mark.parametrize("word", ["loss.rules.mine=mu <= 0.1, mu >= 0", "+loss.rules.mine='mu <= 0.1, mu >= 0'"])
def test_a_rule_is_added_from_the_command_line(word):
    found = compose(
        "train", [word, "loss.rules.nonneg_mu=null", "loss.rules.b={expr: 'mu > 0', weight: 2.0}"]
    ).loss.rules
    assert found["mine"] == "mu <= 0.1, mu >= 0"
    assert found["nonneg_mu"] is None
    assert found["b"] == {"expr": "mu > 0", "weight": 2.0}
    assert "bounded_sigma" in found


@pytest.mark.parametrize("word", ["ranges_um.CH4=[[3.2,3.45]]", "ranges_um={CH4: [[3.2,3.45]]}"])
def test_a_molecules_ranges_are_given_on_the_command_line(word):
    assert compose("train", [f"loss.bands.{word}"]).loss.bands.ranges_um == {"CH4": [[3.2, 3.45]]}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.folds=1,2", r"train\.folds=1: give a whole number, 2 to 100"),
        ("lightcurves.samples=range(10,30,10)", r"lightcurves\.samples=10: give a whole number, 20 to"),
        ("physfit.outlier_sigma=5,nan", r"physfit\.outlier_sigma=nan: give a number, above 0"),
        ("model.base=posterior,poulation", r"model\.base=poulation: give posterior or population"),
        ("run.workers=1,many", r"run\.workers=many: give a whole number, 0 to"),
        ("run.workers=-1", r"run\.workers=-1: give a whole number, 0 to"),
        ("train.folds=2,(", r"train\.folds"),
    ],
)
def test_a_sweeps_values_are_all_checked_before_it_starts(word, message):
    with pytest.raises(ConfigError, match=message):
        sweep_overrides([word], find_configs())


def test_unknown_stage_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'predict'"):
        compose("predct")


@pytest.mark.parametrize("tracer", [None, lambda *_: None], ids=["", "under a debugger"])
def test_unknown_key_in_a_file_names_key_and_nearest(tmp_path, tracer):
    """Where there is a debugger, omegaconf makes an error its own cause."""
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "local.yaml").write_text("# @package _global_\nrun:\n  wrokers: 2\n")
    (tmp_path / "predict.yaml").write_text("defaults: [schema, env: local, _self_]\n")
    before = sys.gettrace()
    sys.settrace(tracer or before)
    try:
        with pytest.raises(ConfigError, match=r"'run\.wrokers'; did you mean 'run\.workers'"):
            compose("predict", folder=tmp_path)
    finally:
        sys.settrace(before)


def test_a_file_never_runs_code(tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "predict.yaml").write_text(
        f"defaults: [schema, _self_]\nrun:\n  out: !!python/object/apply:os.mkdir ['{marker}']\n"
    )
    with pytest.raises((ConfigError, yaml.YAMLError)):
        compose("predict", folder=tmp_path)
    assert not marker.exists()


def test_snapshot_reads_back_as_the_same_configuration(tmp_path):
    config = compose("predict", ["run.workers=2", "data.root=a'b\"c"])
    path = write_snapshot(config, tmp_path, "predict")
    assert path == tmp_path / "configs" / "predict.yaml"
    assert yaml.safe_load(path.read_text()) == as_dict(config)


def test_configs_beside_the_package_are_found_from_anywhere(tmp_path):
    """As in a Kaggle dataset: kitlib/ and configs/ side by side, not installed, another working directory."""
    kit, work = tmp_path / "kit", tmp_path / "work"
    work.mkdir()
    for name in ("kitlib", "configs"):
        shutil.copytree(find_kit_root() / name, kit / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(kit)}
    command = [sys.executable, "-c", "import kitlib.base.config as c; print(c.__file__); c.compose('predict')"]
    result = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(kit))


def test_every_stage_has_one_root_file():
    assert {path.stem for path in find_configs().glob("*.yaml")} == set(STAGES)
    assert set(GROUPS) == {"env", "data", "model", "loss", "train"}

"""Every key says what it may be and what it is for; what it may not be is refused by name; each stage shows its own."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
import yaml
from configreads import Reads
from reachable import Definitions
from test_config_keys import LIBRARY, classes_of_keys

import kitlib
from kitlib.base import schema
from kitlib.base.config import ConfigError, compose, groups
from kitlib.base.helptext import stage_help
from kitlib.base.instruments import AIRS, FGS1, N_BINS
from kitlib.base.keytable import READS, check, declared, keys_of, leaves
from kitlib.base.paths import find_configs
from kitlib.base.schema import STAGES, Config, ModelConfig, StepConfig
from kitlib.base.values import OneOf, Range
from kitlib.inject.signals import SIGNALS
from kitlib.simulate.optics import SKY_COLOURS
from kitlib.simulate.visits import GAP_KINDS

LEAVES = [*leaves(), *leaves(StepConfig, "step.")]
PARTS = {"inject": ("diagnose", "inject")}


def numbers(kind: Any) -> list[tuple[Any, Any]]:
    """(plain type, limit) of every number inside a declared type."""
    if get_origin(kind) is Annotated:
        plain, limit = get_args(kind)
        return [(plain, limit)] if plain in (int, float) else []
    return [(kind, None)] if kind in (int, float) else [n for inner in get_args(kind) for n in numbers(inner)]


@pytest.mark.parametrize("key", LEAVES, ids=lambda key: key.name)
def test_every_key_has_a_sentence_and_every_number_a_range(key):
    assert len(key.sentence) > 3
    for plain, limit in numbers(key.declared):
        assert isinstance(limit, Range | OneOf), f"{key.name}: {plain.__name__} without a range"


def test_sizes_are_those_of_the_instruments():
    ends = {key.name: numbers(key.declared)[0][1] for key in LEAVES if numbers(key.declared)}
    assert ends["simulate.airs_pairs"].high == ends["lightcurves.samples"].high == AIRS.pairs_per_visit
    assert ends["simulate.fgs1_pairs"].high == FGS1.pairs_per_visit
    assert ends["prior.components"].high == N_BINS - 2
    assert list(schema.SIGNALS) == list(SIGNALS)
    words = {name: get_args(kind)[1].choices for name, kind in (("sky", schema.SkyColour), ("gap", schema.GapKind))}
    assert words == {"sky": SKY_COLOURS, "gap": GAP_KINDS}


def outside(limit: Range | OneOf, plain: type) -> list[Any]:
    """Numbers beside a limit, and the two that no limit allows."""
    if isinstance(limit, OneOf):
        return [max(limit.choices) + 1]
    beside = [limit.low - 1, limit.high + 1, limit.above, limit.below]
    beside += [limit.low + 1] if limit.multiple else []
    return [n for n in beside if math.isfinite(n)] + ([math.nan, math.inf, -math.inf] if plain is float else [])


BAD = [
    (key.name, plain(n) if math.isfinite(n) else n)
    for key in leaves()
    for plain, limit in numbers(key.declared)
    if get_origin(key.declared) is Annotated
    for n in outside(limit, plain)
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=lambda v: str(v))
def test_a_number_out_of_range_is_refused_by_key(key, value):
    config = Config()
    owner = config
    *path, name = key.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, name, value)
    with pytest.raises(ConfigError, match=rf"^{key}=.*: give "):
        check(config)


def test_every_numeric_key_was_tried():
    tried = {key for key, _ in BAD}
    assert tried == {key.name for key in leaves() if get_origin(key.declared) is Annotated and numbers(key.declared)}
    assert len(tried) > 50


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("run.seed=abc", "run.seed=abc: give a whole number, 0 to 4,294,967,295"),
        ("run.seed=1.5", "run.seed=1.5: give a whole number"),
        ("run.workers=-1", "run.workers=-1: give a whole number, 0 to 1,024"),
        ("run.progress=perhaps", "run.progress=perhaps: give true or false"),
        ("budget.hours=nan", "budget.hours=nan: give a number, 0 or more"),
        ("budget.hours=inf", "budget.hours=inf: give a number, 0 or more"),
        ("model.width=12", "model.width=12: give a whole number, 8 to 1,024, a multiple of 8"),
        ("model.sigma_factors=2", "model.sigma_factors=2: give 1 or 3"),
        ("train.ema=1", "train.ema=1: give a number, 0 or more, below 1"),
        ("data.split=tset", "data.split=tset: give train or test"),
        ("run.backend=Dask", "run.backend=Dask: give loky or dask"),
        ("inject.signals=[H20]", r"inject.signals\[0\]=H20: give H2O, CO2, .* or second_visit_offset"),
        ("inject.amplitudes=[100,nan]", r"inject.amplitudes\[1\]=nan: give a number, -1,000,000 to 1,000,000"),
        ("inject.amplitudes=many", "inject.amplitudes=many: give a list, each a number"),
        ("budget.steps=[{name: a, cost: 0.5, samples: 3}]", r"budget.steps\[0\].samples=3: give a whole number, 20 to"),
        (
            "loss.bands.ranges_um={CH4: [[-3.2,3.4]]}",
            r"loss.bands.ranges_um.CH4\[0\]\[0\]=-3.2: give a number, above 0",
        ),
    ],
)
def test_a_bad_value_on_the_command_line_is_told_in_one_line(word, message):
    with pytest.raises(ConfigError, match=message) as caught:
        compose("train", [word])
    assert "\n" not in str(caught.value)


def test_all_bad_keys_are_named_at_once():
    with pytest.raises(ConfigError, match=r"run\.workers=-1.*; data\.split=x.*; physfit\.drift_order=0"):
        compose("predict", ["run.workers=-1", "data.split=x", "physfit.drift_order=0"])


def test_a_section_made_by_hand_is_checked_by_its_own_name():
    with pytest.raises(ConfigError, match=r"^model\.width=9"):
        check(ModelConfig(width=9), "model")
    check(ModelConfig(), "model")


def test_limits_read_as_words():
    known = {
        "1 or more": Range(1),
        "above 0": Range(above=0),
        "0 to 1": Range(0, 1),
        "0 or more, below 1": Range(0, below=1),
        "at most 5": Range(high=5),
        "finite": Range(),
        "8 to 64, a multiple of 8": Range(8, 64, multiple=8),
        "a or b": OneOf("a", "b"),
        "a, b or c": OneOf("a", "b", "c"),
    }
    assert {text: str(limit) for text, limit in known.items()} == {text: text for text in known}


@pytest.fixture(scope="module")
def code() -> tuple[Reads, Definitions]:
    return Reads(schema, LIBRARY), Definitions(Path(kitlib.__file__).parent)


@pytest.mark.parametrize("stage", READS)
def test_a_stage_shows_the_keys_that_its_code_reads(code, stage):
    """From the stage's function through everything that it leads to.

    Not followed: `check_choices`, which refuses and does not use; `load_model`, whose sizes come from the model's file.
    """
    reads, definitions = code
    reached = definitions.reachable((definitions.package / "pipeline.py", stage), ("check_choices", "load_model"))
    found = {key for key, place in classes_of_keys().items() if reads.places[place] & reached}
    shown = {key.name for key in keys_of(stage)}
    found = {key.name for key in leaves() if key.name in found}
    assert shown - found == set(), f"READS of {stage} names keys that its code does not read"
    assert found - shown == set(), f"READS of {stage} lacks keys that its code reads"


def test_the_walk_from_a_stage_can_fail(tmp_path):
    """A function that nothing calls is not reached; one behind an import, a method and a module's name is."""
    package = tmp_path / "small"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "top.py").write_text(
        "from . import other\nfrom .room import Work\n"
        "def stage(x: Annotated):\n    w = Work()\n    w.run()\n    return other.helper()\n"
        "class Annotated:\n    pass\n"
    )
    (package / "other.py").write_text("def helper():\n    return TABLE\nTABLE = [1]\ndef idle():\n    return 1\n")
    (package / "room" / "__init__.py").write_text("from .work import Work\n")
    (package / "room" / "work.py").write_text(
        "class Work:\n    def run(self):\n        return deep()\n    def never(self):\n        return 1\n"
        "def deep():\n    return 1\n"
    )
    reached = {name for _, name in Definitions(package).reachable((package / "top.py", "stage"))}
    assert reached == {"stage", "Work", "Work.run", "deep", "helper", "TABLE"}


@pytest.mark.parametrize("stage", READS)
def test_help_shows_each_key_of_the_stage_and_no_other(stage):
    whole, part = PARTS.get(stage, (stage, ""))
    text = stage_help(whole, compose(whole), find_configs(), part)
    shown = {line.split("=")[0].strip() for line in text.splitlines() if line.startswith("  ") and "   [" in line}
    assert shown == {key.name for key in keys_of(stage)}
    assert all(key.sentence.split()[0] in text for key in keys_of(stage))
    assert max(map(len, text.splitlines())) <= 250


def test_help_shows_choices_values_and_the_groups_that_matter():
    text = stage_help("predict", compose("predict", ["run.workers=3"]), find_configs())
    assert "  run.workers=3   [a whole number, 0 to 1,024]\n" in text
    assert "  data.split=test   [train or test]\n" in text
    assert "env=ci|kaggle|local" in text and "train=" not in text and "loss=" not in text
    assert "loss=v50" in stage_help("train", compose("train"), find_configs())


def test_stages_have_a_sentence_a_file_and_their_keys():
    assert set(READS) == {*STAGES, "inject"}
    assert all(declared(key.name) is not None for key in leaves())
    assert dataclasses.fields(Config)[0].name == "run"


def test_files_hold_values_in_range():
    """`compose` checks what is chosen; here every option of every group is."""
    for group, options in groups(find_configs()).items():
        for option in options if group != "search" else []:
            compose("train", [f"{group}={option}"])
            assert yaml.safe_load((find_configs() / group / f"{option}.yaml").read_text())

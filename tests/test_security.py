"""What docs/trust.md promises: nothing that is data is executed, nothing leaves its root, no secret is written down."""

import ast
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from kernelkit.start import MANIFEST, StartError, verify
from kitlib.base.config import ConfigError, compose, sweep_overrides
from kitlib.base.paths import find_configs
from kitlib.detector.csvtable import FrameError
from kitlib.detector.tables import read_spectra_csv
from kitlib.fusion.model import ModelError, load_model
from kitlib.sigma.calibrator import Calibrator
from kitlib.spectra.posterior import PosteriorError, read_posterior
from kitlib.transit.priors import Priors

ROOT = Path(__file__).resolve().parent.parent
CODE = [*(ROOT / "kitlib").rglob("*.py"), *(ROOT / "kernelkit").glob("*.py"), ROOT / "build_kernel.py"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.py"))


class Trap:
    """A pickle of this makes a folder when it is read."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture(params=["pickle", "torch.save", "npy"])
def trapped(request, tmp_path) -> Path:
    """A file that makes tmp_path/sprung when anything unpickles it."""
    path, trap = tmp_path / "model.safetensors", Trap(tmp_path / "sprung")
    if request.param == "pickle":
        path.write_bytes(pickle.dumps(trap))
    elif request.param == "torch.save":
        torch.save({"weights": trap}, path)
    else:
        with open(path, "wb") as file:
            np.save(file, np.array([trap], dtype=object), allow_pickle=True)
    return path


def test_a_pickle_is_refused_wherever_a_product_is_read(trapped):
    readers = {load_model: ModelError, read_posterior: PosteriorError, read_spectra_csv: FrameError}
    for read, error in readers.items():
        with pytest.raises(error):
            read(trapped)
    for read in (Priors.load, lambda path: Calibrator.from_json(path.read_bytes().decode("latin-1"))):
        with pytest.raises(ValueError):
            read(trapped)
    assert not (trapped.parent / "sprung").exists()


def test_a_pickle_is_named_as_one(tmp_path):
    for name, data in (("a", pickle.dumps({"weights": 1})), ("b", b"PK\x03\x04 an archive of torch.save")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match="is a pickle, which could run code when it is read: give safetensors"):
            load_model(tmp_path / name)


TARGET = "_target_: os.mkdir\n      path: SPRUNG"
EVIL_FILES = {
    "env/local.yaml": f"# @package _global_\nhydra:\n  callbacks:\n    x:\n      {TARGET}\n",
    "env/ci.yaml": f"# @package hydra.callbacks\nx:\n      {TARGET}\n",
    "search/bins.yaml": f"# @package _global_\nhydra:\n  launcher:\n      {TARGET}\n",
    "search/more.yaml": "hydra:\n  sweeper:\n    params:\n      hydra.launcher._target_: os.mkdir\n",
    "hydra/launcher/joblib.yaml": TARGET.replace("      ", ""),
    "predict.yaml": "defaults: [schema, 'env@hydra.callbacks: local', _self_]\n",
    "train.yaml": "defaults: [schema, {override hydra/launcher: other}, _self_]\n",
    "submit.yaml": "defaults: [schema, _self_]\nrun:\n  out: !!python/object/apply:os.mkdir ['SPRUNG']\n",
}


@pytest.mark.parametrize("name", EVIL_FILES)
def test_a_folder_of_configurations_executes_nothing(tmp_path, name):
    """Every way in which hydra lets a file name a Python object is shut before hydra sees the file."""
    folder = tmp_path / "configs"
    for file in find_configs().rglob("*.yaml"):
        copy = folder / file.relative_to(find_configs())
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text())
    sweep_overrides(["+search=bins"], folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(EVIL_FILES[name].replace("SPRUNG", str(tmp_path / "sprung")))
    for read in (lambda: compose("predict", folder=folder), lambda: sweep_overrides(["+search=bins"], folder)):
        with pytest.raises(ConfigError, match=name.split("/")[0]):
            read()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "word",
    [
        *("hydra.callbacks.x._target_=os.mkdir", "hydra.job_logging.version=1", "hydra.launcher._target_=os.mkdir"),
        *("hydra/hydra_logging=other", "hydra.searchpath=[file://elsewhere]", "hydra/sweeper=other"),
    ],
)
def test_of_hydra_s_own_keys_a_sweep_takes_the_launcher_s_alone(word):
    with pytest.raises(ConfigError, match="unknown configuration key"):
        sweep_overrides([word], find_configs())


def test_notebooks_parameters_are_values(tmp_path, monkeypatch):
    """The `overrides` of the notebooks go through `compose`: text stays text."""
    monkeypatch.chdir(tmp_path)
    for text in ("__import__('os').mkdir('sprung')", "$(mkdir sprung)", "`mkdir sprung`", "; mkdir sprung"):
        assert compose("predict", [f"data.root={text}"]).data.root == text
        with pytest.raises(ConfigError):
            compose("predict", [text])
    assert not list(tmp_path.iterdir())
    for source in NOTEBOOKS:
        uses = [line for line in source.read_text().splitlines() if "overrides" in line and not line.startswith("#")]
        assert len(uses) == 2 and uses[0] == "overrides: list = []", source.name  # the parameter, and its one use
        assert re.fullmatch(
            r'config = compose\("\w+", \[f"env={environment\(\)}", \*words_of\(overrides\)\]\)', uses[1]
        )


@pytest.mark.parametrize("word", ["data.root=${oc.env:KITLIB_SECRET}", "data.root=${${data.solution}:KITLIB_SECRET}"])
def test_a_configuration_cannot_read_the_environment(monkeypatch, word):
    """Snapshots go into the bundle, and bundles to other people."""
    monkeypatch.setenv("KITLIB_SECRET", "hunter2")
    with pytest.raises(ConfigError) as caught:
        compose("predict", ["data.solution=oc.env", word])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["../outside.py", "/etc/hostname", "kitlib/../../outside.py"])
def test_a_manifest_cannot_name_a_file_outside_of_the_kit(tmp_path, name):
    (tmp_path / "outside.py").write_text("")
    kit = tmp_path / "kit"
    (kit / "kitlib").mkdir(parents=True)
    (kit / MANIFEST).write_text(json.dumps({"files": {name: {"sha256": "0" * 64}}, "bundle": ""}))
    with pytest.raises(StartError, match="outside of the kit"):
        verify(kit)


def test_a_planet_id_cannot_be_a_path(tmp_path):
    (tmp_path / "train.csv").write_text(
        "planet_id," + ",".join(f"wl_{i}" for i in range(1, 284)) + "\n../../x" + ",1" * 283
    )
    with pytest.raises(FrameError):
        read_spectra_csv(tmp_path / "train.csv")


def calls(path: Path) -> set[str]:
    """Dotted names of everything that a file calls, with its dangerous keywords: `np.load(allow_pickle)`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found |= {name} | {f"{name}({word.arg})" for word in node.keywords if word.arg}
    return found


@pytest.mark.parametrize("path", [*CODE, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_can_execute_data(path):
    forbidden = (
        r"eval|exec|compile|__import__|os\.(system|popen)|pickle\.loads?|(\w+\.)?Unpickler|torch\.load|joblib\.load"
        r"|cloudpickle\.loads?|marshal\.loads?|shelve\.open|yaml\.(load|full_load|unsafe_load)(_all)?"
        r"|.*\(allow_pickle\)|subprocess\.\w+\(shell\)|.*\.(extractall|unpack_archive)|hydra\.utils\.instantiate|instantiate"
    )
    assert not {name for name in calls(path) if re.fullmatch(forbidden, name)}


def test_the_search_for_calls_sees_them(tmp_path):
    (tmp_path / "a.py").write_text("import numpy as np\nnp.load('x', allow_pickle=True)\neval('1')\n")
    assert calls(tmp_path / "a.py") == {"np.load", "np.load(allow_pickle)", "eval"}


def test_only_the_official_client_knows_the_token():
    """Nothing here opens kaggle.json or reads the client's variables, so nothing here can log them."""
    secret = re.compile(r"KAGGLE_(KEY|USERNAME|API_TOKEN)|kaggle\.json|netrc|keyring|open\([^)]*access_token")
    assert [path.name for path in [*CODE, *NOTEBOOKS] if secret.search(path.read_text())] == []


def test_manifest_and_snapshot_hold_nothing_of_the_environment(tmp_path, monkeypatch):
    from kitlib import pipeline

    monkeypatch.setenv("KAGGLE_KEY", "hunter2")
    monkeypatch.setattr(
        "kitlib.simulate.observatory.simulate_campaign", lambda out, *_: (out / "solution.csv").write_text("")
    )
    pipeline.simulate(compose("simulate", [f"run.out={tmp_path}", f"simulate.out={tmp_path / 'sky'}"]))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"simulate.yaml", "simulate.json", "events.jsonl"}
    assert not any(b"hunter2" in path.read_bytes() for path in written)

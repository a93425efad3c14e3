"""Same seed, same bytes: two processes with other hash seeds and other numbers of threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kitlib import pipeline
from kitlib.provenance import sha256_file

pytestmark = pytest.mark.timeout(1800)
REPOSITORY = Path(pipeline.__file__).parents[1]
SMALL = ["lightcurves.samples=50", "physfit.max_iterations=2", "physfit.drift_order=1", "physfit.colour_order=1"]
TRAINING = ["train=quick", "train.steps=4", "prior.min_train_planets=10", "prior.limb_planets=2", "sigma.folds=2"]
MADE_BY_TIME = {"events.jsonl", "log.jsonl", ".lock", "history.png"}  # hold when or for how long something ran
CODE = """
import sys
from kitlib import pipeline
from kitlib.config import compose
for stage in ("train", "predict", "submit"):
    words = [word for word in sys.argv[1:] if stage == "train" or not word.startswith("train")]
    getattr(pipeline, stage)(compose(stage, words))
"""


def digests(root: Path, out: Path, hash_seed: int, threads: int) -> dict[str, str]:
    """sha256 of every file of a run: light curves, prior, checkpoints, models, calibrators, submission, bundle."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": str(hash_seed)}
    environment |= {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    words = ["env=ci", "data=kaggle", f"data.root={root}", "run.out=run", "run.workers=2", *SMALL, *TRAINING]
    out.mkdir()
    subprocess.run([sys.executable, "-c", CODE, *words], cwd=out, env=environment, check=True)
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {
        name: sha256_file(path)
        for name, path in files.items()
        if path.name not in MADE_BY_TIME and path.parent.name != "manifests"
    }


def test_two_processes_write_the_same_bytes(campaign, tmp_path):
    one = digests(campaign / "data", tmp_path / "one", hash_seed=1, threads=1)
    two = digests(campaign / "data", tmp_path / "two", hash_seed=2, threads=2)
    assert {name.split("/")[1] for name in one} >= {
        "products",
        "fusion",
        "submission.csv",
        "bundle",
        "prior.safetensors",
    }
    assert any(name.endswith("checkpoint.safetensors") for name in one)
    assert {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)} == set()

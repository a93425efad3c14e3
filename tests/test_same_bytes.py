"""Same seed, same bytes, in other processes with other hash seeds.

A number of threads (OMP_NUM_THREADS) changes no light curve. It changes the last digits of what linear algebra and
training sum up in another order, prior and fusion model, and with them those of the answers.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kitlib import pipeline
from kitlib.base.provenance import sha256_file

pytestmark = pytest.mark.timeout(1800)
REPOSITORY = Path(pipeline.__file__).parents[1]
SMALL = ["lightcurves.samples=50", "physfit.max_iterations=2", "physfit.drift_order=1", "physfit.colour_order=1"]
TRAINING = ["train=quick", "train.steps=4", "prior.min_train_planets=10", "prior.limb_planets=2", "sigma.folds=2"]
MADE_BY_TIME = {"events.jsonl", "log.jsonl", ".lock", "history.png"}  # hold when or for how long something ran
CODE = """
import sys
from kitlib import pipeline
from kitlib.base.config import compose
stages, *given = sys.argv[1:]
for stage in stages.split(","):
    words = [word for word in given if stage == "train" or not word.startswith("train")]
    getattr(pipeline, stage)(compose(stage, words))
"""


def digests(root: Path, out: Path, stages: str, hash_seed: int, threads: int) -> dict[str, str]:
    """sha256 of every file of a run: light curves, prior, checkpoints, models, calibrators, submission, bundle."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": str(hash_seed)}
    environment |= {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    words = ["env=ci", "data=kaggle", f"data.root={root}", "run.out=run", "run.workers=1", *SMALL, *TRAINING]
    out.mkdir()
    subprocess.run([sys.executable, "-c", CODE, stages, *words], cwd=out, env=environment, check=True)
    files = {path.relative_to(out / "run").as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {
        name: sha256_file(path)
        for name, path in files.items()
        if path.name not in MADE_BY_TIME and path.parent.name != "manifests"
    }


@pytest.mark.long
def test_processes_write_the_same_bytes(few, tmp_path):
    root = few / "data"
    stages = "train,predict,submit"
    one = digests(root, tmp_path / "one", stages, hash_seed=1, threads=1)
    two = digests(root, tmp_path / "two", stages, hash_seed=2, threads=1)
    parts = {name.split("/")[0] for name in one}
    assert parts >= {"products", "fusion", "submission.csv", "bundle", "prior.safetensors"}
    assert any(name.endswith("checkpoint.safetensors") for name in one)
    assert {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)} == set()
    more = digests(root, tmp_path / "more", "calibrate", hash_seed=3, threads=2)
    curves = {name: digest for name, digest in more.items() if name.startswith("products/")}
    assert len(curves) == 2 and curves.items() <= one.items()

"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a machine with GPUs trains on the CPU too: there runs are equal to the bit

REPOSITORY = Path(__file__).resolve().parent.parent
# Modules of a minute and more, longest first: two processes that begin with these end together.
LONG_MODULES = [
    *("run/test_guarded_predict", "test_notebooks", "faults/test_planets", "kernel/test_twin", "test_pipeline"),
    *("inject/test_inject", "run/test_sweep", "fusion/test_train", "base/test_cluster"),
]


def pytest_collection_modifyitems(items):
    def place(item) -> int:
        name = item.path.relative_to(REPOSITORY / "tests").with_suffix("").as_posix()
        return LONG_MODULES.index(name) if name in LONG_MODULES else len(LONG_MODULES)

    items.sort(key=place)


def _shared(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / name))
    if not (folder / "README.md").exists():
        pytest.skip(f"{name} data absent: set {variable} or put it at ../shared/{name}")
    return folder


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """Real fragments of the competition's data (never part of this repository)."""
    return _shared("ARIEL_REAL_DIR", "real")


@pytest.fixture(scope="session")
def exosim_dir() -> Path:
    """One visit made by an independent simulator (never part of this repository)."""
    return _shared("ARIEL_EXOSIM_DIR", "exosim")


@pytest.fixture(scope="session")
def campaign(tmp_path_factory):
    """A simulated campaign with few frames: 12 training and 8 test planets. Folder with data/ and solution.csv."""
    from kitlib import pipeline
    from kitlib.base.config import compose

    folder = tmp_path_factory.mktemp("campaign")
    sizes = [
        "simulate.train_planets=12",
        "simulate.test_planets=8",
        "simulate.airs_pairs=125",
        "simulate.fgs1_pairs=1500",
    ]
    words = ["env=ci", "data=sim_tiny", *sizes, "run.seed=5", f"simulate.out={folder}", f"run.out={folder / 'run'}"]
    pipeline.simulate(compose("simulate", words))
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium; tests that need one skip where there is none."""
    from browser import Browser

    window = Browser(tmp_path_factory.mktemp("chromium") / "profile")
    yield window
    window.close()

"""Fixtures shared by all tests."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a machine with GPUs trains on the CPU too: there runs are equal to the bit

REPOSITORY = Path(__file__).resolve().parent.parent
# The longest modules, longest first: two processes that begin with these end together. The second needs no campaign: it
# does not wait while the first simulates it.
LONG_MODULES = [
    *("faults/test_planets", "test_notebooks", "base/test_cluster", "run/test_sweep", "kernel/test_twin"),
    *("fusion/test_train", "run/test_guarded_predict", "test_pipeline", "kernel/test_kaggle_client", "test_package"),
    *("inject/test_inject", "run/test_budget", "base/test_hosts", "base/test_config"),
]


def pytest_collection_modifyitems(items):
    gone = [name for name in LONG_MODULES if not (REPOSITORY / "tests" / f"{name}.py").is_file()]
    if gone:
        raise pytest.UsageError(f"tests/conftest.py, LONG_MODULES: there is no {', '.join(gone)}")

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
def opacities_dir() -> Path:
    """Measured cross-sections on AIRS' grid (never part of this repository)."""
    return _shared("ARIEL_OPACITIES_DIR", "opacities")


@pytest.fixture(scope="session")
def spectra2024_dir() -> Path:
    """Real spectra of the 2024 challenge (never part of this repository)."""
    return _shared("ARIEL_SPECTRA2024_DIR", "spectra2024")


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of all test processes makes; the others wait for it."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = base / name, base / f"{name}.made"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="module")
def here():
    """While a module's tests run, `predict` computes its planets in this process (tests/here.py)."""
    from here import planets_here

    with planets_here():
        yield


@pytest.fixture(scope="session")
def campaign(tmp_path_factory) -> Path:
    """A simulated campaign with few frames: 12 training and 8 test planets. Folder with data/ and solution.csv.

    All test processes share it: a test that changes something makes a copy.
    """
    from campaign import SIZES

    from kitlib import pipeline
    from kitlib.base.config import compose

    def make(folder: Path) -> None:
        out = [f"simulate.out={folder}", f"run.out={folder / 'run'}", "run.workers=1"]
        pipeline.simulate(compose("simulate", ["env=ci", *SIZES, *out]))

    return _made_once(tmp_path_factory, "campaign", make)


@pytest.fixture(scope="session")
def few(campaign, tmp_path_factory) -> Path:
    """The campaign with its first two planets to predict: for tests of how, not of what, is computed."""
    return _made_once(tmp_path_factory, "few", lambda folder: _with_first_planets(campaign, folder, 2))


@pytest.fixture(scope="session")
def one(campaign, tmp_path_factory) -> Path:
    """The campaign with its first planet to predict, which has one visit."""
    return _made_once(tmp_path_factory, "one", lambda folder: _with_first_planets(campaign, folder, 1))


def _with_first_planets(campaign: Path, folder: Path, count: int) -> None:
    source, data = campaign / "data", folder / "data"
    shutil.copytree(source, data, ignore=shutil.ignore_patterns("test", "sample*"), copy_function=os.link)
    stars = (source / "test_star_info.csv").read_text().splitlines(keepends=True)[: count + 1]
    wanted = [str(int(float(line.split(",")[0]))) for line in stars[1:]]
    (data / "test_star_info.csv").unlink()
    (data / "test_star_info.csv").write_text("".join(stars))
    for planet in wanted:
        shutil.copytree(source / "test" / planet, data / "test" / planet, copy_function=os.link)
    header, *rows = (campaign / "solution.csv").read_text().splitlines(keepends=True)
    truth = [row for row in rows if str(int(float(row.split(",")[0]))) in wanted]
    (folder / "solution.csv").write_text("".join([header, *truth]))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium; tests that need one skip where there is none."""
    from browser import Browser

    window = Browser(tmp_path_factory.mktemp("chromium") / "profile")
    yield window
    window.close()

"""Where data, configs and results live: on a laptop, in CI, and under every mount form that Kaggle uses.

Folders are recognised by marker files. Candidates are few and listed here: a walk through all of Kaggle's input folder
took 144 s once, so nothing here ever descends into a folder of planets.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

COMPETITION = "ariel-data-challenge-2025"
KAGGLE_INPUT = Path("/kaggle/input")
KAGGLE_WORKING = Path("/kaggle/working")
_ALWAYS = ("axis_info.parquet", "adc_info.csv")
_ANY = ("test_star_info.csv", "train_star_info.csv")
_LOCAL = (".", "data", f"data/{COMPETITION}", "input", f"input/{COMPETITION}", COMPETITION)
# <slug> | competitions/<slug> | {datasets,notebooks}/<owner>/<slug> | models/<owner>/<model>/<kind>/<variation>/<v>
_MOUNTS = (f"competitions/{COMPETITION}", COMPETITION, "competitions/*", "*", "datasets/*/*", "notebooks/*/*",
           "models/*/*/*/*/*")  # fmt: skip


class DataRootError(ValueError):
    """No folder, or no single folder, in the competition's layout could be found."""


class OutputError(OSError):
    """The output folder cannot be written."""


def missing_markers(folder: Path) -> list[str]:
    """Marker files that `folder` lacks to be a data root; empty for a data root."""
    missing = [name for name in _ALWAYS if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in _ANY):
        missing.append(" or ".join(_ANY))
    return missing


def kaggle_input() -> Path:
    """Kaggle's input folder, or the folder named by KITLIB_KAGGLE_INPUT (tests, twins of the platform)."""
    return Path(os.environ.get("KITLIB_KAGGLE_INPUT", KAGGLE_INPUT))


def mounted_folders(prefix: Path | None = None) -> Iterator[Path]:
    """Every folder that may be one mounted input, in order of preference, at a bounded depth below `prefix`."""
    prefix = kaggle_input() if prefix is None else Path(prefix)
    seen = set()
    for pattern in _MOUNTS:
        found = sorted(prefix.glob(pattern)) if "*" in pattern else [prefix / pattern]
        for folder in found:
            for candidate in (folder, folder / "data"):  # a simulated campaign keeps its data root in data/
                if candidate not in seen and candidate.is_dir():
                    seen.add(candidate)
                    yield candidate


def looked_for(named: str) -> str:
    """Where a path that was named and is not there was looked for, and where it is seen from elsewhere; for a message.

    A notebook's working folder is its own: what was meant from the folder above is not there.
    """
    path = Path(named).expanduser()
    if path.is_absolute():
        return ""
    there = [base / path for base in (*Path.cwd().parents, find_kit_root()) if (base / path).exists()]
    return f" (looked for {Path(os.path.abspath(path))}{f'; there is {there[0]}' if there else ''})"


def find_data_root(explicit: str = "", prefix: Path | None = None) -> Path:
    """The folder in the competition's layout.

    Args:
        explicit: a path given by the user (`data.root`); "" searches local folders, then Kaggle's mounts.
        prefix: Kaggle's input folder, by default `kaggle_input()`.

    Raises:
        DataRootError: the named folder lacks marker files (which are listed), none was found, or several were.
    """
    if explicit:
        root = Path(explicit).expanduser()
        if not root.is_dir():
            where = looked_for(explicit)
            raise DataRootError(
                f"data.root={explicit}: no such folder{where}. Give the folder that holds {_ALWAYS[0]}."
            )
        if missing := missing_markers(root):
            raise DataRootError(
                f"{root} is not a data root: it lacks {', '.join(missing)}. "
                f"Give the folder that holds {', '.join(_ALWAYS)} and {' or '.join(_ANY)} as data.root=DIR."
            )
        return root
    for name in _LOCAL:
        if not missing_markers(Path(name)):
            return Path(name)
    roots: dict[Path, Path] = {}
    for folder in mounted_folders(prefix):
        if not missing_markers(folder):
            if COMPETITION in folder.parts:
                return folder
            roots.setdefault(folder.resolve(), folder)
    if len(roots) > 1:
        raise DataRootError(f"several data roots: {', '.join(map(str, roots.values()))}. Choose by data.root=DIR.")
    if not roots:
        raise DataRootError(
            f"no data found in {', '.join(_LOCAL)} below {Path.cwd()} nor in {prefix or kaggle_input()}. "
            "Give it with data.root=DIR, or make some: spectramind simulate data=sim_tiny"
        )
    return next(iter(roots.values()))


def environment() -> str:
    """The option of the config group `env` for this machine: "kaggle" inside a kernel, else "local"."""
    return "kaggle" if KAGGLE_WORKING.is_dir() else "local"


def find_kit_root() -> Path:
    """The folder that holds `kitlib/`: a checkout or Kaggle dataset, with `configs/` beside it, or site-packages."""
    return Path(__file__).resolve().parents[2]


def find_configs() -> Path:
    """The folder of configuration files: KITLIB_CONFIGS when set, else `configs/` beside the package or inside it.

    It lies beside the package in a checkout and in a Kaggle dataset, and inside where the package is installed.

    Raises:
        FileNotFoundError: there is none; the message says how to name one.
    """
    named = os.environ.get("KITLIB_CONFIGS")
    root = find_kit_root()
    folders = [Path(named)] if named else [root / "kitlib" / "configs", root / "configs"]
    for folder in folders:
        if (folder / "predict.yaml").is_file():
            return folder.resolve()
    raise FileNotFoundError(
        f"no configuration files in {' nor '.join(map(str, folders))}: set KITLIB_CONFIGS to the kit's configs folder"
    )


def ensure_writable(out: str | Path) -> Path:
    """Create `out` and prove that it can be written.

    Raises:
        OutputError: it cannot; the message names the folder and the remedy.
    """
    if not str(out):
        raise OutputError("run.out is empty. Give a folder that you may write to with run.out=DIR.")
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror or error}. Give a folder that you may write to with run.out=DIR."
        ) from error
    return folder

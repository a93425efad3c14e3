"""Data roots are found in local folders and under every mount form of Kaggle, and refused with a remedy elsewhere."""

from pathlib import Path

import pytest

from kitlib.base.paths import (
    COMPETITION,
    DataRootError,
    OutputError,
    ensure_writable,
    find_configs,
    find_data_root,
    find_kit_root,
    missing_markers,
)

MARKERS = ("axis_info.parquet", "adc_info.csv", "test_star_info.csv")


def make_root(folder: Path, markers=MARKERS) -> Path:
    folder.mkdir(parents=True)
    for name in markers:
        (folder / name).touch()
    return folder


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory without data, and an empty Kaggle input folder beside it."""
    work, mounts = tmp_path / "work", tmp_path / "mounts"
    work.mkdir()
    mounts.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("KITLIB_KAGGLE_INPUT", str(mounts))
    return mounts


@pytest.mark.parametrize(
    "mount",
    [
        COMPETITION,
        f"competitions/{COMPETITION}",
        "my-data",
        "datasets/owner/my-data",
        "notebooks/owner/my-notebook",
        "models/owner/model/pytorch/default/1",
        "datasets/owner/campaign/data",
    ],
)
def test_every_mount_form_is_found(elsewhere, mount):
    expected = make_root(elsewhere / mount)
    assert find_data_root() == expected


@pytest.mark.parametrize("local", [".", "data", "input", COMPETITION, f"data/{COMPETITION}"])
def test_local_folders_are_found(elsewhere, local):
    for name in MARKERS:
        folder = Path(local)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert find_data_root().resolve() == Path(local).resolve()


def test_local_data_wins_over_mounts(elsewhere):
    make_root(elsewhere / COMPETITION)
    local = make_root(Path.cwd() / "data")
    assert find_data_root().resolve() == local


def test_the_competition_wins_over_other_mounts(elsewhere):
    make_root(elsewhere / "a-copy")
    expected = make_root(elsewhere / "competitions" / COMPETITION)
    assert find_data_root() == expected


def test_two_unrelated_roots_are_an_error_that_names_both(elsewhere):
    make_root(elsewhere / "one")
    make_root(elsewhere / "datasets" / "owner" / "two")
    with pytest.raises(DataRootError, match=r"one.*two.*data\.root=DIR"):
        find_data_root()


def test_one_root_mounted_twice_is_one_root(elsewhere):
    make_root(elsewhere / "one")
    (elsewhere / "two").symlink_to(elsewhere / "one")
    assert find_data_root() == elsewhere / "one"


def test_nothing_found_says_what_to_do(elsewhere):
    with pytest.raises(DataRootError, match=r"data\.root=DIR.*simulate"):
        find_data_root()


def test_planet_folders_are_never_listed(elsewhere, monkeypatch):
    root = make_root(elsewhere / COMPETITION)
    (root / "train" / "1").mkdir(parents=True)
    listed = []
    original = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern, **k: listed.append(self) or original(self, pattern, **k))
    assert find_data_root() == root
    assert all(folder == elsewhere for folder in listed)


def test_explicit_root(tmp_path):
    root = make_root(tmp_path / "with spaces")
    assert find_data_root(str(root)) == root
    assert find_data_root(
        str(make_root(tmp_path / "train_only", ("axis_info.parquet", "adc_info.csv", "train_star_info.csv")))
    )


def test_explicit_root_that_is_none_names_what_it_lacks(tmp_path):
    with pytest.raises(DataRootError, match="no such folder"):
        find_data_root(str(tmp_path / "absent"))
    root = make_root(tmp_path / "part", ("axis_info.parquet",))
    assert missing_markers(root) == ["adc_info.csv", "test_star_info.csv or train_star_info.csv"]
    with pytest.raises(DataRootError, match="adc_info.csv"):
        find_data_root(str(root))


def test_kit_and_configs(tmp_path, monkeypatch):
    assert (find_kit_root() / "kitlib" / "pipeline.py").is_file()
    assert find_configs() == find_kit_root() / "configs"
    monkeypatch.setenv("KITLIB_CONFIGS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="KITLIB_CONFIGS"):
        find_configs()


def test_ensure_writable(tmp_path):
    assert ensure_writable(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/out.*run\.out=DIR"):
        ensure_writable(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="run.out is empty"):
        ensure_writable("")

"""What the fault suite starts from."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def root(campaign, tmp_path) -> Path:
    """A root of tables alone."""
    folder = tmp_path / "data"
    shutil.copytree(campaign / "data", folder, ignore=shutil.ignore_patterns("train", "test", "train*"))
    (folder / "test").mkdir()
    return folder

"""The build step that pyproject.toml cannot state: configs/, beside the package in a checkout, travels inside it."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Puts configs/ into the wheel as kitlib/configs; an editable installation reads the checkout's own."""

    def run(self) -> None:
        """See the class."""
        super().run()
        if not self.editable_mode:
            inside = Path(self.build_lib) / "kitlib" / "configs"
            shutil.rmtree(inside, ignore_errors=True)  # of an earlier build: what was removed since would live on
            shutil.copytree("configs", inside)


setup(cmdclass={"build_py": BuildWithConfigs})

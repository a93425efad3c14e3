"""`dvc repro` with the real dvc: everything once, then one changed parameter at a time; which stages run again?

python bench/dvc_repro.py --dvc DVC [--data ROOT]        `make bench-dvc` makes the environment of DVC
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
SIZES = ["simulate.train_planets=12", "simulate.test_planets=2", "simulate.airs_pairs=125", "simulate.fgs1_pairs=1500"]
CHEAP = {"lightcurves.samples": 50, "physfit.max_iterations": 2, "physfit.drift_order": 1, "physfit.colour_order": 1}
ALL = ["calibrate", "train", "predict", "diagnose", "submit"]
CHANGES = (  # parameter, value, the stages that must run again and no other
    ("report.planets", 2, ["diagnose"]),
    ("prior.components", 8, ["train"]),  # few planets: the shipped prior serves, train's files stay the same
    ("physfit.max_iterations", 3, ["train", "predict", "diagnose", "submit"]),
    ("lightcurves.cosmic_ray_sigma", 14.0, ALL),
)


class Project:
    """A copy of the repository's tracked files in which dvc works."""

    def __init__(self, folder: Path, dvc: Path, data: Path | None):
        self.folder, self.dvc = folder, str(Path(dvc).absolute())
        names = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
        for name in names.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
        self.run("git", "init", "--quiet")
        if data is None:
            self.run(sys.executable, "-m", "kitlib", "simulate", "env=ci", "simulate.out=artifacts/sim_tiny", *SIZES)
        else:
            shutil.copytree(data, folder / "artifacts" / "sim_tiny" / "data")
            shutil.copy(Path(data).parent / "solution.csv", folder / "artifacts" / "sim_tiny" / "solution.csv")

    def run(self, *command: str) -> str:
        """Standard output of a command in the copy; SystemExit with its messages where it fails."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def set(self, name: str, value: object) -> None:
        """Change one parameter of params.yaml."""
        section, key = name.split(".")
        params = yaml.safe_load((self.folder / "params.yaml").read_text())
        params[section][key] = value
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def repro(self) -> list[str]:
        """The stages that `dvc repro` ran, in order."""
        return re.findall(r"Running stage '(\w+)'", self.run(self.dvc, "repro"))


def main(dvc: Path, data: Path | None) -> dict[str, list[str]]:
    """What ran after each change; SystemExit where it was not what must."""
    ran = {}
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), dvc, data)
        for name, value in CHEAP.items():
            project.set(name, value)
        for name, expected in (("everything", ALL), ("nothing changed", [])):
            ran[name] = project.repro()
            if sorted(ran[name]) != sorted(expected):
                raise SystemExit(f"{name}: ran {ran[name]}, expected {expected}")
        project.run(project.dvc, "push")
        for name, value, expected in CHANGES:
            project.set(name, value)
            ran[f"{name}={value}"] = project.repro()
            if sorted(ran[f"{name}={value}"]) != sorted(expected):
                raise SystemExit(f"{name}={value}: ran {ran[f'{name}={value}']}, expected {expected}")
        project.run(project.dvc, "push")
        submission = project.folder / "artifacts" / "pipeline" / "submission.csv"
        before = submission.read_bytes()
        shutil.rmtree(project.folder / "artifacts" / "pipeline")
        shutil.rmtree(project.folder / ".dvc" / "cache")
        project.run(project.dvc, "pull", "--allow-missing")
        if submission.read_bytes() != before:
            raise SystemExit("the remote gave another submission back")
    return ran


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dvc", type=Path, required=True, help="the program of dvc")
    parser.add_argument("--data", type=Path, help="a data root with solution.csv beside it, instead of simulating one")
    given = parser.parse_args()
    print(json.dumps(main(given.dvc, given.data), indent=1))

"""Line and branch coverage of `kitlib` by the tests, in the processes that they start as well: `make bench-coverage`.

    PYTHONPATH=artifacts/coverage .venv/bin/python bench/covered.py [--tree FOLDER] [words for pytest]

All tests run one after the other, with the packages of this interpreter and the code of the tree. Functions that numba
compiles run outside of the interpreter and are left out. What a killed process has run counts as not covered.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = r"""[run]
branch = true
source = {tree}/kitlib
parallel = true
data_file = {folder}/.coverage
patch =
  subprocess
  _exit
[report]
exclude_also =
  ^\s*@compiled
"""
# every new interpreter looks for this module; the environment says whether it is to be measured
START = "import coverage\n\ncoverage.process_startup()\n"
# workers write down what they have run when they end: they get the time
PATIENT = """import contextlib

with contextlib.suppress(ImportError):  # an older tree
    from kitlib.base import guarded

    guarded._CLOSING_S = 60.0
"""


def main() -> int:
    """Run the tests of a tree, and print what they have covered; returns the status of the tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, default=ROOT, help="a checkout of this repository")
    options, words = parser.parse_known_args()
    tree = options.tree.resolve()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        settings = folder / "settings"
        settings.write_text(SETTINGS.format(tree=tree, folder=folder))
        (folder / "sitecustomize.py").write_text(START)
        (folder / "patient.py").write_text(PATIENT)
        path = [str(tree), str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, path)), "OMP_NUM_THREADS": "1"}

        def coverage(step: str, *more: str) -> int:
            line = [sys.executable, "-m", "coverage", step, f"--rcfile={settings}", *more]
            return subprocess.run(line, cwd=tree, env=environment).returncode

        status = coverage("run", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "patient", *words)
        coverage("combine", "--quiet")
        coverage("report", "--skip-covered", "--sort=miss")
        coverage("json", "--quiet", "-o", str(folder / "totals.json"))
        totals = json.loads((folder / "totals.json").read_text())["totals"]
    lines, branches = totals["num_statements"], totals["num_branches"]
    print(f"lines    {totals['covered_lines']:,} of {lines:,}: {totals['covered_lines'] / lines:.1%}")
    print(f"branches {totals['covered_branches']:,} of {branches:,}: {totals['covered_branches'] / branches:.1%}")
    return status


if __name__ == "__main__":
    sys.exit(main())

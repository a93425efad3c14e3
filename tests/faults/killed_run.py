"""A `predict` that is killed at a moment of choice, many times: a server that forks, so that imports are paid once.

`python killed_run.py ROOT` reads lines `OUT KIND MOMENT` and answers each with `STATUS CPU_SECONDS OPERATIONS` of the
run. KIND file: killed before its MOMENT-th file operation in OUT; cpu: after MOMENT seconds of computing; end: never;
warm: no run, the server itself loads what every run loads.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from here import Here

from kitlib import pipeline
from kitlib.base.config import compose
from kitlib.base.products import Catalogue
from kitlib.detector.lightcurves import read_lightcurves
from kitlib.run import planets
from kitlib.run.fits import fit_planets
from kitlib.transit.priors import shipped_priors

CHEAP = ["lightcurves.samples=50", "physfit.max_iterations=2", "physfit.drift_order=1", "physfit.colour_order=1"]
_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate", "tempfile.mkstemp"}


def run(root: str, out: str, kind: str, moment: float, report: int) -> None:
    count = 0

    def watch(event, arguments):
        nonlocal count
        if event in _EVENTS and str(arguments[0]).startswith(out):
            count += 1
            if kind == "file" and count == int(moment):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    if kind == "cpu":
        signal.setitimer(signal.ITIMER_PROF, moment)  # whose signal ends the process, without a word
    planets.guarded = Here  # the kill hits the planet's work as well
    words = [f"data.root={root}", f"run.out={out}", "run.workers=1", "model=physics", "budget.write_s=0", *CHEAP]
    pipeline.predict(compose("predict", ["env=ci", "data=kaggle", *words]))
    os.write(report, f"{time.process_time()} {count}".encode())


def warm(out: Path) -> None:
    """Configuration and compiled fit. Nothing that starts threads, which a fork would lose: no table is read."""
    config = compose("predict", ["model=physics", *CHEAP])
    curves = read_lightcurves(next((out / "products").rglob("*.safetensors")))
    star = Catalogue(np.array([curves.planet_id]), *(np.array([v]) for v in (1.0, 1.0, 5800.0, 1.0, 4.0, 10.0, 88.0)))
    fit_planets([curves], star, shipped_priors(), config.physfit, None, False)


def main(root: str) -> None:
    for line in sys.stdin:
        out, kind, moment = line.split()
        if kind == "warm":
            warm(Path(out))
            print("0 0 0", flush=True)
            continue
        read, write = os.pipe()
        child = os.fork()
        if not child:
            run(root, out, kind, float(moment), write)
            os._exit(0)
        os.close(write)
        _, status = os.waitpid(child, 0)
        print(status, os.read(read, 99).decode() or "0 0", flush=True)
        os.close(read)


if __name__ == "__main__":
    main(str(Path(sys.argv[1])))

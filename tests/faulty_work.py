"""The real work on planets, with faults: what `predict` runs in its processes in test_guarded_predict.py."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kitlib.run.planets import Fitted, PlanetWork


@dataclass(frozen=True)
class Faulty:
    """The real work on planets, but for those that have a fault."""

    work: PlanetWork
    folder: str
    faults: dict[int, str]

    @property
    def events(self):
        return self.work.events

    def without_data(self, planet: int, reason: str) -> Fitted:
        return self.work.without_data(planet, reason)

    def __call__(self, planet: int, setting: str) -> Fitted:
        fault, marker = self.faults.get(planet), Path(self.folder) / f"killed-{planet}"
        if fault == "hang":
            time.sleep(3_600)
        if fault == "killed" or (fault == "killed once" and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "memory":
            np.ones(1 << 50)  # more than any machine has
        return self.work(planet, setting)

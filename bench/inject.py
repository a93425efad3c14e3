"""Inject and recover on many simulated planets: light curves with the noise of full-size frames, and full-size frames.

    python bench/inject.py [--planets 40] [--frames 1] [--workers N] [--out FILE.json]

--planets: light curves, every signal, the whole ladder of the configuration. --frames: planets simulated at full size
(0.2 GB each), some signals at one amplitude, through copies of the raw frames and through light curves, side by side.
Answers are those of the shipped model, prior and calibrator.
"""

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from population import draw, first  # noqa: E402

from kitlib import pipeline  # noqa: E402
from kitlib.base.config import compose  # noqa: E402
from kitlib.base.products import PlanetLightCurves  # noqa: E402
from kitlib.inject.experiment import Answers, Setting, experiment, trials  # noqa: E402
from kitlib.report.injection import text  # noqa: E402
from kitlib.run.inputs import run_calibrator, run_models  # noqa: E402
from kitlib.simulate.optics import wavelengths_um  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

SEED = 20251126
FRAME_AMPLITUDE, FRAME_NUISANCE = 400.0, 1000.0
FRAME_SIGNALS = ("CO2", "step", "jitter_burst", "hot_pixel")  # each costs half a minute of a core


def _given(curves: PlanetLightCurves) -> PlanetLightCurves:
    return curves


def light_curves(planets: int, workers: int) -> dict[str, Any]:
    """Every signal into the light curves of `planets` simulated planets, a tenth of them with two visits."""
    population = draw(planets, planets, SEED, workers)
    config = compose("diagnose")
    with tempfile.TemporaryDirectory() as empty:
        answers = Answers(
            run_models(config.model, Path(empty))[0], run_calibrator("", Path(empty), config.model.kind)[0]
        )
    loads = [partial(_given, curves) for curves in population.curves]
    setting = Setting(config, shipped_priors(), wavelengths_um())
    return experiment(setting, answers, loads, first(population, planets)[1], trials(config.inject), workers)


def frames(planets: int, workers: int) -> dict[str, Any]:
    """FRAME_SIGNALS into the frames and the light curves of full-size planets, as `diagnose inject` does it."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["data=sim_full", f"simulate.out={folder}/sky", f"run.out={folder}/run", f"run.workers={workers}"]
        words += [f"run.seed={SEED}", "simulate.train_planets=0", f"simulate.test_planets={planets}"]
        pipeline.simulate(compose("simulate", words))
        words += ["prior.source=shipped", "inject.where=both", f"inject.planets={planets}"]
        words += [f"inject.signals=[{','.join(FRAME_SIGNALS)}]"]
        words += [f"inject.amplitudes=[{FRAME_AMPLITUDE}]", f"inject.nuisance_amplitudes=[{FRAME_NUISANCE}]"]
        return pipeline.inject(compose("diagnose", words))


def main() -> None:
    """Run both parts, print their tables, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planets", type=int, default=40)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    parts = {"light curves": (light_curves, given.planets), "full-size frames": (frames, given.frames)}
    found = {name: part(planets, given.workers) for name, (part, planets) in parts.items() if planets}
    for name, result in found.items():
        # that a planet has no second visit is no news
        told = [one for one in result["left_out"] if one.get("signal") != "second_visit_offset"]
        print(f"\n== {name}\n{text({**result, 'left_out': told})}")
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

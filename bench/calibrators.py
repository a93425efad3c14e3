"""The shipped calibrators: sigma of the shipped priors and network, fitted on planets of many skies.

    python bench/calibrators.py [--ship]

Planets that neither prior nor network has learnt from, in three parts: the own world (seed 1111), atmospheres of any
chemistry with other detectors and drifts (seed 808), and worlds drawn at random (`data=worlds` without neighbours, who
show in frames alone; seed 1112). How many worlds was chosen on other seeds (2211 own, 2212 worlds, 2213 shifted): with
more of them the own world loses more than 0.004. Any chemistry is as common as the own one: a shape's sigma that is a
tenth too large costs the own world nothing, one that is too small costs much elsewhere. --ship writes
calibrator_{physics,v50}.json into kitlib/data.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from extremes import all_together  # noqa: E402
from population import draw, first  # noqa: E402

from kitlib.base.products import Array, Catalogue, PlanetLightCurves, Posterior, Spectra  # noqa: E402
from kitlib.base.provenance import write_atomic  # noqa: E402
from kitlib.base.schema import ModelConfig, PhysfitConfig, WorldConfig  # noqa: E402
from kitlib.run.fits import fit_planets  # noqa: E402
from kitlib.run.inputs import answered, calibrator_path, run_models  # noqa: E402
from kitlib.run.pretraining import draw_planets  # noqa: E402
from kitlib.sigma import fit_calibrator  # noqa: E402
from kitlib.spectra.posterior import join  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

OWN, ANY_CHEMISTRY, WORLDS = 200, 250, 200  # planets
SEEDS = {"own": 1111, "any chemistry": 808, "worlds": 1112}
NAIVE = (0.0146, 0.0106)  # mean and sigma of the real training targets, as competitors found them
SHIPPED = ROOT / "kitlib" / "data"


def main() -> None:
    """Fit both calibrators, print them, and ship them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--ship", action="store_true", help="write the calibrators into kitlib/data")
    given = parser.parse_args()
    parts = [
        _population(OWN, SEEDS["own"], WorldConfig(), given.workers),
        draw_planets(ANY_CHEMISTRY, 1.0, np.random.default_rng(SEEDS["any chemistry"])),
        _population(WORLDS, SEEDS["worlds"], replace(all_together(), neighbours=0.0), given.workers),
    ]
    models = run_models(ModelConfig(), SHIPPED)[0]
    found: dict[str, list[Posterior]] = {"physics": [], "v50": []}
    for curves, rows, _ in parts:
        fits, _ = fit_planets(curves, rows, shipped_priors(), PhysfitConfig(), progress=False, workers=given.workers)
        found["physics"].append(fits)
        found["v50"].append(answered(models, fits, rows))
    depth = np.concatenate([spectra for *_, spectra in parts])
    for kind, posteriors in found.items():
        posterior, _ = join([(one, []) for one in posteriors])
        posterior = replace(posterior, planet_id=np.arange(len(depth)))  # ids of different parts may be the same
        calibrator = fit_calibrator(posterior, Spectra(posterior.planet_id, depth), NAIVE)
        calibrator = replace(calibrator, fitted_on=())  # none of a user's planets
        print(f"{kind}: {calibrator}", flush=True)
        if given.ship:
            write_atomic(calibrator_path(SHIPPED, kind), calibrator.to_json())


def _population(
    count: int, seed: int, world: WorldConfig, workers: int
) -> tuple[list[PlanetLightCurves], Catalogue, Array]:
    population = draw(count, count, seed, workers, world=world)
    _, rows, truth = first(population, count)
    return population.curves, rows, truth.depth


if __name__ == "__main__":
    main()

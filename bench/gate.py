"""The gate on sound planets: its figures, and the share of planets that its thresholds turn away (false alarms).

python bench/gate.py --planets 200
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from population import draw, first  # noqa: E402

from kitlib.base.schema import PhysfitConfig  # noqa: E402
from kitlib.run.fits import fit_planets  # noqa: E402
from kitlib.transit.gate import LIMITS, MOST_CHI2  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

SEEDS = {"own": 9111, "shifted": 9212}
PERCENTILES = (50, 95, 99, 100)


def main() -> None:
    """Print percentiles of each figure with its threshold, and how many sound planets the gate turns away."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=200, help="of each population")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    turned, wide, total = 0, 0, 0
    for name, seed in SEEDS.items():
        population = draw(given.planets, given.planets, seed, given.workers, name == "shifted")
        _, catalogue, _ = first(population, given.planets)
        found, _ = fit_planets(
            population.curves, catalogue, shipped_priors(), PhysfitConfig(), progress=False, workers=given.workers
        )
        print(f"\n{name}, seed {seed}, {given.planets} planets{'':<6}" + "".join(f"{p:>9} %" for p in PERCENTILES))
        limits = {name: most for name, (most, _) in LIMITS.items()} | {"chi2_white": MOST_CHI2}
        for figure, most in limits.items():
            values = np.nanpercentile(found.diagnostics[figure], PERCENTILES)
            print(f"{figure:<18} at most {most:<8}" + "".join(f"{value:>11.3f}" for value in values))
        turned += int((found.diagnostics["gate"] > 0).sum())
        wide += int((found.diagnostics["wide_geometry"] > 0).sum())
        total += given.planets
    print(f"\nturned away: {turned} of {total} ({turned / total:.2%}); fitted with an open geometry: {wide}")


if __name__ == "__main__":
    main()

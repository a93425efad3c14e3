"""What the fit's second term of AIRS' drift is worth, where there is such a drift and where there is none.

    python bench/second_drift.py [--planets 60]

The same planets are fitted with the term as one hypothesis among others, and with odds that rule it out. Answers are
not calibrated. One process, as the odds are changed in it: a planet takes some two seconds of a core for its four fits.
"""

import argparse
import sys
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from population import first  # noqa: E402
from rows import Row, drawn, row_from, worlds  # noqa: E402

from kitlib.sigma.metric import gll_score, naive_statistics  # noqa: E402
from kitlib.sigma.reliability import reliability_by_part  # noqa: E402
from kitlib.transit import driftorder  # noqa: E402

WORLDS = ("own", "second drift")
SEED = 7801
RULED_OUT = 1e-300  # its probability: no light curve has evidence against that


def told(row: Row) -> str:
    """Score, and z of FGS1, level and shape."""
    truth, found = row.truth.depth, row.found
    score = gll_score(found.mean, found.sigma, truth, *naive_statistics(truth)).total
    z = [f"{part['rms']:.2f}" for part in reliability_by_part(found.mean, found.cov, truth).values()]
    return f"score {score:.4f}, z {' / '.join(z)}"


def main() -> None:
    """Print a line for each world, with the term and without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=60)
    given = parser.parse_args()
    for name in WORLDS:
        population = drawn(name, worlds()[name], given.planets, SEED, 1)
        _, catalogue, truth = first(population, given.planets)
        for words, odds in (("with", driftorder.SECOND_PROBABILITY), ("without", RULED_OUT)):
            with patch.object(driftorder, "SECOND_PROBABILITY", odds):
                row = row_from(population.curves, catalogue, truth.depth, 1)
            print(f"{name}, {given.planets} planets, {words} a second term: {told(row)}", flush=True)


if __name__ == "__main__":
    main()

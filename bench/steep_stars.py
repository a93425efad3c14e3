"""What a quadratic law of limb darkening does to the depth where stars follow a steeper one.

    python bench/steep_stars.py [--planets 100] [--workers N]

The simulator's stars have terms that no quadratic law holds. The same planets, with the same noise, transit these stars
and stars without such terms; limb darkening is learnt from the planets themselves, as `train` does. Printed: recovered
less true depth, as a share of the depth, mean and standard error over planets; and the difference planet by planet.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from kitlib.base.products import Array  # noqa: E402
from kitlib.base.schema import PhysfitConfig  # noqa: E402
from kitlib.run.fits import fit_planets, measure_stars  # noqa: E402
from kitlib.run.inputs import with_limb_darkening  # noqa: E402
from kitlib.simulate.lightcurves import simulate_lightcurves  # noqa: E402
from kitlib.simulate.spectra import TRAINING, draw_spectra  # noqa: E402
from kitlib.simulate.systems import draw_systems, observed_catalogue  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

SEED = 91102


def offsets(planets: int, steepness: float, workers: int) -> Array:
    """Relative error of FGS1 and of the AIRS level, (planets, 2); `steepness` scales the stars' steeper terms."""
    rng = np.random.default_rng(SEED)
    systems = draw_systems(planets, rng)
    depth = draw_spectra(systems, rng, TRAINING)
    catalogue = observed_catalogue(systems, rng)
    stars = replace(systems, ld_steep=steepness * systems.ld_steep)
    curves = simulate_lightcurves(stars, depth, rng)
    config, priors = PhysfitConfig(), shipped_priors()
    measured = measure_stars(curves, catalogue, priors, config, depth, progress=False, workers=workers)
    priors = with_limb_darkening(priors, [one for one in measured if one is not None])
    found, _ = fit_planets(curves, catalogue, priors, config, progress=False, workers=workers)
    error = found.mean - depth
    return np.stack([error[:, 0], error[:, 1:].mean(1)], 1) / depth[:, 1:].mean(1)[:, None]


def main() -> None:
    """Print the offsets of both kinds of stars and their difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=100)
    parser.add_argument("--workers", type=int, default=cpu_count())
    given = parser.parse_args()
    steep, plain = (offsets(given.planets, steepness, given.workers) for steepness in (1.0, 0.0))
    print(f"{given.planets} planets, seed {SEED}; 1e-4 of the depth: FGS1, AIRS level")
    for name, values in (("steep terms", steep), ("none", plain), ("difference", steep - plain)):
        mean, error = 1e4 * values.mean(0), 1e4 * values.std(0, ddof=1) / np.sqrt(len(values))
        print(f"{name:<12}" + ", ".join(f"{m:+.1f} +- {e:.1f}" for m, e in zip(mean, error, strict=True)), flush=True)


if __name__ == "__main__":
    main()

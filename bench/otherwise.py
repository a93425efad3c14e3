"""Light curves with what no world of the simulator holds: does the answer, or its error bar, say so?

    python bench/otherwise.py [--planets 40] [--faults NAME ...]

Sound planets of the own world, their light multiplied by a fault in time, common to both instruments unless it says
otherwise. A row a fault: score, worst planet, error and z of FGS1, level and shape by the shipped kit (physics), and
how many planets the gate answered by a part of the data, and with a wider sigma.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from population import draw, first  # noqa: E402
from worlds import shipped_row  # noqa: E402

from kitlib.base.instruments import FGS1, VISIT_HOURS  # noqa: E402
from kitlib.base.products import Array, LightCurve, PlanetLightCurves  # noqa: E402
from kitlib.base.schema import PhysfitConfig  # noqa: E402
from kitlib.run.fits import fit_planets  # noqa: E402
from kitlib.sigma.metric import naive_statistics  # noqa: E402
from kitlib.simulate.visits import autoregressive  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

SEED, SEED_FAULTS = 8_123, 5
FINE = 3_000  # moments of red noise in a visit
MEMORY_H = 0.3  # of red noise

Fault = Callable[[Array, bool, float, float, Array], Array]  # time_h, FGS1?, moment_h, sign, red noise -> light
FAULTS: dict[str, Fault] = {
    "none": lambda t, fgs1, at, sign, red: np.ones_like(t),
    "step of 300 ppm": lambda t, fgs1, at, sign, red: 1 + 3e-4 * sign * (t > at),
    "step of 500 ppm, FGS1": lambda t, fgs1, at, sign, red: 1 + 5e-4 * sign * fgs1 * (t > at),
    "loss of 0.1 % late": lambda t, fgs1, at, sign, red: 1 - 1e-3 * np.exp(-0.5 * ((t - 5 - at / 3) / 0.2) ** 2),
    "spot of 400 ppm": lambda t, fgs1, at, sign, red: 1 + 4e-4 * np.exp(-0.5 * ((t - 2.5 - at / 3) / 0.1) ** 2),
    "ramp of 0.15 %": lambda t, fgs1, at, sign, red: 1 - 1.5e-3 * np.exp(-t / 0.4),
    "sine of 100 ppm": lambda t, fgs1, at, sign, red: 1 + 1e-4 * np.sin(2 * np.pi * (t + at) / 1.1),
    "red noise, 30 ppm": lambda t, fgs1, at, sign, red: 1 + 3e-5 * red,
    "red noise, 100 ppm": lambda t, fgs1, at, sign, red: 1 + 1e-4 * red,
}


def spoilt(planets: list[PlanetLightCurves], fault: Fault) -> list[PlanetLightCurves]:
    """The same planets, each visit with the fault at a moment of its own."""
    rng = np.random.default_rng(SEED_FAULTS)
    fine = np.linspace(0, VISIT_HOURS, FINE)

    def of_visit(visit: dict[str, LightCurve]) -> dict[str, LightCurve]:
        moment_h, sign = rng.uniform(0.5, 7.0), float(rng.choice([-1.0, 1.0]))
        red = autoregressive((FINE, 1), float(np.exp(-VISIT_HOURS / FINE / MEMORY_H)), rng)[:, 0]

        def of_curve(curve: LightCurve) -> LightCurve:
            t = curve.time_h
            light = fault(t, curve.instrument.name == FGS1.name, moment_h, sign, np.interp(t, fine, red))
            return replace(curve, flux_e=(curve.flux_e * light[:, None]).astype(np.float32))

        return {name: of_curve(curve) for name, curve in visit.items()}

    return [replace(one, visits=tuple(of_visit(dict(visit)) for visit in one.visits)) for one in planets]


def main() -> None:
    """Print the table, row by row as they are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=40)
    parser.add_argument("--faults", nargs="*", help="names of rows; all by default")
    parser.add_argument("--workers", type=int, default=cpu_count())
    given = parser.parse_args()
    population = draw(given.planets, given.planets, SEED, given.workers)
    _, catalogue, truth = first(population, given.planets)
    naive = naive_statistics(truth.depth)
    print(f"{'':<24}{'score':>8}{'worst':>8}{'error ppm FGS1/level/shape':>28}{'z':>18}{'parts':>8}{'wider':>8}")
    for name in given.faults or FAULTS:
        curves = spoilt(population.curves, FAULTS[name])
        found, _ = fit_planets(
            curves, catalogue, shipped_priors(), PhysfitConfig(), progress=False, workers=given.workers
        )
        r = shipped_row(found, "physics", truth.depth, naive)
        errors = f"{r['fgs1_ppm']:.0f} / {r['level_ppm']:.0f} / {r['shape_ppm']:.0f}"
        spread = f"{r['fgs1_z']:.2f}/{r['level_z']:.2f}/{r['shape_z']:.2f}"
        parts, wider = (int((found.diagnostics["gate"] == gate).sum()) for gate in (1, 2))
        print(f"{name:<24}{r['score']:>8.3f}{r['worst']:>8.2f}{errors:>28}{spread:>18}{parts:>8}{wider:>8}", flush=True)


if __name__ == "__main__":
    main()

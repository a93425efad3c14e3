"""Do frames give the light curves that the score benchmark simulates directly? Three planets at full size, both ways.

    python bench/frame_path.py [--planets 3] [--out FILE.json]

Systems, spectra, mid-transit times and drifts are the same on both paths; noise is drawn anew on each. Compared are the
sample-to-sample noise of single bins and of the white light curve, and the error bars and errors of the physical fit.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kitlib.base.instruments import AIRS, FGS1  # noqa: E402
from kitlib.base.products import Array, PlanetLightCurves  # noqa: E402
from kitlib.base.provenance import EventLog, write_atomic  # noqa: E402
from kitlib.base.schema import LightCurveConfig, PhysfitConfig, SimulateConfig  # noqa: E402
from kitlib.detector.lightcurves import calibrate_planets, read_lightcurves  # noqa: E402
from kitlib.detector.tables import read_catalogue  # noqa: E402
from kitlib.run.fits import fit_planets  # noqa: E402
from kitlib.simulate.lightcurves import simulate_with_truth  # noqa: E402
from kitlib.simulate.observatory import plan_campaign, simulate_campaign  # noqa: E402
from kitlib.spectra.posterior import level_moments  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

SEED = 505


def scatter_ppm(flux: Array) -> float:
    """Robust sample-to-sample noise of light curves (T, W), ppm: median over channels; differences ignore transits."""
    steps = np.diff(flux, axis=0) / np.nanmedian(flux, axis=0)
    return float(np.median(1.4826 * np.nanmedian(np.abs(steps), axis=0) / np.sqrt(2)) * 1e6)


def noise_ppm(planet: PlanetLightCurves) -> dict[str, float]:
    """Noise of FGS1, of single AIRS bins and of white AIRS in the first visit."""
    visit = planet.visits[0]
    airs = visit[AIRS.name].flux_e
    return {
        "FGS1": scatter_ppm(visit[FGS1.name].flux_e),
        "AIRS bin": scatter_ppm(airs),
        "AIRS white": scatter_ppm(np.nansum(airs, axis=1, keepdims=True)),
    }


def main() -> None:
    """Run the comparison and print one block a planet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    config = SimulateConfig(train_planets=given.planets, test_planets=0, two_visit_fraction=0.0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        simulate_campaign(Path(folder), config, SEED, workers=1, progress=True)
        plans = plan_campaign(root, config, SEED)
        events = EventLog(Path(folder) / "events.jsonl")
        paths = calibrate_planets(root, "train", Path(folder) / "out", LightCurveConfig(), 1, events, True)
        framed = [read_lightcurves(path) for path in paths]
        catalogue = read_catalogue(root / "train_star_info.csv")
    direct = [
        simulate_with_truth(plan.system, plan.depth[None], np.random.default_rng(plan.seed), visits=[plan.visits])[0][0]
        for plan in plans
    ]
    truth = np.stack([plan.depth for plan in plans])
    found = {}
    for name, planets in (("frames", framed), ("direct", direct)):
        posterior, _ = fit_planets(planets, catalogue, shipped_priors(), PhysfitConfig(), progress=False)
        error, sigma = posterior.mean - truth, posterior.sigma
        level = error[:, 1:].mean(1)
        level_sigma = np.sqrt(level_moments(posterior.cov)[0])
        found[name] = [
            {f"noise {key}": value for key, value in noise_ppm(planet).items()}
            | {"error FGS1": 1e6 * error[i, 0], "error AIRS level": 1e6 * level[i]}
            | {"error AIRS shape": 1e6 * float(np.std(error[i, 1:]))}
            | {"sigma FGS1": 1e6 * float(sigma[i, 0]), "sigma AIRS level": 1e6 * float(level_sigma[i])}
            | {"sigma AIRS bin": 1e6 * float(np.median(sigma[i, 1:]))}
            for i, planet in enumerate(planets)
        ]
    for i, plan in enumerate(plans):
        print(f"\nplanet {plan.system.planet_id[0]}, ppm{'frames':>20}{'direct':>10}{'ratio':>8}")
        for key, value in found["frames"][i].items():
            other = found["direct"][i][key]
            ratio = "" if key.startswith("error") else f"{value / other:>8.3f}"
            print(f"  {key:<22}{value:>16.1f}{other:>10.1f}{ratio}")
    if given.out:
        write_atomic(given.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

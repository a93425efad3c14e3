"""Do frames give the light curves that the score benchmark simulates directly? Three planets at full size, both ways.

    python bench/frame_path.py [--planets 3] [--out FILE.json]
    python bench/frame_path.py --world [--planets 2] [--thin 5]

Systems, spectra, mid-transit times and drifts are the same on both paths; noise is drawn anew on each. Compared are the
sample-to-sample noise of single bins and of the white light curve, and the error bars and errors of the physical fit.

With `--world` the same planets, with the same noise, are seen in each world of bench/extremes.py, and no fit is made:
the dip of each light curve is measured by the true transit and drift, outside gaps. Where a world leaves a trace, it
must be the same on both paths. `--thin 5` keeps every fifth pair of frames.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from extremes import EXTREMES, all_together  # noqa: E402

from kitlib.base.instruments import AIRS, FGS1  # noqa: E402
from kitlib.base.products import Array, LightCurve, PlanetLightCurves  # noqa: E402
from kitlib.base.provenance import EventLog, write_atomic  # noqa: E402
from kitlib.base.schema import LightCurveConfig, PhysfitConfig, SimulateConfig, WorldConfig  # noqa: E402
from kitlib.detector.lightcurves import calibrate_planets, read_lightcurves  # noqa: E402
from kitlib.detector.tables import read_catalogue  # noqa: E402
from kitlib.run.fits import fit_planets  # noqa: E402
from kitlib.simulate.lightcurves import VisitTruth, simulate_with_truth, transit_model  # noqa: E402
from kitlib.simulate.observatory import PlanetPlan, plan_campaign, simulate_campaign  # noqa: E402
from kitlib.spectra.posterior import level_moments  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

SEED = 505
PARTS = {  # what is summed into one light curve: instrument, its bins
    "FGS1": (FGS1.name, slice(0, 1)),
    "AIRS blue": (AIRS.name, slice(0, 47)),
    "AIRS middle": (AIRS.name, slice(117, 164)),
    "AIRS red": (AIRS.name, slice(235, 282)),
}


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


def both_paths(config: SimulateConfig, progress: bool) -> tuple:
    """Plans, catalogue, light curves of a campaign's frames, and light curves made directly with their truth."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        simulate_campaign(Path(folder), config, SEED, workers=1, progress=progress)
        plans = plan_campaign(root, config, SEED)
        events = EventLog(Path(folder) / "events.jsonl")
        paths = calibrate_planets(root, "train", Path(folder) / "out", LightCurveConfig(), 1, events, progress)
        framed = [read_lightcurves(path) for path in paths]
        catalogue = read_catalogue(root / "train_star_info.csv")
    sizes = {"airs_pairs": config.airs_pairs, "fgs1_pairs": config.fgs1_pairs}
    made = [
        simulate_with_truth(
            plan.system,
            plan.depth[None],
            np.random.default_rng(plan.seed),
            visits=[plan.visits],
            worlds=[plan.world],
            **sizes,
        )
        for plan in plans
    ]
    return plans, catalogue, framed, [curves[0] for curves, _ in made], [truths[0] for _, truths in made]


def dip(light: LightCurve, plan: PlanetPlan, truth: VisitTruth, bins: slice) -> tuple[float, float]:
    """Dip of the summed bins over the true one, and its standard error; samples in gaps are left out."""
    name, offset = light.instrument.name, 1 if light.instrument is AIRS else 0
    wanted = slice(bins.start + offset, bins.stop + offset)
    usable = np.isfinite(light.flux_e[:, bins]).all(axis=1)
    for gap in truth.visit.gaps:
        edge = 7.5 / len(light.time_h)
        usable &= (light.time_h < gap.start_h - edge) | (light.time_h > gap.stop_h + edge)
    transit = transit_model(plan.system, plan.depth, truth.visit.t0_h[name], light.time_h, wanted)
    gain = truth.visit.drift[name].gain(light.time_h, light.instrument.n_bins)[:, bins]
    flux = (light.flux_e[:, bins] / gain)[usable].sum(axis=1, dtype=float)
    other = truth.neighbour[name][bins]  # whose light does not drift
    constant = (1 - other + other / gain).mean(axis=1)
    design = np.stack([constant, transit.mean(axis=1) - 1], axis=1)[usable]
    keep = np.ones(len(flux), bool)
    for _ in range(3):  # single bins have samples up to 50 % high
        level, slope = np.linalg.lstsq(design[keep], flux[keep], rcond=None)[0]
        residual = flux - design @ (level, slope)
        scatter = 1.4826 * np.median(np.abs(residual[keep]))
        keep = np.abs(residual) < 5 * scatter
    error = scatter * np.sqrt(np.linalg.inv(design[keep].T @ design[keep])[1, 1])
    return float(slope / level), float(error / level)


def in_gaps(planet: PlanetLightCurves, truth: VisitTruth) -> str:
    """Light inside gaps over that outside, and the share of samples that hold no value, for each instrument struck."""
    words = []
    for gap in truth.visit.gaps:
        for name in gap.instruments:
            light = planet.visits[0][name]
            white, edge = np.nansum(light.flux_e, axis=1), 7.5 / len(light.time_h)
            white[np.isnan(light.flux_e).all(axis=1)] = np.nan
            inside = (light.time_h > gap.start_h + edge) & (light.time_h < gap.stop_h - edge)
            lost = np.isnan(white[inside]).mean()
            level = np.nanmedian(white[inside]) / np.nanmedian(white) if lost < 1 else np.nan
            words.append(f"{name} {gap.kind}: light {level:.3f}, share without a value {lost:.2f}")
    return ", ".join(words)


def compare_worlds(planets: int, thin: int, names: list[str]) -> dict[str, list[dict[str, list[float]]]]:
    """Print and return the dips of both paths in each world, over the true ones."""
    sizes = {"airs_pairs": AIRS.pairs_per_visit // thin, "fgs1_pairs": FGS1.pairs_per_visit // thin}
    worlds: dict[str, WorldConfig] = EXTREMES | {"all": all_together()}
    print("dip, % above the true one (own) or above the own world's (others), frames and direct; noise frames / direct")
    found: dict[str, list[dict[str, list[float]]]] = {}
    for name in ["own", *(name for name in names or worlds if name != "own")]:
        config = SimulateConfig(
            train_planets=planets, test_planets=0, two_visit_fraction=0.0, world=worlds[name], **sizes
        )
        plans, _, framed, direct, truths = both_paths(config, progress=False)
        found[name] = []
        for i, (plan, real, made, truth) in enumerate(zip(plans, framed, direct, truths, strict=True)):
            row = {"noise of a bin": [noise_ppm(planet)["AIRS bin"] for planet in (real, made)]}
            words = []
            for part, (instrument, bins) in PARTS.items():
                pair = [dip(planet.visits[0][instrument], plan, truth.visits[0], bins) for planet in (real, made)]
                row[part] = [value for value, _ in pair] + [error for _, error in pair]
                base = [1.0, 1.0] if name == "own" else found["own"][i][part]
                words.append(f"{part} " + " ".join(f"{100 * (row[part][k] / base[k] - 1):+6.2f}" for k in (0, 1)))
            noise = row["noise of a bin"][0] / row["noise of a bin"][1]
            print(f"{name:<20}{'  '.join(words)}  noise {noise:.3f}", flush=True)
            for path, planet in (("frames", real), ("direct", made)):
                if gaps := in_gaps(planet, truth.visits[0]):
                    print(f"{'':<20}{path}: {gaps}")
            found[name].append(row)
    return found


def main() -> None:
    """Run the comparison and print one block a planet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=3)
    parser.add_argument("--world", nargs="*", help="compare dips in these worlds of bench/extremes.py; none named: all")
    parser.add_argument("--thin", type=int, default=1, help="with --world: keep one pair of frames in so many")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    if given.world is not None:
        found = compare_worlds(given.planets, given.thin, given.world)
    else:
        found = compare_fits(given.planets)
    if given.out:
        write_atomic(given.out, json.dumps(found, indent=1) + "\n")


def compare_fits(count: int) -> dict[str, list[dict[str, float]]]:
    """Print and return noise, error bars and errors of both paths in the own world."""
    config = SimulateConfig(train_planets=count, test_planets=0, two_visit_fraction=0.0)
    plans, catalogue, framed, direct, _ = both_paths(config, progress=True)
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
    return found


if __name__ == "__main__":
    main()

"""The competition's score on held-out simulated planets: naive, independent bins, winner's design, kit, oracle.

    python bench/score.py [--planets 200] [--workers N] [--scheduler tcp://HOST:PORT] [--out FILE.json] [--ship]

Three populations with seeds of their own: training (1,100 spectra, 800 of them with light curves to calibrate sigma
on, with 200 planets of any chemistry beside them), held-out, and held-out with shifted distributions (spectra of
another family, degraded detectors, twice the drift). Light curves are simulated with the noise of full-size frames;
`bench/frame_path.py` shows that frames agree with them.

"winner's design" is `bench/baseline.py`: another prior and drift around the same white fit, learnt from the same
spectra and calibrated on the same planets as physics.

The workers of a cluster (--scheduler) find this folder by PYTHONPATH=bench.

The fit's prior is learnt from the training population, as `train` would; the shipped one has seen more
(`bench/spectra.py --ship`). --ship writes the limb darkening of the training population into the shipped file.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from baseline import Design, fit_baselines, learn_design  # noqa: E402
from independent import independent_bins  # noqa: E402
from oracle import oracle  # noqa: E402
from population import (  # noqa: E402
    UNFAMILIAR_SPECTRA,
    Population,
    absolute_errors_ppm,
    draw,
    first,
    unfamiliar_shapes,
)

from kitlib.base.execution import in_processes, running_on  # noqa: E402
from kitlib.base.products import Array, Spectra  # noqa: E402
from kitlib.base.provenance import write_atomic  # noqa: E402
from kitlib.base.schema import PhysfitConfig, PriorConfig  # noqa: E402
from kitlib.fusion.model import Fusion, load_model  # noqa: E402
from kitlib.run.fits import fit_planets, measure_stars  # noqa: E402
from kitlib.run.inputs import SHIPPED_MODEL, answered, with_limb_darkening  # noqa: E402
from kitlib.run.pretraining import draw_planets  # noqa: E402
from kitlib.sigma import fit_calibrator  # noqa: E402
from kitlib.sigma.calibrator import Calibrator, apply, calibrated_covariance  # noqa: E402
from kitlib.sigma.metric import gll_score, naive_statistics  # noqa: E402
from kitlib.sigma.reliability import reliability_by_part  # noqa: E402
from kitlib.spectra.posterior import join  # noqa: E402
from kitlib.spectra.prior import Shapes, SpectralPrior, learn_prior  # noqa: E402
from kitlib.transit.priors import Priors, shipped_priors  # noqa: E402

SEEDS = {"train": 101, "held-out": 606, "shifted": 303, "oracle prior": 404, "unfamiliar": 707, "any chemistry": 808}
TRAIN_SPECTRA, CALIBRATION_PLANETS, FOLDS = 1100, 800, 4
CALIBRATION_UNFAMILIAR = 200  # planets beside those, of random chemistry, detectors and drifts
ORACLE_SPECTRA = 20_000
ORACLE_PRIOR = PriorConfig(components=25, kinds=40)
SHIPPED = ROOT / "kitlib" / "data"
BASELINE = "winner's design"


def trained_on(
    train: Population, unfamiliar: Shapes, models: list[Fusion], workers: int
) -> tuple[Priors, Design, dict[str, Calibrator]]:
    """Priors of all training planets, and the calibrators of all solvers, fitted on out-of-fold posteriors.

    Each fold is fitted with a prior that has seen neither its spectra nor its stars; the models have seen none. The
    calibrators see planets of any chemistry too: how far error bars of unfamiliar spectra can be trusted is not to be
    read off familiar ones.
    """
    count, config = len(train.curves), PhysfitConfig()
    _, catalogue, truth = first(train, count)
    alone = Priors(replace(learn_prior(train.truth.depth, train.catalogue, PriorConfig()), unfamiliar=unfamiliar))
    stars = measure_stars(train.curves, catalogue, alone, config, truth.depth, workers=workers)
    fold = np.arange(count) % FOLDS
    fits, rivals, rows, depths = [], [], [], []
    for k in range(FOLDS):
        chosen = np.flatnonzero(fold == k)
        others = np.setdiff1d(np.arange(len(train.truth.planet_id)), chosen)
        prior = learn_prior(train.truth.depth[others], train.catalogue.take(others), PriorConfig())
        priors = Priors(replace(prior, unfamiliar=unfamiliar))
        priors = with_limb_darkening(priors, [s for s, f in zip(stars, fold, strict=True) if s is not None and f != k])
        rows.append(catalogue.take(chosen))
        depths.append(truth.depth[chosen])
        curves = [train.curves[i] for i in chosen]
        fits.append(fit_planets(curves, rows[-1], priors, config, workers=workers))
        design = learn_design(train.truth.depth[others])
        rivals.append(fit_baselines(curves, rows[-1], design, priors, config, fits[-1][0], workers))
    whole = with_limb_darkening(alone, [one for one in stars if one is not None])
    rng = np.random.default_rng(SEEDS["any chemistry"])
    curves, wild, depth = draw_planets(CALIBRATION_UNFAMILIAR, 1.0, rng)
    rows.append(wild)
    depths.append(depth)
    fits.append(fit_planets(curves, wild, whole, config, workers=workers))
    design = learn_design(train.truth.depth)
    rivals.append(fit_baselines(curves, wild, design, whole, config, fits[-1][0], workers))
    posterior, _ = join(fits)
    spectra = Spectra(posterior.planet_id, np.concatenate(depths))
    naive = naive_statistics(train.truth.depth)
    fused = [(answered(models, fit, row), lights) for (fit, lights), row in zip(fits, rows, strict=True)]
    rival = join([(one, []) for one in rivals])[0]
    answers = {BASELINE: rival, "physics": posterior, "v50": join(fused)[0]}
    return whole, design, {kind: fit_calibrator(answer, spectra, naive) for kind, answer in answers.items()}


def row_of(mu: Array, sigma: Array, truth: Array, naive: tuple[float, float], cov: Array | None = None) -> dict:
    """One row of the table: scores, errors, and the spread of z-scores by part where there is a covariance."""
    row = asdict(gll_score(mu, sigma, truth, *naive))
    row |= dict(zip(("fgs1_ppm", "level_ppm", "shape_ppm"), absolute_errors_ppm(mu, truth), strict=True))
    if cov is not None:
        for part, summary in reliability_by_part(mu, cov, truth).items():
            row |= {f"{part}_z": summary["rms"], f"{part}_68": summary["coverage"]["0.68"]}
            row |= {f"{part}_95": summary["coverage"]["0.95"]}
    return row


def judged(
    held_out: Population,
    priors: Priors,
    design: Design,
    calibrators: dict[str, Calibrator],
    models: list[Fusion],
    naive: tuple[float, float],
    wide_prior: SpectralPrior,
    workers: int,
) -> dict[str, dict]:
    """All rows for one held-out population."""
    systems, catalogue, truth = first(held_out, len(held_out.curves))
    count, depth = len(truth.planet_id), truth.depth
    rows = {"naive": row_of(np.full_like(depth, naive[0]), np.full_like(depth, naive[1]), depth, naive)}
    singles = [catalogue.take(slice(i, i + 1)) for i in range(count)]
    each = [(c, r, priors, naive, PhysfitConfig()) for c, r in zip(held_out.curves, singles, strict=True)]
    alone = list(in_processes(independent_bins, each, workers, "independent bins"))
    rows["independent bins"] = row_of(*(np.stack(part) for part in zip(*alone, strict=True)), depth, naive)
    start = time.perf_counter()
    posterior, _ = fit_planets(held_out.curves, catalogue, priors, PhysfitConfig(), workers=workers)
    seconds = (time.perf_counter() - start) / count
    fallbacks = int((posterior.diagnostics["fallback"] > 0).sum())
    start = time.perf_counter()
    answers = {"physics": posterior, "v50": answered(models, posterior, catalogue)}
    seconds_model = (time.perf_counter() - start) / count
    rival = fit_baselines(held_out.curves, catalogue, design, priors, PhysfitConfig(), posterior, workers)
    answers = {BASELINE: rival} | answers
    print(f"physical fit {seconds:.2f} s a planet, model {seconds_model:.4f} s", flush=True)
    for kind, found in answers.items():
        rows[f"{kind}, uncalibrated"] = row_of(found.mean, found.sigma, depth, naive, found.cov)
        answer, cov = apply(calibrators[kind], found), calibrated_covariance(calibrators[kind], found)
        rows[kind] = row_of(answer.mu, answer.sigma, depth, naive, cov) | {"fallbacks": fallbacks}
    for name, given in (("oracle, stars unknown", singles), ("oracle", [None] * count)):
        each = [
            ([c], [t], systems.take(np.array([i])), wide_prior, g)
            for i, (c, t, g) in enumerate(zip(held_out.curves, held_out.truths, given, strict=True))
        ]
        best = list(in_processes(oracle, each, workers, name))
        mean, cov = (np.concatenate([getattr(one, part) for one in best]) for part in ("mean", "cov"))
        sigma = np.sqrt(np.diagonal(cov, axis1=1, axis2=2)).astype(np.float64)
        rows[name] = row_of(mean, sigma, depth, naive, cov)
    return rows


def table(rows: dict[str, dict]) -> str:
    """Aligned text, one row a method; `of oracle`: total over the oracle's."""
    head = f"{'':<30}{'total':>8}{'FGS1':>8}{'AIRS':>8}{'of oracle':>11}"
    lines = [f"{head}{'error ppm FGS1/level/shape':>28}{'z spread FGS1/level/shape':>28}"]
    for name, r in rows.items():
        errors = f"{r['fgs1_ppm']:.0f} / {r['level_ppm']:.0f} / {r['shape_ppm']:.0f}"
        spread = " / ".join(f"{r[f'{part}_z']:.2f}" for part in ("fgs1", "level", "shape")) if "fgs1_z" in r else ""
        scores = f"{name:<30}{r['total']:>8.4f}{r['fgs1']:>8.4f}{r['airs']:>8.4f}"
        lines.append(f"{scores}{r['total'] / rows['oracle']['total']:>11.1%}{errors:>28}{spread:>28}")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=200, help="held-out planets of each population")
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--scheduler", default="", help="tcp://HOST:PORT of a dask cluster that computes the planets")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="fusion model of the v50 rows")
    parser.add_argument("--ship", action="store_true", help="write the limb darkening into kitlib/data")
    given = parser.parse_args()
    if given.scheduler:
        given.workers = 0  # as many as the cluster has
    with running_on("dask" if given.scheduler else "loky", given.scheduler):
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """What `main` was asked for."""
    train = draw(TRAIN_SPECTRA, CALIBRATION_PLANETS, SEEDS["train"], given.workers)
    naive = naive_statistics(train.truth.depth)
    models = [load_model(given.model)[0]]
    unfamiliar = unfamiliar_shapes(UNFAMILIAR_SPECTRA, SEEDS["unfamiliar"])
    priors, design, calibrators = trained_on(train, unfamiliar, models, given.workers)
    if given.ship:
        replace(shipped_priors(), limb=priors.limb).save(SHIPPED / "prior.safetensors")
    results = {}
    for name, shift in (("held-out", False), ("shifted", True)):
        held_out = draw(given.planets, given.planets, SEEDS[name], given.workers, shift)
        family = draw(ORACLE_SPECTRA, 0, SEEDS["oracle prior"], given.workers, shift)
        wide_prior = learn_prior(family.truth.depth, family.catalogue, ORACLE_PRIOR)
        results[name] = judged(held_out, priors, design, calibrators, models, naive, wide_prior, given.workers)
        print(f"\n{name}: {given.planets} planets, seed {SEEDS[name]}\n{table(results[name])}", flush=True)
    if given.out:
        write_atomic(given.out, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

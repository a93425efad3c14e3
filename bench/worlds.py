"""What the kit reaches in worlds that it has not learnt from: one table, a row a world.

    python bench/worlds.py [--planets 200] [--worlds NAME ...] [--out FILE.json]

Each world of bench/extremes.py, all of them together, and the own world with real spectra of the 2024 challenge where
they lie (ARIEL_SPECTRA2024_DIR, or ../shared/spectra2024), on light curves with the noise of full-size frames. Columns:
the kit as shipped (physics and v50); the same priors and network with sigma calibrated on 24 and on 200 planets of that
world (physics); the oracle of unknown stars, which knows the world. Then errors and z of the shipped kit by part, the
worst planet, and how many planets have an event of the gate.

Neighbours are in no light curve: frames show them, and `bench/frames.py` measures them there.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from extremes import EXTREMES, all_together  # noqa: E402
from oracle import oracle  # noqa: E402
from population import Population, absolute_errors_ppm, draw, first  # noqa: E402

from kitlib.base.execution import in_processes  # noqa: E402
from kitlib.base.instruments import bin_weights  # noqa: E402
from kitlib.base.products import Array, Posterior, Prediction, Spectra  # noqa: E402
from kitlib.base.provenance import write_atomic  # noqa: E402
from kitlib.base.schema import ModelConfig, PhysfitConfig, PriorConfig, WorldConfig  # noqa: E402
from kitlib.run.fits import fit_planets  # noqa: E402
from kitlib.run.inputs import answered, run_models, shipped_calibrator  # noqa: E402
from kitlib.sigma import fit_calibrator  # noqa: E402
from kitlib.sigma.calibrator import apply, calibrated_covariance  # noqa: E402
from kitlib.sigma.metric import gll_per_bin, gll_score, naive_statistics  # noqa: E402
from kitlib.sigma.reliability import reliability_by_part  # noqa: E402
from kitlib.spectra.prior import SpectralPrior, learn_prior  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

SEEDS = {"judged": 7701, "calibration": 7702, "oracle prior": 404}
CALIBRATION = (24, 200)  # planets of that world
ORACLE_SPECTRA = 5_000
REAL = "real spectra of 2024"
LEFT_OUT = ("neighbours", "full well")  # in frames alone


def real_spectra(count: int, rng: np.random.Generator) -> Array | None:
    """Real spectra of 2024 (count, 283), drawn with repetition; None where they do not lie."""
    folder = Path(os.environ.get("ARIEL_SPECTRA2024_DIR", ROOT.parent / "shared" / "spectra2024"))
    if not (folder / "spectra.npy").is_file():
        return None
    known = np.load(folder / "spectra.npy").astype(np.float64)
    return known[rng.integers(0, len(known), count)]


def worlds() -> dict[str, WorldConfig]:
    """Name -> world of each row on light curves."""
    rows = {name: world for name, world in EXTREMES.items() if name not in LEFT_OUT}
    return rows | {"all together": replace(all_together(), neighbours=0.0), REAL: WorldConfig()}


def drawn(name: str, world: WorldConfig, planets: int, seed: int, workers: int) -> Population | None:
    """Planets of a world; None where its spectra do not lie here."""
    depth = None
    if name == REAL:
        depth = real_spectra(planets, np.random.default_rng(seed))
        if depth is None:
            return None
    return draw(planets, planets, seed, workers, world=world, depth=depth)


def per_planet(answer: Prediction, truth: Array, naive: tuple[float, float]) -> Array:
    """Score of each planet alone, (P,), not clipped."""
    weight = bin_weights()
    return gll_per_bin(answer.mu, answer.sigma, truth, *naive) @ (weight / weight.sum())


def shipped_row(found: Posterior, kind: str, truth: Array, naive: tuple[float, float]) -> dict[str, float]:
    """Score, errors and z by part, worst planet of answers by the shipped calibrator."""
    calibrator = shipped_calibrator(kind)
    answer, cov = apply(calibrator, found), calibrated_covariance(calibrator, found)
    each = per_planet(answer, truth, naive)
    row = {"score": gll_score(answer.mu, answer.sigma, truth, *naive).total, "worst": float(each.min())}
    row["below -1"] = float((each < -1).sum())
    row |= dict(zip(("fgs1_ppm", "level_ppm", "shape_ppm"), absolute_errors_ppm(answer.mu, truth), strict=True))
    parts = reliability_by_part(answer.mu, cov, truth)
    return row | {f"{part}_z": float(summary["rms"]) for part, summary in parts.items()}


def calibrated(
    found: Posterior, truth: Spectra, judged: Posterior, naive: tuple[float, float], count: int
) -> Prediction:
    """Answers with sigma calibrated on the first `count` planets of `found`, around the shipped one as in `train`."""
    index = np.arange(count)
    spectra = Spectra(truth.planet_id[:count], truth.depth[:count])
    return apply(fit_calibrator(found.take(index), spectra, naive, shipped_calibrator("physics")), judged)


def row_of(
    name: str, world: WorldConfig, planets: int, wide: SpectralPrior, workers: int, with_oracle: bool
) -> dict[str, float] | None:
    """One row; None where the world cannot be drawn."""
    judged, own = (
        drawn(name, world, count, SEEDS[role], workers)
        for role, count in (("judged", planets), ("calibration", max(CALIBRATION)))
    )
    if judged is None or own is None:
        return None
    systems, catalogue, truth = first(judged, planets)
    naive = naive_statistics(truth.depth)
    config, priors = PhysfitConfig(), shipped_priors()
    found, _ = fit_planets(judged.curves, catalogue, priors, config, progress=False, workers=workers)
    _, rows, known = first(own, max(CALIBRATION))
    learnt, _ = fit_planets(own.curves, rows, priors, config, progress=False, workers=workers)
    models = run_models(ModelConfig(), Path("nowhere"))[0]
    row = {"physics": shipped_row(found, "physics", truth.depth, naive)["score"]}
    row |= shipped_row(answered(models, found, catalogue), "v50", truth.depth, naive)
    for count in CALIBRATION:
        answer = calibrated(learnt, known, found, naive, count)
        row[f"on {count}"] = gll_score(answer.mu, answer.sigma, truth.depth, *naive).total
    row["events"] = float((found.diagnostics["gate"] > 0).sum())
    if with_oracle:
        singles = [catalogue.take(slice(i, i + 1)) for i in range(planets)]
        each = zip(judged.curves, judged.truths, singles, strict=True)
        given = [([c], [t], systems.take(np.array([i])), wide, r) for i, (c, t, r) in enumerate(each)]
        best = list(in_processes(oracle, given, workers, "oracle", progress=False))
        mean, cov = (np.concatenate([getattr(one, part) for one in best]) for part in ("mean", "cov"))
        sigma = np.sqrt(np.diagonal(cov, axis1=1, axis2=2)).astype(np.float64)
        row["oracle"] = gll_score(np.maximum(mean, 1e-6), sigma, truth.depth, *naive).total
    return row


def table(rows: dict[str, dict[str, float]]) -> str:
    """Aligned text, one row a world."""
    head = f"{'':<22}{'physics':>9}{'v50':>9}{'on 24':>9}{'on 200':>9}{'oracle':>9}"
    lines = [f"{head}{'error ppm FGS1/level/shape':>28}{'z':>18}{'worst':>8}{'below -1':>10}{'events':>8}"]
    for name, r in rows.items():
        scores = "".join(
            f"{r[c]:>9.4f}" if c in r else f"{'':>9}" for c in ("physics", "score", "on 24", "on 200", "oracle")
        )
        errors = f"{r['fgs1_ppm']:.0f} / {r['level_ppm']:.0f} / {r['shape_ppm']:.0f}"
        spread = f"{r['fgs1_z']:.2f}/{r['level_z']:.2f}/{r['shape_z']:.2f}"
        lines.append(
            f"{name:<22}{scores}{errors:>28}{spread:>18}{r['worst']:>8.2f}{r['below -1']:>10.0f}{r['events']:>8.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table, row by row as they are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=200, help="that judge, a row")
    parser.add_argument("--worlds", nargs="*", help="names of rows; all by default")
    parser.add_argument("--no-oracle", action="store_true", help="leave the oracle out: it takes half of the time")
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    family = draw(ORACLE_SPECTRA, 0, SEEDS["oracle prior"], given.workers)
    wide = learn_prior(family.truth.depth, family.catalogue, PriorConfig(components=25, kinds=40))
    rows: dict[str, dict[str, float]] = {}
    for name in given.worlds or worlds():
        row = row_of(name, worlds()[name], given.planets, wide, given.workers, not given.no_oracle)
        if row is None:
            print(f"{name}: its spectra do not lie here", flush=True)
            continue
        rows[name] = row
        print(table(rows).splitlines()[-1] if len(rows) > 1 else table(rows), flush=True)
        if given.out:
            write_atomic(given.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

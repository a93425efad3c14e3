"""What the kit reaches in worlds that it has not learnt from: one table, a row a world.

    python bench/worlds.py [--planets 200] [--worlds NAME ...] [--fits FOLDER] [--out FILE.json]

Each world of bench/extremes.py, all of them together, and the own world with real spectra of the 2024 challenge where
they lie (ARIEL_SPECTRA2024_DIR, or ../shared/spectra2024), on light curves with the noise of full-size frames. Columns:
the kit as shipped (physics and v50); the same priors and network with sigma calibrated on 24 and on 200 planets of that
world (physics); the winner's design of 2025 (`bench/baseline.py`), calibrated on the same 200; the oracle of unknown
stars, which knows the world. Then errors and z of the shipped kit by part, the worst planet, and how many planets have
an event of the gate. The file of --out has the scores of FGS1 and AIRS of "on 200" and of the baseline as well.

Neighbours and full wells are in no light curve, wings and sky in their noise alone: `bench/frames.py` measures these.
"""

import argparse
import json
import sys
from pathlib import Path

from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from baseline import beside  # noqa: E402
from population import absolute_errors_ppm  # noqa: E402
from rows import Row, fitted, kept, oracle_score, worlds  # noqa: E402

from kitlib.base.instruments import bin_weights  # noqa: E402
from kitlib.base.products import Array, Posterior, Prediction, Spectra  # noqa: E402
from kitlib.base.provenance import write_atomic  # noqa: E402
from kitlib.base.schema import ModelConfig  # noqa: E402
from kitlib.run.inputs import answered, run_models, shipped_calibrator  # noqa: E402
from kitlib.sigma import Calibrator, fit_calibrator  # noqa: E402
from kitlib.sigma.calibrator import apply, calibrated_covariance  # noqa: E402
from kitlib.sigma.metric import gll_per_bin, gll_score, naive_statistics  # noqa: E402
from kitlib.sigma.reliability import reliability_by_part  # noqa: E402

CALIBRATION = (24, 200)  # planets of that world that sigma is calibrated on


def per_planet(answer: Prediction, truth: Array, naive: tuple[float, float]) -> Array:
    """Score of each planet alone, (P,), not clipped."""
    weight = bin_weights()
    return gll_per_bin(answer.mu, answer.sigma, truth, *naive) @ (weight / weight.sum())


def shipped_row(
    found: Posterior, kind: str, truth: Array, naive: tuple[float, float], calibrator: Calibrator | None = None
) -> dict[str, float]:
    """Score, errors and z by part, worst planet of answers by the shipped calibrator or another."""
    calibrator = calibrator or shipped_calibrator(kind)
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
    index = range(count)
    spectra = Spectra(truth.planet_id[:count], truth.depth[:count])
    return apply(fit_calibrator(found.take(index), spectra, naive, shipped_calibrator("physics")), judged)


def scores_of(who: str, answer: Prediction, truth: Array) -> dict[str, float]:
    """Score of answers under a name, and those of FGS1 and AIRS alone."""
    score = gll_score(answer.mu, answer.sigma, truth, *naive_statistics(truth))
    return {who: score.total, f"{who}, fgs1": score.fgs1, f"{who}, airs": score.airs}


def row_of(judged: Row, own: Row) -> dict[str, float]:
    """Scores, errors and z of one row; `own`: the planets of that world that sigma is calibrated on."""
    found, truth, naive = judged.found, judged.truth.depth, naive_statistics(judged.truth.depth)
    models = run_models(ModelConfig(), Path("nowhere"))[0]
    row = {"physics": shipped_row(found, "physics", truth, naive)["score"]}
    row |= shipped_row(answered(models, found, judged.catalogue), "v50", truth, naive)
    for count in CALIBRATION:
        answer = calibrated(own.found, own.truth, found, naive, count)
        row |= scores_of(f"on {count}", answer, truth)
    return row | {"events": float((found.diagnostics["gate"] > 0).sum())}


def table(rows: dict[str, dict[str, float]]) -> str:
    """Aligned text, one row a world."""
    head = f"{'':<22}{'physics':>9}{'v50':>9}{'on 24':>9}{'on 200':>9}{'baseline':>9}{'oracle':>9}"
    lines = [f"{head}{'error ppm FGS1/level/shape':>28}{'z':>18}{'worst':>8}{'below -1':>10}{'events':>8}"]
    for name, r in rows.items():
        scores = "".join(
            f"{r[c]:>9.4f}" if c in r else f"{'':>9}"
            for c in ("physics", "score", "on 24", "on 200", "baseline", "oracle")
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
    parser.add_argument("--no-baseline", action="store_true", help="leave the baseline out: a third of the fits' time")
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--fits", type=Path, help="keep fits and oracles there, for other calibrators and networks")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    fits, best, rival = (kept(given.fits, one) for one in (fitted, oracle_score, beside))
    rows: dict[str, dict[str, float]] = {}
    for name in given.worlds or worlds():
        judged = fits(name, given.planets, "judged", given.workers)
        own = fits(name, max(CALIBRATION), "calibration", given.workers)
        if judged is None or own is None:
            print(f"{name}: its spectra do not lie here", flush=True)
            continue
        rows[name] = row_of(judged, own)
        if not given.no_baseline:
            found, learnt = (
                rival(row, name, role, given.workers) for row, role in ((judged, "judged"), (own, "calibration"))
            )
            naive = naive_statistics(judged.truth.depth)
            answer = calibrated(learnt, own.truth, found, naive, max(CALIBRATION))
            rows[name] |= scores_of("baseline", answer, judged.truth.depth)
        if not given.no_oracle:
            rows[name]["oracle"] = best(name, given.planets, given.workers)
        print(table(rows).splitlines()[-1] if len(rows) > 1 else table(rows), flush=True)
        if given.out:
            write_atomic(given.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

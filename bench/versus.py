"""The kit against the winner's design of 2025 (`bench/baseline.py`) in worlds that neither has learnt from.

    python bench/versus.py [--planets 200] [--worlds NAME ...] [--fits FOLDER] [--out FILE.json]

Both learn their prior from the same simulated spectra, fit the same light curves from the same white fit, and have
sigma calibrated by the same code: of each half of the planets on the other half. A row a world and solver: score, that
of FGS1 and of AIRS, error and z by part. Then the mean difference of the planets' scores, kit less baseline, with its
standard error. Planets that the kit answers by a part of their data, or without a fit, are left out of both. Planets
whose misfit the kit's sigma covers count, and take part in the calibration of both.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from baseline import beside  # noqa: E402
from rows import REAL, Row, fitted, kept, worlds  # noqa: E402
from score import row_of  # noqa: E402

from kitlib.base.instruments import N_BINS, bin_weights  # noqa: E402
from kitlib.base.products import Array, Posterior, Prediction, Spectra  # noqa: E402
from kitlib.base.provenance import write_atomic  # noqa: E402
from kitlib.sigma import fit_calibrator  # noqa: E402
from kitlib.sigma.calibrator import apply, calibrated_covariance  # noqa: E402
from kitlib.sigma.metric import gll_per_bin, naive_statistics  # noqa: E402

WORLDS = ("own", "all together", REAL)
PARTS = {"total": slice(None), "FGS1": slice(0, 1), "AIRS": slice(1, None)}


def out_of_half(found: Posterior, truth: Spectra, naive: tuple[float, float]) -> tuple[Prediction, Array]:
    """Answers and their covariances (P, 283, 283), each half of the planets calibrated on the other one."""
    count = len(truth.planet_id)
    mu, sigma, cov = np.empty((count, N_BINS)), np.empty((count, N_BINS)), np.empty((count, N_BINS, N_BINS))
    for half in (0, 1):
        judged, learnt = np.arange(half, count, 2), np.arange(1 - half, count, 2)
        known = Spectra(truth.planet_id[learnt], truth.depth[learnt])
        calibrator = fit_calibrator(found.take(learnt), known, naive)
        answer = apply(calibrator, found.take(judged))
        mu[judged], sigma[judged] = answer.mu, answer.sigma
        cov[judged] = calibrated_covariance(calibrator, found.take(judged))
    return Prediction(truth.planet_id, mu, sigma), cov


def compared(row: Row, baseline: Posterior) -> dict[str, dict[str, float]]:
    """Rows "kit" and "baseline" of `score.row_of`, and "less": mean differences and their standard errors by part.

    Judged are the planets that both have fitted by themselves; the score's naive statistics are those of all.
    """
    own = np.isfinite(baseline.diagnostics["scale"])
    truth, naive = Spectra(row.truth.planet_id[own], row.truth.depth[own]), naive_statistics(row.truth.depth)
    rows, scores = {}, {}
    for solver, found in (("kit", row.found), ("baseline", baseline)):
        answer, cov = out_of_half(found.take(own), truth, naive)
        rows[solver] = row_of(answer.mu, answer.sigma, truth.depth, naive, cov)
        scores[solver] = gll_per_bin(answer.mu, answer.sigma, truth.depth, *naive)
    less = {"planets": float(own.sum()), "drawn": float(len(own))}
    for part, bins in PARTS.items():
        weight = bin_weights()[bins]
        each = (scores["kit"] - scores["baseline"])[:, bins] @ (weight / weight.sum())
        less |= {part: float(each.mean()), f"{part}, error": float(each.std(ddof=1) / np.sqrt(len(each)))}
    return rows | {"less": less}


def table(name: str, rows: dict[str, dict[str, float]]) -> str:
    """Aligned text of one world."""
    lines = []
    for solver in ("kit", "baseline"):
        r = rows[solver]
        errors = f"{r['fgs1_ppm']:.0f} / {r['level_ppm']:.0f} / {r['shape_ppm']:.0f}"
        spread = f"{r['fgs1_z']:.2f} / {r['level_z']:.2f} / {r['shape_z']:.2f}"
        scores = f"{r['total']:>8.4f}{r['fgs1']:>8.4f}{r['airs']:>8.4f}"
        lines.append(f"{name:<22}{solver:<10}{scores}{errors:>20}{spread:>22}")
    less = rows["less"]
    parts = ", ".join(f"{part} {less[part]:+.4f} +- {less[f'{part}, error']:.4f}" for part in PARTS)
    count = f"{less['planets']:.0f} planets of {less['drawn']:.0f}"
    lines.append(f"{'':<22}kit less baseline: {parts} ({count})")
    return "\n".join(lines)


def main() -> None:
    """Print the table, world by world as they are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=200, help="of each world")
    parser.add_argument("--worlds", nargs="*", default=WORLDS, choices=worlds(), help="rows of bench/worlds.py")
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--fits", type=Path, help="keep fits there, as bench/worlds.py does")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    fits, rivals = kept(given.fits, fitted), kept(given.fits, beside)
    print(f"{'':<32}{'total':>8}{'FGS1':>8}{'AIRS':>8}{'error ppm F/level/shape':>26}{'z':>14}")
    found = {}
    for name in given.worlds:
        row = fits(name, given.planets, "judged", given.workers)
        if row is None:
            print(f"{name}: its spectra do not lie here", flush=True)
            continue
        found[name] = compared(row, rivals(row, name, "judged", given.workers))
        print(table(name, found[name]), flush=True)
        if given.out:
            write_atomic(given.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

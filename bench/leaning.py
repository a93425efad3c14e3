"""How far a calibrator of few planets should lean on the shipped one: widths of the priors around it.

    python bench/leaning.py [--fits FOLDER] [--counts 24 100] [--draws 5]

Of each world's 200 calibration planets (never those that bench/worlds.py judges) some calibrate sigma and the others
judge. Printed: the shipped calibrator's score, and what each width brings beside it, mean over draws. 1: the widths
that hold where nothing is known.
"""

import argparse
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from rows import REAL, Row, fitted, kept  # noqa: E402

from kitlib.base.products import Array, Spectra  # noqa: E402
from kitlib.run.inputs import shipped_calibrator  # noqa: E402
from kitlib.sigma import Calibrator, apply, fit_calibrator  # noqa: E402
from kitlib.sigma import fit as sigma_fit  # noqa: E402
from kitlib.sigma.metric import gll_score, naive_statistics  # noqa: E402

WORLDS = (
    *("own", "all together", REAL, "level error", "second drift"),
    *("within pixels", "dark gaps", "catalogue", "grazing"),
)
PLANETS, SEED = 200, 3
WIDTHS = (1.0, 0.7, 0.5, 0.35)


def judged(row: Row, index: Array, calibrator: Calibrator) -> float:
    """Score of some planets of a row."""
    answer = apply(calibrator, row.found.take(index))
    return gll_score(answer.mu, answer.sigma, row.truth.depth[index], *naive_statistics(row.truth.depth)).total


def trial(row: Row, order: Array, count: int) -> Array:
    """Score of the shipped calibrator on all but the first `count`, and those of calibrators on these by width."""
    few, others = np.sort(order[:count]), np.sort(order[count:])
    known, naive = Spectra(row.truth.planet_id[few], row.truth.depth[few]), naive_statistics(row.truth.depth)
    scores = [judged(row, others, shipped_calibrator("physics"))]
    for width in WIDTHS:
        with patch.object(sigma_fit, "LEANING", width):
            found = fit_calibrator(row.found.take(few), known, naive, shipped_calibrator("physics"))
        scores.append(judged(row, others, found))
    return np.array(scores)


def main() -> None:
    """Print a line for each world and number of planets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=Path, help="keep fits there, as bench/worlds.py does")
    parser.add_argument("--worlds", nargs="*", default=WORLDS)
    parser.add_argument("--counts", type=int, nargs="*", default=[24, 100])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--workers", type=int, default=cpu_count())
    given = parser.parse_args()
    fits, rng = kept(given.fits, fitted), np.random.default_rng(SEED)
    orders = [rng.permutation(PLANETS) for _ in range(given.draws)]
    print(f"{'':<24}{'planets':>8}{'shipped':>9}" + "".join(f"{f'x {width:g}':>9}" for width in WIDTHS))
    every: dict[int, list[Array]] = {count: [] for count in given.counts}
    for name in given.worlds:
        row = fits(name, PLANETS, "calibration", given.workers)
        if row is None:
            print(f"{name}: its spectra do not lie here", flush=True)
            continue
        for count in given.counts:
            mean = np.mean([trial(row, order, count) for order in orders], axis=0)
            every[count].append(mean)
            print(_line(name, count, mean), flush=True)
    for count, rows in every.items():
        print(_line("mean", count, np.mean(rows, axis=0)))


def _line(name: str, count: int, scores: Array) -> str:
    gains = "".join(f"{gain:>+9.4f}" for gain in scores[1:] - scores[0])
    return f"{name:<24}{count:>8}{scores[0]:>9.4f}{gains}"


if __name__ == "__main__":
    main()

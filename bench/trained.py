"""What `train` is worth on planets of a new world: nothing, 24, 200 and 1,100 of them, judged on others.

    python bench/trained.py [--worlds NAME ...] [--train 24 200 1100] [--judged 200] [--workers N] [--out FILE.json]

As the stage does it, on light curves and with `model=physics`. Below 200 planets sigma alone is calibrated, around the
shipped calibrator. From 200 on prior over spectra and limb darkening are learnt from them as well, out of fold. Real
spectra of 2024 are split: every second one is learnt from, the others judge (repeated, where there are too few).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from population import Population, draw, first  # noqa: E402
from rows import REAL, row_from, worlds  # noqa: E402
from spectra import real_2024  # noqa: E402
from worlds import shipped_row  # noqa: E402

from kitlib.base.folds import fold_of  # noqa: E402
from kitlib.base.products import Array, Posterior, Spectra  # noqa: E402
from kitlib.base.provenance import write_atomic  # noqa: E402
from kitlib.base.schema import PhysfitConfig, PriorConfig, SigmaConfig  # noqa: E402
from kitlib.run.fits import fit_planets, measure_stars  # noqa: E402
from kitlib.run.inputs import choose_priors, shipped_calibrator, with_limb_darkening  # noqa: E402
from kitlib.sigma import Calibrator, fit_calibrator  # noqa: E402
from kitlib.sigma.metric import naive_statistics  # noqa: E402
from kitlib.spectra.posterior import join  # noqa: E402
from kitlib.transit import Measured, Priors, shipped_priors  # noqa: E402

SEEDS = {"train": 7704, "judged": 7705}
WORLDS = ("all together", "level error", REAL)


def planets_of(name: str, role: str, count: int, workers: int) -> Population | None:
    """Planets of a world in one of the roles of `SEEDS`; None where its spectra do not lie here."""
    depth = None
    if name == REAL:
        depth = half_of_real(role, count)
        if depth is None:
            return None
    return draw(count, count, SEEDS[role], workers, world=worlds()[name], depth=depth)


def half_of_real(role: str, count: int) -> Array | None:
    """Real spectra of 2024 (count, 283), one half for each role."""
    known = real_2024(10**6)
    if known is None:
        return None
    half = known.depth[list(SEEDS).index(role) :: 2]
    rng = np.random.default_rng(SEEDS[role])
    order = [rng.permutation(len(half)) for _ in range(-(-count // len(half)))]
    return half[np.concatenate(order)[:count]]


def trained(planets: Population, count: int, workers: int) -> tuple[Priors, Calibrator]:
    """Priors and calibrator that `train` makes of the first `count` planets."""
    _, catalogue, truth = first(planets, count)
    config, curves = PriorConfig(), planets.curves[:count]

    def learnt(index: Array) -> Priors:
        priors = choose_priors(config, truth.depth[index], catalogue.take(index))
        return with_limb_darkening(priors, [stars[i] for i in index.tolist() if i in stars])

    stars: dict[int, Measured] = {}
    if count >= config.min_train_planets:
        some = np.arange(config.limb_planets)
        priors = learnt(np.arange(count))
        rows = catalogue.take(some), priors, PhysfitConfig(), truth.depth[some], True, workers
        found = measure_stars(curves[: len(some)], *rows)
        stars = {i: one for i, one in enumerate(found) if one is not None}
    fold, parts = fold_of(count, SigmaConfig().folds, 0), []
    for k in range(SigmaConfig().folds):
        chosen = np.flatnonzero(fold == k)
        rest = PhysfitConfig(), None, True, workers
        fits = fit_planets(
            [curves[i] for i in chosen], catalogue.take(chosen), learnt(np.flatnonzero(fold != k)), *rest
        )
        parts.append(fits)
    posterior: Posterior = join(parts)[0]
    order = np.argsort(np.concatenate([np.flatnonzero(fold == k) for k in range(SigmaConfig().folds)]))
    naive = naive_statistics(truth.depth)
    known = Spectra(truth.planet_id, truth.depth)
    return learnt(np.arange(count)), fit_calibrator(posterior.take(order), known, naive, shipped_calibrator("physics"))


def main() -> None:
    """Print a line for each world and number of planets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="*", default=WORLDS, help="rows of bench/worlds.py")
    parser.add_argument("--train", type=int, nargs="*", default=[24, 200, 1100])
    parser.add_argument("--judged", type=int, default=200, help="planets that judge")
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    print(f"{'world':<24}{'planets':>8}{'score':>9}{'error ppm FGS1/level/shape':>28}{'z':>18}{'worst':>8}")
    for name in given.worlds:
        judged = planets_of(name, "judged", given.judged, given.workers)
        learnt_from = planets_of(name, "train", max(given.train), given.workers)
        if judged is None or learnt_from is None:
            print(f"{name}: its spectra do not lie here", flush=True)
            continue
        _, catalogue, truth = first(judged, given.judged)
        for count in (0, *given.train):
            made = trained(learnt_from, count, given.workers) if count else (shipped_priors(), None)
            row = row_from(judged.curves, catalogue, truth.depth, given.workers, made[0])
            rows[f"{name}, {count}"] = r = shipped_row(
                row.found, "physics", truth.depth, naive_statistics(truth.depth), made[1]
            )
            errors = f"{r['fgs1_ppm']:.0f} / {r['level_ppm']:.0f} / {r['shape_ppm']:.0f}"
            spread = f"{r['fgs1_z']:.2f}/{r['level_z']:.2f}/{r['shape_z']:.2f}"
            print(f"{name:<24}{count:>8}{r['score']:>9.4f}{errors:>28}{spread:>18}{r['worst']:>8.2f}", flush=True)
            if given.out:
                write_atomic(given.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

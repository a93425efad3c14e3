"""Planets of each world with their fits under the shipped priors: what answers are made of and judged by.

Fits take most of a benchmark's time and do not change with calibrator or network: `kept` keeps them in a folder.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from extremes import EXTREMES, all_together
from joblib import Memory
from oracle import oracle
from population import Population, draw, first

from kitlib.base.execution import in_processes
from kitlib.base.products import Array, Catalogue, PlanetLightCurves, Posterior, Spectra
from kitlib.base.schema import PhysfitConfig, PriorConfig, WorldConfig
from kitlib.run.fits import fit_planets
from kitlib.run.pretraining import draw_planets
from kitlib.sigma.metric import gll_score, naive_statistics
from kitlib.spectra.prior import SpectralPrior, learn_prior
from kitlib.transit.priors import Priors, shipped_priors

ROOT = Path(__file__).resolve().parent.parent
SEEDS = {"judged": 7701, "calibration": 7702, "oracle prior": 404}
ORACLE_SPECTRA = 5_000
REAL = "real spectra of 2024"
IN_FRAMES = (  # alone
    *("wings x 2, flat", "wings x 0.5, steep", "sky x 10", "sky x 10, star-like", "no sky", "wander", "neighbours"),
    "full well",
)
SHIPPED_PLANETS = {"own": 200, "any chemistry": 250, "worlds": 200}  # that the shipped calibrators are fitted on
SHIPPED_SEEDS = {"own": 1111, "any chemistry": 808, "worlds": 1112}


@dataclass(frozen=True)
class Row:
    """Planets with their fits: all that answers are made of and judged by."""

    catalogue: Catalogue
    truth: Spectra
    found: Posterior


def row_from(
    curves: list[PlanetLightCurves], catalogue: Catalogue, depth: Array, workers: int, priors: Priors | None = None
) -> Row:
    """Fit planets, under the shipped priors or others; rows of curves, catalogue and depth (P, 283) correspond."""
    rest = priors or shipped_priors(), PhysfitConfig()
    found, _ = fit_planets(curves, catalogue, *rest, progress=False, workers=workers)
    return Row(catalogue, Spectra(catalogue.planet_id, depth), found)


def kept(folder: Path | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """A benchmark's function whose results stay in a folder. It knows nothing of changes in kitlib: empty it then."""
    return Memory(folder, verbose=0).cache(function, ignore=["workers"])


def real_spectra(count: int, rng: np.random.Generator) -> Array | None:
    """Real spectra of 2024 (count, 283), drawn with repetition; None where they do not lie."""
    folder = Path(os.environ.get("ARIEL_SPECTRA2024_DIR", ROOT.parent / "shared" / "spectra2024"))
    if not (folder / "spectra.npy").is_file():
        return None
    known = np.load(folder / "spectra.npy").astype(np.float64)
    return known[rng.integers(0, len(known), count)]


def worlds() -> dict[str, WorldConfig]:
    """Name -> world of each row on light curves."""
    rows = {name: world for name, world in EXTREMES.items() if name not in IN_FRAMES}
    return rows | {"all together": replace(all_together(), neighbours=0.0), REAL: WorldConfig()}


def drawn(name: str, world: WorldConfig, planets: int, seed: int, workers: int) -> Population | None:
    """Planets of a world; None where its spectra do not lie here."""
    depth = None
    if name == REAL:
        depth = real_spectra(planets, np.random.default_rng(seed))
        if depth is None:
            return None
    return draw(planets, planets, seed, workers, world=world, depth=depth)


def fitted(name: str, planets: int, role: str, workers: int) -> Row | None:
    """Planets of a row in one of the roles of `SEEDS`; None where its spectra do not lie here."""
    population = drawn(name, worlds()[name], planets, SEEDS[role], workers)
    if population is None:
        return None
    _, catalogue, truth = first(population, planets)
    return row_from(population.curves, catalogue, truth.depth, workers)


@cache
def oracle_prior() -> SpectralPrior:
    """Of the own family, from more spectra than the shipped one."""
    family = draw(ORACLE_SPECTRA, 0, SEEDS["oracle prior"], 1)
    return learn_prior(family.truth.depth, family.catalogue, PriorConfig(components=25, kinds=40))


def oracle_score(name: str, planets: int, workers: int) -> float:
    """Score of the oracle of unknown stars on the judged planets of a row."""
    judged = drawn(name, worlds()[name], planets, SEEDS["judged"], workers)
    if judged is None:
        raise ValueError(f"{name}: its spectra do not lie here")
    systems, catalogue, truth = first(judged, planets)
    singles = [(systems.take(index), catalogue.take(index)) for index in np.arange(planets)[:, None]]
    each = zip(judged.curves, judged.truths, singles, strict=True)
    given = [([curves], [known], system, oracle_prior(), row) for curves, known, (system, row) in each]
    best = list(in_processes(oracle, given, workers, "oracle", progress=False))
    mean, cov = (np.concatenate([getattr(one, part) for one in best]) for part in ("mean", "cov"))
    sigma = np.sqrt(np.diagonal(cov, axis1=1, axis2=2)).astype(np.float64)
    return gll_score(np.maximum(mean, 1e-6), sigma, truth.depth, *naive_statistics(truth.depth)).total


def calibration_rows(workers: int) -> list[Row]:
    """The planets of the shipped calibrators, in three parts: own world, any chemistry, worlds drawn at random."""
    drawn_at_random = replace(all_together(), neighbours=0.0)
    rng = np.random.default_rng(SHIPPED_SEEDS["any chemistry"])
    parts = [
        _population("own", WorldConfig(), workers),
        draw_planets(SHIPPED_PLANETS["any chemistry"], 1.0, rng),
        _population("worlds", drawn_at_random, workers),
    ]
    return [row_from(curves, catalogue, depth, workers) for curves, catalogue, depth in parts]


def _population(part: str, world: WorldConfig, workers: int) -> tuple[list[PlanetLightCurves], Catalogue, Array]:
    count = SHIPPED_PLANETS[part]
    population = draw(count, count, SHIPPED_SEEDS[part], workers, world=world)
    _, catalogue, truth = first(population, count)
    return population.curves, catalogue, truth.depth

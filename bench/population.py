"""Simulated planets at light-curve level, for the score benchmark: what a solver may know, and what only judges may."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from kitlib.base.execution import in_processes
from kitlib.base.products import Array, Catalogue, PlanetLightCurves, Spectra
from kitlib.base.schema import PriorConfig, WorldConfig
from kitlib.simulate.lightcurves import Truth, simulate_with_truth
from kitlib.simulate.spectra import SHIFTED, TRAINING, draw_spectra, random_chemistry
from kitlib.simulate.systems import Systems, draw_systems, observed_catalogue
from kitlib.simulate.worlds import catalogue_factors, draw_worlds, with_grazing
from kitlib.spectra.prior import Shapes, SpectralPrior, learn_prior

UNFAMILIAR_COMPONENTS = 50  # molecular shapes kept of atmospheres of any composition
SHIPPED_SPECTRA = 10_000  # of the own family, and as many of any composition, in the prior that the package ships
SHIPPED_PRIOR = PriorConfig(components=25, kinds=28, factors=12)
SHIPPED_SEEDS = {"own": 101, "any chemistry": 102, "unfamiliar": 707}
UNFAMILIAR_SPECTRA = 4_000


@dataclass(frozen=True)
class Population:
    """P planets; `curves` and `truths` cover the first L of them."""

    systems: Systems
    catalogue: Catalogue
    truth: Spectra
    curves: list[PlanetLightCurves]
    truths: list[Truth]


def draw(
    planets: int,
    with_curves: int,
    seed: int,
    workers: int,
    shift: bool = False,
    world: WorldConfig | None = None,
    depth: Array | None = None,
) -> Population:
    """Draw systems, spectra, catalogue and light curves with full-size noise statistics.

    Args:
        planets: number of planets.
        with_curves: how many of them, from the first, have light curves.
        seed: the same seed gives the same planets, whatever the number of workers.
        workers: processes.
        shift: spectra outside the training family, detectors as bad as the hidden test set's, drift twice as large.
        world: what each planet draws of what nobody knows of the observatory; the own world by default.
        depth: (planets, 283) spectra to take instead; drawn by default.
    """
    drawing, *own = np.random.SeedSequence(seed).spawn(1 + with_curves)
    rng = np.random.default_rng(drawing)
    worlds = draw_worlds(world or WorldConfig(), rng, planets)
    systems = draw_systems(planets, rng)
    systems = with_grazing(systems.take(rng.permutation(planets)), worlds)  # planet ids ascend with nothing
    if depth is None:
        depth = draw_spectra(systems, rng, SHIFTED if shift else TRAINING)
    else:
        systems = replace(systems, depth_level=depth[:, 1:].mean(axis=1))
    options = {"degraded": shift, "drift_scale": 2.0 if shift else 1.0}

    def one(i: int, seed: np.random.SeedSequence) -> tuple[Systems, np.ndarray, np.random.Generator, dict[str, Any]]:
        known = options | {"worlds": worlds[i : i + 1]}
        return systems.take(np.array([i])), depth[i : i + 1], np.random.default_rng(seed), known

    given = [one(i, seed) for i, seed in enumerate(own)]
    made = list(in_processes(_simulated, given, workers, "light curves"))
    return Population(
        systems=systems,
        catalogue=observed_catalogue(systems, rng, catalogue_factors(worlds)),
        truth=Spectra(systems.planet_id, depth),
        curves=[one[0][0] for one in made],
        truths=[one[1][0] for one in made],
    )


def _simulated(
    system: Systems, depth: Array, rng: np.random.Generator, options: dict[str, Any]
) -> tuple[list[PlanetLightCurves], list[Truth]]:
    return simulate_with_truth(system, depth, rng, **options)


def any_chemistry(planets: int, seed: int) -> tuple[Array, Catalogue]:
    """Spectra (planets, 283) of atmospheres of any composition, each of a family of its own, and their catalogue."""
    rng = np.random.default_rng(seed)
    systems = draw_systems(planets, rng)
    systems = systems.take(rng.permutation(planets))
    rows = (systems.take(np.array([i])) for i in range(planets))
    depth = np.concatenate([draw_spectra(one, rng, random_chemistry(rng)) for one in rows])
    return depth, observed_catalogue(systems, rng)


def unfamiliar_shapes(planets: int, seed: int) -> Shapes:
    """Normalised shapes of atmospheres of any composition."""
    config = PriorConfig(components=UNFAMILIAR_COMPONENTS, kinds=1)
    learnt = learn_prior(*any_chemistry(planets, seed), config)
    return Shapes(learnt.shape_mean, learnt.shape_cov)


def shipped_training(each: int = SHIPPED_SPECTRA) -> tuple[Array, Catalogue]:
    """The spectra (2 each, 283) and catalogue rows that the shipped spectral prior is learnt from.

    Half of the spectra have lines of their own draw: a prior of the own family alone is too sure of its lines.
    """
    own = draw(each, 0, SHIPPED_SEEDS["own"], 1)
    wild, rows = any_chemistry(each, SHIPPED_SEEDS["any chemistry"])
    names = [item.name for item in fields(Catalogue)]
    both = Catalogue(*(np.concatenate([getattr(one, name) for one in (own.catalogue, rows)]) for name in names))
    return np.concatenate([own.truth.depth, wild]), both


def shipped_spectra() -> SpectralPrior:
    """The spectral prior that the package ships: of the own family beside atmospheres of any composition."""
    learnt = learn_prior(*shipped_training(), SHIPPED_PRIOR)
    return replace(learnt, unfamiliar=unfamiliar_shapes(UNFAMILIAR_SPECTRA, SHIPPED_SEEDS["unfamiliar"]))


def first(population: Population, count: int) -> tuple[Systems, Catalogue, Spectra]:
    """Systems, catalogue rows and spectra of the planets that have light curves, or of fewer."""
    index = np.arange(count)
    truth = population.truth
    return (
        population.systems.take(index),
        population.catalogue.take(index),
        Spectra(truth.planet_id[:count], truth.depth[:count]),
    )


def absolute_errors_ppm(mean: Array, truth: Array) -> tuple[float, float, float]:
    """Median absolute error of FGS1, of the AIRS level and of the AIRS shape, ppm."""
    error = (mean - truth) * 1e6
    level = error[:, 1:].mean(1)
    parts = error[:, 0], level, error[:, 1:] - level[:, None]
    return tuple(float(np.median(np.abs(part))) for part in parts)

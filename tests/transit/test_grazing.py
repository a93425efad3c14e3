"""Grazing orbits, where depth and impact parameter trade places: sigma must say so."""

from dataclasses import replace

import numpy as np
import pytest

from kitlib.base.instruments import N_AIRS_BINS, N_BINS, bin_weights
from kitlib.base.schema import PhysfitConfig, WorldConfig
from kitlib.sigma.metric import gll_per_bin, naive_statistics
from kitlib.simulate import draw_spectra, draw_systems, draw_worlds, observed_catalogue, with_grazing
from kitlib.simulate import simulate_lightcurves as light_curves
from kitlib.transit import fit_planet, shipped_priors
from kitlib.transit.grazing import Profile, grazes, profile
from kitlib.transit.whitefit import CATALOGUE, white_fit

LEVEL = np.r_[0, np.full(N_AIRS_BINS, 1 / N_AIRS_BINS)]
PLANETS, SEED = 8, 31
# Mean square of 8 unit normal deviates: 99.9 % of them are below 3.27
MOST_MEAN_SQUARE = 3.27


def population(impacts: np.ndarray | None = None):
    """Grazing systems, or the same with these impact parameters: systems, catalogue, spectra and light curves."""
    rng = np.random.default_rng(SEED)
    grades = np.linspace(0.1, 0.95, PLANETS)  # from an orbit whose planet all but grazes to one that all but misses
    drawn = draw_worlds(WorldConfig(grazing=1.0), rng, PLANETS)
    worlds = [replace(world, graze=grade) for world, grade in zip(drawn, grades, strict=True)]
    systems = with_grazing(draw_systems(PLANETS, rng), worlds)
    if impacts is not None:
        systems = replace(systems, impact=impacts)
    depth = draw_spectra(systems, rng)
    catalogue = observed_catalogue(systems, rng)
    return systems, catalogue, depth, light_curves(systems, depth, rng, two_visit_fraction=0.0)


@pytest.fixture(scope="module")
def grazing():
    return population()


def test_errors_are_as_large_as_sigma_and_no_planet_is_answered_with_confidence_on_a_wrong_depth(grazing):
    systems, catalogue, depth, curves = grazing
    assert (systems.impact + np.sqrt(systems.depth_level) > 1).sum() >= 6
    fits = [
        fit_planet(one, catalogue.take(slice(i, i + 1)), shipped_priors(), PhysfitConfig())
        for i, one in enumerate(curves)
    ]
    mean, cov = np.stack([fit.mean for fit in fits]), np.stack([fit.cov for fit in fits])
    for what in (LEVEL, np.eye(N_BINS)[0]):
        z = (mean - depth) @ what / np.sqrt(np.einsum("pij,i,j->p", cov, what, what))
        assert (z**2).mean() < MOST_MEAN_SQUARE
    sigma = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    naive = naive_statistics(draw_spectra(draw_systems(300, np.random.default_rng(1)), np.random.default_rng(2)))
    scores = gll_per_bin(mean, sigma, depth, *naive) @ bin_weights() / bin_weights().sum()
    assert scores.min() > -1


def test_a_catalogue_that_is_right_is_not_taken_for_wrong(grazing):
    """No start of the grid lies as far out as these orbits do; what the wide search finds there is the catalogue's."""
    _, catalogue, _, curves = grazing
    for i, one in enumerate(curves):
        assert white_fit(one, catalogue.take(slice(i, i + 1)), shipped_priors(), PhysfitConfig())[1] == CATALOGUE


def test_profile_leads_along_the_valley(grazing):
    """Points of the walk lose the same light: the larger the impact parameter, the larger the planet."""
    _, catalogue, _, curves = grazing
    seen = 0
    for i, one in enumerate(curves):
        row = catalogue.take(slice(i, i + 1))
        white, _ = white_fit(one, row, shipped_priors(), PhysfitConfig())
        if not grazes(white):
            continue
        found = profile(white, float(row.period_days[0]))
        if found is None:  # an orbit that does not graze describes these light curves better
            continue
        seen += 1
        held = found.white.layout["b"]
        assert found.white.state.shared[held] == pytest.approx(found.impact, abs=1e-4)
        assert found.impact < 1 + np.sqrt(found.white.state.depth[1]) + 0.05
        assert found.error >= 0 and found.shift > 0
    assert seen >= 6


def test_ordinary_orbits_are_left_alone():
    _, catalogue, _, curves = population(np.linspace(0.0, 0.6, PLANETS))
    for i in range(3):
        white, _ = white_fit(curves[i], catalogue.take(slice(i, i + 1)), shipped_priors(), PhysfitConfig())
        assert not grazes(white)


def test_widened_moves_and_widens_fgs1_and_airs_by_one_factor():
    mean, cov = np.array([0.01, 0.02]), np.diag([1e-8, 4e-8])
    moved, wide = Profile(None, 1.0, 1.1, 0.2).widened(mean, cov)
    np.testing.assert_allclose(moved, [0.011, 0.022])
    np.testing.assert_allclose(wide, 1.21 * cov + 0.04 * np.outer(moved, moved))

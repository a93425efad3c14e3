"""A second term of AIRS' gain drift: derivatives, evidence, the likelihood without unused parameters, error bars."""

from dataclasses import replace

import numpy as np
import pytest

from kitlib.base.instruments import N_AIRS_BINS
from kitlib.base.schema import PhysfitConfig, WorldConfig
from kitlib.simulate import draw_spectra, draw_systems, draw_worlds, observed_catalogue, simulate_lightcurves
from kitlib.spectra import Likelihood, combine, ln_scale_height_depth
from kitlib.transit import driftorder, fit_planet, shipped_priors
from kitlib.transit.driftorder import Evidence, averaged, best_choice
from kitlib.transit.jointfit import joint_fit
from kitlib.transit.parameters import State
from kitlib.transit.series import series_of
from kitlib.transit.visitmodel import normal_equations
from kitlib.transit.whitefit import layout_for, white_fit

PLANETS, SEED = 8, 3
WORLDS = {"separable": WorldConfig(), "second term": WorldConfig(second_drift=[0.25, 0.25])}
LEVEL = np.r_[0, np.full(N_AIRS_BINS, 1 / N_AIRS_BINS)]
# The mean square of 8 unit normal deviates lies between these in 99.8 % of all cases
LEAST_MEAN_SQUARE, MOST_MEAN_SQUARE = 0.107, 3.27
PRIORS, CONFIG = shipped_priors(), PhysfitConfig()


@pytest.fixture(scope="module")
def planets():
    """Name of a world -> its planets: light curve, catalogue row, true spectrum. The same planets, visits and noise."""
    found = {}
    for name, world in WORLDS.items():
        rng = np.random.default_rng(SEED)
        worlds = draw_worlds(world, rng, PLANETS)
        systems = draw_systems(PLANETS, rng)
        depth = draw_spectra(systems, rng)
        rows = observed_catalogue(systems, rng)
        curves = simulate_lightcurves(systems, depth, rng, two_visit_fraction=0.0, worlds=worlds)
        found[name] = [(one, rows.take(slice(i, i + 1)), depth[i]) for i, one in enumerate(curves)]
    return found


@pytest.fixture(scope="module")
def joint(planets):
    """Name of a world -> joint fit and layout of each planet."""
    return {
        name: [
            joint_fit(one, row, PRIORS, CONFIG, *white_fit(one, row, PRIORS, CONFIG)) for one, row, _ in planets[name]
        ]
        for name in WORLDS
    }


def second_over_none(fit, layout) -> float:
    """ln evidence of the most probable second term over that of none, the other drifts at their best."""
    _, ranked = best_choice(Evidence(fit, layout, known=False))
    logs = ranked["second_0"]
    return max(log for log, choice in logs if choice.order) - max(log for log, choice in logs if not choice.order)


def test_derivatives_by_its_coefficients_equal_finite_differences(planets):
    one, row, depth = planets["second term"][0]
    rng = np.random.default_rng(6)
    series = series_of(one, white=False)
    layout = layout_for(row, PRIORS.limb, 1, 3, 2)
    shared = layout.mean.copy()
    shared[layout["t0_0"]] = 3.7
    for name in ("airs_drift_0", "airs_second_0"):
        shared[layout[name]] = 3e-4 * rng.standard_normal(shared[layout[name]].shape)
    shared[layout["airs_colour_0"]] = rng.standard_normal(3)
    system = normal_equations(series, layout, State(shared, depth), 4.0)
    where = range(layout["airs_second_0"].start, layout["airs_second_0"].stop)
    assert len(where) == 3 * 3
    for index in where:
        step = np.zeros_like(shared)
        step[index] = 1e-7
        up, down = (normal_equations(series, layout, State(shared + s * step, depth), 4.0) for s in (1, -1))
        numeric = -(up.chi2 - down.chi2) / 4e-7
        most = abs(system.gradient_shared[where]).max()
        assert system.gradient_shared[index] == pytest.approx(numeric, rel=2e-3, abs=1e-4 * most)
        residuals = np.concatenate([(u - d).ravel() for u, d in zip(up.residuals, down.residuals, strict=True)]) / 2e-7
        assert system.shared[index, index] == pytest.approx(residuals @ residuals, rel=1e-2)


def test_evidence_prefers_none_where_drift_is_separable_and_finds_it_where_it_is(joint):
    separable, second = ([second_over_none(*fit) for fit in joint[name]] for name in WORLDS)
    assert sum(value > 0 for value in separable) <= 1  # odds of a few to one against it, of each planet
    assert max(separable) < 1
    assert sum(value > 3 for value in second) >= 3  # of the planets whose drift is large
    gained = [more > less for more, less in zip(second, separable, strict=True)]
    assert sum(gained) >= PLANETS - 1  # one may draw a term that is lost in the noise


@pytest.mark.parametrize("world", WORLDS)
def test_likelihood_without_unused_parameters_gives_the_posterior_of_the_full_one(joint, planets, world, monkeypatch):
    fit, layout = joint[world][1]
    _, row, _ = planets[world][1]
    moved = fit.state.shared + 0.05 * layout.sd * np.random.default_rng(7).standard_normal(len(layout.sd))
    fit = replace(fit, state=State(moved, fit.state.depth))  # no value is zero any more
    full, make = [], driftorder._hypothesis

    def keep(*given):
        full.append(make(*given))
        return full[-1]

    monkeypatch.setattr(driftorder, "_hypothesis", keep)
    reduced = averaged(fit, layout)
    system = fit.system
    whole = Likelihood(fit.state.depth, system.depth, system.cross, system.gradient_depth, tuple(full))
    assert reduced.cross.shape[1] < whole.cross.shape[1]
    level = float(fit.state.depth[1:].mean())
    components = PRIORS.spectrum.components(float(ln_scale_height_depth(row, np.array([level]))[0]), level)
    (mean, cov, weights), (mean_all, cov_all, weights_all) = (combine(one, components) for one in (reduced, whole))
    scale = np.sqrt(np.diag(cov_all))
    assert np.abs((mean - mean_all) / scale).max() < 1e-5
    assert np.abs((cov - cov_all) / np.outer(scale, scale)).max() < 1e-5
    np.testing.assert_allclose(weights, weights_all, atol=1e-6)


@pytest.mark.parametrize("world", WORLDS)
def test_errors_of_the_level_are_as_large_as_its_sigma(planets, world):
    z = []
    for one, row, depth in planets[world]:
        fit = fit_planet(one, row, PRIORS, CONFIG)
        assert fit.diagnostics["gate"] == fit.diagnostics["fallback"] == 0
        z.append((fit.mean - depth) @ LEVEL / np.sqrt(LEVEL @ fit.cov @ LEVEL))
    assert LEAST_MEAN_SQUARE < np.mean(np.square(z)) < MOST_MEAN_SQUARE

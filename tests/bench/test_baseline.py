"""The baseline of the score benchmark: it recovers spectra, takes up a free drift, and finds scale and prior."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from kitlib.base.instruments import AIRS, N_AIRS_BINS, N_BINS
from kitlib.base.paths import find_kit_root
from kitlib.base.products import Posterior
from kitlib.base.schema import PhysfitConfig
from kitlib.spectra.combination import Hypothesis, Likelihood
from kitlib.transit.priors import shipped_priors

X = np.linspace(-1, 1, N_AIRS_BINS)


@pytest.fixture(scope="module")
def bench():
    """`baseline` and `population` of the bench folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(find_kit_root() / "bench")
        import baseline
        import population

        yield baseline, population
        for name in ("baseline", "population", "rows", "oracle", "extremes"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def planets(bench):
    """Two simulated planets of the own world and a prior that has not seen them."""
    baseline, population = bench
    family = population.draw(600, 0, 31, 1)
    return population.draw(2, 2, 32, 1), baseline.learn_design(family.truth.depth)


def fit(baseline, drawn, design, i=0, curves=None):
    given = curves or drawn.curves[i], drawn.catalogue.take(slice(i, i + 1)), design
    return baseline.fit_baseline(*given, shipped_priors(), PhysfitConfig())


def drifting(curves):
    """The same planet under a drift of AIRS that is not separable: tau x and tau^2 x^3, 400 and 300 ppm."""
    visit = dict(curves.visits[0])
    curve = visit[AIRS.name]
    tau = (curve.time_h / curve.time_h[-1] * 2 - 1)[:, None]
    gain = 1 + 4e-4 * tau * X + 3e-4 * tau**2 * X**3
    visit[AIRS.name] = replace(curve, flux_e=(curve.flux_e * gain).astype(np.float32))
    return replace(curves, visits=(visit, *curves.visits[1:]))


def test_it_recovers_simulated_spectra_within_its_errors(bench, planets):
    baseline, _ = bench
    drawn, design = planets
    for i, truth in enumerate(drawn.truth.depth):
        mean, cov, _ = fit(baseline, drawn, design, i)
        assert np.linalg.eigvalsh(cov)[0] > 0
        average = np.eye(N_BINS)
        average[1:, 1:] -= 1 / N_AIRS_BINS
        level = np.r_[0, np.full(N_AIRS_BINS, 1 / N_AIRS_BINS)]
        error, spread = mean - truth, np.sqrt(np.diag(average @ cov @ average.T))
        assert abs(error[0]) < 4 * np.sqrt(cov[0, 0]) < 4e-4
        assert abs(level @ error) < 4 * np.sqrt(level @ cov @ level) < 4e-4
        assert 0.5 < np.sqrt((((average @ error) / spread)[1:] ** 2).mean()) < 1.8


def test_its_drift_is_free_in_time_and_wavelength(bench, planets, monkeypatch):
    """A drift that is no product of time and wavelength leaves the spectrum where it is; held at none, it does not."""
    baseline, _ = bench
    drawn, design = planets
    curves = drifting(drawn.curves[0])
    mean, cov, _ = fit(baseline, drawn, design)
    moved, _, _ = fit(baseline, drawn, design, curves=curves)
    assert np.abs((moved - mean) / np.sqrt(np.diag(cov))).max() < 0.5
    monkeypatch.setattr(baseline, "AIRS_DRIFT_SD", 1e-9)
    before, _, _ = fit(baseline, drawn, design)
    held, _, _ = fit(baseline, drawn, design, curves=curves)
    assert np.abs((held - before) / np.sqrt(np.diag(cov))).max() > 2


def test_the_separable_drift_of_the_kit_is_held(bench):
    from kitlib.transit.parameters import parameter_layout

    baseline, _ = bench
    layout = baseline.free_layout(parameter_layout(2, baseline.TIME_ORDER, baseline.WAVELENGTH_ORDER))
    for visit in range(2):
        assert (layout.sd[layout[f"airs_drift_{visit}"]] < 1e-5).all()
        free = layout.sd[layout[f"airs_second_{visit}"]]
        assert len(free) == baseline.TIME_ORDER * (baseline.WAVELENGTH_ORDER + 1)
        assert (free == baseline.AIRS_DRIFT_SD).all()
        assert (layout.sd[layout[f"fgs1_drift_{visit}"]] == baseline.FGS1_DRIFT_SD).all()


def seen(depth, sigma):
    """Depths known with independent errors, nothing else unknown."""
    nothing = Hypothesis(0.0, np.zeros(0, bool), np.zeros((0, 0)), np.zeros(0))
    return Likelihood(depth, np.full(N_BINS, sigma**-2.0), np.zeros((N_BINS, 0)), np.zeros(N_BINS), (nothing,))


def test_the_scale_of_a_spectrum_is_the_most_probable_one_and_not_below_the_least(bench, planets):
    baseline, _ = bench
    _, design = planets
    root = np.linalg.cholesky(design.shape + 1e-14 * np.eye(N_BINS))
    rng = np.random.default_rng(5)
    for true in (0.5, 3.0):
        depth = 0.012 + true * root @ rng.standard_normal(N_BINS)
        mean, _, scale = baseline.meet(seen(depth, 1e-5), design)
        assert 0.85 * true < scale < 1.18 * true
        assert np.abs(mean - depth).max() < 5e-5
    flat = np.full(N_BINS, 0.012) + 2e-5 * rng.standard_normal(N_BINS)
    assert baseline.meet(seen(flat, 2e-5), design)[2] == pytest.approx(0.2)


def test_the_prior_is_that_of_its_spectra(bench):
    """Spectra drawn from a known prior: one pattern beside a Gaussian process, FGS1 with an offset of its own."""
    baseline, _ = bench
    rng = np.random.default_rng(3)
    bins = np.arange(N_AIRS_BINS)
    kernel = np.exp(-0.5 * ((bins[:, None] - bins) / 9.0) ** 2) + 1e-6 * np.eye(N_AIRS_BINS)
    process = rng.standard_normal((2000, N_AIRS_BINS)) @ np.linalg.cholesky(kernel).T
    pattern = np.sqrt(2) * np.sin(3 * np.pi * X)
    airs = 1e-4 * (2 * rng.standard_normal((2000, 1)) * pattern + process)
    level = rng.uniform(0.005, 0.02, 2000)
    depth = np.column_stack([3e-4 * rng.standard_normal(2000), airs]) + level[:, None]
    learnt = baseline._process(process)
    assert learnt[0, 0] == pytest.approx(1.0, rel=0.05) and np.abs(learnt - kernel).max() < 0.1
    design = baseline.learn_design(depth)
    assert design.level_mean == pytest.approx(level.mean(), rel=1e-3)
    shape = design.shape
    scatter = airs.std(1)  # by whose square root spectra are divided: FGS1's offset does not grow with it
    ratio = 3e-4 * np.sqrt((1 / scatter).mean() / scatter.mean())
    assert np.sqrt(shape[0, 0] / np.diag(shape)[1:].mean()) == pytest.approx(ratio, rel=0.1)
    away = np.eye(N_AIRS_BINS) - 1 / N_AIRS_BINS
    true = away @ (4 * np.outer(pattern, pattern) + kernel) @ away
    found = away @ shape[1:, 1:] @ away
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.98


def test_planets_that_the_kit_answers_otherwise_keep_its_answer(bench, planets):
    baseline, _ = bench
    drawn, design = planets
    kit = Posterior(
        drawn.truth.planet_id,
        drawn.truth.depth + 1.0,
        np.stack([np.eye(N_BINS, dtype=np.float32)] * 2),
        {"gate": np.array([1.0, 0.0]), "fallback": np.zeros(2)},
    )
    found = baseline.fit_baselines(drawn.curves, drawn.catalogue, design, shipped_priors(), PhysfitConfig(), kit)
    assert np.array_equal(found.mean[0], kit.mean[0]) and np.isnan(found.diagnostics["scale"][0])
    assert found.mean[1].max() < 0.5 and found.diagnostics["scale"][1] > 0
    assert (kit.mean > 0.5).all()  # what it was given stays as it is

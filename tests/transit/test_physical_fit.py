"""The physical fit on light curves made by batman: derivatives, recovery, sigma, odd visits, fallbacks."""

from dataclasses import replace

import batman
import numpy as np
import pytest

from kitlib.base.instruments import AIRS, FGS1, N_BINS
from kitlib.base.products import COVERED, Catalogue, LightCurve, PlanetLightCurves
from kitlib.base.schema import PhysfitConfig, PriorConfig
from kitlib.run.fits import fit_planets
from kitlib.spectra.combination import Likelihood
from kitlib.spectra.prior import learn_prior
from kitlib.transit import driftorder, visitmodel
from kitlib.transit import fit as physfit
from kitlib.transit.driftorder import Choice, Evidence
from kitlib.transit.jointfit import joint_fit
from kitlib.transit.limbdarkening import PUBLISHED
from kitlib.transit.parameters import State, balanced, gauge
from kitlib.transit.priors import Priors
from kitlib.transit.series import series_of
from kitlib.transit.whitefit import layout_for, white_fit

SAMPLES = 187
POSITION = np.linspace(-1, 1, AIRS.n_bins)


def catalogue_row(a=10.0, b=0.3, period=4.0) -> Catalogue:
    values = (1.0, 1.0, 5840.0, 1.0, period, a, np.degrees(np.arccos(b / a)))
    return Catalogue(np.array([1]), *(np.array([v]) for v in values))


def spectra(n: int, rng: np.random.Generator) -> np.ndarray:
    bands = np.stack([np.exp(-0.5 * ((POSITION - c) / 0.15) ** 2) for c in (-0.6, 0.0, 0.4)])
    level = np.exp(rng.normal(-4.4, 0.4, n))[:, None]
    shape = rng.normal(size=(n, 3)) @ (bands - bands.mean(1, keepdims=True)) * 1e-4
    return np.column_stack([level + 1e-4 * rng.normal(size=(n, 1)), level + shape])


def flux(time_h, depth, t0, row, u, visit_rng, drift=3e-4):
    """Relative flux of one channel by batman (its own exposure integration) times a cubic gain drift."""
    p = batman.TransitParams()
    p.t0, p.per, p.rp, p.a = t0 / 24, row.period_days[0], np.sqrt(depth), row.semi_major_axis_rs[0]
    p.inc, p.ecc, p.w, p.u, p.limb_dark = row.inclination_deg[0], 0.0, 90.0, list(u), "quadratic"
    exposure = (time_h[1] - time_h[0]) / 24
    model = batman.TransitModel(p, time_h / 24, supersample_factor=5, exp_time=exposure).light_curve(p)
    tau = time_h / time_h[-1] * 2 - 1
    return model * (1 + drift * np.polynomial.polynomial.polyval(tau, visit_rng.uniform(-1, 1, 4)))


def visit(depth, t0, row, rng, noise=1e-3) -> dict[str, LightCurve]:
    time_h = (np.arange(SAMPLES) + 0.5) * 7.5 / SAMPLES
    seed = int(rng.integers(1 << 31))
    fgs1 = flux(time_h, depth[0], t0, row, (0.41, 0.155), np.random.default_rng(seed), 2e-3)[:, None]
    grid = np.linspace(depth[1:].min(), depth[1:].max(), 5)
    nodes = np.stack([flux(time_h, d, t0, row, (0.125, 0.10), np.random.default_rng(seed + 1)) for d in grid])
    airs = np.stack([[np.interp(d, grid, column) for d in depth[1:]] for column in nodes.T])
    curves = {}
    for instrument, clean, sd in ((FGS1, fgs1, noise / 6), (AIRS, airs, noise)):
        level = 1e5
        noisy = level * (clean + sd * rng.normal(size=clean.shape))
        curves[instrument.name] = LightCurve(
            instrument,
            time_h,
            noisy.astype(np.float32),
            np.full(clean.shape, (level * sd) ** 2, np.float32),
            np.full(SAMPLES, 30, np.int32),
            np.zeros((SAMPLES, 2), np.float32),
        )
    return curves


@pytest.fixture(scope="module")
def prior():
    rng = np.random.default_rng(5)
    depth = spectra(400, rng)
    row = catalogue_row()
    return Priors(learn_prior(depth, row.take(np.zeros(400, int)), PriorConfig()))


def test_jacobian_equals_finite_differences():
    rng = np.random.default_rng(3)
    row, depth = catalogue_row(), spectra(1, rng)[0]
    series = series_of(PlanetLightCurves(1, (visit(depth, 3.6, row, rng, noise=1e-6),)), white=False)
    layout = layout_for(row, PUBLISHED, 1, 3, 2)
    shared = layout.mean.copy()
    shared[layout["t0_0"]] = 3.6
    shared[layout["airs_drift_0"]] = 3e-4 * rng.normal(size=3)
    shared[layout["airs_colour_0"]] = rng.normal(size=3)
    state = State(shared, depth)
    system = visitmodel.normal_equations(series, layout, state, 4.0)

    def gradient(parameters, depths):
        point = State(parameters, depths)
        return -0.5 * visitmodel.normal_equations(series, layout, point, 4.0).chi2

    for name in layout.names:
        index, h = layout[name].start, 1e-7
        up, down = shared.copy(), shared.copy()
        up[index] += h
        down[index] -= h
        numeric = (gradient(up, depth) - gradient(down, depth)) / (2 * h)
        assert system.gradient_shared[index] == pytest.approx(
            numeric, rel=2e-3, abs=1e-3 * abs(system.gradient_shared).max()
        ), name
    for channel in (0, 1, 150, 282):
        up, down = depth.copy(), depth.copy()
        up[channel] += 1e-8
        down[channel] -= 1e-8
        numeric = (gradient(shared, up) - gradient(shared, down)) / 2e-8
        assert system.gradient_depth[channel] == pytest.approx(
            numeric, rel=1e-2, abs=1e-3 * abs(system.gradient_depth).max()
        )


def test_scale_that_drift_and_colour_exchange_is_balanced_and_unseen_by_the_light_curves():
    rng = np.random.default_rng(4)
    row, depth = catalogue_row(), spectra(1, rng)[0]
    series = series_of(PlanetLightCurves(1, (visit(depth, 3.6, row, rng),)), white=False)
    layout = layout_for(row, PUBLISHED, 1, 3, 2)
    p, q = layout["airs_drift_0"], layout["airs_colour_0"]
    shared = layout.mean.copy()
    shared[layout["t0_0"]] = 3.6
    shared[p], shared[q] = 3e-5 * rng.normal(size=3), 20 * rng.normal(size=3)

    def penalty(values):
        return float((((values - layout.mean) / layout.sd) ** 2).sum())

    found = balanced(layout, shared)
    np.testing.assert_allclose(np.outer(found[p], found[q]), np.outer(shared[p], shared[q]), rtol=1e-12)
    for factor in (0.5, 0.9, 1.1, 2.0):
        other = found.copy()
        other[p], other[q] = found[p] * factor, found[q] / factor
        assert penalty(other) > penalty(found)
    system = visitmodel.normal_equations(series, layout, State(found, depth), 4.0)
    direction = gauge(layout, found)[0] * layout.sd
    assert direction @ system.shared @ direction < 1e-9 * (direction**2 * np.diag(system.shared)).sum()
    assert len(gauge(layout_for(row, PUBLISHED, 1, 3, 0), found[: len(found) - 2])) == 0  # white light has no colour


@pytest.mark.parametrize(("a", "b"), [(10.0, 0.02), (13.0, 0.4)])
def test_the_fit_converges_within_its_iterations(prior, a, b):
    """An impact parameter near 0, where Gauss-Newton's own second derivative vanishes, and an ordinary one."""
    rng = np.random.default_rng(12)
    row, depth = catalogue_row(a=a, b=b), spectra(1, rng)[0]
    planet = PlanetLightCurves(1, (visit(depth, 3.4, row, rng),))
    usual, long = (physfit.fit_planet(planet, row, prior, PhysfitConfig(max_iterations=n)) for n in (8, 60))
    sigma = np.sqrt(np.diag(long.cov))
    assert np.abs(usual.mean - long.mean).max() < 0.1 * sigma.min()
    np.testing.assert_allclose(np.sqrt(np.diag(usual.cov)), sigma, rtol=0.02)


def test_drift_choices_count_by_their_evidence_under_the_prior_of_the_depths(prior):
    """Evidence at the fitted depths, times the depths' integral in `combine`'s form, equals the marginal evidence."""
    rng = np.random.default_rng(11)
    row = catalogue_row()
    depth = spectra(1, rng)[0]
    planet = PlanetLightCurves(1, (visit(depth, 3.6, row, rng),))
    config = PhysfitConfig()
    fit, layout = joint_fit(planet, row, prior, config, *white_fit(planet, row, prior, config))
    choices = [driftorder.full_choice(layout, fit.series)]
    choices += [dict(choices[0], airs_0=Choice(3, 1, 1.0)), dict(choices[0], fgs1_0=Choice(3, 0, 0.35))]
    marginal, known = (Evidence(fit, layout, known) for known in (False, True))
    system, pairs = fit.system, zip(known(choices), choices, strict=True)
    hypotheses = [driftorder._hypothesis(float(k), fit, known.shared, layout, choice) for k, choice in pairs]
    likelihood = Likelihood(fit.state.depth, system.depth, system.cross, system.gradient_depth, tuple(hypotheses))
    root, offset = fit.depth_root, fit.depth_mean - fit.state.depth
    by_hand = []
    for one in hypotheses:
        precision, information = likelihood.marginal(one)  # depths = mean + root z
        towards = root.T @ (information - precision @ offset)
        inner = np.eye(N_BINS) + root.T @ precision @ root
        log = offset @ information - offset @ precision @ offset / 2
        log += towards @ np.linalg.solve(inner, towards) / 2 - np.linalg.slogdet(inner)[1] / 2
        by_hand.append(one.log_weight + log)
    logs = marginal(choices)
    assert np.ptp(logs) > 0.5
    np.testing.assert_allclose(np.diff(by_hand), np.diff(logs), rtol=1e-3, atol=1e-3)


def test_recovers_spectra_within_its_own_sigma(prior):
    rng = np.random.default_rng(8)
    planets, rows, truth = [], [], spectra(6, rng)
    for i, depth in enumerate(truth):
        row = catalogue_row(a=9 + i, b=0.15 * i, period=3.5)
        planets.append(PlanetLightCurves(i, (visit(depth, 3.3 + 0.2 * i, row, rng),)))
        rows.append(row)
    fits = [physfit.fit_planet(*pair, prior, PhysfitConfig()) for pair in zip(planets, rows, strict=True)]
    assert all(fit.diagnostics["fallback"] == 0 for fit in fits)
    z = np.stack([(fit.mean - t) / np.sqrt(np.diag(fit.cov)) for fit, t in zip(fits, truth, strict=True)])
    assert np.sqrt((z**2).mean()) < 1.6 and np.abs(z).max() < 6
    error = np.stack([fit.mean - t for fit, t in zip(fits, truth, strict=True)])[:, 1:]
    assert np.sqrt((error**2).mean()) < 1.2e-4  # independent bins at this noise: about 2.5e-4
    assert all(0.85 < fit.diagnostics["chi2_joint"] < 1.1 for fit in fits)
    assert len(fits[0].curves) == 2 and fits[0].curves[0].model.shape == (SAMPLES,)
    for curve in fits[0].curves:  # 1 is the star: the transit takes away from it, drift adds less than 0.2 %
        assert curve.model.max() == pytest.approx(1, abs=2e-3)


def test_second_visit_sharpens_and_missing_instrument_or_egress_do_not_crash(prior):
    rng = np.random.default_rng(4)
    row, depth = catalogue_row(), spectra(1, rng)[0]
    first, second = visit(depth, 3.5, row, rng), visit(depth, 4.1, row, rng)
    one, two, airs_only, late = (
        physfit.fit_planet(PlanetLightCurves(1, visits), row, prior, PhysfitConfig())
        for visits in ((first,), (first, second), ({AIRS.name: first[AIRS.name]},), (visit(depth, 6.6, row, rng),))
    )
    level = np.ones(N_BINS) / N_BINS
    assert level @ two.cov @ level < level @ one.cov @ level
    assert airs_only.diagnostics["fallback"] == 0 and airs_only.cov[0, 0] > one.cov[0, 0]
    assert late.diagnostics["missing_contact"] == 1 and one.diagnostics["missing_contact"] == 0
    assert level @ late.cov @ level > level @ one.cov @ level


def test_outliers_and_dead_channels_are_survived(prior):
    rng = np.random.default_rng(9)
    row, depth = catalogue_row(), spectra(1, rng)[0]
    good = visit(depth, 3.7, row, rng)
    airs = good[AIRS.name]
    spoilt = airs.flux_e.copy()
    spoilt[rng.integers(0, SAMPLES, 40), rng.integers(0, AIRS.n_bins, 40)] *= 1.5
    spoilt[:, 100] = np.nan
    broken = good | {AIRS.name: replace(airs, flux_e=spoilt)}
    clean, fit = (physfit.fit_planet(PlanetLightCurves(1, (v,)), row, prior, PhysfitConfig()) for v in (good, broken))
    assert fit.diagnostics["fallback"] == 0
    assert np.abs(fit.mean - clean.mean)[1:].max() < 1.5e-4


@pytest.mark.parametrize("sample", [40, 0, SAMPLES - 1])
def test_one_huge_spike_does_not_mislead_the_start(prior, sample):
    """Egress after the visit's end, FGS1 drifting by half a per cent, and one sample 50 % high."""
    rng = np.random.default_rng(12)
    row, depth = catalogue_row(a=13.0, b=0.25, period=3.8), spectra(1, rng)[0]
    curves = visit(depth, 6.4, row, rng)
    fgs1 = curves[FGS1.name]
    tau = fgs1.time_h / fgs1.time_h[-1] * 2 - 1
    spoilt = fgs1.flux_e * (1 + 5e-3 * (tau - tau**2 - tau**3))[:, None].astype(np.float32)
    spoilt[sample] *= 1.5
    planet = PlanetLightCurves(1, (curves | {FGS1.name: replace(fgs1, flux_e=spoilt)},))
    fit = physfit.fit_planet(planet, row, prior, PhysfitConfig())
    assert fit.diagnostics["t0_h"] == pytest.approx(6.4, abs=0.1)
    assert fit.diagnostics["chi2_white"] < 1.5


def test_hopeless_planet_falls_back_to_the_population_with_its_reason(prior):
    rng = np.random.default_rng(1)
    row, depth = catalogue_row(), spectra(1, rng)[0]
    nothing = {
        name: replace(c, flux_e=np.full_like(c.flux_e, np.nan)) for name, c in visit(depth, 3.5, row, rng).items()
    }
    planets = [PlanetLightCurves(7, (nothing,)), PlanetLightCurves(8, ())]
    posterior, _ = fit_planets(planets, row.take(np.array([0, 0])), prior, PhysfitConfig(), None, progress=False)
    assert posterior.diagnostics["fallback"].tolist() == [2, 2]
    np.testing.assert_allclose(posterior.mean[0], prior.spectrum.population()[0])


def test_noise_of_twice_the_stated_size_is_told_and_sigma_covers_it(prior):
    rng, row = np.random.default_rng(21), catalogue_row()
    depth = spectra(1, rng)[0]
    honest = visit(depth, 3.75, row, rng)
    proud = {name: replace(curve, variance_e2=curve.variance_e2 / 4) for name, curve in honest.items()}
    usual, found = (
        physfit.fit_planet(PlanetLightCurves(5, (one,)), row, prior, PhysfitConfig()) for one in (honest, proud)
    )
    assert usual.diagnostics["gate"] == 0 and not usual.misfit
    assert found.diagnostics["gate"] == COVERED and found.diagnostics["fallback"] == 0
    assert "times the variance that their noise explains. Sigma covers it: " in found.misfit
    level = np.r_[0, np.full(AIRS.n_bins, 1 / AIRS.n_bins)]
    sigmas = [np.sqrt([one.cov[0, 0], level @ one.cov @ level]) for one in (usual, found)]
    assert (sigmas[1] > 0.9 * sigmas[0]).all()  # although it was told half of the noise
    error = np.abs([found.mean[0] - depth[0], level @ (found.mean - depth)])
    assert (error < 4 * sigmas[1]).all()

"""Sigma calibration on Gaussian planets whose mis-scaling is known, judged on planets that the fit never saw."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import norm

from kitlib.base.instruments import PPM
from kitlib.base.products import Posterior, Spectra
from kitlib.sigma import fit as sigma_module
from kitlib.sigma.calibrator import Calibrator, CalibratorError, apply, calibrated_covariance
from kitlib.sigma.fit import cross_calibrate, fit_calibrator
from kitlib.sigma.metric import gll_score, naive_statistics
from kitlib.sigma.reliability import level_shape_z, reliability, reliability_by_part, summarise
from kitlib.spectra import level_moments

PLANETS = 240
KERNEL = np.exp(-0.5 * ((np.arange(282)[:, None] - np.arange(282)) / 15.0) ** 2) + 0.05 * np.eye(282)
KERNEL /= KERNEL[0, 0]
CENTRE = np.eye(282) - 1 / 282


def covariances(rng, planets):
    """(P, 283, 283): FGS1 ~ 40 ppm, a level of ~ 25 ppm, a smooth shape of 5 to 80 ppm, and a link between the two."""
    cov = np.zeros((planets, 283, 283))
    fgs1, level, shape = (np.exp(rng.normal(np.log(v), s, planets)) * PPM for v, s in ((40, 0.3), (25, 0.3), (20, 0.8)))
    shape_cov = CENTRE @ KERNEL @ CENTRE
    direction = CENTRE @ np.linspace(-1, 1, 282) ** 3
    for p in range(planets):
        link = 0.3 * shape[p] * direction
        coupled = np.outer(level[p] + link, level[p] + link)
        cov[p, 1:, 1:] = coupled + shape[p] ** 2 * shape_cov
        cov[p, 0, 0] = fgs1[p] ** 2
    return cov


def rescaled(cov, fgs1, level, shape):
    """Covariance of (fgs1 * e_F, level * e_level + shape * e_shape), written by an explicit matrix."""
    matrix = np.zeros((283, 283))
    matrix[0, 0] = fgs1
    matrix[1:, 1:] = level / 282 + shape * CENTRE
    return np.einsum("ij,pjk,lk->pil", matrix, cov, matrix, optimize=True)


def campaign(seed, planets=PLANETS, fgs1=1.0, level=1.0, shape=1.0, scale=(1.0, 1.0), extra=None):
    """A posterior that states `cov` while truth - mean has the rescaled covariance, and a bias in proportion to mean.

    `extra(rng, planets)` gives factors (2, planets) on the errors of FGS1 and of the level, and the diagnostics that
    betray them.
    """
    rng = np.random.default_rng(seed)
    stated = covariances(rng, planets)
    true = rescaled(stated, fgs1, level, shape)
    (on_fgs1, on_level), diagnostics = extra(rng, planets) if extra else (np.ones((2, planets)), {})
    chol = np.linalg.cholesky(true + 1e-16 * np.eye(283))
    error = np.einsum("pij,pj->pi", chol, rng.standard_normal((planets, 283)))
    error[:, 0] *= on_fgs1
    error[:, 1:] += (on_level - 1)[:, None] * error[:, 1:].mean(axis=1, keepdims=True)
    wave = np.sin(np.arange(283) / 40 + rng.uniform(0, 6, (planets, 1)))
    mean = np.exp(rng.normal(-4.4, 0.5, (planets, 1))) + 2e-4 * wave
    bias = np.hstack([mean[:, :1] * (scale[0] - 1), np.tile(mean[:, 1:].mean(1, keepdims=True) * (scale[1] - 1), 282)])
    ids = rng.choice(10**9, planets, replace=False).astype(np.int64)
    return Posterior(ids, mean, stated.astype(np.float32), diagnostics), Spectra(ids, mean + error + bias)


def halves(posterior, truth):
    half = len(truth.planet_id) // 2
    return (
        (posterior.take(slice(0, half)), Spectra(truth.planet_id[:half], truth.depth[:half])),
        (posterior.take(slice(half, None)), Spectra(truth.planet_id[half:], truth.depth[half:])),
    )


def score(prediction, truth, naive):
    return gll_score(prediction.mu, prediction.sigma, truth.depth, *naive).total


@pytest.fixture(scope="module")
def misscaled():
    posterior, truth = campaign(1, fgs1=1.5, level=2.0, shape=0.7, scale=(1.005, 0.997))
    fit, held_out = halves(posterior, truth)
    return fit, held_out, fit_calibrator(*fit), naive_statistics(truth.depth)


def test_the_fit_recovers_factors_and_scales(misscaled):
    """Stated errors: one number a planet gives its factor to 1/sqrt(2 120) = 6.5 %; the tolerance is 2.5 of these."""
    calibrator = misscaled[2]
    assert calibrator.factor_fgs1 == pytest.approx(1.5, rel=0.16)
    assert calibrator.factor_level == pytest.approx(2.0, rel=0.16)
    assert calibrator.factor_shape == pytest.approx(0.7, rel=0.05)
    # FGS1: 60 ppm of 1.3 % a planet / sqrt(120) = 4.2e-4; level: 50 ppm, 3.5e-4
    assert calibrator.scale_fgs1 == pytest.approx(1.005, abs=1.1e-3)
    assert calibrator.scale_level == pytest.approx(0.997, abs=0.9e-3)


def test_calibration_raises_the_score_of_planets_it_never_saw(misscaled):
    _, (posterior, truth), calibrator, naive = misscaled
    assert calibrator.unseen(posterior.planet_id).all()
    before, after = (score(apply(c, posterior), truth, naive) for c in (Calibrator(), calibrator))
    oracle = Calibrator(factor_fgs1=1.5, factor_level=2.0, factor_shape=0.7, scale_fgs1=1.005, scale_level=0.997)
    best = score(apply(oracle, posterior), truth, naive)
    assert after > before + 0.03
    assert best - after < 0.004


def test_held_out_z_scores_are_unit_by_part(misscaled):
    """120 planets: the standard error of a spread is 6.5 %; the pooled shape is tighter."""
    _, (posterior, truth), calibrator, _ = misscaled
    raw = reliability_by_part(posterior.mean, posterior.cov, truth.depth)
    assert raw["level"]["rms"] > 1.8 and raw["fgs1"]["rms"] > 1.5 and raw["shape"]["rms"] < 0.8
    mu = apply(calibrator, posterior).mu
    parts = reliability_by_part(mu, calibrated_covariance(calibrator, posterior), truth.depth)
    for name, tolerance in (("fgs1", 0.17), ("level", 0.17), ("shape", 0.06)):
        assert parts[name]["rms"] == pytest.approx(1, abs=tolerance), name
        assert parts[name]["coverage"]["0.68"] == pytest.approx(0.68, abs=0.11), name


def test_fifty_well_calibrated_planets_are_left_alone():
    """No overfit: on a posterior that is already right, calibrating on 50 planets costs held-out planets < 0.004."""
    posterior, truth = campaign(2, planets=200)
    fit = posterior.take(slice(0, 50)), Spectra(truth.planet_id[:50], truth.depth[:50])
    held_out, depth = posterior.take(slice(50, None)), truth.depth[50:]
    calibrator, naive = fit_calibrator(*fit), naive_statistics(truth.depth)
    loss = score(apply(Calibrator(), held_out), Spectra(held_out.planet_id, depth), naive) - score(
        apply(calibrator, held_out), Spectra(held_out.planet_id, depth), naive
    )
    assert loss < 0.004


def test_quality_terms_are_recovered():
    """FGS1's and the level's errors grow as chi2^0.5, by 1.5 with two visits, by 2 with a missing contact.

    The diagnostics say which. The shape's do not grow. A quarter of 240 planets has each flag: a factor is known to 8 %
    and drawn 4 % toward 1 by its prior; 2.5 of these.
    """

    def extra(rng, planets):
        chi2 = np.exp(rng.normal(0.2, 0.5, planets))
        two, missing = rng.random(planets) < 0.25, rng.random(planets) < 0.25
        factor = (chi2 / np.exp(0.2)) ** 0.5 * np.where(two, 1.5, 1.0) * np.where(missing, 2.0, 1.0)
        return np.stack([factor, factor]), {
            "chi2_white": chi2,
            "visits": 1.0 + two,
            "missing_contact": missing.astype(float),
        }

    posterior, truth = campaign(3, extra=extra)
    calibrator = fit_calibrator(posterior, truth)
    assert calibrator.chi2_exponent == pytest.approx(0.5, abs=0.12)
    assert calibrator.two_visit_factor == pytest.approx(1.5, rel=0.24)
    assert calibrator.missing_contact_factor == pytest.approx(2.0, rel=0.24)
    assert calibrator.chi2_reference == pytest.approx(np.exp(0.2), rel=0.1)
    lacking = replace(posterior, diagnostics={"visits": posterior.diagnostics["visits"]})
    with pytest.raises(CalibratorError, match="chi2_white"):
        apply(calibrator, lacking)


def test_covariances_that_cover_a_misfit_have_a_factor_of_their_own_and_no_power_of_chi2():
    """A third of the planets is covered, their levels err by 1.6 sigma whatever their chi2; others follow chi2 ** 0.5.

    Two covered planets err by 30 sigma: no factor serves them and the rest, and they move it by nothing. Draws scatter
    by 0.16 in the factor and 0.05 in the exponent, which its prior draws 0.07 toward 0; 2.5 of these.
    """

    def extra(rng, planets):
        chi2, covered = np.exp(rng.normal(0.0, 0.5, planets)), rng.random(planets) < 1 / 3
        chi2 = np.where(covered, 6 * chi2, chi2)
        factor = np.where(covered, np.array([[1.0], [1.6]]), chi2**0.5)
        return factor, {"chi2_white": chi2, "gate": 2.0 * covered}

    posterior, truth = campaign(4, extra=extra)
    broken = truth.depth.copy()
    worst = np.flatnonzero(posterior.is_covered)[:2]
    broken[worst, 1:] += 30 * np.sqrt(level_moments(posterior.cov)[0])[worst, None]
    found = [fit_calibrator(posterior, Spectra(truth.planet_id, depth)) for depth in (truth.depth, broken)]
    for calibrator in found:
        assert calibrator.covered_factor * calibrator.factor_level == pytest.approx(1.6, abs=0.4)
        assert calibrator.chi2_exponent == pytest.approx(0.43, abs=0.125)
    assert set(found[0].fitted_on) - set(found[1].fitted_on) == set(posterior.planet_id[worst].tolist())


def test_floors_are_found_where_the_posterior_is_too_sure():
    posterior, truth = campaign(5)
    rng = np.random.default_rng(50)
    depth = truth.depth.copy()
    depth[:, 0] += rng.normal(0, 150 * PPM, PLANETS)
    calibrator = fit_calibrator(posterior, Spectra(truth.planet_id, depth))
    combined = np.hypot(calibrator.factor_fgs1 * 40, calibrator.floor_fgs1_ppm)
    assert calibrator.floor_fgs1_ppm > 80
    assert combined == pytest.approx(np.hypot(40, 150), rel=0.15)


def test_one_planet_by_hand():
    """Level variance 4, shape variance 9 in half of the bins with cov(level, shape) 0: written out in ppm^2."""
    shape = np.where(np.arange(282) % 2, 3.0, -3.0)
    cov = np.zeros((1, 283, 283))
    cov[0, 0, 0] = 25.0
    cov[0, 1:, 1:] = 4.0 + np.outer(shape, shape)
    mean = np.full((1, 283), 0.01)
    mean[0, 1:] += shape * PPM
    posterior = Posterior(np.array([7]), mean, (cov * PPM**2).astype(np.float32), {"chi2_white": np.array([4.0])})
    calibrator = Calibrator(
        factor_fgs1=2.0,
        factor_level=3.0,
        factor_shape=0.5,
        chi2_exponent=0.5,
        floor_fgs1_ppm=7.0,
        floor_level_ppm=1.0,
        floor_shape_ppm=2.0,
        scale_fgs1=1.1,
        scale_level=0.95,
        scale_shape=0.8,
        quality=("chi2_white",),
    )
    got = apply(calibrator, posterior)
    # chi2 = 4 to the power 1/2 doubles the factors of FGS1 and level, not the shape's
    assert got.sigma[0, 0] / PPM == pytest.approx(np.sqrt((2 * 2 * 5) ** 2 + 7**2), rel=1e-6)
    np.testing.assert_allclose(got.sigma[0, 1:] / PPM, np.sqrt(36 * 4 + 0.25 * 9 + 1 + 4), rtol=1e-6)
    assert got.mu[0, 0] == pytest.approx(0.011, rel=1e-12)
    np.testing.assert_allclose(got.mu[0, 1:], 0.0095 + 0.8 * shape * PPM, rtol=1e-10)


def test_a_planet_whose_sigma_covers_a_misfit_by_hand():
    """Its level alone is widened, by its own factor, and its chi2 counts for nothing."""
    shape = np.where(np.arange(282) % 2, 3.0, -3.0)
    cov = np.zeros((1, 283, 283))
    cov[0, 0, 0] = 25.0
    cov[0, 1:, 1:] = 4.0 + np.outer(shape, shape)
    known = {"chi2_white": np.array([9.0]), "gate": np.array([2.0])}
    posterior = Posterior(np.array([7]), np.full((1, 283), 0.01), (cov * PPM**2).astype(np.float32), known)
    calibrator = Calibrator(chi2_exponent=0.5, covered_factor=3.0, quality=("chi2_white", "gate"))
    got = apply(calibrator, posterior).sigma / PPM
    assert got[0, 0] == pytest.approx(5.0, rel=1e-6)
    np.testing.assert_allclose(got[0, 1:], np.sqrt(9 * 4 + 9), rtol=1e-6)


def test_calibrated_covariance_agrees_with_an_explicit_matrix_and_with_apply():
    posterior, _ = campaign(6, planets=3)
    calibrator = Calibrator(factor_fgs1=1.5, factor_level=2.0, factor_shape=0.7)
    expected = rescaled(posterior.cov.astype(float), 1.5, 2.0, 0.7)
    np.testing.assert_allclose(calibrated_covariance(calibrator, posterior), expected, rtol=1e-4, atol=1e-15)
    floors = replace(calibrator, floor_fgs1_ppm=20.0, floor_level_ppm=30.0, floor_shape_ppm=10.0)
    cov = calibrated_covariance(floors, posterior)
    assert cov.dtype == np.float32
    diagonal = np.diagonal(cov, axis1=1, axis2=2)
    np.testing.assert_allclose(np.sqrt(diagonal), apply(floors, posterior).sigma, rtol=1e-5)
    before, after = (
        np.linalg.multi_dot([np.ones(282), c[0, 1:, 1:].astype(float), np.ones(282)]) / 282**2 for c in (expected, cov)
    )
    assert after - before == pytest.approx((30 * PPM) ** 2, rel=1e-3), "only the level's floor moves the level"


def test_a_posterior_tells_its_sigma_its_subsets_and_who_has_no_fit():
    posterior, _ = campaign(7, planets=4)
    assert not posterior.is_population.any()
    posterior = replace(
        posterior,
        diagnostics={"fallback": np.array([0.0, 1.0, 2.0, np.nan])},
        inputs={"present": np.arange(8).reshape(4, 2)},
    )
    assert posterior.is_population.tolist() == [False, False, True, False]
    assert posterior.sigma.dtype == np.float64
    np.testing.assert_allclose(posterior.sigma[3, 7] ** 2, posterior.cov[3, 7, 7], rtol=1e-12)
    for index in (np.array([2, 0]), slice(2, None, -2)):
        some = posterior.take(index)
        assert some.planet_id.tolist() == posterior.planet_id[[2, 0]].tolist()
        assert some.inputs["present"].tolist() == [[4, 5], [0, 1]] and some.is_population.tolist() == [True, False]
        np.testing.assert_array_equal(some.cov, posterior.cov[[2, 0]])
    assert posterior.take(posterior.is_population).mean.tolist() == posterior.mean[[2]].tolist()


def test_failed_fits_keep_the_population_prior_and_are_not_learnt_from():
    posterior, truth = campaign(7, planets=40)
    fallback = np.zeros(40)
    fallback[5], fallback[6] = 2, 1
    mean = posterior.mean.copy()
    mean[5] = 0.5
    broken = replace(posterior, mean=mean, diagnostics={"fallback": fallback, "visits": np.ones(40)})
    calibrator = fit_calibrator(broken, truth)
    assert posterior.planet_id[5] not in calibrator.fitted_on and posterior.planet_id[6] in calibrator.fitted_on
    doubled = replace(calibrator, factor_fgs1=2.0, factor_level=2.0, scale_fgs1=1.01)
    got = apply(doubled, broken)
    np.testing.assert_allclose(got.mu[5], 0.5, rtol=1e-12)
    np.testing.assert_allclose(got.sigma[5], np.sqrt(np.diagonal(broken.cov[5])), rtol=1e-5)
    np.testing.assert_allclose(got.sigma[6, 0], 2 * np.sqrt(broken.cov[6, 0, 0]), rtol=0.01 + calibrator.floor_fgs1_ppm)


def test_when_every_planet_failed_missing_diagnostics_are_no_error():
    posterior, _ = campaign(8, planets=2)
    failed = replace(posterior, diagnostics={"fallback": np.full(2, 2.0)})
    got = apply(Calibrator(quality=("chi2_white",), chi2_exponent=1.0, factor_fgs1=3.0), failed)
    np.testing.assert_allclose(got.sigma[:, 0], np.sqrt(posterior.cov[:, 0, 0]), rtol=1e-6)
    with pytest.raises(ValueError, match="no planet with a fit"):
        fit_calibrator(failed, Spectra(posterior.planet_id, posterior.mean))


@pytest.mark.parametrize("centre", [0.0, 0.3])
def test_the_gradient_is_the_derivative_of_the_loss(centre):
    def extra(rng, planets):
        two = rng.random(planets) < 0.5
        diagnostics = {"chi2_white": rng.uniform(0.5, 2, planets), "visits": 1.0 + two, "missing_contact": 1.0 - two}
        diagnostics["gate"] = 2.0 * (rng.random(planets) < 0.5)
        return np.ones((2, planets)), diagnostics

    posterior, truth = campaign(9, planets=6, fgs1=1.3, scale=(1.002, 1.002), extra=extra)
    start = Calibrator(quality=sigma_module.QUALITY)
    weight = np.random.default_rng(0).uniform(0.001, 0.01, truth.depth.shape)
    parts = sigma_module.take_apart(posterior, start)
    problem = sigma_module._Problem(parts, truth.depth, weight, np.full(len(sigma_module._PARAMETERS), centre))
    at = np.random.default_rng(1).uniform(0.1, 0.8, len(sigma_module._PARAMETERS))
    numeric = approx_fprime(at, lambda u: problem.loss(u, start)[0], 1e-6)
    np.testing.assert_allclose(problem.loss(at, start)[1], numeric, rtol=2e-3, atol=2e-5)


def test_few_planets_lean_on_what_is_known_and_many_do_not():
    """Errors are twice what the posterior says; a calibrator that knows this is a better start than none."""
    known = Calibrator(factor_fgs1=2.0, factor_level=2.0, factor_shape=2.0, floor_level_ppm=5.0, relative_level=1e-3)

    def factors(planets: int, around: Calibrator) -> np.ndarray:
        found = fit_calibrator(*campaign(3, planets=planets, fgs1=2.0, level=2.0, shape=2.0), None, around)
        return np.array([found.factor_fgs1, found.factor_level])

    few = [np.abs(np.log(factors(4, around) / 2)).max() for around in (Calibrator(), known)]
    assert few[1] < few[0]
    posterior, truth = campaign(3, planets=300, fgs1=2.0, level=2.0, shape=2.0)
    # of many planets sigma is the same; how much of it is factor and how much floor is less well known
    many = [apply(fit_calibrator(posterior, truth, None, around), posterior) for around in (Calibrator(), known)]
    apart = np.log(many[0].sigma / many[1].sigma)
    assert np.abs(apart.mean(axis=0)).max() < 0.1 * np.log(2)  # of the distance between the two priors


def test_the_values_of_the_known_calibrator_are_kept_where_nothing_speaks_against_them():
    known = {
        "factor_fgs1": 1.7,
        "chi2_exponent": 0.2,
        "floor_shape_ppm": 3.0,
        "relative_level": 1e-3,
        "scale_shape": 0.9,
    }
    units = {p.field: p.units(known[p.field]) for p in sigma_module._PARAMETERS if p.field in known}
    for p in sigma_module._PARAMETERS:
        if p.field in known:
            assert p.value(units[p.field]) == pytest.approx(known[p.field])
            slopes = [p.penalty(units[p.field] * by, units[p.field])[1] for by in (0.9, 1.0, 1.1)]
            assert abs(slopes[1]) < 1e-12 and slopes[0] * slopes[2] < 0  # the prior is densest at the known value


def test_at_most_fifteen_numbers_are_fitted():
    assert len(sigma_module._PARAMETERS) <= 15


def test_json_round_trip_is_exact(misscaled):
    calibrator = misscaled[2]
    again = Calibrator.from_json(calibrator.to_json())
    assert again == calibrator
    assert again.to_json() == calibrator.to_json()
    posterior = misscaled[1][0]
    np.testing.assert_array_equal(apply(again, posterior).sigma, apply(calibrator, posterior).sigma)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version"),
        ({"factor_fgs1": -1.0}, "factor_fgs1"),
        ({"factor_level": 0}, "factor_level"),
        ({"factor_shape": "1.0"}, "factor_shape"),
        ({"floor_shape_ppm": -2.0}, "floor_shape_ppm"),
        ({"scale_level": None}, "scale_level"),
        ({"scale_shape": True}, "scale_shape"),
        ({"chi2_reference": float("nan")}, "NaN"),
        ({"chi2_exponent": float("inf")}, "Infinity"),
        ({"quality": ["mood"]}, "quality"),
        ({"fitted_on": [1.5]}, "fitted_on"),
        ({"unknown": 1.0}, "unknown"),
    ],
)
def test_a_wrong_calibrator_is_refused(change, message):
    raw = json.loads(Calibrator().to_json()) | change
    with pytest.raises(CalibratorError, match=message):
        Calibrator.from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"version": 1}'])
def test_what_is_not_a_calibrator_is_refused(text):
    with pytest.raises(CalibratorError, match="train stage"):
        Calibrator.from_json(text)


def test_wrong_posteriors_are_refused(misscaled):
    (posterior, truth), _, calibrator, _ = misscaled
    mean = posterior.mean.copy()
    mean[3, 4] = np.nan
    with pytest.raises(ValueError, match=str(posterior.planet_id[3])):
        fit_calibrator(replace(posterior, mean=mean), truth)
    with pytest.raises(ValueError, match="same order"):
        fit_calibrator(posterior, Spectra(truth.planet_id[::-1], truth.depth[::-1]))
    with pytest.raises(ValueError, match="covariance"):
        apply(calibrator, replace(posterior, cov=posterior.cov[:, :5, :5]))


def test_an_unusable_posterior_is_nan_and_costs_that_planet_alone():
    posterior, _ = campaign(11, planets=3)
    cov = posterior.cov.copy()
    cov[1, 5, 5] = -1e-9
    got, clean = (apply(Calibrator(), p) for p in (replace(posterior, cov=cov), posterior))
    assert np.isnan(got.mu[1]).all() and np.isnan(got.sigma[1]).all()
    np.testing.assert_array_equal(got.sigma[[0, 2]], clean.sigma[[0, 2]])
    np.testing.assert_array_equal(got.mu[[0, 2]], clean.mu[[0, 2]])


def test_negative_depths_never_leave():
    posterior, _ = campaign(10, planets=2)
    got = apply(Calibrator(), replace(posterior, mean=posterior.mean - 1))
    assert (got.mu > 0).all()


def test_cross_calibration_judges_each_planet_by_the_others(misscaled):
    (posterior, truth), _, _, naive = misscaled
    got = cross_calibrate(posterior, truth, folds=3, seed=4, naive=naive)
    assert (got.planet_id == posterior.planet_id).all()
    assert score(got, truth, naive) > score(apply(Calibrator(), posterior), truth, naive) + 0.03
    # an absurd truth of one planet changes the others' calibration, never its own
    depth = truth.depth.copy()
    depth[0] *= 1.02
    moved = cross_calibrate(posterior, Spectra(truth.planet_id, depth), folds=3, seed=4, naive=naive)
    np.testing.assert_array_equal(moved.mu[0], got.mu[0])
    np.testing.assert_array_equal(moved.sigma[0], got.sigma[0])
    assert (moved.sigma[1:] != got.sigma[1:]).any()


def test_summary_of_one_point_and_of_known_quantiles():
    assert summarise(np.array([2.0]))["coverage"] == {"0.50": 0.0, "0.68": 0.0, "0.90": 0.0, "0.95": 0.0}
    assert summarise(np.array([0.0]))["rms"] == 0
    z = np.random.default_rng(0).standard_normal(200_000) * 1.2 + 0.1
    got = summarise(np.append(z, np.nan))
    assert got["count"] == 200_000
    assert got["std"] == pytest.approx(1.2, rel=0.01) and got["robust"] == pytest.approx(1.2, rel=0.01)
    assert got["mean"] == pytest.approx(0.1, abs=0.01) and got["rms"] == pytest.approx(np.hypot(1.2, 0.1), rel=0.01)
    # P(|N(0.1, 1.2)| < 1.645) by the normal distribution
    expected = norm.cdf(1.6449, 0.1, 1.2) - norm.cdf(-1.6449, 0.1, 1.2)
    assert got["coverage"]["0.90"] == pytest.approx(expected, abs=0.004)
    with pytest.raises(ValueError, match="finite"):
        summarise(np.array([np.nan]))


def test_z_scores_by_part_of_one_planet_by_hand():
    cov = np.diag(np.append(4.0, np.ones(282)))[None] + 0
    cov[0, 1:, 1:] += 8.0  # level variance 8 + 1/282, shape variance 1 - 1/282
    truth = np.zeros((1, 283))
    truth[0, 0], truth[0, 1:] = 6.0, 3.0
    truth[0, 1], truth[0, 2] = 4.0, 2.0
    z = level_shape_z(np.zeros((1, 283)), cov, truth)
    assert z["fgs1"][0] == pytest.approx(3)
    assert z["level"][0] == pytest.approx(3 / np.sqrt(8 + 1 / 282))
    assert z["shape"][0, :3] == pytest.approx(np.array([1, -1, 0]) / np.sqrt(1 - 1 / 282))
    bins = reliability(np.zeros((1, 283)), np.full((1, 283), 2.0), truth)
    assert bins["fgs1"]["rms"] == pytest.approx(3) and bins["airs"]["count"] == 282

"""The simulator against batman, against published statistics of the real data, and against itself."""

import batman
import numpy as np
import pytest

from kitlib.base.instruments import ADC_GAIN, ADC_OFFSET_E, AIRS, FGS1, INSTRUMENTS, VISIT_HOURS
from kitlib.simulate import lightcurves, spectra, systems
from kitlib.simulate.detector import LINEARITY, _uncorrected, draw_detector
from kitlib.simulate.exposure import simulate_frames
from kitlib.simulate.optics import airs_psf, fgs1_psf, star_flux, wavelengths_um
from kitlib.simulate.residue import light_shares
from kitlib.simulate.visits import DRIFT_RMS, Drift, Visit, draw_visits, pair_times_h
from kitlib.simulate.worlds import OWN


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(5)
    drawn = systems.draw_systems(4000, rng)
    return drawn, systems.observed_catalogue(drawn, rng), spectra.draw_spectra(drawn, rng)


# --- systems ---------------------------------------------------------------------------------------------------------


def test_catalogue_statistics(population):
    true, seen, _ = population
    # Quartiles of the real train_star_info.csv: (25 %, 50 %, 75 %), sampling error of 1,100 systems about 2 %.
    real = {
        "stellar_radius_rsun": (0.966, 1.231, 1.448),
        "stellar_mass_msun": (0.937, 1.097, 1.247),
        "stellar_temperature_k": (5571, 5887, 6230),
        "period_days": (3.95, 5.20, 6.34),
        "semi_major_axis_rs": (8.65, 10.54, 12.79),
    }
    for name, quartiles in real.items():
        assert np.allclose(np.percentile(getattr(seen, name), [25, 50, 75]), quartiles, rtol=0.06), name
    assert np.allclose(np.percentile(90 - seen.inclination_deg, [25, 50, 75]), (0.75, 1.49, 2.29), atol=0.12)
    assert 0.06 < np.mean(seen.inclination_deg == 90) < 0.09  # 7.6 %
    kepler = 4.2083 * seen.period_days ** (2 / 3) * seen.stellar_mass_msun ** (1 / 3) / seen.stellar_radius_rsun
    assert np.isclose(np.std(np.log(seen.semi_major_axis_rs / kepler)), 0.064, atol=0.004)
    assert np.isclose(np.std(np.log(seen.semi_major_axis_rs / true.semi_major_axis_rs)), 0.064, atol=0.004)
    impact = seen.semi_major_axis_rs * np.cos(np.radians(seen.inclination_deg))
    assert 0 < np.mean(impact > 1) < 0.012 and true.impact.max() < 0.9  # real: 6 of 1,100; the truth always transits
    assert 0.08 < np.std(impact - true.impact) < 0.13
    assert len(np.unique(true.planet_id)) == len(true)


def test_durations_and_timing(population):
    true = population[0]
    duration = true.duration_h
    assert np.isclose(duration.mean(), 4.0, atol=0.15)
    assert np.allclose(np.percentile(duration, [5, 95]), (2.5, 6.1), atol=0.3)
    visits = draw_visits(true, np.random.default_rng(1))
    t0 = np.array([v.t0_h["AIRS-CH0"] for planet in visits for v in planet])
    length = np.concatenate([[d] * len(planet) for d, planet in zip(duration, visits, strict=True)])
    partial = np.mean((t0 - length / 2 < 0) | (t0 + length / 2 > VISIT_HOURS))
    assert 0.012 < partial < 0.040  # about 2 %; the rate of long transits swings with the draw
    assert np.percentile(t0, 5) > 2.9 and np.percentile(t0, 95) < 4.6
    difference = [v.t0_h["FGS1"] - v.t0_h["AIRS-CH0"] for planet in visits for v in planet]
    assert 0.01 < np.abs(difference).max() <= 0.015
    assert 0.08 < np.mean([len(planet) == 2 for planet in visits]) < 0.12


def test_duration_agrees_with_batmans_contacts():
    one = systems.draw_systems(1, np.random.default_rng(2))
    hours = np.linspace(-6, 6, 48_001)
    dip = lightcurves.transit_model(one, np.full(283, one.depth_level[0]), 0.0, hours)[:, 0]
    assert np.isclose(np.ptp(hours[dip < 1]), one.duration_h[0], atol=0.005)


def test_limb_darkening(population):
    true = population[0]
    u, c = systems.quadratic_limb_darkening(true), systems.limb_darkening(true)
    assert np.isclose(np.corrcoef(u[:, 0, 0], true.stellar_temperature_k)[0, 1] ** 2, 0.83, atol=0.04)
    assert np.isclose(u[:, 0, 0].mean(), 0.41, atol=0.01) and np.isclose(u[:, 0, 1].mean(), 0.155, atol=0.01)
    wl = wavelengths_um()[1:]
    middle = np.argmin(np.abs(wl - 2.9)) + 1
    assert np.allclose(u[:, middle].mean(axis=0), (0.125, 0.10), atol=0.01)
    slope = np.polyfit(wl, u[:, 1:].mean(axis=0), 1)[0]
    assert np.allclose(slope, (-0.05, -0.02), atol=0.005)
    # The non-linear law is a positive profile that falls to the limb, off the quadratic one by 0.5-8 % at most.
    mu = np.linspace(0, 1, 101)
    profile = 1 - np.einsum("nbm,mx->nbx", c[:50, ::40], np.stack([1 - mu ** (m / 2) for m in range(1, 5)]))
    quadratic = 1 - u[:50, ::40, :1] * (1 - mu) - u[:50, ::40, 1:] * (1 - mu) ** 2
    worst = np.abs(profile - quadratic).max(axis=-1)
    assert profile.min() > 0.1 and np.median(worst) > 0.005 and worst.max() < 0.10
    # At the centre of the disc, and in the mean over it, both agree to a fraction of that.
    assert np.abs(np.trapezoid((profile - quadratic) * mu, mu, axis=-1)).max() < 1e-3


# --- light curves ----------------------------------------------------------------------------------------------------


def test_transit_model_agrees_with_batman(population):
    true, _, depth = population
    deep = int(np.argmax(np.ptp(depth[:200], axis=1) * (depth[:200, 1] < 0.03)))
    grazing = int(np.argmax(true.impact[:200]))
    hours = np.linspace(0, VISIT_HOURS, 700)
    for i in (0, 1, deep, grazing, int(np.argmax(depth[:200, 0]))):
        system = true.take(np.array([i]))
        ours = lightcurves.transit_model(system, depth[i], 3.6, hours)
        c = systems.limb_darkening(system)[0]
        for b in (0, 1, 150, 282, 1 + int(depth[i, 1:].argmax())):
            p = batman.TransitParams()
            p.t0, p.per, p.rp, p.ecc, p.w = 3.6 / 24, system.period_days[0], np.sqrt(depth[i, b]), 0.0, 90.0
            p.a, p.inc, p.limb_dark, p.u = (
                system.semi_major_axis_rs[0],
                system.inclination_deg[0],
                "nonlinear",
                list(c[b]),
            )
            theirs = batman.TransitModel(p, hours / 24, fac=0.002).light_curve(p)
            assert np.abs(ours[:, b] - theirs).max() < 2e-6, (i, b)


def test_light_curves_scatter_as_their_truth_says(population):
    true, _, depth = population
    curves, truths = lightcurves.simulate_with_truth(
        true.take(slice(0, 4)), depth[:4], np.random.default_rng(1), two_visit_fraction=0.5
    )
    for planet, truth in zip(curves, truths, strict=True):
        assert planet.planet_id == truth.planet_id and len(planet.visits) == len(truth.visits)
        for visit, known in zip(planet.visits, truth.visits, strict=True):
            for name, bins in (("FGS1", slice(0, 1)), ("AIRS-CH0", slice(1, 283))):
                light = visit[name]
                expected = truth.star_flux_e[bins] * known.transit[name] * known.gain[name]
                expected = expected * (1 + known.red_noise[name][:, None])
                pull = (light.flux_e - expected) / known.noise_sd_e[name]
                clean = np.abs(pull) < 6
                assert clean.mean() > 0.999 and np.isclose(pull[clean].std(), 1, atol=0.12 if name == "FGS1" else 0.01)
                assert light.flux_e.shape == light.variance_e2.shape == (375, expected.shape[1])
                assert light.flux_e.dtype == np.float32 and light.pairs.sum() == light.instrument.pairs_per_visit
                excess = known.noise_sd_e[name] / np.sqrt(light.variance_e2)
                assert np.allclose(excess, lightcurves.EXCESS_NOISE[name], rtol=1e-5)


def test_noise_over_photon_noise_is_the_real_one():
    flux = star_flux(5500, 0.8)[1:]
    share, _, sky = light_shares(AIRS, OWN, systems.draw_systems(1, np.random.default_rng(0)))
    ratio = lightcurves.EXCESS_NOISE["AIRS-CH0"] * np.sqrt(lightcurves.pair_variance(AIRS, flux, share, sky) / flux)
    # Real sums over many rows: 1.06-1.16, 1.45 in the red; optimal weights save up to half of the read noise's share.
    assert 1.03 < ratio.min() < 1.08 and 1.05 < np.median(ratio) < 1.16 and 1.22 < ratio[-1] < 1.45


def test_drift_has_the_real_size(population):
    visits = draw_visits(population[0], np.random.default_rng(3))
    hours = np.linspace(0, VISIT_HOURS, 200)
    for instrument in INSTRUMENTS:
        rms = [v.drift[instrument.name].gain(hours, instrument.n_bins).std() for p in visits[:300] for v in p]
        low, high = DRIFT_RMS[instrument.name]
        assert low * 0.7 < np.percentile(rms, 2) and np.percentile(rms, 98) < high * 1.3
    drift = visits[0][0].drift["AIRS-CH0"]
    crop = drift.column_gain(AIRS, hours)[:, slice(*AIRS.crop)]
    assert np.allclose(crop[:, ::-1], drift.gain(hours, 282), atol=1e-12)  # detector columns fall with wavelength
    assert np.linalg.matrix_rank(drift.gain(hours, 282) - 1, tol=1e-9) == 1


def test_outliers_and_degraded_detectors(population):
    true, _, depth = population
    few = true.take(slice(0, 6))
    good, bad = (
        lightcurves.simulate_lightcurves(few, depth[:6], np.random.default_rng(1), degraded=d) for d in (False, True)
    )
    variance = [np.mean([v["AIRS-CH0"].variance_e2.mean() for p in set_ for v in p.visits]) for set_ in (good, bad)]
    assert variance[1] > 1.005 * variance[0]
    with pytest.raises(ValueError, match="cannot fill"):
        lightcurves.simulate_lightcurves(few, depth[:6], np.random.default_rng(1), airs_pairs=100)


# --- frames ----------------------------------------------------------------------------------------------------------


def test_linearity_is_inverted():
    for name in LINEARITY:
        c = np.array(LINEARITY[name])
        for electrons in (0.0, 100.0, 1e4, 3e4, 6.5e4):
            x = _uncorrected(electrons, c)
            assert abs(np.polynomial.polynomial.polyval(x, c) - electrons) < 0.05


def test_psfs_are_normalised_and_follow_the_star():
    for offset in (0.0, 0.4):
        psf = airs_psf(offset)
        assert np.allclose(psf.sum(axis=-1), 1)
        image = fgs1_psf((offset, -offset))
        assert np.isclose(image.sum(), 1, atol=1e-6)
        rows = np.arange(32)
        core = image * (image > 0.01)  # the core's centroid moves by the offset
        assert np.isclose((core.sum(1) * rows).sum() / core.sum(), FGS1.centre[0] + offset, atol=0.15)


def _quiet_visit(t0=-50.0):
    names = [i.name for i in INSTRUMENTS]
    return Visit(dict.fromkeys(names, t0), dict.fromkeys(names, Drift(0.0, np.ones(1), np.ones(1))), None)


def test_frames_and_light_curves_have_the_same_flux_and_noise():
    """Optimal extraction of 120 simulated pairs with the true maps against `star_flux` and `pair_variance`."""
    rng = np.random.default_rng(2)
    system = systems.draw_systems(1, rng)
    star = star_flux(float(system.stellar_temperature_k[0]), float(system.brightness[0]))
    detector = draw_detector(AIRS, rng)
    pixels = simulate_frames(AIRS, system, np.full(283, 0.01), _quiet_visit(), detector, 120, rng)
    electrons = (pixels.T.reshape(-1, 32, 356) + 0.5) / ADC_GAIN + ADC_OFFSET_E
    linear = sum(detector.linear_corr[k] * electrons**k for k in range(6))
    files = detector.files
    cds = ((linear[1::2] - linear[::2] - files.dark_e_per_s * AIRS.cds_s) / detector.response)[:, :, slice(*AIRS.crop)]
    crop = np.s_[:, slice(*AIRS.crop)]
    usable = ~(files.dead | files.hot | (files.read_noise_e > 30))[crop]
    share = airs_psf()[slice(*AIRS.crop)].T
    mean = np.median(cds, axis=0)
    sky = 3.0
    weight = np.where(usable, share / (np.maximum(mean, 0) + sky + 2 * 13.0**2), 0)
    flux = (cds * weight).sum(axis=1) / (weight * share).sum(axis=0)  # (pairs, 282) descending wavelength
    assert np.isclose(np.median(flux.mean(axis=0) / star[:0:-1]), 1, atol=0.01)
    shares, _, background = light_shares(AIRS, OWN, system)
    predicted = np.sqrt(lightcurves.pair_variance(AIRS, star[1:], shares, background, usable.T[::-1]))[::-1]
    # 120 pairs leave 6.5 % per bin, 0.5 % on the median of 282; and mean fluxes stand for the weights' own.
    ratio = np.median(flux.std(axis=0, ddof=1) / predicted)
    assert 0.96 < ratio < 1.04, ratio


def test_frames_show_the_transit():
    rng = np.random.default_rng(3)
    system = systems.draw_systems(1, rng)
    depth = np.full(283, 0.05)
    pixels = simulate_frames(FGS1, system, depth, _quiet_visit(3.75), draw_detector(FGS1, rng), 600, rng)
    flux = (pixels[:, 1::2].astype(float) - pixels[:, ::2]).sum(axis=0)
    model = lightcurves.transit_model(system, depth, 3.75, pair_times_h(FGS1, 600), slice(0, 1))[:, 0]
    slope, level = np.polyfit(model, flux / np.median(flux[model == 1]), 1)
    assert np.isclose(slope + level, 1, atol=0.003) and np.isclose(slope, 1, atol=0.03)


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_degraded_detectors_are_worse(instrument):
    rng = np.random.default_rng(6)
    drawn = {d: [draw_detector(instrument, rng, d).files for _ in range(60)] for d in (False, True)}
    dead = {d: max(m.dead.mean() for m in maps) for d, maps in drawn.items()}
    hot = {d: max(m.hot.mean() for m in maps) for d, maps in drawn.items()}
    weakest = {d: min(m.flat[~m.dead].min() for m in maps) for d, maps in drawn.items()}
    pixel = 1 / instrument.n_pixels
    assert dead[False] <= 0.003 + pixel < dead[True] <= 0.011 + pixel
    assert hot[False] <= 0.011 + pixel < hot[True] <= 0.017 + pixel
    assert weakest[False] > 0.82 and 0.54 < weakest[True] < 0.7

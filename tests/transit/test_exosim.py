"""Frames to spectrum on a visit that an independent simulator made (ExoSim 2): reader, calibration, fit, error bars."""

import numpy as np
import pytest

from kitlib.base.provenance import EventLog
from kitlib.base.schema import LightCurveConfig, PhysfitConfig
from kitlib.detector.lightcurves import calibrate_planets, read_lightcurves
from kitlib.detector.tables import read_catalogue, read_spectra_csv
from kitlib.transit.driftorder import averaged
from kitlib.transit.fit import fit_planet
from kitlib.transit.jointfit import joint_fit
from kitlib.transit.priors import shipped_priors
from kitlib.transit.whitefit import white_fit

WHITE_TRUTH_PPM, FGS1_TRUTH_PPM = 1123.4, 1101.0  # flux-weighted AIRS mean and FGS1, as its README states
DARK_E = 100.0  # this simulator's throughput ends near 3.6 um: the bins beyond hold no star
FREE_SD = 0.1  # prior width of each bin's depth where the spectral prior is left out: a hundred times the depth


@pytest.fixture(scope="module")
def visit(exosim_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("exosim")
    events = EventLog(out / "events.jsonl")
    (path,) = calibrate_planets(exosim_dir, "train", out, LightCurveConfig(), 1, events, False)
    planet, row = read_lightcurves(path), read_catalogue(exosim_dir / "train_star_info.csv")
    return planet, row, read_spectra_csv(exosim_dir / "train.csv").depth[0]


def test_white_depths_are_within_two_sigma_and_sigma_is_small(visit):
    planet, row, _ = visit
    fit = fit_planet(planet, row, shipped_priors(), PhysfitConfig())
    assert fit.diagnostics["fallback"] == 0
    flux = np.nanmean(planet.visits[0]["AIRS-CH0"].flux_e, axis=0)
    weight = flux / flux.sum()
    white_ppm, sigma_ppm = 1e6 * weight @ fit.mean[1:], 1e6 * np.sqrt(weight @ fit.cov[1:, 1:] @ weight)
    assert sigma_ppm <= 60
    assert abs(white_ppm - WHITE_TRUTH_PPM) < 2 * sigma_ppm
    assert abs(1e6 * fit.mean[0] - FGS1_TRUTH_PPM) < 2e6 * np.sqrt(fit.cov[0, 0])


def test_errors_of_single_bins_are_as_large_as_their_sigma(visit):
    """The likelihood alone, without the spectral prior, whose correlated errors one planet cannot judge."""
    planet, row, truth = visit
    prior, config = shipped_priors(), PhysfitConfig()
    white = white_fit(planet, row, prior, config)
    likelihood = averaged(*joint_fit(planet, row, prior, config, *white))
    precision, information = likelihood.marginal(max(likelihood.hypotheses, key=lambda one: one.log_weight))
    cov = np.linalg.inv(precision + np.eye(len(truth)) * FREE_SD**-2)
    z = (cov @ (information + precision @ likelihood.centre) - truth) / np.sqrt(np.diag(cov))
    lit = np.nanmedian(planet.visits[0]["AIRS-CH0"].flux_e, axis=0) > DARK_E
    assert lit.sum() > 220
    assert 0.85 < z[1:][lit].std() < 1.15

"""Real light curves of two planets, as competitors extracted them: does the model describe them, to their noise?

The arrays hold mean electrons per CDS pair. Their samples cover the visit evenly, so that the file's own time axis,
averaged over as many pairs, is theirs. How many pixels were summed is not known: each channel's variance is taken from
the scatter of neighbouring samples, which knows nothing of transit, drift or fit. A chi2 of 1 then says that nothing
but that noise is left.
"""

import numpy as np
import pytest

from kitlib.base.instruments import AIRS, FGS1, N_AIRS_BINS, Instrument
from kitlib.base.products import LightCurve, PlanetLightCurves
from kitlib.base.schema import PhysfitConfig
from kitlib.detector import MAD_TO_SIGMA
from kitlib.detector.axes import AxisInfo, read_axis_info
from kitlib.detector.tables import read_catalogue
from kitlib.transit import fit_planet, shipped_priors

TRAIN, TEST = 244787369, 1103775
HALF_HOURS, ABSORBED = 15, 7  # of a visit; what a fit takes of these means: level, five powers of the drift, depth
WILD = 5.0  # robust standard deviations
LEVEL = np.r_[0, np.full(N_AIRS_BINS, 1 / N_AIRS_BINS)]


def scatter_variance(flux: np.ndarray) -> np.ndarray:
    """Variance of each channel (W,) by second differences in time of (T, W): no ramp counts; wild ones left out."""
    bend = flux[2:] - 2 * flux[1:-1] + flux[:-2]
    wild = np.abs(bend) > WILD * MAD_TO_SIGMA * np.median(np.abs(bend), axis=0)
    return np.where(wild, 0.0, bend**2).sum(axis=0) / (~wild).sum(axis=0) / 6


def scatter_error(samples: int, channels: int) -> float:
    """Relative standard deviation of the sum of such variances: of second differences only 18 in 35 are news."""
    return float(np.sqrt(2 * 35 / 18 / samples / channels))


def light_curve(axes: AxisInfo, instrument: Instrument, flux: np.ndarray) -> LightCurve:
    """Samples (T, W) that cover a whole visit evenly."""
    times = axes.of(instrument).time_h
    pairs, left = divmod(len(times), len(flux))
    assert left == 0
    variance = np.broadcast_to(scatter_variance(flux), flux.shape)
    return LightCurve(
        instrument,
        times.reshape(-1, pairs).mean(axis=1),
        flux.astype(np.float32),
        variance.astype(np.float32),
        np.full(len(flux), pairs, np.int32),
        np.zeros((len(flux), 2), np.float32),
    )


@pytest.fixture(scope="module")
def arrays(real_dir):
    """What the files hold, channels by ascending wavelength: AIRS and FGS1 of either planet."""
    test = np.load(real_dir / "curves" / "test_1103775_aperture_sum.npy")[0]
    low, high = AIRS.crop
    return {
        "train airs": np.load(real_dir / "curves" / "train_75_airs.npy"),
        "train fgs1": np.load(real_dir / "curves" / "train_75_fgs1.npy"),
        "test airs": test[:, 1:][:, low:high][:, ::-1],
        "test fgs1": test[:, :1],
    }


@pytest.fixture(scope="module")
def fitted(real_dir, arrays):
    """Fits of the training planet as two visits and as one, and of the test planet."""
    axes, priors = read_axis_info(real_dir / "competition"), shipped_priors()
    curves = {name: light_curve(axes, AIRS if name.endswith("airs") else FGS1, flux) for name, flux in arrays.items()}

    def fit(table: str, planet: int, *visits: tuple[str, ...]):
        catalogue = read_catalogue(real_dir / "competition" / f"{table}_star_info.csv")
        row = catalogue.take(np.flatnonzero(catalogue.planet_id == planet))
        made = tuple({curves[name].instrument.name: curves[name] for name in names} for names in visits)
        return fit_planet(PlanetLightCurves(planet, made), row, priors, PhysfitConfig())

    return {
        "train": fit("train", TRAIN, ("train fgs1",), ("train airs",)),
        "as one visit": fit("train", TRAIN, ("train fgs1", "train airs")),
        "test": fit("test", TEST, ("test airs", "test fgs1")),
    }


def test_scatter_is_that_of_photons_and_little_else(arrays):
    """So that the samples are what they are taken for: 5 and 50 pairs, electrons."""
    for name, pairs in (("train airs", 5), ("train fgs1", 50)):
        flux = arrays[name]
        ratio = pairs * scatter_variance(flux).sum() / np.median(flux, axis=0).sum()
        assert 1.0 < ratio < 1.16**2, name


@pytest.mark.parametrize("planet", ["train", "test"])
def test_white_residuals_are_white_noise(fitted, planet):
    fit = fitted[planet]
    assert fit.diagnostics["fallback"] == fit.diagnostics["gate"] == 0 and not fit.misfit
    assert 0.9 < fit.diagnostics["chi2_joint"] < 1.1
    assert {curve.instrument for curve in fit.curves} == {AIRS.name, FGS1.name}
    for curve in fit.curves:
        used = np.isfinite(curve.sigma)
        residual = ((curve.flux - curve.model) / curve.sigma)[used]
        assert used.mean() > 0.99
        channels = N_AIRS_BINS if curve.instrument == AIRS.name else 1
        most = max(0.1, 2 * scatter_error(len(used), channels))  # 375 samples of one channel tell their scatter to 10 %
        assert abs((residual**2).mean() - 1) < most, curve.instrument
        half_hour = ((curve.time_h[used] - curve.time_h[0]) / 0.5).astype(int)
        means = np.array([residual[half_hour == i].sum() / np.sqrt((half_hour == i).sum()) for i in range(HALF_HOURS)])
        red = np.sqrt((means**2).mean() / (1 - ABSORBED / HALF_HOURS))
        assert 0.7 < red / residual.std() < 1.3, curve.instrument


def test_both_visits_of_the_training_planet_see_one_depth(fitted):
    """The extraction's author prints 2.400 and 2.396 %."""
    fit = fitted["train"]
    assert fit.mean[0] == pytest.approx(0.02400, abs=3 * np.sqrt(fit.cov[0, 0]))
    assert LEVEL @ fit.mean == pytest.approx(0.02396, abs=3 * np.sqrt(LEVEL @ fit.cov @ LEVEL))


def test_instruments_of_two_visits_under_one_number_are_caught_and_answered(fitted):
    fit, truth = fitted["as one visit"], fitted["train"]
    assert fit.diagnostics["gate"] > 0 and fit.misfit
    for what in (np.eye(len(LEVEL))[0], LEVEL):
        assert abs(what @ (fit.mean - truth.mean)) < 2 * np.sqrt(what @ (fit.cov + truth.cov) @ what)
        assert what @ fit.cov @ what < (0.01 * what @ fit.mean) ** 2

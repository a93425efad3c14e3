"""The simulator held to real frames: the first 25 CDS pairs of planet 342072318 against 25 simulated pairs of it.

Every tolerance says what it is made of. 25 pairs leave +-14 % on a single scatter; medians over thousands of pixels or
hundreds of bins are far better, and then it is the variety from detector to detector that the tolerance allows for.
"""

import numpy as np
import polars as pl
import pytest

from kitlib.base.instruments import ADC_GAIN, ADC_OFFSET_E, AIRS, FGS1, INSTRUMENTS
from kitlib.simulate.detector import draw_detector
from kitlib.simulate.exposure import simulate_frames
from kitlib.simulate.optics import REFERENCE_TEMPERATURE_K, star_flux, wavelengths_um
from kitlib.simulate.systems import draw_systems
from kitlib.simulate.visits import Drift, Visit

PLANET = 342072318
PAIRS = 25


def _table(path, shape):
    return pl.read_parquet(path).to_numpy().reshape(shape)


def _calibrated(frames, maps, instrument):
    """CDS in electrons (pairs, rows, cols), from the definition of each step, in float64."""
    electrons = (frames.astype(float) + 0.5) / ADC_GAIN + ADC_OFFSET_E
    linear = sum(maps["linear_corr"][k] * electrons**k for k in range(6))
    return (linear[1::2] - linear[::2] - maps["dark"] * instrument.cds_s) / np.where(maps["bad"], 1, maps["flat"])


def _maps(dark, dead, flat, linear_corr, read):
    bad = dead | (np.abs(dark - np.median(dark)) > 0.02) | (read > 40)
    return {"dark": dark, "dead": dead, "flat": flat, "linear_corr": linear_corr, "read": read, "bad": bad}


@pytest.fixture(scope="module")
def real(real_dir):
    out = {}
    for instrument in INSTRUMENTS:
        folder = real_dir / "competition" / "train" / str(PLANET)
        shape = (instrument.rows, instrument.cols)
        files = {
            name: _table(folder / instrument.calibration_dir(0) / f"{name}.parquet", shape)
            for name in ("dark", "dead", "flat", "read")
        }
        corr = _table(folder / instrument.calibration_dir(0) / "linear_corr.parquet", (6, *shape))
        maps = _maps(files["dark"], files["dead"].astype(bool), files["flat"], corr, files["read"])
        out[instrument.name] = (_table(folder / instrument.signal_file(0), (-1, *shape)), maps)
    return out


@pytest.fixture(scope="module")
def simulated():
    rng = np.random.default_rng(11)
    system = draw_systems(1, rng)
    system.stellar_temperature_k[:] = REFERENCE_TEMPERATURE_K
    system.brightness[:] = 1.0
    still = Drift(0.0, np.ones(1), np.ones(1))
    names = [instrument.name for instrument in INSTRUMENTS]
    visit = Visit(dict.fromkeys(names, -50.0), dict.fromkeys(names, still), None)  # out of transit, no drift
    out = {}
    for instrument in INSTRUMENTS:
        detector = draw_detector(instrument, rng)
        pixels = simulate_frames(instrument, system, np.full(283, 0.01), visit, detector, PAIRS, rng)
        f = detector.files
        maps = _maps(f.dark_e_per_s, f.dead, f.flat, f.linear_corr, f.read_noise_e)
        out[instrument.name] = (pixels.T.reshape(-1, instrument.rows, instrument.cols), maps)
    return out


@pytest.mark.parametrize("name", ["FGS1", "AIRS-CH0"])
def test_first_and_second_reads_in_adu(real, simulated, name):
    # Read noise on a median over 50 x 1,024 or more pixels: < 0.1 ADU. Allowed: 2 ADU of the first read and of FGS1's
    # second, 6 ADU of AIRS' second, whose median pixel lies on the steep wing of the trace.
    (a, _), (b, _) = real[name], simulated[name]
    assert abs(np.median(a[::2]) - np.median(b[::2])) <= 2
    assert abs(np.median(a[1::2]) - np.median(b[1::2])) <= (2 if name == "FGS1" else 6)
    # The brightest pixels: their phase under the image decides, and jitter in FGS1.
    assert np.isclose(np.percentile(a[1::2], 99.5) - 437, np.percentile(b[1::2], 99.5) - 437, rtol=0.15)


def _spectrum(frames, maps):
    """Electrons per column and pair; bad pixels are replaced by their column's share in the mean row profile."""
    cds = _calibrated(frames, maps, AIRS)
    median = np.where(maps["bad"], np.nan, np.median(cds, axis=0))
    profile = np.nanmean(median[:, 150:250] / np.nansum(median[:, 150:250], axis=0), axis=1)
    profile /= profile.sum()
    share = np.where(maps["bad"], 0, profile[:, None]).sum(axis=0)
    return np.nansum(median, axis=0) / share, profile


def test_flux_per_wavelength(real, simulated):
    # Photon noise 0.15 %, the flat 0.1 %, the shape of the spline 1.6 %; columns with a bad pixel in the trace are out.
    (a, profile_a), (b, profile_b) = _spectrum(*real["AIRS-CH0"]), _spectrum(*simulated["AIRS-CH0"])
    whole = ~(real["AIRS-CH0"][1]["bad"] | simulated["AIRS-CH0"][1]["bad"])[12:20].any(axis=0)
    ratio = (b / a)[slice(*AIRS.crop)][whole[slice(*AIRS.crop)]]
    assert len(ratio) > 200 and abs(np.median(ratio) - 1) < 0.01
    assert np.mean(np.abs(ratio - 1) < 0.03) > 0.98 and np.abs(ratio - 1).max() < 0.06
    # Row profile: two Gaussians and smooth wings stand for a diffraction pattern, 2 % of the light in the worst row.
    assert np.abs(profile_a - profile_b).max() < 0.02
    assert abs(profile_a[8:24].sum() - profile_b[8:24].sum()) < 0.006


def test_fgs1_flux_and_image(real, simulated):
    images = {}
    for key, data in (("real", real), ("simulated", simulated)):
        frames, maps = data["FGS1"]
        image = np.median(_calibrated(frames, maps, FGS1), axis=0)
        images[key] = np.where(maps["bad"], 0, image)
    a, b = images["real"], images["simulated"]
    assert np.isclose(
        a.sum(), b.sum(), rtol=0.03
    )  # S/N 437 per pair: 0.1 %; single bad pixels hold up to 2 % of the star
    assert np.isclose(a.max(), b.max(), rtol=0.10)
    rows, cols = np.mgrid[:32, :32]
    radius = np.hypot(rows - FGS1.centre[0], cols - FGS1.centre[1])
    for limit in (2, 3, 5, 8):  # the real image has diffraction spikes, the simulated one is round
        assert abs(a[radius < limit].sum() / a.sum() - b[radius < limit].sum() / b.sum()) < 0.05


def test_noise_over_photon_noise(real, simulated):
    # Sum over nine rows around the trace; 25 pairs leave 14 % per bin, 2 % on the median of 94 bins.
    medians = {}
    for key, data in (("real", real), ("simulated", simulated)):
        frames, maps = data["AIRS-CH0"]
        cds = np.where(maps["bad"], 0, _calibrated(frames, maps, AIRS))[:, 11:21, slice(*AIRS.crop)].sum(axis=1)
        ratio = cds.std(axis=0, ddof=1) / np.sqrt(cds.mean(axis=0))
        medians[key] = [np.median(part) for part in np.array_split(ratio, 3)]  # red, middle, blue
    assert np.allclose(medians["real"], medians["simulated"], rtol=0.08), medians


def test_read_noise_in_dead_and_unlit_pixels(real, simulated):
    for name, corner in (("AIRS-CH0", np.s_[:, :12, :12]), ("FGS1", np.s_[:, 26:, :])):
        scatter = [data[name][0][::2][corner].std(axis=0, ddof=1) for data in (real, simulated)]
        assert np.isclose(
            np.median(scatter[0]), np.median(scatter[1]), rtol=0.06
        )  # 14 % / sqrt(144) and the draw of read noise
        frames, maps = simulated[name]
        assert abs(frames[:, maps["dead"]].mean() - 436.4) < 3  # 0 e- is ADU 436.9, rounded down


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_maps_have_the_statistics_of_two_real_detectors(real, real_dir, instrument):
    shape = (instrument.rows, instrument.cols)
    other = real_dir / "other_detector" / {"FGS1": "FGS1_cal1", "AIRS-CH0": "AIRS_CH0_cal0"}[instrument.name]
    both = [real[instrument.name][1]]
    both.append({name: _table(other / f"{name}.parquet", shape) for name in ("dark", "dead", "flat", "read")})
    rng = np.random.default_rng(3)
    drawn = [draw_detector(instrument, rng).files for _ in range(60)]
    for maps in both:  # each real value lies inside the range of sixty simulated detectors, widened by Poisson counts
        dead, hot = maps["dead"].astype(bool), np.abs(maps["dark"] - np.median(maps["dark"])) > 0.0075
        poisson = 2 / instrument.n_pixels
        for fraction, simulated in ((dead, [m.dead for m in drawn]), (hot, [m.hot for m in drawn])):
            values = [s.mean() for s in simulated]
            assert min(values) - poisson <= fraction.mean() <= max(values) + poisson
        good = ~dead & (maps["flat"] > 0.9)
        spread = [m.flat[~m.dead & (m.flat > 0.9)].std() for m in drawn]
        assert min(spread) * 0.95 <= maps["flat"][good].std() <= max(spread) * 1.05
        assert 0.96 <= maps["flat"][good].mean() <= 1.04
        assert np.isclose(np.median(maps["read"]), np.median([np.median(m.read_noise_e) for m in drawn]), rtol=0.03)
        assert np.isclose(np.median(maps["dark"]), np.median([np.median(m.dark_e_per_s) for m in drawn]), rtol=0.10)
        assert np.mean(maps["read"] > 50) <= 2.5 * np.mean([np.mean(m.read_noise_e > 50) for m in drawn])


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_linearity_correction_has_the_real_size(real, instrument):
    theirs = real[instrument.name][1]["linear_corr"]
    ours = draw_detector(instrument, np.random.default_rng(4)).files.linear_corr
    for electrons in (1e4, 3e4, 6e4):  # two real AIRS detectors differ by 0.3 % at 30 ke-
        at = [np.median(sum(c[k] * electrons**k for k in range(6)) / electrons) for c in (theirs, ours)]
        assert abs(at[0] - at[1]) < 0.003
    assert np.isclose(theirs[1].std(), ours[1].std(), rtol=0.15)


def test_wavelengths_are_the_competitions(real_dir):
    theirs = pl.read_csv(real_dir / "competition" / "wavelengths.csv").to_numpy()[0]
    assert np.abs(theirs - wavelengths_um()).max() < 1e-9


def test_colour_of_a_second_star(real_dir):
    # Planck's law predicts the other star's FGS1 flux and AIRS colour from its AIRS level, at some plausible Ts.
    airs = np.median(np.load(real_dir / "curves" / "train_75_airs.npy"), axis=0)
    fgs1 = float(np.median(np.load(real_dir / "curves" / "train_75_fgs1.npy")))
    level = airs.sum() / star_flux(REFERENCE_TEMPERATURE_K, 1.0)[1:].sum()
    assert 0.56 <= level <= 1.06
    best = min((star_flux(t, level) for t in np.arange(4300, 7000, 50)), key=lambda flux: abs(flux[0] - fgs1))
    ratio = airs / best[1:]
    # 4 %: stellar lines at the edge of the band, and an extraction by someone else.
    assert np.isclose(best[0], fgs1, rtol=0.02) and np.abs(ratio - 1).max() < 0.04 and ratio.std() < 0.015


def test_tables_have_the_real_columns_and_types(real_dir, tmp_path):
    from kitlib.base.schema import SimulateConfig
    from kitlib.simulate.observatory import simulate_campaign

    simulate_campaign(
        tmp_path, SimulateConfig(train_planets=1, test_planets=1, airs_pairs=4, fgs1_pairs=8), 1, 1, False
    )
    for name in ("train_star_info.csv", "test_star_info.csv", "adc_info.csv", "wavelengths.csv"):
        theirs, ours = (pl.read_csv(root / name) for root in (real_dir / "competition", tmp_path / "data"))
        assert ours.schema == theirs.schema, name
    assert (tmp_path / "data" / "adc_info.csv").read_text().split() == (
        real_dir / "competition" / "adc_info.csv"
    ).read_text().split()
    theirs, ours = (
        pl.read_parquet(root / "axis_info.parquet") for root in (real_dir / "competition", tmp_path / "data")
    )
    assert ours.schema == theirs.schema
    their_planet, our_planet = (
        next(p for p in (root / "train").iterdir()) for root in (real_dir / "competition", tmp_path / "data")
    )
    for path in sorted(their_planet.rglob("*calibration_0/*.parquet")):
        twin = pl.read_parquet(our_planet / path.relative_to(their_planet))
        assert twin.schema == pl.read_parquet(path).schema and twin.shape == pl.read_parquet(path).shape

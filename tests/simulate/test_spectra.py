"""Families of spectra against the published figures of real ones, and against real spectra where they lie."""

import numpy as np
import polars as pl
import pytest

from kitlib.base.instruments import N_BINS
from kitlib.simulate import spectra, systems
from kitlib.simulate.optics import wavelengths_um

WL = wavelengths_um()[1:]
FAMILIES = {"training": spectra.TRAINING, "shifted": spectra.SHIFTED}


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(5)
    drawn = systems.draw_systems(3000, rng)
    drawn = drawn.take(rng.permutation(len(drawn)))
    return drawn, {name: spectra.draw_spectra(drawn, rng, family) for name, family in FAMILIES.items()}


def shapes(depth):
    return depth[:, 1:] - depth[:, 1:].mean(axis=1, keepdims=True)


def roughness(depth):
    """Median absolute second difference of the AIRS bins over their scatter, (n,)."""
    return np.median(np.abs(np.diff(depth[:, 1:], n=2, axis=1)), axis=1) / depth[:, 1:].std(axis=1)


def left_by(basis_of, other, count):
    """What `count` principal components of one set's normalised shapes leave of another's scatter, (n,)."""
    first, second = (shape / shape.std(axis=1, keepdims=True) for shape in (shapes(basis_of), shapes(other)))
    mean = first.mean(axis=0)
    basis = np.linalg.svd(first - mean, full_matrices=False)[2][:count]
    away = second - mean
    return (away - away @ basis.T @ basis).std(axis=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_levels_are_those_of_the_systems(population, name):
    true, depth = population[0], population[1][name]
    assert depth.shape == (len(true), N_BINS)
    assert np.allclose(depth[:, 1:].mean(axis=1), true.depth_level, rtol=1e-10)
    assert np.isclose(depth.mean(), 0.0146, rtol=0.04) and np.isclose(depth.std(), 0.0100, rtol=0.08)
    assert depth.min() > 0.002 and depth.max() < 0.12


@pytest.mark.parametrize("name", FAMILIES)
def test_roughness_covers_that_of_real_spectra(population, name):
    low, high = np.percentile(roughness(population[1][name]), [5, 95])
    assert low <= 0.007 and high >= 0.05  # six real spectra of 2025: 0.007 to 0.031, all known ones to 0.05
    assert high < 0.10


@pytest.mark.parametrize("name", FAMILIES)
def test_spread_covers_that_of_real_spectra(population, name):
    true, depth = population[0], population[1][name]
    spread = depth[:, 1:].std(axis=1) * 1e6
    low, median, high = np.percentile(spread, [5, 50, 95])
    assert low < 5 and 20 < median < 80 and high > 170  # 2025: 5, 10, 30, 35, 120, 168; 2024: 2.7, 22, 166
    heights = 5e6 * spectra.scale_height_depth(true)
    assert np.isclose(np.median(heights), 430, rtol=0.05)
    assert np.percentile(spread / heights, 2) < 0.01 and 0.30 < np.percentile(spread / heights, 98) < 0.55


@pytest.mark.parametrize("name", FAMILIES)
def test_fgs1_is_off_to_both_sides(population, name):
    depth = population[1][name]
    offset = (depth[:, 0] - depth[:, 1:].mean(axis=1)) / depth[:, 1:].std(axis=1)
    assert 0.35 < np.mean(offset > 0) < 0.7
    # real: -4 to +7.5 standard deviations of the shape
    assert -12 < np.percentile(offset, 3) < -3 and 5 < np.percentile(offset, 97) < 20


def test_neighbouring_bins_go_together_as_in_real_spectra(population):
    normalised = shapes(population[1]["training"])
    correlation = np.corrcoef((normalised / normalised.std(axis=1, keepdims=True)).T)
    at = [correlation[i, np.argmin(np.abs(WL - WL[i] - 0.16))] for i in range(282) if WL[i] + 0.16 < WL[-1]]
    assert 0.35 < np.mean(at) < 0.65  # 2024: 0.5


def test_components_and_families(population):
    own, other = population[1]["training"], population[1]["shifted"]
    values = np.linalg.svd(shapes(own) - shapes(own).mean(axis=0), compute_uv=False) ** 2
    left = 1 - np.cumsum(values) / values.sum()
    assert 0.01 < left[4] < 0.15 and 0.003 < left[9] < 0.05  # 2024, with fewer molecules: 0.006 and 0.001
    half = len(own) // 2
    known = np.median(left_by(own[:half], own[half:], 10))
    assert np.median(left_by(own[:half], other, 10)) > 1.2 * known  # the shifted family is another one


def test_one_molecule_is_as_common_as_a_mixture(population):
    true = population[0]
    alone, mixed = (
        spectra.draw_spectra(true, np.random.default_rng(3), spectra.replace(spectra.TRAINING, one_molecule=share))
        for share in (1.0, 0.0)
    )
    both = population[1]["training"]
    bands = (WL > 3.28) & (WL < 3.36)  # methane's Q branch stands out
    peaks = [np.mean(np.ptp(shapes(d)[:, bands], axis=1) > shapes(d).std(axis=1)) for d in (alone, mixed, both)]
    assert min(peaks[:2]) < peaks[2] < max(peaks[:2])
    assert spectra.TRAINING.one_molecule == spectra.SHIFTED.one_molecule == 0.5


def test_chemistries_drawn_at_random_have_lines_of_their_own(population):
    one = population[0].take(np.array([0]))
    drawn = [
        spectra.draw_spectra(one, np.random.default_rng(1), spectra.random_chemistry(np.random.default_rng(seed)))
        for seed in range(30)
    ]
    depth = np.concatenate(drawn)
    assert np.isfinite(depth).all() and len(np.unique(depth[:, 5])) == 30
    assert np.percentile(roughness(depth), 90) > 0.02


def test_six_real_spectra_of_2025_look_like_ours(real_dir, population):
    table = pl.read_csv(real_dir / "spectra" / "truth2025.csv")
    real = table.drop("planet_id").to_numpy()
    family = population[1]["training"]
    low, high = np.percentile(roughness(family), [2, 98])
    assert (roughness(real) > low).all() and (roughness(real) < high).all()
    offset, ours = ((d[:, 0] - d[:, 1:].mean(axis=1)) / d[:, 1:].std(axis=1) for d in (real, family))
    assert (offset > np.percentile(ours, 2)).all() and (offset < np.percentile(ours, 98)).all()
    # our components describe them as they describe our own shifted family, and better than those of 2024 do (10-79 %)
    left = left_by(family, real, 10)
    assert left.max() < np.percentile(left_by(family, population[1]["shifted"], 10), 95)


def test_real_spectra_of_2024_look_like_ours(spectra2024_dir, population):
    real = np.load(spectra2024_dir / "spectra.npy").astype(float)
    family = population[1]["training"]
    low, high = np.percentile(roughness(family), [2, 98])
    assert np.mean((roughness(real) > low) & (roughness(real) < high)) > 0.9
    assert np.median(left_by(family, real, 10)) < np.median(left_by(family, population[1]["shifted"], 10))

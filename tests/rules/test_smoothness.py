"""The rule of smoothness against spectra: sound ones keep it, noisy ones do not."""

import numpy as np
import polars as pl
import pytest
from spectra import WL

from kitlib import rules
from kitlib.base.config import compose
from kitlib.base.products import Array
from kitlib.simulate import draw_spectra, draw_systems


def broken_by(depth: Array) -> float:
    """Share of spectra (P, 283) that break the rule as `train` and the report have it."""
    rule = rules.from_config(compose("train").loss).rules["smoothness"]
    return float((rule.violations(depth, np.full_like(depth, 1e-4), WL) > 0).any(1).mean())


@pytest.fixture(scope="module")
def sound() -> Array:
    """True spectra of the simulator's own family."""
    rng = np.random.default_rng(2024)
    return draw_spectra(draw_systems(2_000, rng), rng)


@pytest.mark.parametrize("size", [0.1, 1.0, 3.0])
def test_one_sound_spectrum_of_a_hundred_breaks_it_whatever_its_size(sound, size):
    level = sound[:, 1:].mean(1, keepdims=True)
    assert 0.003 < broken_by(level + size * (sound - level)) < 0.02  # 0.01 of 2,000: 20 +- 4.5


def test_no_flat_spectrum_breaks_it():
    assert broken_by(np.full((3, 283), [[1e-3], [1e-2], [0.1]])) == 0


def test_noise_breaks_it(sound):
    noisy = sound + sound[:, 1:].std(1, keepdims=True) * np.random.default_rng(1).normal(0, 0.3, sound.shape)
    assert broken_by(noisy) > 0.99  # sqrt(6) x 0.3 / sqrt(1.09) = 0.70, more than twice the limit


def test_real_spectra_keep_it(real_dir):
    table = pl.read_csv(real_dir / "spectra" / "truth2025.csv").drop("planet_id")
    assert broken_by(table.to_numpy().astype(float)) == 0

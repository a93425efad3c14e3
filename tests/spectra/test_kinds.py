"""Kinds of atmospheres: told apart, described, and worth having."""

import numpy as np
import pytest

from kitlib.base.instruments import N_BINS
from kitlib.base.schema import PriorConfig
from kitlib.spectra.kinds import SPECTRA_A_KIND, TOGETHER, WIDER, Kinds, learn_kinds

X = np.linspace(0, 1, N_BINS - 1)
BANDS = np.stack([np.exp(-0.5 * ((X - centre) / 0.06) ** 2) for centre in (0.2, 0.5, 0.8)])
BANDS = (BANDS - BANDS.mean(1, keepdims=True)) / BANDS.std(1, keepdims=True)


def two_kinds(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shapes (N, 283), excess (N,) and kind (N,): each a band and an amplitude; a third in both."""
    kind = (rng.random(count) < 0.3).astype(int)
    excess = np.where(kind == 0, -0.5, 0.9) + rng.normal(0, np.where(kind == 0, 0.3, 0.2))
    away = excess - np.where(kind == 0, -0.5, 0.9)
    airs = BANDS[kind] + (0.5 * away + 0.1 * rng.standard_normal(count))[:, None] * BANDS[2]
    airs += 0.02 * rng.standard_normal(airs.shape)
    fgs1 = 0.5 * airs[:, 200] + 0.3 * rng.standard_normal(count)
    return np.column_stack([fgs1, airs]), excess, kind


def learnt(shapes: np.ndarray, excess: np.ndarray, **options: int) -> Kinds:
    many = two_kinds(8000, np.random.default_rng(0))[0]  # how FGS1 follows the other bins
    return learn_kinds(shapes, excess, np.ones(len(shapes)), many.mean(0), np.cov(many.T), PriorConfig(**options))


def log_density(kinds: Kinds, shapes: np.ndarray, excess: np.ndarray) -> float:
    """Mean ln p of AIRS shapes and amplitudes, the rest taken as white."""
    every = []
    for k in range(len(kinds.weight)):
        away = excess - kinds.middle[k]
        left = (shapes - kinds.mean[k] - away[:, None] * kinds.slope[k])[:, 1:]
        cov = kinds.loadings[k, 1:] @ kinds.loadings[k, 1:].T + kinds.rest[k] * np.eye(N_BINS - 1)
        log = np.log(kinds.weight[k]) - 0.5 * np.linalg.slogdet(cov)[1]
        log -= 0.5 * ((left @ np.linalg.inv(cov)) * left).sum(1)
        every.append(log - 0.5 * (away / kinds.sd[k]) ** 2 - np.log(kinds.sd[k]))
    return float(np.logaddexp.reduce(every).mean())


def test_two_kinds_are_found_with_their_amplitudes_slopes_and_scatter():
    shapes, excess, kind = two_kinds(1500, np.random.default_rng(1))
    every = learnt(shapes, excess, kinds=2)
    found = Kinds(**{name: values[:2] for name, values in vars(every).items()})
    order = np.argsort(found.middle)
    shares = [(1 - TOGETHER) * (kind == 0).mean(), (1 - TOGETHER) * (kind == 1).mean()]
    np.testing.assert_allclose(found.weight[order], shares, atol=0.02)
    np.testing.assert_allclose(found.middle[order], [-0.5, 0.9], atol=0.05)
    np.testing.assert_allclose(found.sd[order], [0.3, 0.2], atol=0.03)
    np.testing.assert_allclose(found.mean[order][:, 1:], BANDS[:2], atol=0.05)
    np.testing.assert_allclose(found.slope[order][:, 1:], 0.5 * BANDS[[2, 2]], atol=0.12)
    np.testing.assert_allclose(found.rest, 0.02**2, rtol=0.25)
    variance = (found.loadings[:, 1:] ** 2).sum(2) + found.rest[:, None]
    np.testing.assert_allclose(variance[order], np.tile(0.1**2 * BANDS[2] ** 2 + 0.02**2, (2, 1)), atol=0.012)
    fgs1 = (found.loadings[:, 0] ** 2).sum(1)  # 0.3 of its own, and half of what bin 200 scatters by
    np.testing.assert_allclose(np.sqrt(fgs1), 0.3, atol=0.03)
    assert every.weight[2] == pytest.approx(TOGETHER)
    np.testing.assert_allclose(every.mean[2, 1:], shapes[:, 1:].mean(0), atol=1e-9)
    wide = (every.loadings[2, 1:] ** 2).sum(1) + every.rest[2] + every.sd[2] ** 2 * every.slope[2, 1:] ** 2
    np.testing.assert_allclose(wide / WIDER**2, shapes[:, 1:].var(0), rtol=0.15, atol=0.01)


def test_kinds_describe_new_spectra_better_than_one_gaussian():
    rng = np.random.default_rng(2)
    shapes, excess, _ = two_kinds(800, rng)
    new = two_kinds(400, rng)[:2]
    one, two = (log_density(learnt(shapes, excess, kinds=k), *new) for k in (1, 2))
    assert two > one + 1


@pytest.mark.parametrize(("spectra", "expected"), [(12, 1), (2 * SPECTRA_A_KIND - 1, 1), (5 * SPECTRA_A_KIND, 6)])
def test_few_spectra_are_divided_into_few_kinds_beside_all_together(spectra, expected):
    shapes, excess, _ = two_kinds(spectra, np.random.default_rng(3))
    found = learnt(shapes, excess, kinds=12)
    assert len(found.weight) == expected and found.weight.sum() == pytest.approx(1)
    for values in vars(found).values():
        assert np.isfinite(values).all()


def test_features_of_one_size_and_shape_leave_a_proper_kind():
    """Identical spectra: nothing divides by zero, and the kind keeps a width."""
    shapes = np.tile(np.concatenate([[0.0], BANDS[0]]), (30, 1))
    found = learnt(shapes, np.zeros(30))
    assert np.isfinite(found.mean).all() and (found.rest > 0).all() and (found.sd > 0).all()

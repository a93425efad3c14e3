"""The comparison of kit and baseline: calibrated alike, each half on the other, on planets that both have fitted."""

import sys

import numpy as np
import pytest

from kitlib.base.instruments import N_BINS
from kitlib.base.paths import find_kit_root
from kitlib.base.products import Catalogue, Posterior, Spectra

PLANETS = 40


@pytest.fixture(scope="module")
def versus():
    """`bench/versus.py`."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(find_kit_root() / "bench")
        import versus

        yield versus
        bench = {path.stem for path in (find_kit_root() / "bench").glob("*.py")}
        for name in (set(sys.modules) - before) & bench:
            del sys.modules[name]


def answers(truth, level, shape, rng, scale, understated=1.0):
    """Posteriors that err by `level` and `shape` and say so, or less than that."""
    cov = np.eye(N_BINS) * shape**2 + level**2
    error = shape * rng.standard_normal(truth.shape) + level * rng.standard_normal((len(truth), 1))
    cov = np.repeat((cov / understated**2).astype(np.float32)[None], len(truth), axis=0)
    known = {"gate": np.zeros(len(truth)), "fallback": np.zeros(len(truth)), "scale": scale}
    return Posterior(np.arange(len(truth)), truth + error, cov, known)


@pytest.fixture
def drawn(versus):
    """True spectra, and a kit that errs by 20 ppm; its row as `rows.fitted` would give it."""
    rng = np.random.default_rng(8)
    truth = 0.012 * np.exp(0.4 * rng.standard_normal((PLANETS, 1))) + 1e-4 * rng.standard_normal((PLANETS, N_BINS))
    kit = answers(truth, 2e-5, 2e-5, rng, np.ones(PLANETS))
    nothing = Catalogue(np.arange(PLANETS), *(np.ones(PLANETS) for _ in range(7)))
    return versus.Row(nothing, Spectra(kit.planet_id, truth), kit), rng


def test_equal_answers_do_not_differ(versus, drawn):
    row, _ = drawn
    found = versus.compared(row, row.found)
    assert found["kit"] == found["baseline"]
    assert {part: found["less"][part] for part in versus.PARTS} == {"total": 0.0, "FGS1": 0.0, "AIRS": 0.0}


def test_the_more_exact_answers_win_and_planets_without_a_fit_of_their_own_do_not_count(versus, drawn):
    row, rng = drawn
    scale = np.where(np.arange(PLANETS) < 6, np.nan, 1.0)
    worse = answers(row.truth.depth, 6e-5, 6e-5, rng, scale)
    worse.mean[:6] = 0.5  # would cost thousands
    found = versus.compared(row, worse)
    assert found["less"]["planets"] == PLANETS - 6 and found["less"]["drawn"] == PLANETS
    for part in versus.PARTS:
        assert found["less"][part] > 5 * found["less"][f"{part}, error"] > 0
    assert found["less"]["total"] == pytest.approx(found["kit"]["total"] - found["baseline"]["total"])
    # three times the error costs ln 3 nats in each bin, of ln(depth scatter / 1e-5), about 6.2, that there are
    assert found["less"]["AIRS"] == pytest.approx(np.log(3) / np.log(row.truth.depth.std() / 1e-5), rel=0.15)


def test_sigma_of_each_half_is_calibrated_on_the_other(versus, drawn):
    row, rng = drawn
    naive = versus.naive_statistics(row.truth.depth)
    bold = answers(row.truth.depth, 2e-5, 2e-5, rng, np.ones(PLANETS), understated=2.0)
    answer, cov = versus.out_of_half(bold, row.truth, naive)
    assert np.allclose(np.sqrt(np.diagonal(cov, axis1=1, axis2=2)), answer.sigma)
    assert np.sqrt((((answer.mu - row.truth.depth) / answer.sigma) ** 2).mean()) == pytest.approx(1, abs=0.25)
    other = Posterior(bold.planet_id, bold.mean.copy(), bold.cov, bold.diagnostics)
    other.mean[1::2] += 1e-3  # what the other half is calibrated on
    again, _ = versus.out_of_half(other, row.truth, naive)
    assert (again.sigma[::2] > 2 * answer.sigma[::2]).all() and np.array_equal(again.sigma[1::2], answer.sigma[1::2])

"""The gate's figures, words and covers at points where the answer is known; which samples hold the star."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kitlib.base.instruments import AIRS, FGS1, N_BINS
from kitlib.transit.gate import LIMITS, complaints, covered, joint_figures, noisier, trial_error, white_figures
from kitlib.transit.series import Series, holds_star

SAMPLES, LONG = 375, 4000
TIME_H = (np.arange(SAMPLES) + 0.5) * 7.5 / SAMPLES


def series(weight: np.ndarray, time_h: np.ndarray = TIME_H, lit: int | None = None) -> Series:
    count = len(time_h)
    one = np.ones(1)
    lit = count if lit is None else lit
    return Series(AIRS.name, 0, time_h, 0.02, np.ones((count, 1)), weight[:, None], one, slice(1, 2), one, lit)


def fit_of(*pairs: tuple[Series, np.ndarray]) -> SimpleNamespace:
    """What of a fit the gate looks at: series with their residuals (T,) in sigma."""
    residuals = [residual[:, None] for _, residual in pairs]
    return SimpleNamespace(series=[one for one, _ in pairs], system=SimpleNamespace(residuals=residuals))


def box(time_h: np.ndarray, centre: float, length: float = 2.0, depth: float = 0.01) -> np.ndarray:
    return 1 - depth * (np.abs(time_h - centre) < length / 2)


class TestWhiteFigures:
    def test_of_unit_noise_are_one_none_and_one(self):
        time = np.linspace(0, 7.5, LONG)
        found = white_figures(fit_of((series(np.ones(LONG), time), np.random.default_rng(1).standard_normal(LONG))))
        assert found["chi2_white"] == pytest.approx(1, abs=4 * np.sqrt(2 / LONG))
        assert found["autocorrelation"] == pytest.approx(0, abs=4 / np.sqrt(LONG))
        assert found["red_noise"] == pytest.approx(1, abs=4 * np.sqrt(1 / 2 / 15))  # 15 half hours
        assert found["rejected"] == 0
        assert not complaints(found | {"red_noise": 1.0})

    def test_of_a_constant_offset_are_its_square_and_the_root_of_the_window(self):
        found = white_figures(fit_of((series(np.ones(SAMPLES)), np.full(SAMPLES, 2.0))))
        window = 25  # half an hour of samples of 1.2 minutes
        assert found["chi2_white"] == pytest.approx(4)
        assert found["autocorrelation"] == pytest.approx(1, abs=2 / SAMPLES)
        assert found["red_noise"] == pytest.approx(np.sqrt(window))  # over the residuals' own scatter

    def test_of_alternating_signs_show_no_red_noise(self):
        found = white_figures(fit_of((series(np.ones(SAMPLES)), np.where(np.arange(SAMPLES) % 2, 1.0, -1.0))))
        assert found["autocorrelation"] == pytest.approx(-1, abs=2 / SAMPLES)
        assert found["red_noise"] < 0.3

    def test_are_those_of_the_worst_series(self):
        sound, broken = np.random.default_rng(2).standard_normal((2, SAMPLES)) * np.array([[1.0], [3.0]])
        pairs = (series(np.ones(SAMPLES)), sound), (series(np.ones(SAMPLES)), broken)
        for order in (pairs, pairs[::-1]):
            assert white_figures(fit_of(*order))["chi2_white"] == pytest.approx((broken**2).mean())

    def test_count_as_rejected_what_holds_light_and_is_not_used(self):
        weight = np.ones(SAMPLES)
        weight[:75] = 0
        dark = white_figures(fit_of((series(weight, lit=SAMPLES - 75), np.zeros(SAMPLES))))
        outliers = white_figures(fit_of((series(weight), np.zeros(SAMPLES))))
        assert dark["rejected"] == 0 and outliers["rejected"] == pytest.approx(0.2)

    def test_without_samples_fail_every_threshold(self):
        found = white_figures(fit_of((series(np.zeros(SAMPLES)), np.zeros(SAMPLES))))
        assert len(complaints(found)) + len(noisier(found)) == len(found)

    def test_of_all_channels_are_chi2_a_sample(self):
        system = SimpleNamespace(chi2=300.0, samples=200)
        assert joint_figures(SimpleNamespace(system=system)) == {"chi2_joint": 1.5}


@pytest.mark.parametrize("name", LIMITS)
def test_complaint_names_its_figure_and_comes_just_above_the_threshold_or_for_no_number(name):
    most, words = LIMITS[name]
    assert complaints({name: most}) == []
    for value in (1.01 * most, np.nan, np.inf):
        assert complaints({name: value}) == [words.format(value=value)]
    assert words.format(value=1.0) != words.format(value=2.0)


class TestTrialError:
    def test_of_white_noise_is_the_statistical_error(self):
        """Amplitude r.s / s.s of a box s of n samples, cleared of level and slope."""
        sigma, depth, length = 1e-4, 0.01, 1.0
        transit = box(TIME_H, 3.75, length, depth)
        one = series(np.full(SAMPLES, sigma**-2))
        rng = np.random.default_rng(3)
        found = [trial_error(one, rng.standard_normal(SAMPLES), transit) for _ in range(60)]
        alone = sigma / depth / np.sqrt((transit < 1).sum())
        # the level takes 1 / 7.5 of the box's square, the slope none where it lies in the middle and 0.3 at the ends
        assert alone / np.sqrt(1 - 1 / 7.5) * 0.9 < np.sqrt(np.mean(np.square(found))) < alone / np.sqrt(1 - 0.35) * 1.1

    def test_of_a_lost_transit_is_its_share_over_all_places(self):
        """A box of amplitude A that the fit left elsewhere is found as A where the trial meets it."""
        amplitude, sigma = 0.3, 1e-4
        transit, left = box(TIME_H, 2.0, 1.0), box(TIME_H, 5.5, 1.0)
        one = series(np.full(SAMPLES, sigma**-2))
        residual = amplitude * (1 - left) / sigma
        found = trial_error(one, residual, transit)
        # root mean square over 60 places of a triangle of height A and full width 2 h in 7.5 h: A root(2/3 / 7.5)
        assert found == pytest.approx(amplitude * np.sqrt(2 / 3 / 7.5), rel=0.3)
        assert trial_error(one, 2 * residual, transit) == pytest.approx(2 * found)

    def test_is_blind_to_what_a_baseline_takes_and_zero_without_anything_to_measure(self):
        one = series(np.full(SAMPLES, 1e8))
        transit = box(TIME_H, 3.75)
        assert trial_error(one, 5 + 3 * np.linspace(-1, 1, SAMPLES), transit) == pytest.approx(0, abs=1e-9)
        assert trial_error(series(np.zeros(SAMPLES)), np.ones(SAMPLES), transit) == 0
        assert trial_error(one, np.ones(SAMPLES), np.ones(SAMPLES)) == 0


def test_cover_widens_fgs1_level_and_shape_as_stated():
    rng = np.random.default_rng(4)
    root = 1e-5 * rng.standard_normal((N_BINS, N_BINS))
    cov, mean = root @ root.T + 1e-10 * np.eye(N_BINS), rng.uniform(0.01, 0.02, N_BINS)
    wide = covered(cov, mean, fgs1=0.1, airs=0.2, chi2_joint=1.5)
    np.testing.assert_allclose(wide[0, 0], 1.5 * cov[0, 0] + (0.1 * mean[0]) ** 2)
    np.testing.assert_allclose(np.diag(wide)[1:], 1.5 * np.diag(cov)[1:] + (0.2 * mean[1:]) ** 2)
    np.testing.assert_allclose(wide[0, 1:], 1.5 * cov[0, 1:], rtol=1e-9)
    np.testing.assert_allclose(wide[3, 7], 1.5 * cov[3, 7] + 0.04 * mean[3] * mean[7])
    assert (wide == wide.T).all() and np.linalg.eigvalsh(wide).min() > 0
    np.testing.assert_allclose(covered(cov, mean, 0.0, 0.0, chi2_joint=0.5), cov)  # a small chi2 narrows nothing


class TestHoldsStar:
    @pytest.fixture
    def light(self):
        """(T, 3) electrons of a star with a transit, and weights."""
        noise = 1 + 1e-3 * np.random.default_rng(5).standard_normal((SAMPLES, 3))
        return np.array([1e5, 3e4, 1e4]) * box(TIME_H, 3.75, 3.0, 0.02)[:, None] * noise

    def test_all_of_a_sound_visit_do(self, light):
        assert holds_star(light, np.ones_like(light)).all()

    @pytest.mark.parametrize("share", [0.0, 0.5])
    def test_dark_and_half_lit_samples_do_not_nor_those_beside(self, light, share):
        light[100:120] *= share
        held = holds_star(light, np.ones_like(light))
        assert np.flatnonzero(~held).tolist() == list(range(99, 121))

    def test_repeated_frames_do_not(self, light):
        light[200:210] = light[200]
        held = holds_star(light, np.ones_like(light))
        assert np.flatnonzero(~held).tolist() == list(range(199, 211))

    def test_transits_of_a_tenth_do_even_where_they_fill_most_of_the_visit(self, light):
        for length in (2.0, 5.0):
            deep = light / box(TIME_H, 3.75, 3.0, 0.02)[:, None] * box(TIME_H, 3.75, length, 0.1)[:, None]
            assert holds_star(deep, np.ones_like(deep)).all()

    def test_single_wild_samples_are_outliers_not_gaps(self, light):
        light[50] *= 1.5
        light[150] *= 0.3
        light[250, 1] *= 40
        assert holds_star(light, np.ones_like(light)).all()

    def test_a_dead_channel_and_missing_samples_say_nothing(self, light):
        weight = np.ones_like(light)
        light[:, 2], weight[:, 2] = 0, 0
        light[30:40], weight[30:40] = 0, 0
        assert holds_star(light, weight).all()

    def test_a_visit_without_any_light_is_left_as_it_is(self, light):
        assert holds_star(np.zeros_like(light), np.zeros_like(light)).all()

    def test_inputs_are_not_changed(self, light):
        weight = np.ones_like(light)
        light[100:120] = 0
        before = light.copy()
        holds_star(light, weight)
        assert (light == before).all() and (weight == 1).all()


def test_figures_need_no_instrument_in_particular():
    fgs1 = replace(series(np.ones(SAMPLES)), instrument=FGS1.name)
    assert white_figures(fit_of((fgs1, np.zeros(SAMPLES))))["chi2_white"] == 0

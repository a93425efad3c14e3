"""Light lost for a while: found in residuals and in the centroid, left out, and told."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitlib.base.instruments import AIRS, FGS1
from kitlib.base.products import LightCurve
from kitlib.base.schema import PhysfitConfig
from kitlib.simulate import draw_spectra, draw_systems, observed_catalogue, simulate_lightcurves
from kitlib.simulate.visits import autoregressive
from kitlib.transit.fit import IN_PARTS, SOUND, fit_planet
from kitlib.transit.parts import BASELINE_H, without_transients
from kitlib.transit.priors import shipped_priors
from kitlib.transit.series import Series, excursions, within
from kitlib.transit.transients import DIP, REACH, STEP, Transient, red_error, transients

SAMPLES = 300
TIME_H = (np.arange(SAMPLES) + 0.5) * 7.5 / SAMPLES
TRANSIT = 1 - 0.01 * (np.abs(TIME_H - 3.6) < 1.5)
NOISE = 1e-4


def white(loss: np.ndarray, seed: int, visit: int = 0) -> SimpleNamespace:
    """What of a fit is looked at: a sound one with this loss of light (T,) in its residuals."""
    one = np.ones(1)
    weight = np.full((SAMPLES, 1), NOISE**-2)
    made = Series(AIRS.name, visit, TIME_H, 0.02, np.ones((SAMPLES, 1)), weight, one, slice(1, 2), one, SAMPLES)
    residual = np.random.default_rng(seed).standard_normal(SAMPLES) - loss / NOISE
    return SimpleNamespace(series=[made], system=SimpleNamespace(residuals=[residual[:, None]]))


def bump(centre: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((TIME_H - centre) / width) ** 2)


@settings(max_examples=30, deadline=None)
@given(
    centre=st.floats(0.3, 7.2),
    width=st.floats(0.05, 0.25),
    sign=st.sampled_from([-1.0, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_a_loss_is_found_where_it_is_with_its_width(centre, width, sign, seed):
    found = transients(white(sign * 1e-3 * bump(centre, width), seed), [TRANSIT])
    assert found[0].kind == DIP and found[0].size[AIRS.name] == pytest.approx(-sign * 1e-3, rel=0.35)
    assert found[0].time_h == pytest.approx(centre, abs=0.6 * width + 0.03)
    assert 0.55 * width < found[0].width_h < 1.8 * width + 0.02


def test_white_noise_has_none():
    assert not any(transients(white(np.zeros(SAMPLES), seed), [TRANSIT]) for seed in range(40))


def test_what_transit_and_drift_may_take_is_none():
    tau = TIME_H / 3.75 - 1
    for taken in (1 - TRANSIT, 1e-3 * tau**3, 1e-3 * np.gradient(TRANSIT, TIME_H)):
        assert not transients(white(taken, 3), [TRANSIT])


def test_two_visits_keep_their_own():
    first, second = white(1e-3 * bump(6, 0.2), 1), white(1e-3 * bump(1, 0.2), 2, visit=1)
    both = SimpleNamespace(
        series=first.series + second.series,
        system=SimpleNamespace(residuals=first.system.residuals + second.system.residuals),
    )
    found = {one.visit: one.time_h for one in transients(both, [TRANSIT, TRANSIT])[:2]}
    assert found == {0: pytest.approx(6, abs=0.15), 1: pytest.approx(1, abs=0.15)}
    start, end = transients(first, [TRANSIT])[0].span_h
    assert (end - start) / 2 == pytest.approx(REACH * transients(first, [TRANSIT])[0].width_h)


# -- excursions, by FGS1's centroid --


def visit_of(offset_px: np.ndarray) -> dict[str, LightCurve]:
    one = np.ones((SAMPLES, 1), np.float32)
    return {FGS1.name: LightCurve(FGS1, TIME_H, one, one, np.full(SAMPLES, 10), offset_px.astype(np.float32), {})}


@settings(max_examples=30, deadline=None)
@given(
    centre=st.floats(0.5, 7.0),
    width=st.floats(0.06, 0.25),
    height_px=st.floats(0.05, 2.0),  # 16 times the error of its height, and more
    seed=st.integers(0, 10**6),
)
def test_a_slip_of_the_telescope_is_left_out_to_its_wings(centre, width, height_px, seed):
    noise = np.random.default_rng(seed).normal(0, 0.005, (SAMPLES, 2))
    spans = excursions(visit_of(noise + bump(centre, width)[:, None] * height_px * np.array([0.8, -0.6])))
    assert within(TIME_H, spans)[bump(centre, width) > 0.1].all()
    assert not within(TIME_H, spans)[np.abs(TIME_H - centre) > 6 * width].any()


@pytest.mark.parametrize("wander", [0.0, 0.05])
def test_a_centroid_that_is_still_or_wanders_is_no_slip(wander):
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(0, 0.005, (SAMPLES, 2))
        course = wander * np.stack([np.sin(2 * TIME_H), TIME_H / 7.5], axis=1)
        assert not excursions(visit_of(noise + course))


# -- what is left without them --


PLANETS = 4


@pytest.fixture(scope="module")
def planets():
    """Sound planets, and the same with a loss of 0.1 % late in the visit that the centroid does not show."""
    rng = np.random.default_rng(31)
    systems = draw_systems(PLANETS, rng)
    depth = draw_spectra(systems, rng)
    rows = observed_catalogue(systems, rng)
    sound = simulate_lightcurves(systems, depth, rng, two_visit_fraction=0.0)

    def losing(curve: LightCurve) -> LightCurve:
        share = 1 - 1e-3 * np.exp(-0.5 * ((curve.time_h - 6.6) / 0.2) ** 2)
        return replace(curve, flux_e=(curve.flux_e * share[:, None]).astype(np.float32))

    lost = [replace(one, visits=tuple({n: losing(c) for n, c in v.items()} for v in one.visits)) for one in sound]
    return sound, lost, rows, depth


def test_a_loss_that_no_centroid_shows_is_left_out_and_told(planets):
    sound, lost, rows, depth = planets
    for index in range(PLANETS):
        row = rows.take(slice(index, index + 1))
        before, after = (fit_planet(one[index], row, shipped_priors(), PhysfitConfig()) for one in (sound, lost))
        assert before.diagnostics["gate"] == SOUND and before.diagnostics["transient"] == 0
        assert after.diagnostics["gate"] == IN_PARTS
        spans = re.search(r"without (\d\.\d+) to (\d\.\d+) h", after.misfit)
        assert spans and float(spans[1]) < 6.5 < 6.7 < float(spans[2])
        level, sd = after.mean[1:].mean(), float(np.sqrt(after.cov[1:, 1:].mean()))
        assert abs(level - depth[index, 1:].mean()) < 4 * sd
        assert sd < 3 * float(np.sqrt(before.cov[1:, 1:].mean()))


def test_spans_keep_half_a_transit_and_starlight_beside_it(planets):
    planet = planets[0][0]
    end_h = max(float(curve.time_h[-1]) for curve in planet.visits[0].values())

    def dip(start_h: float, end_h: float) -> Transient:
        return Transient(DIP, 0, (start_h + end_h) / 2, (end_h - start_h) / 2 / REACH, 9.0, {}, {})

    cut = without_transients(planet, [dip(5.9, 6.9)], 2.0, 5.0)
    for name, curve in cut.visits[0].items():
        inside = (curve.time_h > 5.9) & (curve.time_h < 6.9)
        assert np.isinf(curve.variance_e2[inside]).all()
        before = planet.visits[0][name]
        assert np.array_equal(curve.flux_e[~inside], before.flux_e[~inside], equal_nan=True)
    assert without_transients(planet, [dip(2.0, 4.0)], 2.0, 5.0) is None
    assert without_transients(planet, [dip(-1.0, 2.1), dip(5.0, end_h - BASELINE_H / 2)], 2.0, 5.0) is None


def test_a_step_is_taken_away_from_the_instruments_that_show_it(planets):
    planet = planets[0][0]
    step = Transient(STEP, 0, 5.0, 0.0, 9.0, {AIRS.name: 1e-3}, {})
    less = without_transients(planet, [step], 2.0, 4.5)
    for name, curve in less.visits[0].items():
        over = planet.visits[0][name].flux_e / curve.flux_e
        expected = np.where(curve.time_h > 5.0, 1 + (1e-3 if name == AIRS.name else 0.0), 1.0)
        np.testing.assert_allclose(over, np.broadcast_to(expected[:, None], over.shape), rtol=1e-6)


def test_a_step_out_of_transit_is_found_with_its_size():
    for seed in range(6):
        found = transients(white(1e-3 * (TIME_H > 6.0), seed), [TRANSIT])
        assert found[0].kind == STEP and found[0].time_h == pytest.approx(6.0, abs=0.06)
        assert found[0].size[AIRS.name] == pytest.approx(-1e-3, rel=0.25)


def test_the_error_by_a_shape_that_the_transit_hides_is_larger():
    """A step at egress may be the transit's own; one far outside may not."""

    def error(moment_h: float) -> float:
        return max(
            transients(white(1e-3 * (moment_h < TIME_H), seed), [TRANSIT])[0].depth_error[AIRS.name]
            for seed in range(4)
        )

    assert error(5.2) > 1.5 * error(6.8)


# -- red noise --


def depth_of(light: np.ndarray) -> float:
    """Relative depth by least squares beside a polynomial, of a light curve around 1."""
    tau = TIME_H / 3.75 - 1
    design = np.stack([*(tau**k for k in range(5)), 1 - TRANSIT], axis=1)
    return float(np.linalg.lstsq(design, light - TRANSIT, rcond=None)[0][-1])


@pytest.mark.parametrize("memory_h", [0.1, 0.3])
def test_red_noise_widens_the_depth_by_what_it_does_to_it(memory_h):
    true, told = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        keep = np.exp(-(TIME_H[1] - TIME_H[0]) / memory_h)
        red = 1e-4 * autoregressive((SAMPLES, 1), keep, rng)[:, 0]
        true.append(depth_of(TRANSIT + red))
        residual = (red + NOISE * rng.standard_normal(SAMPLES)) / NOISE
        told.append(red_error(TIME_H, np.full(SAMPLES, 1 / NOISE), residual, TRANSIT))
    assert 0.6 < np.sqrt(np.mean(np.square(told))) / np.sqrt(np.mean(np.square(true))) < 1.7


def test_white_noise_is_hardly_red():
    root = np.full(SAMPLES, 1 / NOISE)
    own = NOISE / np.sqrt(0.4 * SAMPLES) / 0.01 * 3  # error by white noise, beside a polynomial
    rng = np.random.default_rng(1)
    told = [red_error(TIME_H, root, rng.standard_normal(SAMPLES), TRANSIT) for _ in range(10)]
    assert np.median(told) < own and red_error(TIME_H, np.zeros(SAMPLES), np.zeros(SAMPLES), TRANSIT) == 0

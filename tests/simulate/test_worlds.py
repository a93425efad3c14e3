"""Worlds: each effect does what its key says, in light curves and in frames; the own world is as ever."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from kitlib.base.instruments import ADC_GAIN, ADC_OFFSET_E, AIRS, FGS1, INSTRUMENTS, VISIT_HOURS
from kitlib.base.schema import SimulateConfig, WorldConfig
from kitlib.simulate import draw_spectra, simulate_lightcurves
from kitlib.simulate import worlds as worlds_file
from kitlib.simulate.detector import detect, draw_detector
from kitlib.simulate.exposure import simulate_frames
from kitlib.simulate.lightcurves import simulate_with_truth, transit_model
from kitlib.simulate.observatory import plan_campaign, simulate_campaign
from kitlib.simulate.optics import BACKGROUND_FGS1_E, airs_psf, background_columns, fgs1_psf, sky_columns, star_columns
from kitlib.simulate.systems import draw_systems, observed_catalogue
from kitlib.simulate.visits import GAP_KINDS, Drift, Gap, Visit, pair_times_h
from kitlib.simulate.worlds import OWN, Neighbour, catalogue_factors, draw_world, draw_worlds, with_grazing

NAMES = [one.name for one in INSTRUMENTS]
ALL = WorldConfig(
    airs_sky=[0.0, 10.0],
    second_drift=[0.3, 0.3],
    level_error=[0.003, 0.003],
    excursions=1.0,
    excursion_loss=[0.001, 0.001],
    intrapixel=[0.01, 0.01],
    neighbours=1.0,
    gaps=1.0,
    catalogue_errors=1.0,
    grazing=1.0,
)


@pytest.fixture(scope="module")
def system():
    """A bright star whose planet transits centrally."""
    return replace(draw_systems(1, np.random.default_rng(4)), impact=np.array([0.2]))


def curves_of(system, world, number=0, depth=0.02, seed=1):
    """Light curves and truth of one quiet visit in a world."""
    quiet = Visit(dict.fromkeys(NAMES, 3.75), dict.fromkeys(NAMES, Drift(1e-4, np.ones(1), np.ones(1))), None)
    found = simulate_with_truth(
        system, np.full((1, 283), depth), np.random.default_rng(seed), visits=[(quiet,) * (number + 1)], worlds=[world]
    )
    return found[0][0].visits[number], found[1][0].visits[number]


def depth_seen(system, curve, name):
    """Depth over the true transit's, from the light in and out of transit, summed over AIRS' bins."""
    flux = curve[name].flux_e.sum(axis=1)
    bins = slice(0, 1) if name == FGS1.name else slice(1, 283)
    model = transit_model(system, np.full(283, 0.02), 3.75, curve[name].time_h, bins).mean(axis=1)
    inside, outside = model < 1 - 0.019, model == 1
    return (1 - np.mean(flux[inside]) / np.mean(flux[outside])) / (1 - np.mean(model[inside]))


# --- draws -----------------------------------------------------------------------------------------------------------


def test_the_own_world_is_the_one_without_worlds():
    """The same stream of random numbers, to the byte: a world that draws nothing takes none of them."""
    rng = np.random.default_rng(3)
    systems = draw_systems(3, rng)
    depth = draw_spectra(systems, rng)
    drawn = draw_worlds(WorldConfig(), np.random.default_rng(8), 3)
    assert drawn == [OWN] * 3
    plain, own = (
        simulate_lightcurves(systems, depth, np.random.default_rng(4), two_visit_fraction=0.5, **options)
        for options in ({}, {"worlds": drawn})
    )
    pairs = [(v, w) for p, q in zip(plain, own, strict=True) for v, w in zip(p.visits, q.visits, strict=True)]
    assert all(v[name].flux_e.tobytes() == w[name].flux_e.tobytes() for v, w in pairs for name in NAMES)
    catalogues = [observed_catalogue(systems, np.random.default_rng(5), *f) for f in ((), (catalogue_factors(drawn),))]
    assert np.array_equal(catalogues[0].period_days, catalogues[1].period_days)
    assert np.array_equal(catalogues[0].semi_major_axis_rs, catalogues[1].semi_major_axis_rs)


def test_a_feature_is_drawn_alike_whatever_the_others_are():
    alone = draw_world(WorldConfig(airs_sky=[0.0, 10.0]), np.random.default_rng(3))
    among = draw_world(ALL, np.random.default_rng(3))
    assert alone.airs_sky == among.airs_sky != 1.0
    gap = draw_world(WorldConfig(gaps=1.0), np.random.default_rng(3)).visits[1].gaps
    assert gap == among.visits[1].gaps and len(gap) == 1


def test_a_world_leaves_stars_visits_and_noise_alone(system):
    base, truth = curves_of(system, OWN)
    level = replace(OWN.visits[0], level_error=dict.fromkeys(NAMES, 0.05))
    other, _ = curves_of(system, replace(OWN, visits=(level,)))
    out = (truth.transit[AIRS.name] == 1).all(axis=1)
    assert np.array_equal(base[AIRS.name].flux_e[out], other[AIRS.name].flux_e[out])
    assert not np.array_equal(base[AIRS.name].flux_e, other[AIRS.name].flux_e)


def test_draws_have_the_size_that_their_keys_say():
    drawn = draw_worlds(replace(ALL, catalogue_errors=0.5, gaps=0.5), np.random.default_rng(5), 800)
    visits = [visit for world in drawn for visit in world.visits]
    level = np.array([[visit.level_error[name] for name in NAMES] for visit in visits])
    assert np.isclose(level.std(), 0.003, rtol=0.08)
    assert np.isclose(np.corrcoef(level.T)[0, 1], 0.5, atol=0.1)  # the common half of the variance
    factors = catalogue_factors(drawn)
    assert np.isclose((factors != 1).any(axis=1).mean(), 0.5, atol=0.06) and ((factors == 1).sum(axis=1) >= 1).all()
    assert 2.4 < factors.max() <= 2.5 and 0.4 <= factors.min() < 0.42
    gaps = [visit.gaps[0] for visit in visits if visit.gaps]
    assert np.isclose(len(gaps) / len(visits), 0.5, atol=0.06) and {gap.kind for gap in gaps} == set(GAP_KINDS)
    assert max(gap.stop_h - gap.start_h for gap in gaps) <= 0.05 * VISIT_HOURS
    assert min(gap.start_h for gap in gaps) >= 0 and max(gap.stop_h for gap in gaps) <= VISIT_HOURS
    distance = [np.hypot(*world.neighbour.offset_px) for world in drawn]
    assert 3 <= min(distance) < 3.2 and 9.8 < max(distance) <= 10


def test_bad_ranges_and_choices_are_named():
    for key, value in (("airs_sky", [3.0]), ("gap_share", [0.05, 0.01]), ("gap_kinds", ["dusk"]), ("sky_colours", [])):
        with pytest.raises(ValueError, match=f"simulate.world.{key}"):
            draw_world(WorldConfig(**{key: value}), np.random.default_rng(0))
    with pytest.raises(ValueError, match="2 visits"):
        OWN.visit(None, 2)


def test_orbits_and_catalogue():
    systems = draw_systems(300, np.random.default_rng(1))
    drawn = draw_worlds(WorldConfig(grazing=0.5, catalogue_errors=0.5), np.random.default_rng(2), 300)
    graze = np.array([world.graze is not None for world in drawn])
    moved = with_grazing(systems, drawn)
    assert np.array_equal(moved.impact[~graze], systems.impact[~graze])
    k = np.sqrt(systems.depth_level)
    assert (moved.impact[graze] >= 0.85).all() and (moved.impact < 1 + k).all() and (moved.impact > 1).sum() > 20
    assert np.isfinite(moved.duration_h).all() and (moved.duration_h > 0).all()
    plain = observed_catalogue(moved, np.random.default_rng(3))
    wrong = observed_catalogue(moved, np.random.default_rng(3), catalogue_factors(drawn))
    assert np.allclose(wrong.period_days / plain.period_days, catalogue_factors(drawn)[:, 0])
    assert np.allclose(wrong.semi_major_axis_rs / plain.semi_major_axis_rs, catalogue_factors(drawn)[:, 1])
    one = moved.take(np.flatnonzero(moved.impact > 1)[:1])
    dip = 1 - transit_model(one, np.full(283, one.depth_level[0]), 3.75, np.linspace(0, VISIT_HOURS, 300), slice(1, 2))
    assert 0 < dip.max() < 0.6 * one.depth_level[0]


# --- optics ----------------------------------------------------------------------------------------------------------


def test_wings_hold_the_light_that_they_should():
    far = np.abs(np.arange(32) - 15.65) > 6
    own = airs_psf()
    faint = airs_psf(0.0, 0.0)  # without wings outside the core: what the core leaves there
    for over in (0.5, 2.0):
        other = airs_psf(0.0, over)
        gained = (other - faint)[:, far].sum(axis=1) / (own - faint)[:, far].sum(axis=1)
        assert np.allclose(gained, over, rtol=0.15) and np.allclose(other.sum(axis=1), 1)
    outer = np.arange(24, 31) - 15.65
    for power in (1.5, 3.0):
        light = [(airs_psf(0.0, 4.0, p) - airs_psf(0.0, 3.0, p))[320, 24:31] for p in (power, 2.0)]
        fall = [np.polyfit(np.log(outer), np.log(part), 1)[0] for part in light]
        assert np.isclose(fall[0] - fall[1], 2.0 - power, atol=0.1)
    row, col = np.mgrid[:32, :32]
    corner = np.hypot(row - FGS1.centre[0], col - FGS1.centre[1]) > 5
    light = {over: fgs1_psf((0, 0), over)[corner].sum() for over in (0.5, 1.0, 2.0)}
    assert np.isclose(light[2.0] / light[1.0], 2, rtol=0.01) and np.isclose(light[0.5] / light[1.0], 0.5, rtol=0.01)
    steep, flat = (fgs1_psf((0, 0), 1.0, p) for p in (4.0, 2.5))
    assert steep[corner].sum() < light[1.0] < flat[corner].sum()


def test_sky_has_its_colour_and_mean():
    crop, star = slice(*AIRS.crop), star_columns(5500.0, 0.8)[1]
    own = background_columns()[crop]
    for colour in ("flat", "star", "red"):
        sky = sky_columns(10.0, colour, star)[crop]
        assert np.isclose(sky.mean(), 10 * own.mean())
    assert np.allclose(sky_columns(3.0, "own", star), 3 * background_columns())
    assert np.allclose(np.diff(sky_columns(1.0, "flat", star)), 0)
    assert sky_columns(1.0, "red", star)[crop][0] > 3 * sky_columns(1.0, "red", star)[crop][-1]  # red end first
    assert np.corrcoef(sky_columns(1.0, "star", star), star)[0, 1] > 0.9999


# --- light curves ----------------------------------------------------------------------------------------------------


def test_a_level_error_moves_the_depth_and_not_the_truth(system):
    visit = replace(OWN.visits[0], level_error={FGS1.name: 0.0, AIRS.name: 0.05})
    curve, truth = curves_of(system, replace(OWN, visits=(visit,)))
    own, known = curves_of(system, OWN)
    ratio = {name: depth_seen(system, curve, name) / depth_seen(system, own, name) for name in NAMES}
    assert np.isclose(ratio[AIRS.name], 1.05, atol=1e-4) and ratio[FGS1.name] == 1
    assert np.array_equal(truth.transit[AIRS.name], known.transit[AIRS.name])


def test_a_neighbour_dilutes_by_its_share_in_the_weights(system):
    own, _ = curves_of(system, OWN)
    near = replace(OWN, neighbour=Neighbour(0.5, (0.0, 3.0)))  # beside the target along AIRS' trace
    curve, truth = curves_of(system, near)
    assert np.allclose(truth.neighbour[AIRS.name], 1 / 3)
    assert np.isclose(depth_seen(system, curve, AIRS.name), 2 / 3, atol=0.01)
    assert np.isclose(np.median(curve[AIRS.name].flux_e / own[AIRS.name].flux_e), 1.5, atol=0.01)
    apart, truth = curves_of(system, replace(OWN, neighbour=Neighbour(0.5, (9.0, 0.0))))
    assert truth.neighbour[FGS1.name][0] < 1 / 3 and depth_seen(system, apart, FGS1.name) > 2 / 3


def test_sky_leaves_noise_alone(system):
    own, known = curves_of(system, OWN)
    curve, truth = curves_of(system, replace(OWN, airs_sky=10.0, fgs1_sky=10.0))
    noise = truth.noise_sd_e[AIRS.name].mean(axis=0) / known.noise_sd_e[AIRS.name].mean(axis=0)
    assert 1.02 < noise.max() < 1.5 and np.median(noise) < 1.1
    assert np.isclose(depth_seen(system, curve, AIRS.name) / depth_seen(system, own, AIRS.name), 1, atol=0.01)


@pytest.mark.parametrize("kind", GAP_KINDS)
def test_gaps(system, kind):
    gap = Gap(1.0, 1.3, kind, (AIRS.name,))
    visit = replace(OWN.visits[0], gaps=(gap,))
    curve, _ = curves_of(system, replace(OWN, visits=(visit,)))
    own, _ = curves_of(system, OWN)
    inside = (own[AIRS.name].time_h > 1.02) & (own[AIRS.name].time_h < 1.28)
    level = curve[AIRS.name].flux_e[inside].mean(axis=0) / own[AIRS.name].flux_e[:40].mean(axis=0)
    assert np.isclose(np.median(level), {"dark": 0, "half": 0.5, "frozen": 1}[kind], atol=0.002)
    assert (np.ptp(curve[AIRS.name].flux_e[inside], axis=0) == 0).all() == (kind == "frozen")
    clear = (own[AIRS.name].time_h < 0.95) | (own[AIRS.name].time_h > 1.35)
    assert np.array_equal(curve[AIRS.name].flux_e[clear], own[AIRS.name].flux_e[clear])
    assert np.array_equal(curve[FGS1.name].flux_e, own[FGS1.name].flux_e)


def test_excursions_pointing_and_the_second_drift(system):
    drawn = draw_world(replace(WorldConfig(), excursions=1.0, excursion_loss=[0.01, 0.01]), np.random.default_rng(1))
    away = drawn.visits[0].excursion
    curve, _ = curves_of(system, drawn)
    own, _ = curves_of(system, OWN)
    for name in NAMES:
        lost = 1 - (curve[name].flux_e / own[name].flux_e).astype(float).mean(axis=1)
        assert np.allclose(lost, 0.01 * away.course(own[name].time_h), atol=2e-4)
    assert away.time_h > 5 and curve[FGS1.name].centroid_px.std() > own[FGS1.name].centroid_px.std()
    drawn = draw_world(WorldConfig(second_drift=[0.3, 0.3]), np.random.default_rng(1))
    gain = curves_of(system, drawn)[1].gain[AIRS.name] - 1
    first = curves_of(system, OWN)[1].gain[AIRS.name] - 1
    second = gain - first
    assert np.isclose(second.std(), 0.3 * 1e-4, rtol=0.15) and np.allclose(second.mean(axis=1), 0, atol=1e-6)
    assert np.linalg.matrix_rank(gain - 0, tol=1e-9) == 2
    # calibration takes out what follows the centroid: jitter leaves nothing, a slip the third order and what follows
    rough = replace(OWN, intrapixel=0.05, visits=(replace(OWN.visits[0], phase=(0.25, 0.25)),))
    for name in NAMES:
        np.testing.assert_allclose(curves_of(system, rough)[0][name].flux_e, own[name].flux_e, rtol=1e-6)
    slip = replace(away, row_px=0.2, col_px=0.2, loss=0.0)
    slipped = replace(rough, visits=(replace(rough.visits[0], excursion=slip),))
    still = replace(slipped, intrapixel=0.0)
    turn = 2 * np.pi * 0.2 * away.course(own[FGS1.name].time_h)
    for name, reach, damping in ((AIRS.name, 0.1, 0.013), (FGS1.name, 1.0, 0.1)):
        moved = curves_of(system, slipped)[0][name].flux_e / curves_of(system, still)[0][name].flux_e.astype(float)
        cubic = turn**3 / 6 if name == FGS1.name else 0.0
        left = 0.05 * np.exp(-0.5 * (2 * np.pi * damping) ** 2) * (reach * turn - cubic - np.sin(reach * turn))
        np.testing.assert_allclose(moved.mean(axis=1) - 1, left, atol=2e-5)


def test_a_telescope_that_wanders_moves_the_image_all_visit_long(system):
    drawn = draw_world(WorldConfig(wander=[0.2, 0.2]), np.random.default_rng(1))
    time_h = np.linspace(0, VISIT_HOURS, 2_001)
    for visit in drawn.visits:
        offset = visit.wander.offset(time_h)
        assert np.allclose(offset.std(axis=0), 0.2, rtol=1e-2)
        steps = np.abs(np.diff(offset, axis=0)).max()  # no faster than six sines of 0.7 h, each as large as all
        assert steps < 6 * 0.2 * np.sqrt(2) * 2 * np.pi / 0.7 * VISIT_HOURS / 2_000
    assert not np.allclose(*(visit.wander.offset(time_h) for visit in drawn.visits))
    curve, _ = curves_of(system, drawn)
    for name, reach, jitter_px in ((AIRS.name, 0.1, 0.0034), (FGS1.name, 1.0, 0.0075)):  # of one sample
        row = curve[name].centroid_px[:, 0]
        expected = reach * drawn.visits[0].wander.offset(curve[name].time_h)[:, 0]
        assert np.std(row - expected) == pytest.approx(jitter_px, rel=0.15)
        own, _ = curves_of(system, OWN)
        np.testing.assert_allclose(curve[name].flux_e, own[name].flux_e, rtol=1e-6)  # calibration has seen to it


# --- frames ----------------------------------------------------------------------------------------------------------


def frames_of(system, world, instrument, pairs=30, t0=-50.0, depth=0.02, seed=7):
    """Frames (2 x pairs, rows, cols) as electrons, of a quiet visit without cosmic rays' or detectors' differences."""
    quiet = Visit(dict.fromkeys(NAMES, t0), dict.fromkeys(NAMES, Drift(0.0, np.ones(1), np.ones(1))), None)
    detector = draw_detector(instrument, np.random.default_rng(3))
    rng = np.random.default_rng(seed)
    adu = simulate_frames(
        instrument, system, np.full(283, depth), world.visit(quiet, 0), detector, pairs, rng, world=world
    )
    return adu.T.reshape(-1, instrument.rows, instrument.cols) / ADC_GAIN + ADC_OFFSET_E, detector


def cds_of(system, world, instrument, **options):
    """Mean of the pairs' differences, flat divided, bad pixels NaN, (rows, cols)."""
    electrons, detector = frames_of(system, world, instrument, **options)
    bad = detector.files.dead | detector.files.hot
    return np.where(bad, np.nan, (electrons[1::2] - electrons[::2]).mean(axis=0) / detector.response)


def test_frames_of_the_own_world_are_what_they_were(tmp_path, monkeypatch):
    """Sums of ADU by the code before worlds, of a planet whose spectrum is flat."""

    def flat(systems, rng):
        return np.repeat(systems.depth_level[:, None], 283, axis=1)

    monkeypatch.setattr("kitlib.simulate.observatory.draw_spectra", flat)
    config = SimulateConfig(train_planets=1, test_planets=0, airs_pairs=8, fgs1_pairs=40)
    simulate_campaign(tmp_path, config, 9, 1, False)
    for name, flat, slanted in (
        ("AIRS-CH0", 124529291, 714586122161),
        ("FGS1", 50515360, 25943749898),
    ):
        (path,) = tmp_path.rglob(f"{name}_signal_0.parquet")
        adu = pl.read_parquet(path).to_numpy().astype(np.int64)
        assert np.allclose([adu.sum(), (adu * np.arange(adu.shape[1])).sum()], [flat, slanted], rtol=1e-7)


def test_sky_raises_the_outer_rows_by_its_electrons(system):
    own, much = (cds_of(system, world, AIRS) for world in (OWN, replace(OWN, airs_sky=10.0)))
    expected = 9 * background_columns()
    outer = np.r_[0:6, 26:32]
    gained = np.nanmedian((much - own)[outer], axis=0)[60:300].mean()
    assert np.isclose(gained, expected[60:300].mean(), rtol=0.03)
    own, much = (cds_of(system, world, FGS1, pairs=200) for world in (OWN, replace(OWN, fgs1_sky=10.0)))
    assert np.isclose(np.nanmedian((much - own)[:5]), 9 * BACKGROUND_FGS1_E, rtol=0.3)


def test_wings_and_neighbours_are_in_the_image(system):
    base = cds_of(system, OWN, FGS1, pairs=100)
    near = replace(OWN, neighbour=Neighbour(0.5, (6.0, 0.0)))
    image = cds_of(system, near, FGS1, pairs=100) - base
    star = star_columns(float(system.stellar_temperature_k[0]), float(system.brightness[0]))[0]
    assert np.isclose(np.nansum(image) / star, 0.5, rtol=0.04)
    row, col = np.mgrid[:32, :32]
    assert np.isclose(np.nansum(image * row) / np.nansum(image), FGS1.centre[0] + 6, atol=0.4)
    wide = cds_of(system, replace(OWN, fgs1_wings=2.0), FGS1, pairs=100)
    corner = np.hypot(row - FGS1.centre[0], col - FGS1.centre[1]) > 6
    faint = base - 0.7
    assert 1.7 < np.nansum((wide - 0.7)[corner]) / np.nansum(faint[corner]) < 2.2
    trace = cds_of(system, replace(OWN, airs_wings=2.0), AIRS) - cds_of(system, OWN, AIRS)
    assert np.nanmedian(trace[3:8, 200:280]) > 20


def test_a_level_error_is_in_the_frames_too(system):
    visit = replace(OWN.visits[0], level_error=dict.fromkeys(NAMES, 0.2))
    light = [
        np.nansum(cds_of(system, world, AIRS, t0=t0, depth=0.05)[10:22, 60:300])
        for world, t0 in ((OWN, -50.0), (OWN, 3.75), (replace(OWN, visits=(visit,)), 3.75))
    ]
    assert np.isclose((light[0] - light[2]) / (light[0] - light[1]), 1.2, atol=0.01)


@pytest.mark.parametrize("kind", GAP_KINDS)
def test_gaps_in_frames(system, kind):
    visit = replace(OWN.visits[0], gaps=(Gap(3.0, 4.5, kind, (AIRS.name,)),))
    electrons, detector = frames_of(system, replace(OWN, visits=(visit,)), AIRS)
    own, _ = frames_of(system, OWN, AIRS)
    inside = np.flatnonzero(Gap(3.0, 4.5, kind, ()).holds(pair_times_h(AIRS, 30)))
    assert len(inside) == 6
    clear = np.delete(np.arange(60), [2 * inside, 2 * inside + 1])
    assert np.array_equal(electrons[clear], own[clear])
    if kind == "frozen":
        assert (electrons[2 * inside] == electrons[2 * inside[0] - 2]).all()
        assert (electrons[2 * inside + 1] == electrons[2 * inside[0] - 1]).all()
    else:
        light = [(frames[2 * inside + 1] - frames[2 * inside])[:, 10:22, 60:300].sum() for frames in (electrons, own)]
        assert np.isclose(light[0] / light[1], {"dark": 0, "half": 0.5}[kind], atol=0.01)


def test_full_pixels_end_at_their_well():
    detector = draw_detector(AIRS, np.random.default_rng(3))
    light = np.full((4, AIRS.n_pixels), 100.0, np.float32)
    struck = np.full_like(light, 1e5)
    adu = detect(detector, light, light, struck, np.random.default_rng(1), 80_000.0)
    second = adu[1::2].reshape(4, AIRS.rows, AIRS.cols) / ADC_GAIN + ADC_OFFSET_E
    quiet = ~detector.files.dead & (detector.files.read_noise_e < 15)
    assert np.isclose(second[:, quiet].mean(), 80_000, atol=2) and second[:, quiet].max() < 80_100
    open_end = detect(detector, light, light, struck, np.random.default_rng(1))
    assert (open_end[1::2].reshape(4, AIRS.rows, AIRS.cols)[:, quiet] / ADC_GAIN + ADC_OFFSET_E).mean() > 90_000


def test_a_campaign_draws_its_world(tmp_path):
    config = SimulateConfig(train_planets=3, test_planets=0, airs_pairs=4, fgs1_pairs=4, world=ALL)
    plans = plan_campaign(tmp_path / "data", config, 9)
    assert all(plan.world.neighbour and plan.world.graze and plan.world.visits[0].gaps for plan in plans)
    assert len({plan.world.airs_sky for plan in plans}) == 3
    true = np.array([plan.system.period_days[0] for plan in plans])
    told = pl.read_csv(tmp_path / "data/train_star_info.csv")["P"].to_numpy()
    assert np.allclose(told / true, [plan.world.period_factor for plan in plans])


def test_the_module_tells_its_api():
    """The names that the docstring of worlds.py uses are there."""
    for name in ("draw_worlds", "with_grazing", "catalogue_factors", "OWN"):
        assert name in worlds_file.__doc__ and hasattr(worlds_file, name)

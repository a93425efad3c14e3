"""Planets with a wrong catalogue or light curves of something else: answered within their sigma, told where seen."""

from dataclasses import replace

import numpy as np
import pytest

from kitlib.base.instruments import AIRS, FGS1, N_AIRS_BINS, N_BINS
from kitlib.base.products import Catalogue, LightCurve, PlanetLightCurves
from kitlib.base.provenance import EventLog
from kitlib.base.schema import PhysfitConfig
from kitlib.run.fits import fit_planets
from kitlib.simulate import draw_spectra, draw_systems, draw_visits, observed_catalogue, simulate_lightcurves
from kitlib.transit import shipped_priors

PLANETS, SEED = 3, 5
SOUND = range(PLANETS)
CATALOGUE_CASES = {
    "period too long": (0, "period_days", 2.5),
    "period too short": (1, "period_days", 0.4),
    "a/Rs too large": (2, "semi_major_axis_rs", 2.5),
    "a/Rs too small": (0, "semi_major_axis_rs", 0.4),
}
DATA_CASES = {
    "FGS1 of another visit": 1,
    "FGS1 of another planet": 2,
    "one visit of two broken": 0,
}
MOST_SIGMAS = 5.0
LEVEL = np.r_[0, np.full(N_AIRS_BINS, 1 / N_AIRS_BINS)]


def dimmed(curve: LightCurve) -> LightCurve:
    """A visit in which something passes in front of the telescope: two more dips of 1 %, of no planet's shape."""
    time = curve.time_h[:, None]
    dips = sum(0.01 * np.exp(-0.5 * ((time - middle) / width) ** 2) for middle, width in ((1.2, 0.15), (6.3, 0.3)))
    return replace(curve, flux_e=(curve.flux_e * (1 - dips)).astype(np.float32))


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """Name of a case -> its planet's number; posterior, truth (rows as the cases), and the events by case."""
    rng = np.random.default_rng(SEED)
    systems = draw_systems(PLANETS, rng)
    depth = draw_spectra(systems, rng)
    catalogue = observed_catalogue(systems, rng)

    def at(t0_h: float) -> list[PlanetLightCurves]:
        (visits,) = zip(*draw_visits(systems, rng, two_visit_fraction=0.0), strict=True)
        moved = [(replace(one, t0_h=dict.fromkeys(one.t0_h, t0_h)),) for one in visits]
        return simulate_lightcurves(systems, depth, rng, visits=moved)

    first, second = at(3.3), at(4.1)

    def visit(planet: int) -> dict[str, LightCurve]:
        return first[planet].visits[0]

    made: dict[str, tuple[int, tuple[dict[str, LightCurve], ...], Catalogue]] = {}
    for planet in SOUND:
        made[f"sound {planet}"] = planet, (visit(planet),), catalogue.take(slice(planet, planet + 1))
    for name, (planet, column, factor) in CATALOGUE_CASES.items():
        row = catalogue.take(slice(planet, planet + 1))
        made[name] = planet, (visit(planet),), replace(row, **{column: getattr(row, column) * factor})
    mixed = {
        "FGS1 of another visit": lambda i: (visit(i) | {FGS1.name: second[i].visits[0][FGS1.name]},),
        "FGS1 of another planet": lambda i: (visit(i) | {FGS1.name: visit(i - 1)[FGS1.name]},),
        "one visit of two broken": lambda i: (
            {name: dimmed(curve) for name, curve in visit(i).items()},
            second[i].visits[0],
        ),
    }
    for name, planet in DATA_CASES.items():
        made[name] = planet, mixed[name](planet), catalogue.take(slice(planet, planet + 1))
    planets = [PlanetLightCurves(number, visits) for number, (_, visits, _) in enumerate(made.values())]
    rows = [row for _, _, row in made.values()]
    table = Catalogue(*(np.concatenate([getattr(row, f) for row in rows]) for f in Catalogue.__dataclass_fields__))
    log = EventLog(tmp_path_factory.mktemp("wrong") / "events.jsonl")
    posterior, _ = fit_planets(planets, table, shipped_priors(), PhysfitConfig(), log, progress=False)
    cases = list(made)
    misfits = {cases[one["planet_id"]]: one for one in log.read() if one["event"] == "misfit"}
    return cases, posterior, depth[[planet for planet, _, _ in made.values()]], misfits


@pytest.mark.parametrize("case", [*(f"sound {i}" for i in SOUND), *CATALOGUE_CASES, *DATA_CASES])
def test_answers_lie_within_their_sigma(answered, case):
    cases, posterior, truth, _ = answered
    at = cases.index(case)
    assert posterior.diagnostics["fallback"][at] == 0
    for what in (LEVEL, np.eye(N_BINS)[0]):
        sigma = np.sqrt(what @ posterior.cov[at].astype(np.float64) @ what)
        assert abs(what @ (posterior.mean[at] - truth[at])) < MOST_SIGMAS * sigma
        alone = what[0] == 1 and case == "FGS1 of another planet"  # no light curve of its own is left to FGS1
        assert sigma < (0.05 if alone else 0.02) * what @ truth[at]  # nor is this reached by knowing nothing


@pytest.mark.parametrize("case", [*(f"sound {i}" for i in SOUND), *CATALOGUE_CASES])
def test_no_event_where_the_fit_is_sound(answered, case):
    """A wrong catalogue alone costs nothing: the light curve knows the orbit well enough."""
    cases, posterior, _, misfits = answered
    at = cases.index(case)
    assert case not in misfits and posterior.diagnostics["gate"][at] == 0
    assert posterior.diagnostics["wide_geometry"][at] == (case in CATALOGUE_CASES)


@pytest.mark.parametrize("case", DATA_CASES)
def test_event_with_reason_and_figures_where_the_data_contradict(answered, case):
    cases, posterior, _, misfits = answered
    at = cases.index(case)
    event = misfits[case]
    assert posterior.diagnostics["gate"][at] > 0
    answer = {
        "FGS1 of another visit": "each instrument with a mid-transit time of its own",
        "FGS1 of another planet": f"{AIRS.name} alone",
        "one visit of two broken": "visit 1 alone",
    }[case]
    assert f"Answered by a fit of {answer}" in event["reason"]
    assert event["figures"]["chi2_white"] < 1.5  # of the fit that is answered

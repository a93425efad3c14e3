"""The report page: complete, honest to its products, self-contained, safe with hostile text, drawn by a browser."""

import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
from reportdata import NAIVE, make_data, make_extracted, make_panel, trace, unpacked

from kitlib.base.products import Catalogue, LightCurveFit, MeanFrame, Prediction
from kitlib.report import OtherRun, ReportData, planetcharts, write_report
from kitlib.report.comparison import differences, total_scores
from kitlib.report.diagnostics import level_sigma, rule_table, worst_planets
from kitlib.report.gatetable import gate_counts, striking_rows
from kitlib.report.packing import Packer
from kitlib.report.page import PLOTLY, render
from kitlib.rules import RuleSet, parse, slack
from kitlib.sigma.metric import gll_score

ROOT = Path(__file__).resolve().parents[2]


class _Page(HTMLParser):
    """Collects what a page refers to, and whether its tags are balanced."""

    VOID = frozenset({"meta", "link", "input", "br", "hr", "img"})

    def __init__(self, text: str):
        super().__init__()
        self.open, self.ids, self.links, self.scripts, self.urls = [], [], [], [], []
        self.text, self.references, self.options, self.select = [], [], {}, ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert len(values) == len(attributes), f"<{tag}> repeats an attribute: {attributes}"
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        self.urls += [values[name] for name in ("src", "href", "srcset", "action", "data", "poster") if name in values]
        self.references += [r for name in ("aria-labelledby", "for") if name in values for r in values[name].split()]
        if tag == "a":
            self.links.append(values["href"])
        if tag == "select":
            self.select = values["id"]
        if tag == "option":
            self.options.setdefault(self.select, []).append(values["value"])
        if tag == "script":
            self.scripts.append(values)
        self.handlers = [name for name in values if name.startswith("on")]
        assert not self.handlers, f"inline handler on <{tag}>"

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, text):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(text)


def own(page: str) -> str:
    """The page without plotly.js, which names addresses that it never asks for (test_report_browser.py)."""
    library = PLOTLY.read_text(encoding="utf-8")
    assert library in page
    return page.replace(library, "")


def payload_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.S).group(1))


@pytest.fixture(scope="module")
def data() -> ReportData:
    return make_data()


@pytest.fixture(scope="module")
def page(data) -> str:
    return render(data)


def test_page_is_well_formed_and_its_references_resolve(page):
    parsed = _Page(page)
    assert page.startswith("<!doctype html>")
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.references) <= set(parsed.ids)


def test_page_asks_for_nothing_outside_itself(page):
    for url in _Page(page).urls:
        assert url.startswith("#") or url == "data:,", url
        assert not urlparse(url).netloc
    for forbidden in (
        "http:",
        "https:",
        "//cdn",
        "@import",
        "url(",
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "import(",
    ):
        assert forbidden not in own(page), forbidden
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert policy.startswith("default-src 'none'")
    assert re.findall("unsafe[a-z-]*", policy) == ["unsafe-hashes"]  # style attributes, each by its hash


def test_page_is_written_once_with_the_same_bytes(tmp_path, data, page):
    path = write_report(tmp_path / "deep" / "report.html", data)
    assert path.read_text(encoding="utf-8") == page
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_every_planet_is_in_chooser_table_and_payload(data, page):
    parsed = _Page(page)
    ids = [str(i) for i in data.prediction.planet_id]
    assert sorted(parsed.options["planet"]) == sorted(ids)
    assert {f"#planet-{i}" for i in ids} <= set(parsed.links)
    assert [planet["id"] for planet in payload_of(page)["planets"]] == ids


def test_payload_decodes_to_the_products(data, page):
    payload = payload_of(page)
    planet = payload["planets"][0]
    drawn = unpacked(payload, planet["spectrum"])
    both = {name: [trace(drawn, name, which) for which in (0, 1)] for name in ("recovered", "true", "error / σ")}
    whole = {name: np.concatenate([one["y"] for one in found]) for name, found in both.items()}
    sigma = np.concatenate([one["customdata"] for one in both["recovered"]])
    np.testing.assert_allclose(whole["recovered"] / 1e6, data.prediction.mu[0], atol=0.051e-6)
    np.testing.assert_allclose(whole["true"] / 1e6, data.truth[0], atol=0.051e-6)
    np.testing.assert_allclose(sigma / 1e6, data.prediction.sigma[0], atol=0.051e-6)
    pull = (data.prediction.mu[0] - data.truth[0]) / data.prediction.sigma[0]
    np.testing.assert_allclose(whole["error / σ"], pull, atol=1e-3)
    points = trace(drawn, "measured, light curves alone")
    np.testing.assert_allclose(points["y"] / 1e6, data.measured[0, 0, 1:], atol=0.051e-6)
    np.testing.assert_allclose(points["error_y"]["array"] / 1e6, data.measured[0, 1, 1:], atol=0.051e-6)
    assert not [one for one in unpacked(payload, payload["planets"][1]["spectrum"])["data"] if one.get("error_y") and
                "measured" in one["name"]]  # fmt: skip
    curve = planet["curves"][0]
    panel = next(p for p in data.panels if p.planet_id == int(planet["id"]) and p.instrument == "FGS1" and p.visit == 0)
    assert (curve["instrument"], curve["visit"]) == ("FGS1", 0)
    drawn = unpacked(payload, curve["figure"])
    for name, values in {
        "light": panel.flux,
        "fit": panel.model,
        "drift alone": panel.drift,
        "light over drift": panel.flux / panel.drift,
        "transit alone": panel.model / panel.drift,
        "residual": (panel.flux - panel.model) * 1e4,
    }.items():
        np.testing.assert_allclose(trace(drawn, name)["x"], panel.time_h, atol=1e-4)
        np.testing.assert_allclose(trace(drawn, name)["y"] / 100, values, atol=1e-6 if name != "residual" else 1e-3)
    assert [(one["visit"], one["kind"]) for one in planet["maps"]] == [(0, "light"), (0, "residuals"), (1, "light")]
    residual = unpacked(payload, planet["maps"][1]["figure"])["data"][0]
    np.testing.assert_allclose(residual["z"], data.residuals[0, 0, 2:].T, atol=0.02)
    duration = data.posterior.diagnostics["duration_h"][0]
    np.testing.assert_allclose(residual["x"], data.phases[2:] * duration, atol=1e-4)


def test_mean_frames_weights_and_light_are_those_of_the_products(data, page):
    payload = payload_of(page)
    planet, visits = payload["planets"][0], data.extracted[0].visits
    assert [(one["visit"], one["instrument"]) for one in planet["frames"]] == [
        (visit, name) for visit in (0, 1) for name in ("FGS1", "AIRS-CH0")
    ]
    for one in planet["frames"]:
        kept = visits[one["visit"]][one["instrument"]].frame
        drawn, weights = (unpacked(payload, one[kind])["data"][0] for kind in ("frame", "weights"))
        np.testing.assert_allclose(10 ** drawn["z"], kept.flux_e, rtol=0.03)
        np.testing.assert_allclose(weights["z"], kept.weights, atol=0.01)
        assert weights["zmin"] == -weights["zmax"] and np.isnan(drawn["z"][5:10]).all()
    light = unpacked(payload, planet["maps"][0]["figure"])["data"][0]
    assert light["z"].shape == (47, 60) and light["x"][[0, -1]] == pytest.approx([0.05, 7.45], abs=0.1)
    curve = visits[0]["AIRS-CH0"]
    group = curve.flux_e[:, 6:12].astype(float)  # the second
    start, stop = (int(np.searchsorted(curve.time_h, hour)) for hour in (3.0, 4.4))
    expected = (group[start:stop].sum(1) / np.median(group, 0).sum()).mean()
    inside = (light["x"] > 3) & (light["x"] < 4.4)
    assert light["z"][1, inside].mean() == pytest.approx(expected, abs=3e-4)
    assert payload["planets"][-1]["frames"] == payload["planets"][-1]["maps"] == []


def test_a_mean_frame_without_light_and_light_without_samples_are_drawn():
    dark = MeanFrame(np.full((32, 32), -3, np.float32), np.zeros((32, 32), np.float16))
    wavelengths = np.linspace(0.7, 3.9, 283)
    assert (planetcharts.mean_frame(dark, wavelengths)["data"][0]["z"] == 0).all()
    curve = make_extracted(1, 1, 0.01, 90, np.random.default_rng(0)).visits[0]["AIRS-CH0"]
    flux = curve.flux_e.copy()
    flux[:, 12:18] = np.nan  # a group of bins that saw nothing, and a bin of another
    flux[:, 20] = np.nan
    image = planetcharts.extracted_map(replace(curve, flux_e=flux), wavelengths)["data"][0]["z"]
    assert np.isnan(image[2]).all() and np.isfinite(np.delete(image, 2, axis=0)).all()
    assert np.median(image[3]) == pytest.approx(1, abs=0.01)


def test_planets_share_their_skeletons_and_equal_columns_are_written_once():
    packer = Packer()
    one, other = ({"data": [{"x": np.arange(40.0), "y": values}], "layout": {"range": [0, 1]}} for values in
                  (np.arange(40.0), np.linspace(-3e-5, 7e-5, 40)))  # fmt: skip
    other["data"][0]["y"][3] = np.nan
    packed = [packer.add(one), packer.add(other)]
    assert [skeleton for skeleton, _ in packed] == [0, 0] and len(packer.columns) == 3
    again = unpacked({"skeletons": packer.skeletons, "columns": packer.columns}, packed[1])
    np.testing.assert_allclose(again["data"][0]["y"], other["data"][0]["y"], atol=1e-4 / 65_000)
    assert again["layout"]["range"].tolist() == [0, 1]


def test_long_light_curves_are_averaged_and_bad_samples_left_out(data):
    panel = data.panels[0]
    rng = np.random.default_rng(1)
    long = make_panel(panel.planet_id, panel.instrument, 0, 0.01, 5625, rng)
    flux, sigma = long.flux.copy(), long.sigma.copy()
    flux[10:40], sigma[50:60] = np.nan, np.inf
    page = render(replace(data, panels=(replace(long, flux=flux, sigma=sigma),)))
    payload = payload_of(page)
    curve = payload["planets"][0]["curves"][0]
    residual = trace(unpacked(payload, curve["figure"]), "residual")["y"]
    assert curve["averaged"] == 28 and len(residual) == -(-5585 // 28)
    assert curve["statistics"]["samples"] == 5585
    assert np.std(residual) == pytest.approx(70 / np.sqrt(28), rel=0.15)
    assert curve["statistics"]["rms_ppm"] == pytest.approx(70, rel=0.05)


def test_one_hundred_planets_with_all_light_curves_stay_below_5_mb(tmp_path):
    path = write_report(tmp_path / "report.html", make_data(planets=100, detailed=100, samples=375))
    assert path.stat().st_size < 5_000_000


PRODUCTS = (
    *("mu", "sigma", "truth", "scores", "panels", "events", "manifests", "posterior"),
    *("rules", "injection", "heavy", "latents", "measured", "prior_shape", "residuals", "against", "extracted"),
)


@pytest.mark.parametrize("change", PRODUCTS)
def test_page_follows_each_product(data, page, change):
    if change in ("mu", "sigma"):
        values = getattr(data.prediction, change).copy()
        values[3, 100] *= 1.01
        changed = replace(data, prediction=replace(data.prediction, **{change: values}))
    elif change == "truth":
        truth = data.truth.copy()
        truth[3, 100] += 1e-5
        changed = replace(data, truth=truth)
    elif change == "posterior":
        cov = data.posterior.cov.copy()
        cov[:, 1:, 1:] += 4e-11
        changed = replace(data, posterior=replace(data.posterior, cov=cov))
    elif change == "panels":
        changed = replace(data, panels=(replace(data.panels[0], flux=data.panels[0].flux + 5e-5), *data.panels[1:]))
    else:
        scores = (("physics", 0.1234, 0.2, 0.3),)
        new = {"scores": scores, "events": data.events[:1], "manifests": ({"stage": "other"},)}
        new |= {"rules": None, "heavy": False, "injection": {"bands": [{"signal": "CO"}]}, "latents": data.latents**2}
        new |= {name: 1.1 * getattr(data, name) for name in ("measured", "prior_shape", "residuals")}
        new |= {"extracted": data.extracted[1:]}
        new |= {"against": OtherRun("other", data.prediction)}
        changed = replace(data, **{change: new[change]})
    assert render(changed) != page


def test_shown_score_and_facts_are_the_run_s(data, page):
    words = " ".join(" ".join(_Page(page).text).split())
    score = gll_score(data.prediction.mu, data.prediction.sigma, data.truth, *NAIVE)
    assert f"{score.total:.4f}" in words and f"{score.fgs1:.4f}" in words
    for fact in ("20251123", "ab12cd34ab12cd34", "numpy 2.1.0", "12.5", "no transit found", "truncated file"):
        assert fact in words, fact


def test_without_truth_the_page_says_so_and_shows_no_score():
    data = make_data(truth=False)
    page = render(data)
    words = " ".join(" ".join(_Page(page).text).split())
    assert "are not known to this run" in words and "Planets to look at first" in words
    assert "Reliability of sigma" not in words and "(score" not in words
    payload = payload_of(page)
    assert payload["groups"] == [] and sorted(payload["figures"]) == ["latents", "powers"]
    assert "true" not in [one.get("name") for one in unpacked(payload, payload["planets"][0]["spectrum"])["data"]]
    assert "Where the score is lost" not in words and "Residuals and latents" in words
    first = [planet["planet_id"] for planet in worst_planets(data)[:2]]
    assert set(first) == set(data.prediction.planet_id[1:3])  # the two that events name


def test_without_posterior_panels_events_and_manifests(data):
    page = render(replace(data, posterior=None, panels=(), events=(), manifests=(), scores=()))
    words = " ".join(" ".join(_Page(page).text).split())
    assert "AIRS level" not in words and "event log is empty" in words and "No manifest" in words


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028<!--"


def test_hostile_text_stays_text(data):
    planet = int(data.prediction.planet_id[0])
    events = ({"stage": HOSTILE, "event": HOSTILE, "planet_id": planet, "reason": HOSTILE}, {"planet_id": HOSTILE})
    panels = (replace(data.panels[0], instrument=HOSTILE),)
    manifests = ({"stage": HOSTILE, "config_sha256": HOSTILE, "seed": HOSTILE, "versions": {HOSTILE: HOSTILE}},)
    scores = ((HOSTILE, 0.1, 0.2, 0.3),)
    page = render(replace(data, title=HOSTILE, events=events, panels=panels, manifests=manifests, scores=scores))
    parsed = _Page(page)
    assert len(parsed.scripts) == 4 and "<img" not in own(page) and "alert(1)" in "".join(parsed.text)
    assert payload_of(page)["planets"][0]["events"][0] == [HOSTILE] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wavelengths_um": np.ones(3)}, "wavelengths_um"),
        ({"truth": np.ones((2, 283))}, "truth"),
        ({"naive": None}, "naive"),
        ({"panels": (make_panel(5, "FGS1", 0, 0.01, 9, np.random.default_rng(0)),)}, r"not predicted: \[5\]"),
        ({"prediction": Prediction(np.zeros(0, int), np.zeros((0, 283)), np.zeros((0, 283)))}, "no planet"),
    ],
)
def test_products_that_do_not_fit_are_refused(data, change, message):
    with pytest.raises(ValueError, match=message):
        replace(data, **change)


def test_covariance_of_another_prediction_is_refused(data):
    with pytest.raises(ValueError, match=r"1\.41 times the prediction's. Calibrate it"):
        replace(data, posterior=replace(data.posterior, cov=2 * data.posterior.cov))


def test_light_curve_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="planet 3, visit 1, FGS1"):
        LightCurveFit(3, 1, "FGS1", np.arange(4), np.ones(4), np.ones(3), np.ones(4), np.ones(4))


def test_rules_are_told_with_their_planets(data, page):
    words = " ".join(" ".join(_Page(page).text).split())
    broken = data.rules.report(
        data.prediction.planet_id, data.prediction.mu, data.prediction.sigma, data.wavelengths_um
    )
    shallow = [row["planet_id"] for row in broken if row["rule"] == "deep_enough"]
    assert shallow and len(shallow) == (data.prediction.mu.min(1) < 5000e-6).sum()
    assert f"mu >= 5000 * ppm limit {len(shallow)} of 12" in words
    told = {planet["id"]: [rule[0] for rule in planet["rules"]] for planet in payload_of(page)["planets"]}
    assert {int(planet) for planet, rules in told.items() if "deep_enough" in rules} == set(shallow)


def test_a_target_counts_as_broken_only_beyond_its_unit(data):
    unit = 1e-5
    wild = data.prediction.mu.copy()
    wild[4, 100] += 3e-3  # a spike: its second difference is 6,000 ppm
    rules = {"flat": parse("diff(mu, 2) == 0", 1e-4), "limit": parse("mu <= 1", unit)}
    assert [slack(rule) for rule in rules.values()] == [1e-4, 0.0]
    assert slack(2.0 * (rules["limit"] + rules["flat"])) == 1e-4
    changed = replace(data, prediction=replace(data.prediction, mu=wild), rules=RuleSet(rules))
    flat, limit = rule_table(changed)
    assert flat["planets"] == [int(data.prediction.planet_id[4])] and flat["largest"] > 5e-3 and limit["planets"] == []
    assert flat["median"] > 0  # of all twelve, none of which is exactly flat
    words = " ".join(" ".join(_Page(render(changed)).text).split())
    assert "target, to within 0.0001 1 of 12" in words
    told = {planet["id"]: planet["rules"] for planet in payload_of(render(changed))["planets"]}
    assert [planet for planet, broken in told.items() if broken] == [str(data.prediction.planet_id[4])]


def gated(data: ReportData) -> ReportData:
    """The made-up run as the gate would tell of it: planet 3 by a part, planet 4 covered, planet 1 the population's."""
    planets = len(data.prediction.planet_id)
    known = data.posterior.diagnostics | {"a_over_rs": np.linspace(5, 16, planets)}
    known |= {"gate": np.zeros(planets), "red_noise": np.ones(planets), "wide_geometry": np.zeros(planets)}
    known["gate"][[1, 3, 4]] = np.nan, 1, 2
    known["red_noise"][4], known["wide_geometry"][5] = 9.5, 1
    known |= {"a_over_rs_sd": 0.25 * np.ones(planets), "u1_sd": 0.02 * np.ones(planets), "u2_sd": np.zeros(planets)}
    known |= {"fgs1_drift_order": 2 * np.ones(planets), "airs_drift_order": 3 * np.ones(planets)}
    known |= {"airs_colour_order": np.ones(planets), "airs_second_term": np.arange(planets) % 2}
    known |= {"kind": 4 * np.ones(planets), "kinds": 13 * np.ones(planets), "kind_weight": 0.625 * np.ones(planets)}
    ids = [int(planet) for planet in data.prediction.planet_id]
    misfit = {"stage": "physfit", "event": "misfit", "planet_id": ids[4], "reason": "red over half hours. Covered."}
    near = {"stage": "physfit", "event": "neighbour", "planet_id": ids[6], "reason": "another star in the field"}
    ones = np.ones(planets)
    catalogue = Catalogue(data.prediction.planet_id, ones, ones, 5000 + ones, ones, 3 * ones, 8 * ones, 90 - ones)
    more = {"catalogue": catalogue, "limb": np.tile([0.1234, 0.2], (planets, 1))}
    return replace(
        data, posterior=replace(data.posterior, diagnostics=known), events=(*data.events, misfit, near), **more
    )


def test_what_the_gate_found_is_told_across_planets_and_with_each(data):
    found = gated(data)
    ids = [int(planet) for planet in data.prediction.planet_id]
    rows = {row["planet_id"]: row for row in striking_rows(found)}
    assert list(rows) == [ids[i] for i in (1, 3, 4, 5, 6)]
    assert [rows[ids[i]]["outcome"] for i in (1, 3, 4, 5, 6)] == ["population", "part", "covered", "sound", "sound"]
    assert rows[ids[4]]["beyond"] == ["red_noise"] and rows[ids[5]]["wide"] and rows[ids[3]]["beyond"] == []
    assert rows[ids[6]]["found"] == ["another star in the field"] and rows[ids[1]]["found"] == ["no transit found"]
    assert {name: count for name, _, count in gate_counts(found)} == {
        "sound": 9, "part": 1, "covered": 1, "population": 1
    }  # fmt: skip
    page = render(found)
    words = " ".join(" ".join(_Page(page).text).split())
    assert "9 sound (" in words and "red over half hours. Covered." in words and "9.50 !" in words
    planets = payload_of(page)["planets"]
    assert any("sigma covers the misfit" in line for line in planets[4]["gate"])
    assert "red over half hours. Covered." in planets[4]["gate"] and "red noise 9.50" in " ".join(planets[4]["gate"])
    fit = {name: values for name, *values in planets[0]["fit"]}
    assert fit["a / Rs"] == ["5.00 ± 0.25", "8.00"] and fit["Star's temperature"] == ["", "5\u202f001 K"]
    assert fit["Impact parameter b"] == ["", f"{8 * np.sin(np.radians(1)):.2f}"]
    assert fit["Limb darkening u1, u2, middle of AIRS"] == ["0.123 ± 0.020, 0.200", ""]  # an error of 0: it was held
    assert fit["Drift, FGS1"] == ["order 2 in time", ""] and fit["Drift, AIRS"][0] == "order 3 in time, 1 in colour"
    assert fit["Kind of spectrum, weight"] == ["4 of 13, 0.62", ""]
    second = {name: values for name, *values in planets[1]["fit"]}
    assert second["Drift, AIRS"][0].endswith("second term")
    assert planets[0]["level_sigma"] == pytest.approx(level_sigma(data)[0] * 1e6, abs=0.06)
    assert "Nothing was found" in render(replace(data, posterior=None, events=()))


def test_two_runs_are_compared_planet_by_planet(data):
    ids, mu, sigma = data.prediction.planet_id, data.prediction.mu.copy(), data.prediction.sigma.copy()
    mu[2, 0] -= 3 * sigma[2, 0]
    mu[4, 1:] += 2 * level_sigma(data)[4]
    sigma[5, 1:] *= 4
    fewer = Prediction(np.append(ids[2:], 5), np.append(mu[2:], mu[:1], 0), np.append(sigma[2:], sigma[:1], 0))
    both = replace(data, against=OtherRun(HOSTILE, fewer))
    found = {one.planet_id: one for one in differences(both)}
    assert sorted(found) == sorted(ids[2:].tolist())
    assert found[ids[2]].fgs1 == pytest.approx(3) and found[ids[2]].level == pytest.approx(0, abs=1e-9)
    assert found[ids[4]].level == pytest.approx(-2) and found[ids[4]].shape == pytest.approx(0, abs=1e-9)
    assert found[ids[5]].sigma == pytest.approx(0.25) and found[ids[5]].gain > 0
    assert found[ids[6]] == replace(found[ids[6]], fgs1=0.0, level=0.0, shape=0.0, sigma=1.0, gain=0.0)
    assert abs(differences(both)[0].gain) == max(abs(one.gain) for one in found.values())
    own, other = total_scores(both)
    theirs = gll_score(mu[2:], sigma[2:], data.truth[2:], *NAIVE)
    assert other == theirs and own.total > other.total
    page = render(both)
    words = " ".join(" ".join(_Page(page).text).split())
    assert (
        f"{own.total - other.total:+.4f}" in words and f"{other.total:.4f}" in words and "10 planets of both" in words
    )
    payload = payload_of(page)
    drawn = trace(unpacked(payload, payload["planets"][2]["spectrum"]), HOSTILE, 0)
    assert drawn["y"][0] == pytest.approx(mu[2, 0] * 1e6, rel=1e-6)
    names = [one.get("name") for one in unpacked(payload, payload["planets"][0]["spectrum"])["data"]]
    assert HOSTILE not in names and "two-runs" in payload["figures"]
    without = replace(both, truth=None, posterior=None)
    assert total_scores(without) is None and differences(without)[0].gain is None
    assert "unknown" in render(without) and "no planet in common" in render(
        replace(data, against=OtherRun("other", replace(fewer, planet_id=fewer.planet_id + 1)))
    )


def test_injection_is_shown_row_by_row_whatever_its_columns(data):
    step = {"injected": 100.0, "recovered": 87.25, "detected": 0.5}
    slopes = {"answer": {"slope": 0.91234, "error": 0.02}}
    bands = [{"signal": "CH4", "where": "frames", "slopes": slopes, "ladder": [step, step | {"injected": 300.0}]}]
    left = [{"planet_id": 7, "reason": HOSTILE}]
    page = render(replace(data, injection={"planets": [7], "bands": bands, "points": [step], "left_out": left}))
    words = " ".join(" ".join(_Page(page).text).split())
    assert "Inject and recover" in words and "CH4 frames 0.912 ± 0.02 100 87.2 0.5 CH4" in words and "300" in words
    assert "left out" in words and "alert(1)" in words and "points" not in words
    assert "<td>frames</td>" in page and '<td class="number">87.2</td>' in page


def test_the_library_is_the_one_whose_hash_and_licence_are_recorded():
    row = re.search(r"^\| plotly\.js .*$", (ROOT / "wheels" / "LICENCES.md").read_text(), re.M)[0]
    content = PLOTLY.read_bytes()
    version = re.search(rb"plotly\.js \(cartesian - minified\) v(\S+)", content).group(1).decode()
    assert hashlib.sha256(content).hexdigest() in row and f"plotly.js {version} " in row and "| MIT |" in row

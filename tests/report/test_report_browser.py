"""Pages in a real headless Chromium: no error, no request, keyboard, colours, widths, and the offline notebooks."""

import base64
import csv
import io
import json
import sys
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest
from reportdata import make_data

from kitlib.report import ReportData, write_report
from kitlib.report.drawing import DARK, LIGHT
from kitlib.report.figures import spectrum_figure

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "notebooks"))
from offline import offline_html  # noqa: E402

NAMELESS = (
    "Array.from(document.querySelectorAll('a, button, select, input, summary'))"
    ".filter(e => !e.textContent.trim() && !e.getAttribute('aria-label') && !e.labels?.length)"
)


@pytest.fixture(scope="module")
def data() -> ReportData:
    step = {"injected": 100.0, "recovered": 90.0}
    injection = {"bands": [{"signal": "CH4", "ladder": [step]}]}
    return make_data(planets=6, detailed=3, samples=120, injection=injection)


@pytest.fixture(scope="module")
def page(data, tmp_path_factory) -> Path:
    return write_report(tmp_path_factory.mktemp("page") / "report.html", data)


@pytest.fixture(scope="module")
def opened(browser, page):
    """The page, drawn, once for all tests: loading it asked for nothing else."""
    browser.screen(1200, 900)
    browser.open(page)
    browser.wait("document.documentElement.dataset.drawn")
    assert [url for url in browser.requests() if not url.startswith("data:")] == [page.resolve().as_uri()]
    return browser


@pytest.fixture
def drawn(opened, data):
    """The page with its first planet chosen; afterwards nothing may stand in the console or have been asked for."""
    opened.screen(1200, 900)
    opened.run(f"document.querySelector('#planets a[href=\"#planet-{data.prediction.planet_id[0]}\"]').click()")
    yield opened
    assert opened.console() == []
    # blob: is what the page itself has made, a figure on its way to a file
    assert [url for url in opened.requests() if not url.startswith(("data:", "blob:"))] == []


def traces(browser, chart: str) -> list[dict]:
    """What plotly.js has drawn in a chart."""
    of = "({name: t.name, x: t.x, y: t.y, z: t.z, line: t.line})"
    return browser.run(f"return document.getElementById('{chart}').data.map(t => {of})")


def recovered(browser) -> list[float]:
    """The AIRS bins that the chart of the spectrum shows, ppm."""
    return [trace["y"] for trace in traces(browser, "spectrum") if trace["name"] == "recovered"][1]


def test_every_chart_is_drawn_from_the_products(drawn, data):
    charts = drawn.run("return Array.from(document.querySelectorAll('.chart'), c => c.querySelectorAll('svg').length)")
    # spectrum; of the first planet's two visits four light curves, maps of light and one of residuals, frames and
    # weights; the rest across planets
    assert len(charts) == 1 + 4 + (2 + 1) + 4 * 2 + (2 + 4 + 2) + 2 + 2 and min(charts) > 0
    shown = int(drawn.run("return document.getElementById('planet').value"))
    row = data.index(shown)
    np.testing.assert_allclose(recovered(drawn), data.prediction.mu[row, 1:] * 1e6, atol=0.06)
    cells = np.array(traces(drawn, "cells")[1]["z"])
    assert cells.shape == (6, 282) and cells.mean(1).argmin() in (0, 1)  # the worst planet on top
    assert "NaN" not in drawn.run("return document.querySelector('main').innerHTML")


def test_mean_frames_stand_beside_their_weights(drawn, data):
    of = "Array.from(document.querySelectorAll('#frames .chart'), c => ({name: c.data[0].name, z: c.data[0].z}))"
    shown = drawn.run(f"return {of}")
    assert [one["name"] for one in shown] == ["log10 electrons", "weight"] * 4
    airs = data.extracted[0].visits[0]["AIRS-CH0"].frame
    frame, weights = (np.array(one["z"], float) for one in shown[2:4])
    np.testing.assert_allclose(10**frame, airs.flux_e, rtol=0.03)
    np.testing.assert_allclose(weights, airs.weights, atol=0.01)
    tops = "Array.from(document.querySelectorAll('#frames figure'), f => f.getBoundingClientRect().top)"
    boxes = drawn.run(f"return {tops}")
    assert boxes[0] == boxes[1] == boxes[2] == boxes[3] < boxes[4] == boxes[7]  # a visit a row
    labels = drawn.run("return Array.from(document.querySelectorAll('#frames figcaption'), c => c.textContent)")
    assert labels[0].startswith("FGS1, visit 0") and labels[-1].startswith("AIRS-CH0, visit 1")


def test_the_planet_is_chosen_by_keyboard_alone(drawn, data):
    first = drawn.run("return document.getElementById('planet').value")
    assert drawn.run("document.getElementById('planet').focus(); return document.activeElement.id") == "planet"
    drawn.press("down")
    second = drawn.run("return document.getElementById('planet').value")
    assert second != first and f"Planet {second}: FGS1 depth" in drawn.run(
        "return document.querySelector('#summary[aria-live=polite]').textContent"
    )
    mean = data.prediction.mu[data.index(int(second)), 1:] * 1e6
    np.testing.assert_allclose(recovered(drawn), mean, atol=0.06)
    drawn.press("tab", "tab", "enter")  # to the button for the next planet
    assert drawn.run("return document.activeElement.id") == "next"
    assert drawn.run("return document.getElementById('planet').value") not in (first, second)
    assert drawn.run("return location.hash") == "#planet-" + drawn.run("return document.getElementById('planet').value")


def test_links_groups_colours_and_tables_work(drawn, data):
    last = int(data.prediction.planet_id[-1])
    drawn.run(f"document.querySelector('#planets a[href=\"#planet-{last}\"]').click()")
    assert drawn.run("return [document.getElementById('planet').value, document.activeElement.id]") == [
        str(last),
        "planet",
    ]
    notes = "return document.querySelectorAll('#curves > p, #maps > p, #frames > p').length"
    assert drawn.run(notes) == 3  # it came without light curves
    change = "const s = document.getElementById('{}'); s.value = {!r}; s.dispatchEvent(new Event('change'))"
    before = traces(drawn, "coverage")
    drawn.run(change.format("group", "1"))
    assert traces(drawn, "coverage") != before
    drawn.run(change.format("cells-of", "pull"))
    pull = (data.prediction.mu - data.truth) / data.prediction.sigma
    found = np.array(traces(drawn, "cells")[1]["z"])
    np.testing.assert_allclose(np.sort(found.mean(1)), np.sort(pull[:, 1:].mean(1)), atol=0.02)
    drawn.run("document.getElementById('spectrum-details').open = true")
    drawn.wait("document.querySelectorAll('#spectrum-rows tr').length === 283")
    drawn.run("document.querySelectorAll('#planets th button')[1].click()")
    assert drawn.run("return document.querySelector('#planets th[aria-sort]').textContent") == "Score"


def test_figures_and_data_are_saved_from_the_browser(drawn, data):
    """What a button hands over for saving, caught where it becomes a download."""
    caught = """
    window.saved = []; const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => { window.saved.push(blob); return make.call(URL, blob); };
    HTMLAnchorElement.prototype.click = function () { window.saved.push(this.download); };"""
    drawn.run(caught)
    press = "document.querySelector('#spectrum').closest('figure').querySelectorAll('.tools button')[{}].click()"
    drawn.run(press.format(2))
    name = f"{data.prediction.planet_id[0]}_spectrum"
    drawn.wait(f"window.saved.includes('{name}.csv')")
    drawn.run("window.saved[0].text().then((text) => { window.text = text; })")
    drawn.wait("window.text")
    rows = list(csv.reader(drawn.run("return window.text").splitlines()))
    assert rows[0] == ["series", "x", "y", "error", "z"]
    mine = np.array([row[2:4] for row in rows if row[0] == "recovered"], float)
    np.testing.assert_allclose(mine[:, 0], data.prediction.mu[0] * 1e6, atol=0.06)
    np.testing.assert_allclose(mine[:, 1], data.prediction.sigma[0] * 1e6, atol=0.06)
    assert {row[0] for row in rows[1:]} >= {"true", "error / σ", "measured, light curves alone"}
    for button, kind in ((0, "png"), (1, "svg")):
        drawn.run("window.saved.length = 0")
        drawn.run(press.format(button))
        drawn.wait(f"window.saved.includes('{name}.{kind}')")
    cells = drawn.run("return charts.table(document.getElementById('cells')).split('\\r\\n').length")
    assert cells == 1 + 6 * 283 + 1


def test_a_click_on_a_row_of_the_heat_map_shows_that_planet(drawn):
    click = "const c = document.getElementById('{}'); c.emit('plotly_click', {{points: [{{data: c.data[{}], {}}}]}})"
    planets = drawn.run("return document.getElementById('cells').layout.meta.planets")
    drawn.run(click.format("cells", 1, "y: 2, x: 3, pointIndex: [2, 0]"))
    assert drawn.run("return document.getElementById('planet').value") == planets[2]
    drawn.run(click.format("sigma-error-0", 2, "y: 2, x: 3, pointIndex: 4"))
    there = drawn.run("return document.getElementById('sigma-error-0').layout.meta.planets")
    assert drawn.run("return document.getElementById('planet').value") == there[4]


def test_readable_on_a_phone_and_in_the_dark(drawn, tmp_path):
    text = "document.querySelector('#spectrum .xaxislayer-above text')"
    colours = f"return [getComputedStyle({text}).fill, getComputedStyle(document.body).backgroundColor]"
    preferred = "matchMedia('(prefers-color-scheme: dark)').matches"
    for width, dark in ((390, False), (390, True), (1200, True), (1200, False)):
        drawn.screen(width, 800, dark)
        drawn.wait(f"innerWidth === {width} && {preferred} === {str(dark).lower()}")
        drawn.wait(f"document.querySelector('#spectrum .main-svg').getBoundingClientRect().width < {width}")
        assert drawn.run("return document.documentElement.scrollWidth") <= width
        ink, ground = drawn.run(colours)
        assert contrast(ink, ground) > 4.5, (ink, ground)
        image = pixels(drawn.screenshot(tmp_path / f"{width}_{dark}.png"))
        assert image.shape[1] == width and image[..., :3].std() > 15
        assert (image[..., :3].mean() < 100) == dark
        line = [one["line"] for one in traces(drawn, "spectrum") if one["name"] == "recovered"][1]
        assert line["color"] == (DARK if dark else LIGHT)["estimate"]


def test_a_screen_reader_finds_names_headings_and_landmarks(drawn):
    assert drawn.run(f"return {NAMELESS}.map(e => e.outerHTML)") == []
    unnamed = "Array.from(document.querySelectorAll('[role=img], [role=region], nav'))"
    unnamed += (
        ".filter(e => !e.getAttribute('aria-label') && !document.getElementById(e.getAttribute('aria-labelledby')))"
    )
    assert drawn.run(f"return {unnamed}.length") == 0
    levels = drawn.run("return Array.from(document.querySelectorAll('h1, h2, h3'), h => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1 and max(b - a for a, b in zip(levels, levels[1:], strict=False)) == 1
    assert drawn.run("return document.documentElement.lang") == "en"
    assert drawn.run("return document.querySelectorAll('th:not([scope])').length") == 0


def test_without_truth_rules_and_heavy_figures(browser, tmp_path):
    data = make_data(planets=3, detailed=1, samples=60, truth=False, rules=None, heavy=False, latents=None)
    browser.open(write_report(tmp_path / "report.html", data))
    browser.wait("document.documentElement.dataset.drawn")
    assert browser.console() == []
    assert browser.run("return document.querySelectorAll('.chart svg.main-svg').length") > 0


def test_an_executed_notebook_becomes_a_page_without_requests(browser, tmp_path):
    cell = nbformat.v4.new_code_cell("figure", execution_count=1)
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, np.zeros((4, 4, 3)), format="png")
    image = base64.b64encode(buffer.getvalue()).decode()
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"image/png": image}),
        nbformat.v4.new_output("stream", text="printed <script>alert(1)</script>"),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title, $x^2$"), cell])
    nbformat.write(notebook, tmp_path / "n.ipynb")
    path = offline_html(tmp_path / "n.ipynb")
    browser.open(path)
    browser.wait("document.readyState === 'complete'")
    assert browser.console() == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [path.as_uri()]
    assert browser.run("return [document.scripts.length, document.images[0].naturalWidth]") == [0, 4]
    assert "printed <script>" in browser.run("return document.body.textContent")


def test_a_notebook_s_figures_are_drawn_without_requests_light_and_dark(browser, data, tmp_path):
    figure = json.loads(spectrum_figure(data, int(data.prediction.planet_id[0])).to_json())
    output = nbformat.v4.new_output("display_data", {"application/vnd.plotly.v1+json": figure})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("figure", execution_count=1)])
    notebook.cells[0].outputs = [output, output]
    nbformat.write(notebook, tmp_path / "n.ipynb")
    path = offline_html(tmp_path / "n.ipynb")
    for dark, colours in ((False, LIGHT), (True, DARK)):
        browser.screen(900, 800, dark)
        browser.open(path)
        browser.wait("document.querySelectorAll('#figure-1 svg.main-svg').length")
        assert browser.console() == []
        assert [url for url in browser.requests() if not url.startswith("data:")] == [path.as_uri()]
        drawn = [one for one in traces(browser, "figure-1") if one["name"] == "recovered"][1]
        assert drawn["line"]["color"] == colours["estimate"]
    browser.screen(1200, 900)


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours as computed styles write them."""

    def luminance(colour: str) -> float:
        values = [float(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def pixels(path: Path) -> np.ndarray:
    """(height, width, channels) of a PNG in [0, 255]."""
    return 255 * matplotlib.image.imread(path)

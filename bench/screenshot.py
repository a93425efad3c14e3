"""Pictures of pages, taken by a Chromium without a window: a run's report, and the report's figures for the docs."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from kitlib.report.drawing import DARK, LIGHT, Spec
from kitlib.report.figures import shown
from kitlib.report.page import PLOTLY

REPORT_SIZE = (1280, 980)
_WAIT_MS = 15_000  # of the page's own clock, for its charts
_SHOWN = 0.75  # of the size in which the page is drawn
_SHARP = 1.4  # pixels of a picture for each of its page
_TITLE = 28  # pixels of the page that a title takes


class Unavailable(ValueError):
    """There is no browser, or no page to take a picture of; the message says what to do."""


@dataclass(frozen=True)
class Placed:
    """A figure of `kitlib.report`, and where its picture lies: left, top, width and height in pixels of the page."""

    figure: Spec
    where: tuple[int, int, int, int]
    title: str = ""


@dataclass(frozen=True)
class Sheet:
    """Figures of `kitlib.report` that make one picture of such a width and height, in pixels of the page."""

    figures: Sequence[Placed]
    size: tuple[int, int]


def report(run: Path, dark: bool = False) -> Image.Image:
    """The upper part of RUN/report.html, as who prefers the light or the dark sees it.

    Raises:
        Unavailable: no Chromium on this machine, no report in the folder, or no picture came.
    """
    page = Path(run) / "report.html"
    if not page.is_file():
        raise Unavailable(f"{page}: no such file. `make run` writes it.")
    whole = _taken(page, REPORT_SIZE, dark=dark)
    return whole.resize(tuple(int(_SHOWN * side) for side in REPORT_SIZE), Image.Resampling.LANCZOS)


def picture(sheet: Sheet, dark: bool = False) -> Image.Image:
    """The picture of a sheet, in the report's colours for the light or for the dark.

    Raises:
        Unavailable: no Chromium on this machine, or no picture came.
    """
    boxes, drawn = "", []
    for number, one in enumerate(sheet.figures):
        left, top, width, height = one.where
        title = _TITLE if one.title else 0
        place = f"position:absolute;left:{left}px;width:{width}px"
        boxes += f'<div style="{place};top:{top + 6}px;font:600 15px sans-serif;text-align:center">{one.title}</div>'
        boxes += f'<div id="f{number}" style="{place};top:{top + title}px;height:{height - title}px"></div>'
        figure = json.loads(shown(one.figure, height=height - title).to_json())
        legend = any(trace.get("showlegend") for trace in figure["data"])
        figure["layout"]["margin"] = {"t": 30 if legend else 8}
        drawn.append(figure)
    draw = "drawn.forEach(({data, layout}, i) => Plotly.newPlot(`f${i}`, data, layout, {staticPlot: true}));"
    script = f"const drawn = {json.dumps(drawn)};\n{draw}".replace("</", "<\\/")
    body = f'<body style="background:{LIGHT["panel"]};color:{LIGHT["ink"]}">'
    body, script = (_in_the_dark(part) if dark else part for part in (body, script))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "figures.html"
        text = f"<script>{PLOTLY.read_text(encoding='utf-8')}</script>{boxes}<script>{script}</script>"
        page.write_text(f'<!doctype html><meta charset="utf-8">{body}{text}', encoding="utf-8")
        return _taken(page, sheet.size, _SHARP)


def _in_the_dark(text: str) -> str:
    """Each of the report's colours exchanged for its fellow, as charts.js does."""
    fellow = {LIGHT[name]: DARK[name] for name in LIGHT}
    return re.sub("|".join(map(re.escape, fellow)), lambda found: fellow[found[0]], text)


def _taken(page: Path, size: tuple[int, int], sharp: float = 1.0, dark: bool = False) -> Image.Image:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise Unavailable("no chromium on this machine (apt install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "page.png"
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        asked = [f"--user-data-dir={folder}/profile", f"--virtual-time-budget={_WAIT_MS}", f"--screenshot={target}"]
        asked += [f"--window-size={size[0]},{size[1]}", f"--force-device-scale-factor={sharp}"]
        asked += ["--blink-settings=preferredColorScheme=0"] if dark else []
        line = [chromium, *flags, *asked, page.resolve().as_uri()]
        ended = subprocess.run(line, capture_output=True, text=True, timeout=600)
        if not target.is_file():
            raise Unavailable(f"{chromium} took no picture: {ended.stderr[-300:]}")
        return Image.open(BytesIO(target.read_bytes())).convert("RGB")

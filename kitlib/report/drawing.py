"""What every figure is made of: plotly's JSON as plain dictionaries, with one palette and one template.

A figure is {"data": traces, "layout": layout} with numpy arrays in it. Colours are those of `LIGHT`; in the dark
charts.js exchanges each for its fellow of `DARK`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..base.products import Array

Spec = dict[str, Any]

LIGHT = {
    "ground": "#fbfbf9",
    "panel": "#ffffff",
    "ink": "#1b1d22",
    "soft": "#5a606b",
    "line": "#d9dbe0",
    "accent": "#0b5cad",
    "warn": "#9a3d00",
    "estimate": "#0b62b0",
    "band": "rgba(11,98,176,0.20)",
    "truth": "#c2510a",
    "points": "#4d6480",
    "measured": "#79818d",
    "prior": "#0a7d5a",
    "other": "#8a3c94",
    "shade": "rgba(90,96,107,0.15)",
    "part0": "#0b62b1",
    "part1": "#b0480a",
    "part2": "#0a7d5b",
    "part3": "#8a3c95",
    "faint0": "rgba(11,98,177,0.20)",
    "faint1": "rgba(176,72,10,0.20)",
    "low": "#2166ac",
    "lower": "#74add1",
    "middle": "#f4f4f2",
    "higher": "#f08a5d",
    "high": "#a50f15",
}
DARK = {
    "ground": "#14161a",
    "panel": "#1c1f25",
    "ink": "#e8e9ec",
    "soft": "#a3a9b5",
    "line": "#363b45",
    "accent": "#7db9f2",
    "warn": "#ffb27a",
    "estimate": "#6cb4f5",
    "band": "rgba(108,180,245,0.25)",
    "truth": "#f5a15d",
    "points": "#8fa5c0",
    "measured": "#8d96a5",
    "prior": "#4fcfa0",
    "other": "#d99be0",
    "shade": "rgba(163,169,181,0.20)",
    "part0": "#6cb4f5",
    "part1": "#f5a15d",
    "part2": "#4fcfa0",
    "part3": "#d99be0",
    "faint0": "rgba(108,180,245,0.20)",
    "faint1": "rgba(245,161,93,0.20)",
    "low": "#4a90d9",
    "lower": "#2f5f8f",
    "middle": "#23272e",
    "higher": "#a4532c",
    "high": "#f2705f",
}
DIVERGING = [[i / 4, LIGHT[name]] for i, name in enumerate(("low", "lower", "middle", "higher", "high"))]
SEQUENTIAL = "Cividis"
GAP = 0.09  # of the canvas between figures side by side


def template() -> Spec:
    """What all figures share: fonts, axes, legend, background."""
    colour = LIGHT
    axis = {
        "color": colour["soft"],
        "gridcolor": colour["line"],
        "linecolor": colour["line"],
        "tickcolor": colour["line"],
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "automargin": True,
        "title": {"standoff": 8, "font": {"size": 12}},
    }
    bar = {"thickness": 12, "outlinewidth": 0, "tickfont": {"color": colour["soft"]}}
    family = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
    return {
        "layout": {
            "font": {"family": family, "size": 12, "color": colour["ink"]},
            "paper_bgcolor": colour["panel"],
            "plot_bgcolor": colour["panel"],
            "hoverlabel": {"bgcolor": colour["panel"], "bordercolor": colour["soft"], "font": {"color": colour["ink"]}},
            "hovermode": "closest",
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"}
            | {"traceorder": "normal"},
            "margin": {"l": 60, "r": 14, "t": 34, "b": 44, "pad": 0},
            "xaxis": axis,
            "yaxis": axis,
        },
        "data": {"heatmap": [{"type": "heatmap", "colorbar": bar}]},
    }


def line(x: Any, y: Any, colour: str, width: float = 1.8, dash: str = "solid", **more: Any) -> Spec:
    """A line in a colour of the palette; it tells nothing under the pointer unless `hovertemplate` is given."""
    style = {"color": LIGHT[colour], "width": width, "dash": dash}
    hover = {} if "hovertemplate" in more else {"hoverinfo": "skip"}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": style} | hover | _legend(more)


def dotted(x: Any, y: Any, **more: Any) -> Spec:
    """A thin dotted line of reference."""
    return line(x, y, "soft", 1, "dot", **more)


def dots(x: Any, y: Any, size: float, colour: str = "points", **more: Any) -> Spec:
    """Points in a colour of the palette."""
    marker = {"color": LIGHT[colour], "size": size, "opacity": 0.7}
    hover = {} if "hovertemplate" in more else {"hoverinfo": "skip"}
    return {"type": "scatter", "mode": "markers", "x": x, "y": y, "marker": marker} | hover | _legend(more)


def band(x: Any, low: Any, high: Any, colour: str, **more: Any) -> list[Spec]:
    """The area between two lines."""
    named = {"name": f"{more.get('name', 'band')}, lower end", "showlegend": False}
    edges = [line(x, low, colour, 0, **(more | named)), line(x, high, colour, 0, **more)]
    return [edges[0], edges[1] | {"fill": "tonexty", "fillcolor": LIGHT[colour]}]


def _legend(more: Mapping[str, Any]) -> Spec:
    return {"showlegend": "name" in more} | dict(more)


def axis(title: str = "", **own: Any) -> Spec:
    """An axis; what is not given is the template's."""
    return {"title": {"text": title}, **own}


def grid(rows: Sequence[Sequence[Spec]]) -> Spec:
    """Figures beside and above each other as one; a title of each stands over it, the first one's legend over all."""
    whole: Spec = {"data": [], "layout": {"annotations": []}}
    for row, (above, below) in zip(rows, _parts(len(rows), 0.25 / len(rows)), strict=True):  # an axis, a title between
        for spec, across in zip(row, _parts(len(row), GAP), strict=True):
            _put(spec, whole, across, (1 - below, 1 - above))
    return whole


def _parts(count: int, gap: float) -> list[tuple[float, float]]:
    """Where equal parts begin and end that fill 0 to 1, with a gap between neighbours."""
    size = (1 - gap * (count - 1)) / count
    starts = [i * (size + gap) for i in range(count)]
    return [(start, min(start + size, 1.0)) for start in starts]  # plotly refuses 1 + 2e-16


def _put(spec: Spec, whole: Spec, across: tuple[float, float], up: tuple[float, float]) -> None:
    """Add a figure to `whole`, its axes shrunk into a part of the canvas."""
    layout, first = spec["layout"], not whole["data"]
    before = max((_number(name) for name in whole["layout"] if _AXIS.fullmatch(name)), default=0)
    for name, own in layout.items():
        if not _AXIS.fullmatch(name):
            continue
        start, end = own.get("domain", (0, 1))
        low, high = across if name[0] == "x" else up
        moved: Spec = {"domain": [low + start * (high - low), low + end * (high - low)]}
        anchor = own.get("anchor", name.replace("axis", "").translate(str.maketrans("xy", "yx")))
        moved |= {"anchor": _moved(anchor, before)}
        whole["layout"][_moved(name, before)] = own | moved
    for trace in spec["data"]:
        places: Spec = {f"{a}axis": _moved(trace.get(f"{a}axis", a), before) for a in "xy"}
        scale = {"x": across[1], "xanchor": "left", "y": sum(up) / 2, "len": up[1] - up[0]}
        bar = {"colorbar": trace["colorbar"] | scale} if "colorbar" in trace else {}
        whole["data"].append(trace | places | bar | ({} if first else {"showlegend": False}))
    if title := layout.get("title", {}).get("text"):
        where = {"xref": "paper", "yref": "paper", "x": sum(across) / 2, "y": up[1]}
        here = {"text": title, "showarrow": False, "xanchor": "center", "yanchor": "bottom", "font": {"size": 11}}
        whole["layout"]["annotations"].append(where | here)


_AXIS = re.compile(r"[xy]axis\d*")


def _number(name: str) -> int:
    return int(re.sub(r"\D", "", name) or 1)


def _moved(name: str, by: int) -> str:
    """An axis' name further on: "x2" by 3 is "x5", "yaxis" by 1 "yaxis2"."""
    number = _number(name) + by
    return re.sub(r"\d*$", "", name) + (str(number) if number > 1 else "")


def ppm_range(*values: Array) -> list[float]:
    """Where an axis begins and ends that holds all finite values, with some room."""
    finite = np.concatenate([np.ravel(v)[np.isfinite(np.ravel(v))] for v in values])
    low, high = float(finite.min()), float(finite.max())
    room = 0.05 * (high - low) or 1.0
    return [low - room, high + room]

"""Figures across planets, each defined here once: reliability, score, residuals' power, latents, two runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base.instruments import PPM
from ..base.products import Array
from .bands import quantile_band
from .comparison import Difference
from .diagnostics import CURVE_LEVELS, PartReliability
from .drawing import DIVERGING, LIGHT, SEQUENTIAL, Spec, axis, band, dots, dotted, line
from .heavy import LatentMap, ResidualPower

CELLS = {"score": "score", "pull": "error / σ", "loss": "lost by σ"}  # kinds of heat maps: what a cell holds
FEW = 30  # planets whose names fit beside a heat map
_TICKS = [float(digit * 10.0**power) for power in range(-2, 3) for digit in (1, 2, 5)]


def _logarithmic(title: str, **own: Any) -> Spec:
    return axis(title, type="log", tickvals=_TICKS, ticktext=[f"{tick:g}" for tick in _TICKS], **own)


def coverage(parts: Sequence[PartReliability]) -> Spec:
    """Observed against expected coverage, a line a part."""
    told = "%{x:.0f} % expected, %{y:.1f} % observed"
    whole = np.array([0.0, 100.0])
    traces = [dotted(whole, whole)]
    for i, part in enumerate(parts):
        traces.append(line(100 * CURVE_LEVELS, 100 * part.observed, f"part{i}", name=part.name, hovertemplate=told))
    layout = {
        "title": {"text": "coverage"},
        "xaxis": axis("expected, %", range=[0, 100]),
        "yaxis": axis("observed, %", range=[0, 101]),
    }
    return {"data": traces, "layout": layout}


def quantiles(parts: Sequence[PartReliability], planets: int) -> Spec:
    """Quantiles of error over sigma against a unit Gaussian's, within the band of honest lines."""
    widest = max((part.quantiles[0] for part in parts), key=len)
    told = "Gaussian %{x:.2f}, observed %{y:.2f}"
    traces = [*band(widest, *quantile_band(widest, planets), "shade"), dotted(widest[[0, -1]], widest[[0, -1]])]
    for i, part in enumerate(parts):
        traces.append(line(*part.quantiles, f"part{i}", name=part.name, hovertemplate=told))
    layout = {
        "title": {"text": "quantiles, 95 % of honest lines lie in the band"},
        "xaxis": axis("unit Gaussian"),
        "yaxis": axis("error over sigma"),
    }
    return {"data": traces, "layout": layout}


def pit(part: PartReliability, number: int, limits: Sequence[float]) -> Spec:
    """Probability integral transform of one part, with the limits within which all bars of honest runs end."""
    cells = len(part.pit)
    bars = {
        "type": "bar",
        "x": (np.arange(cells) + 0.5) / cells,
        "y": 100 * part.pit,
        "width": 0.94 / cells,
        "name": part.name,
        "showlegend": False,
        "marker": {"color": LIGHT[f"part{number}"], "opacity": 0.65},
        "hovertemplate": "%{y:.1f} %<extra></extra>",
    }
    lines = [dotted(np.array([0.0, 1.0]), np.full(2, 100 * limit)) for limit in limits]
    layout = {
        "title": {"text": f"{part.name}: mean {part.summary['mean']:+.2f}, spread {part.summary['std']:.2f}"},
        "xaxis": axis("probability below the truth", range=[0, 1]),
        "yaxis": axis("share, %", rangemode="tozero"),
    }
    return {"data": [bars, *lines], "layout": layout}


def by_bin(columns: dict[str, Array]) -> Spec:
    """Mean score and accuracy part of each AIRS bin; below, the best factor on its sigma. Columns of `by_bin`."""
    wl = columns["wavelength_um"][1:]
    below: Spec = {"yaxis": "y2"}
    traces = [
        line(wl, columns["score"][1:], "estimate", name="score", hovertemplate="%{x:.3f} µm: %{y:.3f}"),
        line(wl, columns["accuracy"][1:], "truth", name="accuracy part", hovertemplate="%{x:.3f} µm: %{y:.3f}"),
        line(wl, columns["factor"][1:], "points", name="best factor on sigma", hovertemplate="%{y:.2f}", **below),
        dotted(wl[[0, -1]], np.ones(2), **below),
    ]
    layout = {
        "xaxis": axis("wavelength, µm", anchor="y2"),
        "yaxis": axis("score", domain=[0.42, 1], anchor="x"),
        "yaxis2": axis("factor", domain=[0, 0.32], rangemode="tozero", nticks=4, anchor="x"),
    }
    return {"data": traces, "layout": layout}


def cells(rows: Array, planets: Sequence[str], kind: str, wavelength_um: Array) -> Spec:
    """A heat map of planets and bins, the first row on top; `kind` of `CELLS`. layout.meta: planets, and their axis."""
    wl, count = np.asarray(wavelength_um, float), len(rows)
    if kind == "score":
        high, low = 1.0, max(min(float(np.quantile(rows, 0.02)), 0.5), -1.0)
    else:
        high = 4.0 if kind == "pull" else max(float(np.quantile(rows, 0.98)), 0.02)
        low = -high
    shared = {
        "type": "heatmap",
        "y": np.arange(count),
        "zmin": low,
        "zmax": high,
        "colorscale": SEQUENTIAL if kind == "score" else DIVERGING,
        "name": CELLS[kind],
    }
    told = f"{CELLS[kind]} %{{z:.2f}}<extra></extra>"
    bar = {"title": {"text": CELLS[kind], "side": "right"}}
    fgs1 = {"x": np.zeros(1), "z": rows[:, :1], "showscale": False, "hovertemplate": f"FGS1: {told}"}
    airs = {"x": wl[1:], "z": rows[:, 1:], "xaxis": "x2", "colorbar": bar, "hovertemplate": f"%{{x:.3f}} µm: {told}"}
    names: Spec = (
        {"tickvals": np.arange(count), "ticktext": list(planets)} if count <= FEW else {"showticklabels": False}
    )
    layout = {
        "meta": {"planets": list(planets), "along": "yaxis"},
        "xaxis": axis(domain=[0, 0.06], tickvals=[0], ticktext=[f"{wl[0]:.1f}"], showgrid=False, fixedrange=True),
        "xaxis2": axis("wavelength, µm", domain=[0.075, 1], showgrid=False, anchor="y"),
        "yaxis": axis("" if count <= FEW else f"{count} planets", range=[count - 0.5, -0.5], showgrid=False, **names),
    }
    return {"data": [shared | fgs1, shared | airs], "layout": layout}


def powers(found: Sequence[ResidualPower]) -> Spec:
    """Fourier power of white residuals over sigma, an instrument a line: the median and the middle 68 %."""
    ends = np.array([min(one.per_hour[0] for one in found), max(one.per_hour[-1] for one in found)])
    traces = [dotted(ends, np.ones(2))]
    for i, one in enumerate(found):
        traces += band(one.per_hour, one.low, one.high, f"faint{i}")
        named: Spec = {
            "name": f"{one.instrument}, {one.curves} light curves",
            "hovertemplate": "%{x:.2f} / h: %{y:.2f}",
        }
        traces.append(line(one.per_hour, one.median, f"part{i}", **named))
    layout = {"xaxis": _logarithmic("frequency, cycles per hour"), "yaxis": _logarithmic("power / white noise")}
    return {"data": traces, "layout": layout}


def latents(found: LatentMap, colour: Array, words: str, planets: Sequence[str]) -> Spec:
    """Planets in the plane of the fusion model's latents; `colour` (P,), told as `words`."""
    marker = {"size": 9, "color": colour, "colorscale": SEQUENTIAL, "line": {"width": 1, "color": LIGHT["soft"]}}
    marker |= {"colorbar": {"title": {"text": words, "side": "right"}, "thickness": 12, "outlinewidth": 0}}
    point = dots(found.places[:, 0], found.places[:, 1], 9, name="planets", showlegend=False) | {
        "marker": marker,
        "customdata": colour,
    }
    point |= {"hovertemplate": f"planet %{{text}}<br>{words} %{{customdata:.3f}}<extra></extra>", "text": list(planets)}
    bare: Spec = {"showticklabels": False, "ticks": ""}
    layout = {"meta": {"planets": list(planets)}, "xaxis": axis(**bare), "yaxis": axis(**bare)}
    del point["hoverinfo"]
    return {"data": [point], "layout": layout}


def sigma_error(sigma: Array, error: Array, part: str, number: int, planets: Sequence[str]) -> Spec:
    """Error of each planet against the sigma claimed for it, pure numbers (P,): two of three lie below the line."""
    x, y = sigma / PPM, np.maximum(np.abs(error) / PPM, 0.1)
    ends = np.array([0.8 * x.min(), 1.25 * x.max()])
    told: Spec = {"hovertemplate": "planet %{text}<br>σ %{x:.0f} ppm, error %{y:.0f} ppm<extra></extra>"}
    traces = [dotted(ends, ends, name="error = σ"), dotted(ends, 2 * ends, name="2 σ")]
    traces[1]["line"] |= {"dash": "dash"}
    traces.append(dots(x, y, 7, f"part{number}", name=part, text=list(planets), showlegend=False, **told))
    layout = {
        "title": {"text": part},
        "meta": {"planets": list(planets)},
        "xaxis": _logarithmic("σ, ppm"),
        "yaxis": _logarithmic("size of the error, ppm"),
    }
    return {"data": traces, "layout": layout}


def two_runs(found: Sequence[Difference], name: str) -> Spec:
    """By how much each planet's answer differs from another run's, in this run's sigma; its score where it is known."""
    planets = [str(one.planet_id) for one in found]
    place = np.arange(len(found))
    told: Spec = {"text": planets, "hovertemplate": "planet %{text}: %{y:+.2f}<extra>%{fullData.name}</extra>"}
    parts = {"FGS1": "fgs1", "AIRS level": "level", "AIRS shape, rms": "shape"}
    scored = all(one.gain is not None for one in found)
    traces = [dotted(np.array([-0.5, len(found) - 0.5]), np.zeros(2))]
    for i, (part, field) in enumerate(parts.items()):
        values = np.array([getattr(one, field) for one in found])
        traces.append(dots(place, values, 7, f"part{i}", name=part, **told))
    if scored:
        gains = np.array([one.gain for one in found])
        bars = {"type": "bar", "x": place, "y": gains, "name": "score gained", "yaxis": "y2", "showlegend": False}
        traces.append(bars | {"marker": {"color": LIGHT["points"]}, "textposition": "none"} | told)
    labels: Spec = {"tickvals": place, "ticktext": planets} if len(found) <= FEW else {"showticklabels": False}
    layout = {
        "meta": {"planets": planets, "along": "xaxis"},
        "xaxis": axis("planets", anchor="y2" if scored else "y", showgrid=False, **labels),
        "yaxis": axis(f"this run less {name}, σ", domain=[0.42, 1] if scored else [0, 1], anchor="x"),
    }
    if scored:
        layout["yaxis2"] = axis("score gained", domain=[0, 0.34], anchor="x", nticks=4)
    return {"data": traces, "layout": layout}

"""Figures of what stages make on the way, each defined here once: raw frames, noise, kinds of atmospheres, levels."""

from collections.abc import Mapping

import numpy as np

from ..base.instruments import FGS1, PPM, Instrument
from ..base.products import Array, Prediction
from ..spectra import SpectralPrior
from .drawing import LIGHT, SEQUENTIAL, Spec, axis, dots, dotted, line

_APART = 4.0  # between kinds of atmospheres, whose shapes have an rms of 1


def raw_pair(image: Array, instrument: Instrument) -> Spec:
    """The difference of two reads in ADU, (rows, cols); the colours leave the brightest half per cent out."""
    low, high = np.percentile(image, (1, 99.5))
    heat = {
        "type": "heatmap",
        "x": np.arange(instrument.cols),
        "y": np.arange(instrument.rows),
        "z": image.astype(np.int32),
        "zmin": float(low),
        "zmax": float(high),
        "colorscale": SEQUENTIAL,
        "name": "ADU",
        "colorbar": {"title": {"text": "ADU", "side": "right"}},
        "hovertemplate": "row %{y}, column %{x}: %{z:.0f} ADU<extra></extra>",
    }
    layout = {
        "title": {"text": f"{instrument.name}: second read less first"},
        "xaxis": axis("column", showgrid=False),
        "yaxis": axis("row", showgrid=False),
    }
    return {"data": [heat], "layout": layout}


def white_noise(found: Mapping[str, Array]) -> Spec:
    """Measured against expected noise of white light curves in ppm, (n, 2) expected and measured by instrument."""
    most = 1.1 * max(float(points.max(initial=0)) for points in found.values())
    traces = [dotted(np.array([0.0, most]), np.array([0.0, most]), name="photons and reads alone")]
    for i, (name, points) in enumerate(found.items()):
        told = "expected %{x:.0f} ppm, measured %{y:.0f} ppm"
        traces.append(dots(points[:, 0], points[:, 1], 7, f"part{i}", name=name, hovertemplate=told))
    layout = {
        "xaxis": axis("expected noise of a sample, ppm", range=[0, most]),
        "yaxis": axis("measured scatter, ppm", range=[0, most]),
    }
    return {"data": traces, "layout": layout}


def kinds(prior: SpectralPrior, wavelengths_um: Array, count: int = 6) -> Spec:
    """Mean shapes of the prior's `count` most frequent kinds of atmospheres, one above the other; their rms is 1."""
    weight = np.asarray(prior.kinds.weight)
    order = np.argsort(-weight)[:count]
    wl = np.asarray(wavelengths_um, float)[1:]
    traces, notes = [], []
    for place, kind in enumerate(order):
        height = _APART * (len(order) - 1 - place)
        words = f"{100 * weight[kind]:.0f} % of spectra"
        traces += [
            dotted(wl[[0, -1]], np.full(2, height)),
            line(wl, height + prior.kinds.mean[kind][1:], f"part{place % 4}", name=words, showlegend=False),
        ]
        where = {"x": wl[-1], "y": height + 0.3, "xanchor": "right", "yanchor": "bottom", "showarrow": False}
        notes.append(where | {"text": words, "font": {"size": 11, "color": LIGHT[f"part{place % 4}"]}})
    layout = {
        "annotations": notes,
        "xaxis": axis("wavelength, µm", showgrid=False),
        "yaxis": axis("depth less its level, scaled", showgrid=False, showticklabels=False, ticks=""),
    }
    return {"data": traces, "layout": layout}


def level_error(found: Array, truth: Array, part: str, number: int) -> Spec:
    """Recovered less true depth in ppm against the true one, pure numbers (P,) both."""
    error = (found - truth) / PPM
    told = "depth %{x:.3f} %: %{y:+.0f} ppm<extra></extra>"
    traces = [
        dotted(100 * np.array([truth.min(), truth.max()]), np.zeros(2)),
        dots(100 * truth, error, 7, f"part{number}", name=part, showlegend=False, hovertemplate=told),
    ]
    spread = f"rms {np.sqrt(np.mean(error**2)):.0f} ppm, median {np.median(np.abs(error)):.0f}"
    layout = {
        "title": {"text": f"{part}: {spread}"},
        "xaxis": axis("true depth, %"),
        "yaxis": axis("recovered less true, ppm"),
    }
    return {"data": traces, "layout": layout}


def sigma_against_depth(prediction: Prediction) -> Spec:
    """Each planet's error bar in ppm against its depth in percent: FGS1, and the median AIRS bin."""
    depth, sigma = 100 * prediction.mu, prediction.sigma / PPM
    parts = {
        FGS1.name: (depth[:, 0], sigma[:, 0]),
        "AIRS, median bin": (depth[:, 1:].mean(1), np.median(sigma[:, 1:], axis=1)),
    }
    planets = [str(planet) for planet in prediction.planet_id]
    told = "planet %{text}<br>depth %{x:.3f} %, σ %{y:.0f} ppm"
    traces = [
        dots(x, y, 7, f"part{i}", name=name, text=planets, hovertemplate=told)
        for i, (name, (x, y)) in enumerate(parts.items())
    ]
    ticks = [float(digit * 10**power) for power in range(5) for digit in (1, 2, 5)]
    layout = {
        "xaxis": axis("depth, %"),
        "yaxis": axis("σ, ppm", type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks]),
    }
    return {"data": traces, "layout": layout}

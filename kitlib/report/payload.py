"""The numbers that the page's script draws, as plain JSON: whole steps where a curve is drawn, few digits elsewhere."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..base.instruments import MOLECULAR_BANDS_UM, PPM
from ..base.products import Array, LightCurveFit
from .bands import pit_band, quantile_band
from .calibrationtable import by_bin, cells
from .data import ReportData
from .diagnostics import (
    CURVE_LEVELS,
    PartReliability,
    events_by_planet,
    level_sigma,
    panel_statistics,
    planet_scores,
    told,
    usable,
    violations,
)
from .gatetable import OUTCOMES, fit_facts, gate_rows
from .groups import judged_groups
from .heavy import latent_map, residual_powers

SPECTRUM_STEPS = 10  # steps per ppm that a spectrum is rounded to in the page
TIME_STEPS = 36_000  # steps per hour: a tenth of a second
CELL_STEPS = 100  # steps per unit of the heat maps
MAX_SAMPLES = 400  # points drawn of one light curve; longer ones are averaged
MAX_PLANET_EVENTS = 20  # events listed with one planet


def payload(data: ReportData) -> dict[str, Any]:
    """Everything that page.js and charts.js read."""
    return {
        "wavelength_um": np.round(np.asarray(data.wavelengths_um, float), 5).tolist(),
        "spectrum_steps": SPECTRUM_STEPS,
        "time_steps": TIME_STEPS,
        "cell_steps": CELL_STEPS,
        "bands": [[name, [list(band) for band in bands]] for name, bands in MOLECULAR_BANDS_UM.items()],
        "planets": _planets(data),
        "curve_levels": CURVE_LEVELS.tolist(),
        "groups": [] if data.truth is None else _groups(data),
        "cells": {} if data.truth is None else {name: _whole(v, CELL_STEPS) for name, v in cells(data).items()},
        "by_bin": {} if data.truth is None else {name: v.round(4).tolist() for name, v in by_bin(data).items()},
        "powers": [
            {"instrument": one.instrument, "curves": one.curves}
            | {name: _digits(getattr(one, name)) for name in ("per_hour", "low", "median", "high")}
            for one in residual_powers(data)
        ],
        "map": _map(data),
    }


def steps(values: Array, scale: float) -> list[int]:
    """Whole steps from one value to the next, which are short to write: the first counts from 0."""
    return np.diff(np.rint(np.asarray(values, np.float64) * scale).astype(np.int64), prepend=0).tolist()


def _whole(values: Array, scale: float) -> list[int]:
    return np.rint(np.clip(np.asarray(values, np.float64) * scale, -(10**6), 10**6)).astype(np.int64).tolist()


def _digits(values: Array) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _finite(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def _planets(data: ReportData) -> list[dict[str, Any]]:
    events, scores, levels = events_by_planet(data), planet_scores(data), level_sigma(data)
    facts, gate = fit_facts(data), gate_rows(data)
    broken: dict[int, list[list[Any]]] = defaultdict(list)
    for row in violations(data):
        amount = f"{row['violation']:.2g}"
        broken[row["planet_id"]].append([row["rule"], row["bins"], round(row["worst_um"], 3), amount])
    found = []
    for index, planet in enumerate(int(planet) for planet in data.prediction.planet_id):
        one = _planet(data, index, scores, events.get(planet, []))
        level = None if levels is None else _finite(levels[index] / PPM, 1)
        found.append(
            one | {"rules": broken[planet], "level_sigma": level, "fit": facts[index], "gate": _gate(gate[index])}
        )
    return found


def _gate(row: dict[str, Any]) -> list[str]:
    """What the gate says of one planet, in sentences."""
    words = [f"Gate: {OUTCOMES[row['outcome']]}."]
    if row["wide"]:
        words.append("The catalogue's geometry does not fit these light curves: it was left free.")
    figures = {name: value for name, value in row["figures"].items() if value is not None}
    if figures:
        limits = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
        words.append(f"Figures: {limits.replace('_', ' ')}.")
    return words + row["found"]


def _planet(data: ReportData, row: int, scores: Array | None, events: list[Mapping[str, Any]]) -> dict[str, Any]:
    planet = int(data.prediction.planet_id[row])
    sigma = np.maximum(np.rint(data.prediction.sigma[row] / PPM * SPECTRUM_STEPS), 1)
    return {
        "id": str(planet),
        "mu": steps(data.prediction.mu[row], SPECTRUM_STEPS / PPM),
        "sigma": sigma.astype(np.int64).tolist(),
        "truth": None if data.truth is None else steps(data.truth[row], SPECTRUM_STEPS / PPM),
        "score": None if scores is None else [_finite(value, 4) for value in scores[row]],
        "curves": [_curve(panel) for panel in data.panels_of(planet) if usable(panel).any()],
        "events": [[str(e.get("stage") or ""), str(e.get("event") or ""), told(e)] for e in events[:MAX_PLANET_EVENTS]],
        "more_events": max(len(events) - MAX_PLANET_EVENTS, 0),
    }


def _curve(panel: LightCurveFit) -> dict[str, Any]:
    good = usable(panel)
    time, flux, model = (np.asarray(v, np.float64)[good] for v in (panel.time_h, panel.flux, panel.model))
    averaged = -(-len(time) // MAX_SAMPLES)
    if averaged > 1:
        edges = np.arange(0, len(time), averaged)
        counts = np.diff(edges, append=len(time))
        time, flux, model = (np.add.reduceat(v, edges) / counts for v in (time, flux, model))
    statistics = panel_statistics(panel)
    return {
        "visit": int(panel.visit),
        "instrument": str(panel.instrument),
        "time": steps(time, TIME_STEPS),
        "model": steps(model - 1, 1 / PPM),
        "residual": _whole(flux - model, 1 / PPM),
        "averaged": averaged,
        "statistics": {name: _finite(value, 3) for name, value in statistics.items()},
    }


def _groups(data: ReportData) -> list[dict[str, Any]]:
    found = []
    for group, parts in judged_groups(data):
        planets = int(group.members.sum())
        band = [round(limit, 4) for limit in pit_band(planets)]
        told_parts = [_part(part, planets) for part in parts]
        found.append({"name": group.name, "planets": planets, "pit_band": band, "parts": told_parts})
    return found


def _part(part: PartReliability, planets: int) -> dict[str, Any]:
    gaussian, observed = part.quantiles
    low, high = quantile_band(gaussian, planets)
    values = {"gaussian": gaussian, "quantiles": observed, "low": low, "high": high}
    values |= {"observed": part.observed, "pit": part.pit}
    shares = {"spread": part.summary["std"], "coverage": part.summary["coverage"]["0.68"]}
    found = {name: round(value, 4) for name, value in shares.items()}
    return {"name": part.name} | found | {name: value.round(4).tolist() for name, value in values.items()}


def _map(data: ReportData) -> dict[str, Any] | None:
    found = latent_map(data)
    return None if found is None else {"method": found.method, "places": np.round(found.places, 3).tolist()}

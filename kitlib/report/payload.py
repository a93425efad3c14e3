"""What the page's script draws: every figure packed, and of each planet what is told in words."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..base.instruments import PPM
from ..base.products import Array, LightCurveFit
from ..transit import LIMITS
from . import planetcharts, runcharts
from .bands import pit_band
from .calibrationtable import by_bin, cells
from .comparison import differences
from .data import ReportData
from .diagnostics import events_by_planet, level_sigma, panel_statistics, planet_scores, told, usable, violations
from .drawing import DARK, LIGHT, Spec, template
from .figures import beside, frame_maps, latents_chart, light_maps, residual_maps, sigma_errors
from .gatetable import OUTCOMES, SHORT, fit_facts, gate_rows
from .groups import judged_groups
from .heavy import residual_powers
from .packing import Packer

MAX_PLANET_EVENTS = 20  # events listed with one planet


def payload(data: ReportData) -> dict[str, Any]:
    """Everything that page.js and charts.js read; figures are `Packer.add`'s."""
    packer = Packer()
    found = {
        "colours": [[LIGHT[name], DARK[name]] for name in LIGHT],
        "template": template(),
        "wavelength_um": np.round(np.asarray(data.wavelengths_um, float), 5).tolist(),
        "planets": _planets(data, packer),
        "figures": {name: packer.add(figure) for name, figure in _figures(data).items()},
        "groups": [] if data.truth is None else _groups(data, packer),
    }
    return found | {"skeletons": packer.skeletons, "columns": packer.columns}


def _figures(data: ReportData) -> dict[str, Spec]:
    """Figures across planets by the id of their place in the page; heat maps by their kind."""
    found: dict[str, Spec] = {}
    if data.truth is not None:
        found["by-bin"] = runcharts.by_bin(by_bin(data))
        found |= {f"cells-{kind}": figure for kind, figure in _cells(data).items()}
        found |= {f"sigma-error-{i}": figure for i, figure in enumerate(sigma_errors(data))}
    if powers := residual_powers(data):
        found["powers"] = runcharts.powers(powers)
    if (latents := latents_chart(data)) is not None:
        found["latents"] = latents
    if data.against is not None and (changed := differences(data)):
        found["two-runs"] = runcharts.two_runs(changed, data.against.name)
    return found


def _cells(data: ReportData) -> dict[str, Spec]:
    """The heat maps by kind, the worst planet on top."""
    truth, _ = data.judge()
    pull = (data.prediction.mu - truth) / data.prediction.sigma
    scores = planet_scores(data)
    order = np.argsort(np.zeros(len(pull)) if scores is None else scores[:, 0], kind="stable")
    planets = [str(data.prediction.planet_id[row]) for row in order]
    kinds = {**cells(data), "pull": pull}
    return {kind: runcharts.cells(kinds[kind][order], planets, kind, data.wavelengths_um) for kind in runcharts.CELLS}


def _finite(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def _planets(data: ReportData, packer: Packer) -> list[dict[str, Any]]:
    events, scores, levels = events_by_planet(data), planet_scores(data), level_sigma(data)
    facts, gate = fit_facts(data), gate_rows(data)
    broken: dict[int, list[list[Any]]] = defaultdict(list)
    for row in violations(data):
        amount = f"{row['violation']:.2g}"
        broken[row["planet_id"]].append([row["rule"], row["bins"], round(row["worst_um"], 3), amount])
    found = []
    for index, planet in enumerate(int(planet) for planet in data.prediction.planet_id):
        one = _planet(data, packer, index, scores, events.get(planet, []))
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
        told = ", ".join(f"{SHORT[name]} {value:.2f} ({LIMITS[name][0]:g})" for name, value in figures.items())
        words.append(f"The residuals' figures, in brackets how large they may be: {told}.")
    return words + row["found"]


def _planet(
    data: ReportData, packer: Packer, row: int, scores: Array | None, events: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    planet = int(data.prediction.planet_id[row])
    mu, sigma = data.prediction.mu[row], data.prediction.sigma[row]
    panels = [panel for panel in data.panels_of(planet) if usable(panel).any()]
    return {
        "id": str(planet),
        "spectrum": packer.add(planetcharts.spectrum(data.wavelengths_um, mu, sigma, beside(data, row))),
        "score": None if scores is None else [_finite(value, 4) for value in scores[row]],
        "curves": [_curve(panel, packer) for panel in panels],
        "maps": _maps(data, packer, row) if panels else [],
        "frames": [
            {"visit": visit, "instrument": name, "frame": packer.add(frame), "weights": packer.add(weights)}
            for visit, name, frame, weights in frame_maps(data, planet)
        ],
        "events": [[str(e.get("stage") or ""), str(e.get("event") or ""), told(e)] for e in events[:MAX_PLANET_EVENTS]],
        "more_events": max(len(events) - MAX_PLANET_EVENTS, 0),
    }


def _maps(data: ReportData, packer: Packer, row: int) -> list[dict[str, Any]]:
    """Of each visit the map of the light, where it came along, and the map of the residuals beside it."""
    kinds = {"light": light_maps(data, int(data.prediction.planet_id[row])), "residuals": residual_maps(data, row)}
    visits = sorted({visit for maps in kinds.values() for visit in maps})
    return [
        {"visit": visit, "kind": kind, "figure": packer.add(maps[visit])}
        for visit in visits
        for kind, maps in kinds.items()
        if visit in maps
    ]


def _curve(panel: LightCurveFit, packer: Packer) -> dict[str, Any]:
    _, averaged = planetcharts.drawn_samples(panel)
    statistics = panel_statistics(panel)
    return {
        "visit": int(panel.visit),
        "instrument": str(panel.instrument),
        "figure": packer.add(planetcharts.light_curve(panel)),
        "averaged": averaged,
        "statistics": {name: _finite(value, 3) for name, value in statistics.items()},
    }


def _groups(data: ReportData, packer: Packer) -> list[dict[str, Any]]:
    """Of each group of planets its figures, and spread and 68 % coverage of each part in words."""
    found = []
    for group, parts in judged_groups(data):
        planets = int(group.members.sum())
        limits = pit_band(planets)
        figures = {"coverage": runcharts.coverage(parts), "quantiles": runcharts.quantiles(parts, planets)}
        figures |= {f"pit-{i}": runcharts.pit(part, i, limits) for i, part in enumerate(parts)}
        words = [
            f"{part.name} {part.summary['std']:.2f} ({100 * part.summary['coverage']['0.68']:.0f} %)" for part in parts
        ]
        text = f"{group.name}, {planets}: spread (and coverage of the 68 % interval) {', '.join(words)}."
        found.append({"text": text, "figures": {name: packer.add(one) for name, one in figures.items()}})
    return found

"""The HTML page of a run: one file that opens from disk and never asks the network for anything.

jinja2 fills page.html.j2, page.css and page.js are inlined, and a content-security policy forbids every request. Charts
are drawn as SVG by page.js from numbers in the page: plotly.js alone would be 4.8 MB of the 5 MB that a page may take.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from ..instruments import MOLECULAR_BANDS_UM
from ..products import Array, LightCurveFit
from ..provenance import write_atomic
from .data import ReportData
from .diagnostics import (
    CURVE_LEVELS,
    PPM,
    PartReliability,
    all_parts,
    event_groups,
    events_by_planet,
    level_sigma,
    panel_statistics,
    planet_scores,
    usable,
    worst_planets,
)

_FOLDER = Path(__file__).parent
_SPECTRUM_STEPS = 10  # steps per ppm that a spectrum is rounded to in the page
_TIME_STEPS = 36_000  # steps per hour: a tenth of a second
_MAX_SAMPLES = 400  # points drawn of one light curve; longer ones are averaged
_MAX_PLANET_EVENTS = 20  # events listed with one planet
_MAX_LINKS = 12  # planets linked from one row of the event table


def write_report(path: Path, data: ReportData) -> Path:
    """Write the page atomically and return its path; the same data give the same bytes.

    Raises:
        OSError: the folder cannot be written to; the message says what to do.
    """
    return write_atomic(Path(path), render(data))


def render(data: ReportData) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ppm"] = lambda depth: f"{depth * PPM:,.0f}".replace(",", "\u202f")
    style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    scores = planet_scores(data)
    parts = all_parts(data)
    rows = _planet_rows(data, scores)
    return environment.get_template("page.html.j2").render(
        data=data,
        rows=rows,
        known={row["id"] for row in rows},
        detailed=[row for row in rows if row["panels"]],
        undetailed=[row for row in rows if not row["panels"]],
        worst=worst_planets(data),
        groups=event_groups(data),
        max_links=_MAX_LINKS,
        facts=_run_facts(data),
        parts=parts,
        named=len(events_by_planet(data).keys() - {None}),
        style=style,
        script=script,
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        payload=_script_safe(_payload(data, scores, parts)),
    )


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _script_safe(value: Any) -> str:
    """JSON that no `</script>`, comment or line separator inside a string can break out of."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII: U+2028 and such are escaped already
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _steps(values: Array, scale: float) -> list[int]:
    """Whole steps from one value to the next, which are short to write: the first counts from 0."""
    return np.diff(np.rint(np.asarray(values, np.float64) * scale).astype(np.int64), prepend=0).tolist()


def _finite(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def _payload(data: ReportData, scores: Array | None, parts: list[PartReliability]) -> dict[str, Any]:
    events = events_by_planet(data)
    ids = [int(planet) for planet in data.prediction.planet_id]
    return {
        "wavelength_um": np.round(np.asarray(data.wavelengths_um, float), 5).tolist(),
        "spectrum_steps": _SPECTRUM_STEPS,
        "time_steps": _TIME_STEPS,
        "bands": [[name, [list(band) for band in bands]] for name, bands in MOLECULAR_BANDS_UM.items()],
        "planets": [_planet(data, row, scores, events.get(planet, [])) for row, planet in enumerate(ids)],
        "curve_levels": CURVE_LEVELS.tolist(),
        "reliability": [
            {
                "name": part.name,
                "edges": part.edges.tolist(),
                "histogram": part.histogram.round(5).tolist(),
                "observed": part.observed.round(5).tolist(),
            }
            for part in parts
        ],
    }


def _planet(data: ReportData, row: int, scores: Array | None, events: list[Mapping[str, Any]]) -> dict[str, Any]:
    planet = int(data.prediction.planet_id[row])
    return {
        "id": str(planet),
        "mu": _steps(data.prediction.mu[row], PPM * _SPECTRUM_STEPS),
        "sigma": np.maximum(np.rint(data.prediction.sigma[row] * PPM * _SPECTRUM_STEPS), 1).astype(np.int64).tolist(),
        "truth": None if data.truth is None else _steps(data.truth[row], PPM * _SPECTRUM_STEPS),
        "score": None if scores is None else [_finite(value, 4) for value in scores[row]],
        "curves": [_curve(panel) for panel in data.panels_of(planet) if usable(panel).any()],
        "events": [
            [str(e.get(key) or "") for key in ("stage", "event", "reason")] for e in events[:_MAX_PLANET_EVENTS]
        ],
        "more_events": max(len(events) - _MAX_PLANET_EVENTS, 0),
    }


def _curve(panel: LightCurveFit) -> dict[str, Any]:
    good = usable(panel)
    time, flux, model = (np.asarray(v, np.float64)[good] for v in (panel.time_h, panel.flux, panel.model))
    averaged = -(-len(time) // _MAX_SAMPLES)
    if averaged > 1:
        edges = np.arange(0, len(time), averaged)
        counts = np.diff(edges, append=len(time))
        time, flux, model = (np.add.reduceat(v, edges) / counts for v in (time, flux, model))
    statistics = panel_statistics(panel)
    return {
        "visit": int(panel.visit),
        "instrument": str(panel.instrument),
        "time": _steps(time, _TIME_STEPS),
        "model": _steps(model - 1, PPM),
        "residual": np.rint((flux - model) * PPM).astype(np.int64).tolist(),
        "averaged": averaged,
        "statistics": {name: _finite(value, 3) for name, value in statistics.items()},
    }


def _planet_rows(data: ReportData, scores: Array | None) -> list[dict[str, Any]]:
    """One row of the planet table for each planet, in the prediction's order."""
    events = events_by_planet(data)
    with_panels = {panel.planet_id for panel in data.panels}
    airs_sigma = level_sigma(data)
    prediction = data.prediction
    rows = []
    for i, planet in enumerate(int(p) for p in prediction.planet_id):
        rows.append(
            {
                "id": planet,
                "score": None if scores is None else scores[i].tolist(),
                "fgs1": float(prediction.mu[i, 0]),
                "fgs1_sigma": float(prediction.sigma[i, 0]),
                "fgs1_error": None if data.truth is None else float(prediction.mu[i, 0] - data.truth[i, 0]),
                "airs": float(prediction.mu[i, 1:].mean()),
                "airs_sigma": None if airs_sigma is None else float(airs_sigma[i]),
                "airs_error": None if data.truth is None else float((prediction.mu[i, 1:] - data.truth[i, 1:]).mean()),
                "bin_sigma": float(np.median(prediction.sigma[i, 1:])),
                "events": len(events.get(planet, [])),
                "panels": planet in with_panels,
            }
        )
    return rows


def _run_facts(data: ReportData) -> dict[str, Any]:
    """Stages as the manifests tell them, and package versions, each once."""
    versions: dict[str, list[str]] = {}
    for manifest in data.manifests:
        for name, version in (manifest.get("versions") or {}).items():
            versions.setdefault(str(name), []).append(str(version))
    shown = ("stage", "seed", "config_sha256", "wall_s", "peak_mib")
    return {
        "stages": [{key: manifest.get(key) for key in shown} for manifest in data.manifests],
        "versions": {name: _distinct(found) for name, found in versions.items()},
    }


def _distinct(values: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(values))

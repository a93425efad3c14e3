"""The HTML page of a run: one file that opens from disk and never asks the network for anything.

jinja2 fills page.html.j2; style and scripts are inlined, and a content-security policy forbids every request.
The bundle of plotly.js is the one that holds cartesian charts alone: 1.5 MB of the 5 MB that a page may take.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from ..base.instruments import PPM
from ..base.products import Array
from ..base.provenance import write_atomic
from .calibrationtable import by_range, calibration, loss_of_planets
from .comparison import differences, total_scores
from .data import ReportData
from .diagnostics import (
    MAX_WORST,
    event_groups,
    events_by_planet,
    level_sigma,
    planet_scores,
    rule_table,
    worst_planets,
)
from .drawing import DARK, LIGHT
from .gatetable import figure_names, gate_counts, gate_rows, striking_rows
from .groups import judged_groups
from .heavy import latent_map, residual_powers
from .injectiontable import injection_tables
from .payload import payload

_FOLDER = Path(__file__).parent
PLOTLY = _FOLDER / "plotly-cartesian.min.js"  # 4.1.1; licence and sha256: wheels/LICENCES.md
_SCRIPTS = (PLOTLY.name, "charts.js", "page.js")
_MAX_LINKS = 12  # planets linked from one row of a table
# plotly.js adds its rules to the style element of this name; without one it would need a policy that lets it make one
_PLOTLY_STYLE = ".js-plotly-plot{direction:ltr}"
# the style attributes that plotly.js writes as text: of the image and of the colour bar of a heat map
_PLOTLY_ATTRIBUTES = (
    "image-rendering: optimizeSpeed; image-rendering: -moz-crisp-edges; image-rendering: -o-crisp-edges; "
    "image-rendering: -webkit-optimize-contrast; image-rendering: optimize-contrast; image-rendering: crisp-edges; "
    "image-rendering: pixelated; ",
    "",
)


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
    environment.filters["ppm"] = lambda depth: f"{depth / PPM:,.0f}".replace(",", "\u202f")
    style = _colours() + (_FOLDER / "page.css").read_text(encoding="utf-8")
    scripts = [(_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    scores = planet_scores(data)
    rows = _planet_rows(data, scores)
    numbers = payload(data)
    judged = None if data.truth is None else calibration(data)
    return environment.get_template("page.html.j2").render(
        data=data,
        rows=rows,
        known={row["id"] for row in rows},
        detailed=[row for row in rows if row["panels"]],
        undetailed=[row for row in rows if not row["panels"]],
        worst=worst_planets(data),
        max_worst=MAX_WORST,
        event_groups=event_groups(data),
        max_links=_MAX_LINKS,
        facts=_run_facts(data),
        parts=judged_groups(data)[0][1],
        groups=judged["groups"] if judged else [],
        score_parts=judged["score"] if judged else {},
        ranges=by_range(data) if judged else [],
        gate_counts=gate_counts(data),
        striking=striking_rows(data),
        figure_names=figure_names(),
        rules=rule_table(data),
        injection=injection_tables(data.injection),
        powers=residual_powers(data),
        map=latent_map(data),
        differences=differences(data),
        both=total_scores(data),
        figures=numbers["figures"],
        named=len(events_by_planet(data).keys() - {None}),
        style=style,
        plotly_style=_PLOTLY_STYLE,
        scripts=scripts,
        policy=_policy(style, scripts),
        payload=script_safe(numbers),
    )


def _colours() -> str:
    """The palette as variables of the style sheet, light and dark."""
    light, dark = (" ".join(f"--{name}: {value};" for name, value in one.items()) for one in (LIGHT, DARK))
    night = f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    return f":root {{ color-scheme: light dark; {light} }}\n{night}\n"


def _policy(style: str, scripts: list[str]) -> str:
    """Content-security policy: nothing from anywhere, and of what stands in the page only what was put there."""
    run = " ".join(map(csp_hash, scripts))
    drawn = " ".join(map(csp_hash, _PLOTLY_ATTRIBUTES))
    return (
        f"default-src 'none'; style-src {csp_hash(style)} {csp_hash(_PLOTLY_STYLE)}; "
        f"style-src-attr 'unsafe-hashes' {drawn}; script-src {run}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def csp_hash(text: str) -> str:
    """How a content-security policy names a script or a style that may be in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def script_safe(value: Any) -> str:
    """A value as JSON that no `</script>`, comment or line separator inside a string can break out of."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII: U+2028 and such are escaped already
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _planet_rows(data: ReportData, scores: Array | None) -> list[dict[str, Any]]:
    """One row of the planet table for each planet, in the prediction's order."""
    events = events_by_planet(data)
    with_panels = {panel.planet_id for panel in data.panels}
    airs_sigma, losses = level_sigma(data), loss_of_planets(data)
    prediction = data.prediction
    rows, gate = [], gate_rows(data)
    for i, planet in enumerate(int(p) for p in prediction.planet_id):
        rows.append(
            {
                "id": planet,
                "score": None if scores is None else scores[i].tolist(),
                "loss": None if losses is None else float(losses[i]),
                "fgs1": float(prediction.mu[i, 0]),
                "fgs1_sigma": float(prediction.sigma[i, 0]),
                "fgs1_error": None if data.truth is None else float(prediction.mu[i, 0] - data.truth[i, 0]),
                "airs": float(prediction.mu[i, 1:].mean()),
                "airs_sigma": None if airs_sigma is None else float(airs_sigma[i]),
                "airs_error": None if data.truth is None else float((prediction.mu[i, 1:] - data.truth[i, 1:]).mean()),
                "bin_sigma": float(np.median(prediction.sigma[i, 1:])),
                "gate": gate[i]["outcome"],
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

"""What the gate found in each planet's fit, and the fit itself: star, orbit, limb darkening, drift, as far as known."""

from typing import Any

import numpy as np

from ..base.instruments import PPM
from ..base.products import Array
from ..transit import LIMITS
from .data import ReportData, once
from .diagnostics import events_by_planet, level_sigma, told

SOUND, IN_PARTS, COVERED, POPULATION, UNKNOWN = "sound", "part", "covered", "population", "unknown"
OUTCOMES = {
    SOUND: "the fit describes all light curves",
    IN_PARTS: "answered by a fit of a part of the data that is sound",
    COVERED: "no fit is sound: sigma covers the misfit",
    POPULATION: "no fit: the population's answer",
    UNKNOWN: "the run's products do not say",
}
FOUND = ("misfit", "neighbour", "fallback")  # events that say what was found in a planet's data
SHORT = {  # names of `LIMITS`' figures for a table's head
    "chi2_joint": "joint χ²",
    "autocorrelation": "autocorrelation",
    "red_noise": "red noise",
    "transient": "transient",
    "rejected": "left out",
}


def figure_names() -> dict[str, str]:
    """The gate's figures with their limits, for a table's head."""
    return {name: f"{SHORT[name]} ≤ {most:g}" for name, (most, _) in LIMITS.items()}


@once
def gate_rows(data: ReportData) -> list[dict[str, Any]]:
    """One row a planet in the prediction's order.

    Returns:
        A dictionary a planet. planet_id. outcome: one of `OUTCOMES`. figures: {name: value or None}. beyond: names of
        those past their limit. wide: whether the catalogue's geometry was given up. found: sentences that say what is
        wrong, and how it was answered.
    """
    events = events_by_planet(data)
    figures = {name: data.diagnostic(name) for name in LIMITS}
    wide, rows = data.diagnostic("wide_geometry"), []
    for row, planet in enumerate(int(planet) for planet in data.prediction.planet_id):
        known = {name: float(values[row]) for name, values in figures.items()}
        rows.append(
            {
                "planet_id": planet,
                "outcome": _outcome(data, row),
                "figures": {name: value if np.isfinite(value) else None for name, value in known.items()},
                "beyond": [name for name, value in known.items() if value > LIMITS[name][0]],
                "wide": bool(wide[row] > 0),
                "found": list(dict.fromkeys(told(e) for e in events.get(planet, []) if e.get("event") in FOUND)),
            }
        )
    return rows


def _outcome(data: ReportData, row: int) -> str:
    if data.posterior is None or "gate" not in data.posterior.diagnostics:
        return UNKNOWN
    if data.posterior.is_population[row]:
        return POPULATION
    if data.posterior.is_covered[row]:
        return COVERED
    gate = data.diagnostic("gate")[row]
    return IN_PARTS if gate > 0 else SOUND if gate == 0 else UNKNOWN


def gate_counts(data: ReportData) -> list[tuple[str, str, int]]:
    """(outcome, in words, planets) of each outcome that occurs."""
    outcomes = [row["outcome"] for row in gate_rows(data)]
    return [(name, words, outcomes.count(name)) for name, words in OUTCOMES.items() if name in outcomes]


def striking_rows(data: ReportData) -> list[dict[str, Any]]:
    """The rows of which there is something to say: not sound, a figure past its limit, wide geometry, an event."""
    rows = gate_rows(data)
    return [r for r in rows if r["outcome"] not in (SOUND, UNKNOWN) or r["beyond"] or r["wide"] or r["found"]]


@once
def fit_facts(data: ReportData) -> list[list[list[str]]]:
    """Of each planet [name, fitted or measured, catalogue's]: numbers in words, "" where not known."""
    sigma = level_sigma(data)
    return [_facts(data, row, None if sigma is None else sigma[row]) for row in range(len(data.prediction.planet_id))]


def _facts(data: ReportData, row: int, level_sigma_of: float | None) -> list[list[str]]:
    def known(name: str) -> float:
        return float(data.diagnostic(name)[row])

    def of(name: str, digits: int, unit: str = "", error: str = "") -> str:
        return _with_error(known(name), known(error) if error else np.nan, digits, unit)

    listed = _catalogued(data, row)
    level = data.prediction.mu[row, 1:].mean() / PPM
    level_error = np.nan if level_sigma_of is None else level_sigma_of / PPM
    fgs1, fgs1_error = data.prediction.mu[row, 0] / PPM, data.prediction.sigma[row, 0] / PPM
    facts = [
        ["Star's temperature", "", listed.get("temperature", "")],
        ["Star's radius and mass", "", listed.get("star", "")],
        ["Planet's mass", "", listed.get("mass", "")],
        ["Period P", "", listed.get("period", "")],
        ["a / Rs", of("a_over_rs", 2, "", "a_over_rs_sd"), listed.get("a", "")],
        ["Impact parameter b", of("impact_param", 2, "", "impact_param_sd"), listed.get("b", "")],
        ["Mid-transit t0 of the first visit", of("t0_h", 4, " h", "t0_sd_h"), ""],
        ["Duration T14", of("duration_h", 2, " h"), ""],
        ["Depth, FGS1", _with_error(fgs1, fgs1_error, 0, " ppm"), ""],
        ["Depth, AIRS mean", _with_error(level, level_error, 0, " ppm"), ""],
        ["Limb darkening u1, u2, middle of AIRS", _limb(data, row), ""],
        ["Drift, FGS1", _orders(known("fgs1_drift_order")), ""],
        ["Drift, AIRS", _airs_drift(*map(known, ("airs_drift_order", "airs_colour_order", "airs_second_term"))), ""],
        ["Kind of spectrum, weight", _kind(*map(known, ("kind", "kinds", "kind_weight"))), ""],
        ["Unfamiliar spectrum, weight", of("unfamiliar", 2), ""],
        ["Starlight, AIRS", of("electrons", 0, " e⁻ a sample"), ""],
        ["Pixels masked", _number(100 * known("masked_fraction"), 1, " %"), ""],
        ["Visits", of("visits", 0), ""],
    ]
    return [fact for fact in facts if fact[1] or fact[2]]


def _with_error(value: float, error: float, digits: int, unit: str) -> str:
    """ "11.52 ± 0.08"; an error that rounds to nothing was held, or is not known, and is left out."""
    shown = _number(error, digits, "") if error > 0.5 * 10**-digits else ""
    return _number(value, digits, f" ± {shown}{unit}" if shown else unit)


def _orders(order: float) -> str:
    return f"order {order:.0f} in time" if order > 0 else ""


def _airs_drift(order: float, colour: float, second: float) -> str:
    words = _orders(order)
    if words:
        words += f", {colour:.0f} in colour" + (", second term" if second > 0 else "")
    return words


def _kind(kind: float, kinds: float, weight: float) -> str:
    return f"{kind:.0f} of {kinds:.0f}, {weight:.2f}" if np.isfinite(kind) and np.isfinite(weight) else ""


def _catalogued(data: ReportData, row: int) -> dict[str, str]:
    if data.catalogue is None:
        return {}
    one = data.catalogue.take(slice(row, row + 1))
    a, inclination = float(one.semi_major_axis_rs[0]), float(one.inclination_deg[0])
    return {
        "temperature": _number(one.stellar_temperature_k[0], 0, " K"),
        "star": f"{one.stellar_radius_rsun[0]:.3f} Rsun, {one.stellar_mass_msun[0]:.3f} Msun",
        "mass": _number(one.planet_mass_mjup[0], 3, " Mjup"),
        "period": _number(one.period_days[0], 4, " d"),
        "a": _number(a, 2, ""),
        "b": _number(abs(a * np.cos(np.radians(inclination))), 2, ""),
    }


def _limb(data: ReportData, row: int) -> str:
    if data.limb is None or not np.isfinite(data.limb[row]).all():
        return ""
    errors = [float(data.diagnostic(name)[row]) for name in ("u1_sd", "u2_sd")]
    return ", ".join(_with_error(float(u), error, 3, "") for u, error in zip(data.limb[row], errors, strict=True))


def _number(value: float | Array, digits: int, unit: str) -> str:
    return f"{float(value):,.{digits}f}{unit}".replace(",", "\u202f") if np.isfinite(value) else ""

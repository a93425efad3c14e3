"""The numbers of a report: errors in units of sigma, coverage, residuals of light curves, worst planets and why.

Argument order as everywhere: mu, sigma, truth.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ..base.instruments import N_AIRS_BINS, PPM, bin_weights
from ..base.products import POPULATION, Array, LightCurveFit
from ..detector import robust_sigma
from ..rules import slack, text_of
from ..sigma import COVERAGE, gll_per_bin, level_shape_z, pit_histogram, quantile_pairs, summarise, weighted
from ..spectra import level_moments
from .data import ReportData, once

MAX_WORST = 10  # planets listed as the worst
CURVE_LEVELS = np.linspace(0.0, 1.0, 41)  # of the expected-against-observed curve

# Physical-fit diagnostics that tell of trouble: name -> what it is. A planet is suspect where the value is far from
# its fellows' (robust z above 4) on the high side.
_SUSPECT = {
    "chi2_white": "chi2 per sample of the white fit",
    "chi2_joint": "chi2 per sample of the joint fit",
    "autocorrelation": "autocorrelation of the white residuals",
}
_FALLBACKS = {
    1: "joint fit at the catalogue's geometry",
    POPULATION: "population prior, the light curves were not used",
}


@dataclass(frozen=True)
class PartReliability:
    """How errors compare with the sigma claimed for them, in one part of the spectrum."""

    name: str
    z: Array  # (P, n) error over sigma; NaN where the covariance gives no sigma
    summary: dict[str, Any]  # of `reliability.summarise`: mean, std, robust, coverage, ...
    coverage_error: Array  # (len(COVERAGE),) standard error from planet to planet: bins of one planet err together
    observed: Array  # (len(CURVE_LEVELS),) share of |z| within each nominal central interval
    pit: Array  # (PIT_CELLS,) of `reliability.pit_histogram`
    quantiles: tuple[Array, Array]  # of `reliability.quantile_pairs`


@once
def z_scores(data: ReportData) -> dict[str, Array]:
    """Recovered minus true depth over sigma in each part of the spectrum, (P, n) each; needs the truth.

    "FGS1" and "AIRS bins" use the sigma of the prediction. With a posterior, "AIRS level" (mean over the 282 bins) and
    "AIRS shape" (each bin relative to that mean) use its covariance.
    """
    if data.truth is None:
        raise ValueError("report: without a truth there is nothing to compare with")
    z = (data.prediction.mu - data.truth) / data.prediction.sigma
    parts: dict[str, Array] = {"FGS1": z[:, :1], "AIRS bins": z[:, 1:]}
    if data.posterior is None:
        return parts
    by_part = level_shape_z(data.prediction.mu, data.posterior.cov, data.truth)  # of the opposite sign
    return parts | {"AIRS level": -by_part["level"][:, None], "AIRS shape": -by_part["shape"]}


def level_sigma(data: ReportData) -> Array | None:
    """(P,) standard deviation of each planet's AIRS level; None without a posterior."""
    if data.posterior is None:
        return None
    return np.sqrt(level_moments(data.posterior.cov)[0])


def level_errors(data: ReportData) -> dict[str, tuple[Array, Array]]:
    """Sigma and error (P,) each of FGS1's depth and, with a posterior, of the AIRS level; needs the truth."""
    truth, _ = data.judge()
    error, level = data.prediction.mu - truth, level_sigma(data)
    found: dict[str, tuple[Array, Array]] = {"FGS1": (data.prediction.sigma[:, 0], error[:, 0])}
    return found if level is None else found | {"AIRS level": (level, error[:, 1:].mean(1))}


def part_reliability(name: str, z: Array) -> PartReliability:
    """Summary of one part's z-scores, shape (P, n)."""
    size, finite = np.abs(z), np.isfinite(z)
    limits = norm.ppf(0.5 + np.array(COVERAGE) / 2)
    inside = np.stack([(size <= limit).sum(1) / np.maximum(finite.sum(1), 1) for limit in limits], axis=1)
    return PartReliability(
        name=name,
        z=z,
        summary=summarise(z),
        coverage_error=inside.std(0, ddof=1) / np.sqrt(len(z)) if len(z) > 1 else np.full(len(COVERAGE), np.nan),
        observed=np.array([(size[finite] <= limit).mean() for limit in norm.ppf(0.5 + CURVE_LEVELS / 2)]),
        pit=pit_histogram(-z),  # z here is mu - truth: what is too low stands on the right, where the truth lies
        quantiles=quantile_pairs(z),
    )


def all_parts(data: ReportData, members: NDArray[np.bool_] | None = None) -> list[PartReliability]:
    """Reliability of every part of the spectrum over the planets `members` (P,) bool, or all; empty without truth."""
    if data.truth is None:
        return []
    chosen = slice(None) if members is None else members
    return [part_reliability(name, z[chosen]) for name, z in z_scores(data).items()]


@once
def planet_scores(data: ReportData) -> Array | None:
    """Each planet's share of the official score, (P, 3): total, FGS1, AIRS mean, not clipped; None without truth."""
    if data.truth is None or data.naive is None:
        return None
    return weighted(gll_per_bin(data.prediction.mu, data.prediction.sigma, data.truth, *data.naive))


@once
def _misses(data: ReportData) -> list[dict[str, Any]]:
    """What `RuleSet.report` finds in the prediction; empty without rules."""
    if data.rules is None:
        return []
    prediction = data.prediction
    return data.rules.report(prediction.planet_id, prediction.mu, prediction.sigma, data.wavelengths_um)


@once
def violations(data: ReportData) -> list[dict[str, Any]]:
    """Rows of `RuleSet.report` that tell of a broken rule; a target (==) is broken by an rms miss beyond its unit."""
    sound: set[tuple[str, int]] = set()
    for name, rule in () if data.rules is None else data.rules.rules.items():
        if slack(rule) > 0:
            missed = rule.violations(data.prediction.mu, data.prediction.sigma, data.wavelengths_um)
            rms = np.sqrt((missed**2).sum(1) / max(int((missed != 0).any(0).sum()), 1))
            sound |= {(name, int(planet)) for planet in data.prediction.planet_id[rms <= slack(rule)]}
    return [row for row in _misses(data) if (row["rule"], row["planet_id"]) not in sound]


def rule_table(data: ReportData) -> list[dict[str, Any]]:
    """One row a rule: its text, what a target may be missed by, who breaks it, median and largest miss of all planets.

    Misses are in the rule's own units; planets are sorted by theirs, the worst first.
    """
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    broken: dict[str, list[int]] = defaultdict(list)
    for row in _misses(data):
        found[row["rule"]].append(row)
    for row in violations(data):
        broken[row["rule"]].append(row["planet_id"])
    return [
        {
            "rule": name,
            "text": text_of(rule),
            "slack": slack(rule),
            "planets": broken[name],
            "median": float(np.median([row["violation"] for row in found[name]])) if found[name] else 0.0,
            "largest": found[name][0]["violation"] if found[name] else 0.0,
            "worst_um": found[name][0]["worst_um"] if found[name] else None,
        }
        for name, rule in (data.rules.rules.items() if data.rules else ())
    ]


def panel_statistics(panel: LightCurveFit) -> dict[str, float]:
    """Residuals of one light curve: rms in ppm, median sigma in ppm, chi2 per sample, lag-1 autocorrelation, number."""
    good = usable(panel)
    residual = (panel.flux - panel.model)[good]
    sigma = np.asarray(panel.sigma)[good]
    power = float(residual @ residual)
    return {
        "samples": int(good.sum()),
        "rms_ppm": float(np.sqrt(power / len(residual))) / PPM if len(residual) else float("nan"),
        "sigma_ppm": float(np.median(sigma)) / PPM if len(residual) else float("nan"),
        "chi2": float(np.mean((residual / sigma) ** 2)) if len(residual) else float("nan"),
        "autocorrelation": float(residual[1:] @ residual[:-1]) / power if power > 0 else float("nan"),
    }


def usable(panel: LightCurveFit) -> np.ndarray:
    """(T,) True where flux and model are finite and sigma is finite and positive."""
    sigma = np.asarray(panel.sigma)
    return np.isfinite(panel.flux) & np.isfinite(panel.model) & np.isfinite(sigma) & (sigma > 0)


def told(event: Mapping[str, Any]) -> str:
    """An event in words: its reason, else what it counted ("planets 12, reduced_fit 0"); "" where it says nothing."""
    if event.get("reason"):
        return str(event["reason"])
    named = ("time", "stage", "event", "planet_id", "reason")
    facts = {key: value for key, value in event.items() if key not in named and isinstance(value, str | int | float)}
    return ", ".join(
        f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}" for key, value in facts.items()
    )


def event_planet(event: Any) -> int | None:
    """The planet that an event names, or None; ids written as float or text count too."""
    try:
        return int(float(event["planet_id"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def events_by_planet(data: ReportData) -> dict[int | None, list[Mapping[str, Any]]]:
    """Events of each planet in the log's order; under None those that name no planet."""
    found: dict[int | None, list[Mapping[str, Any]]] = defaultdict(list)
    for event in data.events:
        found[event_planet(event)].append(event)
    return dict(found)


def event_groups(data: ReportData) -> list[dict[str, Any]]:
    """Events counted by stage, kind and reason, most frequent first, with the planets concerned."""
    counts: Counter[tuple[str, str, str]] = Counter()
    planets: dict[tuple[str, str, str], list[int]] = {}
    for event in data.events:
        key = (str(event.get("stage") or ""), str(event.get("event") or ""), told(event))
        counts[key] += 1
        planet = event_planet(event)
        if planet is not None and planet not in planets.setdefault(key, []):
            planets[key].append(planet)
    return [
        {"stage": key[0], "event": key[1], "reason": key[2], "count": count, "planets": planets.get(key, [])}
        for key, count in counts.most_common()
    ]


def worst_planets(data: ReportData, count: int = MAX_WORST) -> list[dict[str, Any]]:
    """The planets that a person should look at first, each with the reasons that its own numbers give.

    With truth: lowest score first. Without: planets with events, then the largest sigma relative to the others'.
    Only planets of which something stands out: a low score among others has a reason, or is far below the others'.
    """
    scores = planet_scores(data)
    ratios = sigma_ratios(data)
    events = events_by_planet(data)
    ids = [int(planet) for planet in data.prediction.planet_id]
    if scores is not None:
        order = np.argsort(scores[:, 0], kind="stable")
    else:
        order = np.lexsort((-ratios.max(1), [planet not in events for planet in ids]))
    z, errors = z_scores(data) if data.truth is not None else {}, _errors(data)
    found = []
    for row in map(int, order):
        reasons = [": ".join(filter(None, (str(e.get("event")), told(e)))) for e in events.get(ids[row], [])[:2]]
        reasons += _diagnostic_reasons(data, row) + _error_reasons(row, ratios, z, errors)
        if scores is not None and (reasons or _far_below(scores[:, 0], row)):
            reasons += _lost_part(row, scores)
        if reasons:
            found.append({"planet_id": ids[row], "row": row, "reasons": reasons})
        if len(found) == count:
            break
    return found


def sigma_ratios(data: ReportData) -> Array:
    """(P, 2): sigma of FGS1, and median sigma of the AIRS bins, over their medians among all planets."""
    sizes = np.stack([data.prediction.sigma[:, 0], np.median(data.prediction.sigma[:, 1:], axis=1)], axis=1)
    return sizes / np.median(sizes, axis=0)


def _errors(data: ReportData) -> list[tuple[str, Array, Array]]:
    """Errors of FGS1 and of the AIRS bins (rms) in ppm and over their median, (P,) each; empty without truth."""
    if data.truth is None:
        return []
    error = np.abs(data.prediction.mu - data.truth) / PPM
    sizes = {"FGS1": error[:, 0], "AIRS": np.sqrt((error[:, 1:] ** 2).mean(1))}
    return [(name, size, size / max(float(np.median(size)), 1e-9)) for name, size in sizes.items()]


def _far_below(values: Array, row: int) -> bool:
    scatter = robust_sigma(values)
    return bool(scatter > 0 and (np.median(values) - values[row]) / scatter > 3)


def _lost_part(row: int, scores: Array) -> list[str]:
    """The part of the score that lies furthest below the median's, where one does."""
    median = np.median(scores, axis=0)
    loss = (median - scores[row])[1:] * (bin_weights()[0], N_AIRS_BINS)
    part = int(np.argmax(loss))
    words = f"{('FGS1', 'AIRS')[part]} part of the score {scores[row, 1 + part]:.2f} (median {median[1 + part]:.2f})"
    return [words] if loss[part] > 0 else []


def _error_reasons(row: int, ratios: Array, z: dict[str, Array], errors: list[tuple[str, Array, Array]]) -> list[str]:
    found = []
    for name, error, ratio in errors:
        if ratio[row] > 3:  # of Gaussian errors 4 % are
            found.append(f"{name} error {error[row]:.0f} ppm, {ratio[row]:.1f} times the median")
    for name in ("FGS1", "AIRS level"):
        if name in z and abs(z[name][row, 0]) > 2:
            found.append(f"{name} off by {z[name][row, 0]:+.1f} sigma")
    wide = z.get("AIRS shape", z.get("AIRS bins"))
    if wide is not None and np.sqrt(np.nanmean(wide[row] ** 2)) > 1.5:
        found.append(f"AIRS bins off by {np.sqrt(np.nanmean(wide[row] ** 2)):.1f} sigma rms")
    for name, ratio in zip(("FGS1", "AIRS"), ratios[row], strict=True):
        if ratio > 1.5:
            found.append(f"{name} sigma {ratio:.1f} times the median")
    return found


def _diagnostic_reasons(data: ReportData, row: int) -> list[str]:
    if data.posterior is None:
        return []
    diagnostics = data.posterior.diagnostics
    found = []
    fallback = diagnostics.get("fallback")
    if fallback is not None and fallback[row] > 0:
        found.append(f"fallback: {_FALLBACKS.get(int(fallback[row]), f'level {fallback[row]:.0f}')}")
    if "missing_contact" in diagnostics and diagnostics["missing_contact"][row] > 0:
        found.append("ingress or egress not observed")
    for name, words in _SUSPECT.items():
        values = np.asarray(diagnostics.get(name, []), float)
        finite = values[np.isfinite(values)]
        if not len(finite) or not np.isfinite(values[row]):
            continue
        median = np.median(finite)
        scatter = robust_sigma(finite)
        if scatter > 0 and (values[row] - median) / scatter > 4:
            found.append(f"{words} {values[row]:.2f} (median {median:.2f})")
    return found

"""Inject and recover as text and as a figure, from the dictionary of `inject.inject` or from its JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_PARTS = {"fgs1": "FGS1", "level": "AIRS level", "shape": "AIRS shape", "worst_bin": "worst bin"}


def text(result: dict[str, Any]) -> str:
    """Two aligned tables, bands and nuisances, and what was left out."""
    blocks = [f"injected into {len(result['planets'])} planets"]
    if result["bands"]:
        blocks.append(_bands(result["bands"]))
    if result["nuisances"]:
        blocks.append(_nuisances(result["nuisances"]))
    if result["left_out"]:
        about = ("planet_id", "signal", "where")
        lines = (" ".join(str(one[k]) for k in about if k in one) + f": {one['reason']}" for one in result["left_out"])
        blocks.append("left out:\n" + "\n".join(f"  {line}" for line in lines))
    return "\n\n".join(blocks)


def plot(result: dict[str, Any], path: Path) -> Path:
    """Recovered against injected amplitude of each band, and each nuisance's leakage in sigmas, as a PNG."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")  # no display and no global state
    bands, nuisances = figure.subplots(1, 2)
    _plot_bands(bands, result)
    _plot_nuisances(nuisances, result["nuisances"])
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return path


def _bands(entries: Sequence[dict[str, Any]]) -> str:
    """A slope of 1 recovers all; a Bayesian answer shrinks what its prior finds unlikely."""
    head = ["band", "where", "planets", "slope: answer", "physics", "likelihood"]
    head += ["ppm", "recovered", "bias", "sigma", "detected"]
    rows = [head]
    for one in entries:
        slopes = [_slope(one["slopes"][name], 2) for name in ("recovered", "physics", "likelihood")]
        about = [one["signal"], one["where"], str(one["planets"]), *slopes]
        for step in one["ladder"]:
            numbers = [f"{step[name]:.0f}" for name in ("injected", "recovered", "bias", "sigma")]
            rows.append([*about, *numbers, f"{step['detected']:.0%}"])
            about = [""] * len(about)
    title = "bands: recovered over injected amplitude (1: all of it); at each amplitude, ppm; detected: above 3 sigma"
    return f"{title}\n{_aligned(rows)}"


def _nuisances(entries: Sequence[dict[str, Any]]) -> str:
    rows = [["nuisance", "where", "planets", *_PARTS.values(), "at", *_PARTS.values(), "sigma x"]]
    for one in entries:
        largest = max(one["ladder"], key=lambda step: abs(step["injected"]))
        slopes = [_slope(one["slopes"][part], 3) for part in _PARTS]
        sigmas = [f"{largest[f'{part}_sigma']:.2f} ({largest[f'{part}_sigma_median']:.2f})" for part in _PARTS]
        at = f"{largest['injected']:g} {one['unit']}"
        rows.append(
            [one["signal"], one["where"], str(one["planets"]), *slopes, at, *sigmas, f"{largest['sigma_ratio']:.2f}"]
        )
    title = (
        "nuisances: ppm of depth that a unit injected leaks into the spectrum; then leakage in sigmas at the largest\n"
        "amplitude, rms over planets (median), and by how much the error bars of AIRS change"
    )
    return f"{title}\n{_aligned(rows)}"


def _slope(line: dict[str, float | None], digits: int) -> str:
    numbers = [f"{value:.{digits}f}" for value in (line["slope"], line["error"]) if value is not None]
    return " +- ".join(numbers) or "-"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            f"{cell:<{w}}" if i < 2 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _plot_bands(axis: Axes, result: dict[str, Any]) -> None:
    for number, one in enumerate(result["bands"]):
        some = [p for p in result["points"] if (p["signal"], p["where"]) == (one["signal"], one["where"])]
        x, y, sigma = (np.array([p[name] for p in some]) for name in ("injected", "recovered", "sigma"))
        aside = x * (1 + 0.015 * (number - len(result["bands"]) / 2))  # so that error bars do not hide each other
        label = f"{one['signal']}, {one['where']}: {_slope(one['slopes']['recovered'], 2)}"
        axis.errorbar(aside, y, sigma, fmt="o", ms=4, capsize=2, alpha=0.8, label=label)
    if result["bands"]:
        axis.axline((0, 0), slope=1, color="0.6", lw=1)
        axis.legend(fontsize=8, title="slope")
    axis.set(xlabel="injected, ppm of transit depth", ylabel="recovered, ppm", title="bands")
    axis.grid(alpha=0.3)


def _plot_nuisances(axis: Axes, entries: Sequence[dict[str, Any]]) -> None:
    place = np.arange(len(entries))
    for i, (part, label) in enumerate(_PARTS.items()):
        largest = [max(one["ladder"], key=lambda step: abs(step["injected"])) for one in entries]
        axis.barh(place + (1.5 - i) * 0.2, [abs(step[f"{part}_sigma"]) for step in largest], 0.2, label=label)
        names = [
            f"{one['signal']}\n{one['where']}, {step['injected']:g} {one['unit']}"
            for one, step in zip(entries, largest, strict=True)
        ]
        axis.set_yticks(place, names, fontsize=8)
    if entries:
        axis.axvline(1, color="0.6", lw=1)
        axis.legend(fontsize=8)
    axis.set(xlabel="leakage into the spectrum, sigmas (rms over planets)", title="nuisances")
    axis.grid(alpha=0.3, axis="x")

"""The figure that opens EXPERIMENTS.md: its own tables, drawn. No number is written here."""

import re
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pictures import BLUE, GREEN, GREY, RED, bare, figure_of
from subjects import Subject

TEXT = Path(__file__).resolve().parent.parent / "EXPERIMENTS.md"
Row = dict[str, str]


def table(first: str, text: str | None = None) -> list[Row]:
    """Rows of the first table of EXPERIMENTS.md whose header begins with the cells `first`, marks of emphasis removed.

    Raises ValueError where there is none.
    """
    lines = iter((TEXT.read_text() if text is None else text).splitlines())
    for line in lines:
        if line.startswith(first):
            head = _cells(line)
            next(lines)
            rows = []
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append(dict(zip(head, _cells(row), strict=True)))
            return rows
    raise ValueError(f"{TEXT} has no table that begins with {first}")


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("*", "").strip() for cell in line.strip().strip("|").split("|")]


def _number(cell: str) -> float:
    found = re.search(r"-?\d+(\.\d+)?", cell)
    return float(found[0]) if found else np.nan


def experiments(_: Subject) -> Figure:
    """What was found, in four charts from the tables of EXPERIMENTS.md."""
    figure = figure_of(11, 8)
    (ladder, worlds), (spread, parts) = figure.subplots(2, 2)
    _ladder(ladder)
    _worlds(worlds)
    _spread(spread)
    _parts(parts)
    for axis in (ladder, worlds, spread, parts):
        words = axis.get_title()
        axis.set_title("")
        axis.set_title(words, loc="left", fontsize=11)
    return figure


def _bars(axis: Axes, names: list[str], values: list[float], colours: list[str], ends: list[float]) -> None:
    """Bars, each with its value beyond the place on the axis where it and what is drawn beside it `ends`."""
    places = np.arange(len(names))[::-1]
    axis.barh(places, values, color=colours, height=0.65)
    for place, value, end in zip(places, values, ends, strict=True):
        axis.annotate(f"{value:.3f}", (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(places, names, fontsize=8)
    bare(axis)


def _ladder(axis: Axes) -> None:
    rows = table("| held-out | total |")
    rows = [row for row in rows if "uncalibrated" not in row["held-out"]]
    names = [row["held-out"] for row in rows]
    scores = [_number(row["total"]) for row in rows]
    _bars(axis, names, scores, [GREY if "oracle" in n else BLUE for n in names], scores)
    axis.set(title="1  from nothing to what can be known", xlabel="score on held-out planets", xlim=(0, 0.95))


def _worlds(axis: Axes) -> None:
    rows = table("| world | planets |")
    scores, oracles = ([_number(row[column]) for row in rows] for column in ("physics", "oracle"))
    _bars(axis, [row["world"] for row in rows], scores, [BLUE] * len(rows), list(np.fmax(scores, oracles)))
    for place, oracle in enumerate(reversed(oracles)):
        axis.plot([oracle] * 2, [place - 0.4, place + 0.4], color=RED, lw=2)
    axis.plot([], [], color=RED, lw=2, label="oracle, where it was run")
    axis.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.03, 0.0))
    axis.set(title="2  worlds that nothing was learnt from", xlabel="score as shipped", xlim=(0, 1))


def _spread(axis: Axes) -> None:
    rows = table("| world | planets |")
    names = ("FGS1", "level", "shape")
    values = np.array([[float(v) for v in row["z, same parts"].split("/")] for row in rows])
    places = np.arange(len(rows))[::-1]
    for column, (name, colour) in enumerate(zip(names, (RED, BLUE, GREEN), strict=True)):
        axis.plot(values[:, column], places, "o", color=colour, label=name)
    axis.axvspan(0.9, 1.1, color=GREY, alpha=0.2, lw=0)
    axis.axvline(1, color=GREY, lw=0.8)
    axis.set_yticks(places, [row["world"] for row in rows], fontsize=8)
    axis.set(title="3  are error bars right?", xlabel="error over sigma, rms (above 1: sigma is too small)")
    axis.legend(frameon=False, fontsize=8)
    bare(axis)


def _parts(axis: Axes) -> None:
    rows = [row for row in table("| | held-out | calibrated |") if "direct" not in row[""]]
    names = [row[""] for row in rows]
    colours = [RED if "spectral prior" in n or "on that physics" in n else BLUE for n in names]
    scores = [_number(row["held-out"]) for row in rows]
    _bars(axis, names, scores, colours, scores)
    axis.set(title="4  what parts are worth", xlabel="score, uncalibrated", xlim=(0, 0.95))

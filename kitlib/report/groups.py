"""Subsets of a run's planets whose error bars are judged on their own, from the physical fit's diagnostics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..base.products import Array
from .data import ReportData, once
from .diagnostics import PartReliability, all_parts

MIN_PLANETS = 2  # of one planet there is no spread


@dataclass(frozen=True)
class Group:
    """Planets that have something in common."""

    split: str  # what they are told apart by
    name: str
    members: NDArray[np.bool_]  # (P,)


def groups(data: ReportData) -> list[Group]:
    """All planets, then both sides of each split; a planet whose diagnostic is not known is on neither side.

    Detector and star are cut at the run's median. A split is left out where a side has fewer than `MIN_PLANETS`.
    """
    found = [Group("All", "all planets", np.ones(len(data.prediction.planet_id), bool))]
    masked, electrons, visits = (data.diagnostic(name) for name in ("masked_fraction", "electrons", "visits"))
    missing = data.diagnostic("missing_contact")
    splits = (
        ("Detector", masked, _median(masked), "fewer masked pixels", "more masked pixels"),
        ("Star", electrons, _median(electrons), "fainter half", "brighter half"),
        ("Visits", visits, 1, "one visit", "two visits or more"),
        ("Contacts", missing, 0, "ingress and egress seen", "ingress or egress missing"),
    )
    for split, values, limit, low, high in splits:
        sides = [Group(split, low, values <= limit), Group(split, high, values > limit)]
        if all(side.members.sum() >= MIN_PLANETS for side in sides):
            found += sides
    return found


@once
def judged_groups(data: ReportData) -> list[tuple[Group, list[PartReliability]]]:
    """`groups`, the first of them all planets, each with its reliability in every part of the spectrum."""
    return [(group, all_parts(data, group.members)) for group in groups(data)]


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan

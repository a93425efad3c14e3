"""A planet's data in parts: what is tried where all of them together describe nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..base.instruments import AIRS, FGS1
from ..base.products import LightCurve, PlanetLightCurves
from .series import within
from .transients import DIP, Transient

CUTS_H = (0.8, 1.4, 2.0)  # of a visit of 7.5 h that may be left out at its end, or at its beginning (the first two)
STEP_H = 0.01
BASELINE_H = 0.4  # of starlight out of transit that has to be left


def parts(planet: PlanetLightCurves, first_h: float, last_h: float) -> Iterator[tuple[str, PlanetLightCurves]]:
    """Parts with what they are, those that leave least out first.

    Instruments as visits of their own: their mid-transit times may differ by hours, as where files of two visits carry
    one number. Then the visit without its end or its beginning, where a telescope that lost its star may be the reason.
    Then each visit, then each instrument. (Before the ends, a visit without what passes: `without_transients`.)

    Args:
        planet: its light curves.
        first_h, last_h: first and last contact of the fit that failed, hours since the visit's start.
    """
    both = [visit for visit in planet.visits if len(visit) > 1]
    if both:
        split = tuple({name: curve} for visit in planet.visits for name, curve in visit.items())
        yield "each instrument with a mid-transit time of its own", replace(planet, visits=split)
    for cut_h in _end_h(planet) - np.array(CUTS_H):
        if cut_h > last_h + BASELINE_H:
            yield f"the first {cut_h:.2f} h", _between(planet, -np.inf, cut_h)
    for cut_h in CUTS_H[:2]:
        if cut_h < first_h - BASELINE_H:
            yield f"what follows the first {cut_h:.2f} h", _between(planet, cut_h, np.inf)
    if len(planet.visits) > 1:
        for number, visit in enumerate(planet.visits):
            yield f"visit {number} alone", replace(planet, visits=(visit,))
    for name in (AIRS.name, FGS1.name):
        own = tuple({name: visit[name]} for visit in planet.visits if name in visit)
        if own and both:
            yield f"{name} alone", replace(planet, visits=own)


def without_transients(
    planet: PlanetLightCurves, found: Sequence[Transient], first_h: float, last_h: float
) -> PlanetLightCurves | None:
    """The same planet, dips left out, steps taken away; None where too little would be left.

    Half of the transit from `first_h` to `last_h` has to be left, and starlight beside it if there was any.
    """
    time_h = np.arange(0.0, max(_end_h(planet), STEP_H), STEP_H)
    inside = (time_h > first_h) & (time_h < last_h)
    visits = []
    for number, visit in enumerate(planet.visits):
        here = [one for one in found if one.visit == number]
        spans = [one.span_h for one in here if one.kind == DIP]
        left = ~within(time_h, spans)
        beside_h = STEP_H * (~inside).sum(), STEP_H * (left & ~inside).sum()
        if spans and ((left & inside).sum() < inside.sum() / 2 or beside_h[1] < min(BASELINE_H, beside_h[0])):
            return None
        visits.append({name: _less(curve, here, spans) for name, curve in visit.items()})
    return replace(planet, visits=tuple(visits))


def _less(curve: LightCurve, found: Sequence[Transient], spans: Sequence[tuple[float, float]]) -> LightCurve:
    light = np.ones(len(curve.time_h))
    for one in found:
        if one.kind != DIP:
            light *= one.light(curve.instrument.name, curve.time_h)
    flux = (curve.flux_e / light[:, None]).astype(curve.flux_e.dtype)
    return _masked(replace(curve, flux_e=flux), within(curve.time_h, spans))


def _end_h(planet: PlanetLightCurves) -> float:
    return max((float(curve.time_h[-1]) for visit in planet.visits for curve in visit.values()), default=0.0)


def _masked(curve: LightCurve, out: NDArray[np.bool_]) -> LightCurve:
    """The same light curve, these samples (T,) without weight."""
    flux = np.where(out[:, None], np.nan, curve.flux_e).astype(curve.flux_e.dtype)
    return replace(curve, flux_e=flux, variance_e2=np.where(out[:, None], np.inf, curve.variance_e2))


def _between(planet: PlanetLightCurves, start_h: float, end_h: float) -> PlanetLightCurves:
    """The same planet, samples outside these hours since the visit's start without weight."""

    def cut(curve: LightCurve) -> LightCurve:
        return _masked(curve, (curve.time_h < start_h) | (curve.time_h > end_h))

    visits = tuple({name: cut(curve) for name, curve in visit.items()} for visit in planet.visits)
    return replace(planet, visits=visits)

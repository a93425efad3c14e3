"""A planet's data in parts: what is tried where all of them together describe nothing."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..base.instruments import AIRS, FGS1
from ..base.products import LightCurve, PlanetLightCurves

CUTS_H = (0.8, 1.4, 2.0)  # of a visit of 7.5 h that may be left out at its end, or at its beginning (the first two)
BASELINE_H = 0.4  # of starlight out of transit that has to be left


def parts(planet: PlanetLightCurves, first_h: float, last_h: float) -> Iterator[tuple[str, PlanetLightCurves]]:
    """Parts with what they are, those that leave least out first.

    Instruments as visits of their own: their mid-transit times may differ by hours, as where files of two visits carry
    one number. Then the visit without its end or its beginning, where a telescope that lost its star may be the reason.
    Then each visit, then each instrument.

    Args:
        planet: its light curves.
        first_h, last_h: first and last contact of the fit that failed, hours since the visit's start.
    """
    both = [visit for visit in planet.visits if len(visit) > 1]
    if both:
        split = tuple({name: curve} for visit in planet.visits for name, curve in visit.items())
        yield "each instrument with a mid-transit time of its own", replace(planet, visits=split)
    end_h = max((float(curve.time_h[-1]) for visit in planet.visits for curve in visit.values()), default=0.0)
    for cut_h in end_h - np.array(CUTS_H):
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


def _between(planet: PlanetLightCurves, start_h: float, end_h: float) -> PlanetLightCurves:
    """The same planet, samples outside these hours since the visit's start without weight."""

    def cut(curve: LightCurve) -> LightCurve:
        outside = ((curve.time_h < start_h) | (curve.time_h > end_h))[:, None]
        flux = np.where(outside, np.nan, curve.flux_e).astype(curve.flux_e.dtype)
        return replace(curve, flux_e=flux, variance_e2=np.where(outside, np.inf, curve.variance_e2))

    visits = tuple({name: cut(curve) for name, curve in visit.items()} for visit in planet.visits)
    return replace(planet, visits=visits)

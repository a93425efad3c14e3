"""A planet's data in parts: what is tried where all of them together describe nothing."""

from collections.abc import Iterator
from dataclasses import replace

from ..base.instruments import AIRS, FGS1
from ..base.products import PlanetLightCurves


def parts(planet: PlanetLightCurves) -> Iterator[tuple[str, PlanetLightCurves]]:
    """Parts with what they are, those that leave least out first.

    Instruments as visits of their own: their mid-transit times may differ by hours, as where files of two visits carry
    one number. Then each visit, then each instrument.
    """
    both = [visit for visit in planet.visits if len(visit) > 1]
    if both:
        split = tuple({name: curve} for visit in planet.visits for name, curve in visit.items())
        yield "each instrument with a mid-transit time of its own", replace(planet, visits=split)
    if len(planet.visits) > 1:
        for number, visit in enumerate(planet.visits):
            yield f"visit {number} alone", replace(planet, visits=(visit,))
    for name in (AIRS.name, FGS1.name):
        own = tuple({name: visit[name]} for visit in planet.visits if name in visit)
        if own and both:
            yield f"{name} alone", replace(planet, visits=own)

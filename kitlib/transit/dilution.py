"""What a neighbour's light, which the extraction has taken away, is known to: an error of the depth as a whole."""

import numpy as np

from ..base.instruments import FGS1
from ..base.products import PlanetLightCurves


def dilution_errors(planet: PlanetLightCurves) -> tuple[float, float, float] | None:
    """Relative errors of FGS1's and AIRS' depths, and the largest light over the target's; None without a neighbour.

    An instrument whose visits show it differently takes the larger error: the same template is wrong in all of them.
    One without a light curve is answered from the other's, and has its error.
    """
    errors, bright = {True: 0.0, False: 0.0}, []
    there = {curve.instrument.name == FGS1.name for visit in planet.visits for curve in visit.values()}
    for visit in planet.visits:
        for curve in visit.values():
            quality = curve.quality
            if "neighbour_flux" in quality:
                fgs1 = curve.instrument.name == FGS1.name
                own = quality["neighbour_share_sd"] / max(1 - quality["neighbour_share"], 0.1)
                errors[fgs1] = float(np.maximum(errors[fgs1], own))
                bright.append(quality["neighbour_flux"])
    errors = {one: errors[one if one in there else not one] for one in errors}
    return (errors[True], errors[False], max(bright)) if bright else None

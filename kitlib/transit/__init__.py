"""Light curves to the likelihood of 283 transit depths, and with the prior to their posterior.

In: `PlanetLightCurves`, the planet's catalogue row and `Priors`. Out: `PlanetFit` (posterior, diagnostics, fitted
curves) and `Details` (fitted series, likelihood). Read in this order: flux (the transit), limbdarkening and priors,
series (light curves as fitted), parameters, channelmodel, visitmodel (star x drift x transit), gaussnewton (the
optimiser), gate (does a fit describe its data), dilution (what a neighbour's light is known to), transients (what
passes during a visit), whitefit, grazing (orbits whose depth only an impact parameter tells), jointfit, driftorder
(how much drift), measured (what the light curves alone say), parts (what is tried where a fit describes nothing),
record (what is kept of a fit), fit (all of it, with its fallbacks).
"""

from .fit import Details, PlanetFit, detailed_fit, fit_planet
from .flux import transit_flux
from .gate import LIMITS
from .jointfit import measure_limb_darkening
from .limbdarkening import Measured, learn_limb_darkening
from .measured import MEASURED_BINS, alone
from .priors import Priors, shipped_priors
from .series import FittedSeries

__all__ = [
    "LIMITS",
    "MEASURED_BINS",
    "Details",
    "FittedSeries",
    "Measured",
    "PlanetFit",
    "Priors",
    "alone",
    "detailed_fit",
    "fit_planet",
    "learn_limb_darkening",
    "measure_limb_darkening",
    "shipped_priors",
    "transit_flux",
]

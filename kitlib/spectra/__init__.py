"""Prior over spectra, and where it meets what the light curves say.

In: training spectra with their catalogue rows, and the Gaussian likelihood of one planet's depths. Out: a mixture prior
for each planet, its posterior in closed form, and the file that holds the posteriors of a run.
Read in this order: kinds (of atmospheres), prior (mixture over kinds and amplitudes), combination (likelihood and prior
meet), posterior (the file, and moments of level and shape).
"""

from .combination import Hypothesis, Likelihood, combine, moments
from .posterior import airs_variances, join, level_moments, read_posterior, under, write_posterior
from .prior import PriorError, SpectralPrior, learn_prior, ln_scale_height_depth

__all__ = [
    "Hypothesis",
    "Likelihood",
    "PriorError",
    "SpectralPrior",
    "airs_variances",
    "combine",
    "join",
    "learn_prior",
    "level_moments",
    "ln_scale_height_depth",
    "moments",
    "read_posterior",
    "under",
    "write_posterior",
]

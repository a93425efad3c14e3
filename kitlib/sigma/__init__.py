"""The score, and error bars that are right by it.

In: posteriors of planets that nothing was learnt from, and their true spectra. Out: a frozen `Calibrator`, calibrated
mu and sigma, and numbers that say how far they can be trusted.
Read in this order: metric (the competition's score), calibrator (what is frozen), fit (to the score), reliability
(coverage, z-scores), decomposition (where the score is lost).
"""

from .calibrator import Calibrator, apply, calibrated_covariance
from .decomposition import Decomposition, bin_factors, decompose, honest_loss, weighted
from .fit import fit_calibrator
from .metric import SIGMA_FLOOR, SIGMA_TRUE, Score, gll_per_bin, gll_score, naive_statistics
from .reliability import COVERAGE, PIT_CELLS, level_shape_z, pit_histogram, quantile_pairs, summarise

__all__ = [
    "COVERAGE",
    "Calibrator",
    "Decomposition",
    "PIT_CELLS",
    "SIGMA_FLOOR",
    "SIGMA_TRUE",
    "Score",
    "apply",
    "bin_factors",
    "calibrated_covariance",
    "decompose",
    "fit_calibrator",
    "gll_per_bin",
    "gll_score",
    "honest_loss",
    "level_shape_z",
    "naive_statistics",
    "pit_histogram",
    "quantile_pairs",
    "summarise",
    "weighted",
]

"""Known signals into planets' data, through the whole pipeline, and what comes out.

In: a run and its planets' light curves or frames. Out: recovered over injected amplitude of molecular bands, leakage of
nuisances. Read in this order: signals, frameinject (into copies of raw frames), recovery (numbers), experiment.
"""

from .experiment import inject

__all__ = ["inject"]

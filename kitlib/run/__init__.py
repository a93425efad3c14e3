"""How a stage runs.

In: a configuration and a data root. Out: what the stages of `pipeline` are made of: folder, event log and manifest;
tables, priors, models and calibrator; planets in guarded processes within the run's time.
Read in this order: stage, inputs, fits, planets, budget (the guard of time and memory), training, pretraining,
diagnosis, sweep, verify, notebook, gallery (its charts and tables).
"""

from .fits import Fitted, fit_planets, stacked, with_inputs
from .inputs import answered, check_choices, learnt, tables, usable_catalogue
from .planets import light_curves
from .stage import Stage, running

__all__ = [
    "Fitted",
    "Stage",
    "answered",
    "check_choices",
    "fit_planets",
    "learnt",
    "light_curves",
    "running",
    "stacked",
    "tables",
    "usable_catalogue",
    "with_inputs",
]

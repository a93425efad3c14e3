"""How a stage runs.

In: a configuration and a data root. Out: what the stages of `pipeline` are made of: folder, event log and manifest;
tables, priors, models and calibrator; planets in guarded processes within the run's time.
Read in this order: stage, root, inputs, fits, planets, budget (the guard of time and memory), training, pretraining,
diagnosis, sweep, verify, notebook, summaries (its tables).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fits import Fitted, fit_planets, stacked, with_inputs
    from .inputs import answered, check_choices, learnt, tables, usable_catalogue
    from .planets import light_curves
    from .stage import Stage, running

_FILES = {
    "fits": ("Fitted", "fit_planets", "stacked", "with_inputs"),
    "inputs": ("answered", "check_choices", "learnt", "tables", "usable_catalogue"),
    "planets": ("light_curves",),
    "stage": ("Stage", "running"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    """Imported at first use: `spectramind verify` and a guard's process need no torch."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_FILE_OF[name]}", __name__), name)

"""The dataset's root of a stage, and what is odd about the form of its tables."""

import warnings
from contextlib import suppress
from pathlib import Path

from ..base.paths import find_data_root
from ..detector import FrameError, read_csv
from ..submission import ID_FILES
from .stage import Stage

_CSV = (*ID_FILES, "train_star_info.csv", "train.csv", "adc_info.csv", "wavelengths.csv")


def opened_root(stage: Stage) -> Path:
    """The root that data.root names. Tables with commas at their line ends are logged and warned of: nothing is lost.

    Tables that cannot be read are left to whoever needs them. Raises DataRootError where there is no root.
    """
    root = find_data_root(stage.config.data.root)
    for path in (root / name for name in _CSV if (root / name).is_file()):
        with suppress(FrameError):
            if read_csv(path).commas:
                reason = f"{path} has commas at its line ends; read without them"
                stage.events.emit(stage.name, "table_form", reason=reason)
                warnings.warn(reason, stacklevel=3)
    return root

"""Figures made small: numbers apart from what stands around them, and each of both written once.

A skeleton is a figure with {"$": n} where its n-th array was; planets' figures of one kind share theirs. A column is an
array in base64, in 65,535 steps between its ends (255 where it has two dimensions): finer than a screen shows.
`charts.js` puts both together again.
"""

import base64
import json
from typing import Any

import numpy as np

from ..base.products import Array
from .drawing import Spec

PLAIN = 24  # numbers: so few are written as they are
DIGITS = 7  # of those


class Packer:
    """Takes figures; `skeletons` and `columns` is what they are made of."""

    def __init__(self) -> None:
        self.skeletons: list[Any] = []
        self.columns: list[Any] = []
        self._known: dict[Any, int] = {}

    def add(self, figure: Spec) -> list[Any]:
        """[skeleton, [column, ...]] of a figure, by their numbers."""
        used: list[int] = []
        skeleton = self._emptied(figure, used)
        return [self._place(self.skeletons, json.dumps(skeleton), skeleton), used]

    def _emptied(self, value: Any, used: list[int]) -> Any:
        if isinstance(value, dict):
            return {key: self._emptied(one, used) for key, one in value.items()}
        if _numeric(value):
            array = np.asarray(value, np.float64)
            used.append(self._place(self.columns, (array.shape, array.tobytes()), array, _column))
            return {"$": len(used) - 1}
        if isinstance(value, list | tuple):
            return [self._emptied(one, used) for one in value]
        return value

    def _place(self, table: list[Any], key: Any, value: Any, written: Any = None) -> int:
        whole = (id(table), key)
        if whole not in self._known:
            self._known[whole] = len(table)
            table.append(value if written is None else written(value))
        return self._known[whole]


def _numeric(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return True
    plain = isinstance(value, list | tuple) and len(value) > 0
    return plain and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)


def _column(array: Array) -> Any:
    if array.ndim == 1 and len(array) <= PLAIN:
        return [float(f"{v:.{DIGITS}g}") if np.isfinite(v) else None for v in array]
    wide = array.ndim == 1
    steps = 65_535 if wide else 255  # the last code stands for a missing value
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scale = (high - low) / (steps - 1) or 1.0
    codes = np.where(np.isfinite(array), np.rint((np.nan_to_num(array, nan=low) - low) / scale), steps)
    bytes_ = np.clip(codes, 0, steps).astype("<u2" if wide else "u1").tobytes()
    found = {"b": base64.b64encode(bytes_).decode(), "o": float(f"{low:.9g}"), "s": float(f"{scale:.7g}")}
    return found if wide else found | {"n": array.shape[1]}

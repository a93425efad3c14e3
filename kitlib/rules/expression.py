"""What a rule computes: a tree of nodes over a predicted spectrum, each differentiable by torch.

`grammar.py` turns text into these nodes, `rules.py` turns a comparison of two of them into a penalty.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..base.instruments import N_BINS

SHOWN = 60  # characters of the text that an error shows before and after its column

Ranges = tuple[tuple[float, float], ...]  # (low, high) in um


class RuleError(ValueError):
    """A rule that is not part of the language. `column` counts characters from 1; the message shows it with a caret."""

    def __init__(self, reason: str, text: str, column: int):
        self.reason, self.text, self.column = reason, text, column
        start = max(0, column - 1 - SHOWN)
        shown = "".join(c if c.isprintable() else " " for c in text[start : column - 1 + SHOWN])
        super().__init__(f"column {column}: {reason}\n    {shown}\n    {' ' * (column - 1 - start)}^")

    def __reduce__(self) -> tuple[type, tuple[str, str, int]]:
        return type(self), (self.reason, self.text, self.column)  # so that it survives the way out of a worker process


@dataclass(frozen=True)
class Place:
    """Where a node stands in its rule's text."""

    text: str
    column: int  # from 1

    def error(self, reason: str) -> RuleError:
        """The error that points here."""
        return RuleError(reason, self.text, self.column)


class Kind(IntEnum):
    """What a node's value is: one number, one number a planet, or one a planet and bin."""

    NUMBER = 0
    PLANET = 1
    BINS = 2


@dataclass(frozen=True)
class Estimate:
    """What a rule looks at: mu and sigma (P, 283) tensors alike, wavelengths (283,) in um."""

    mu: Tensor
    sigma: Tensor
    wl: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.mu.ndim != 2 or self.mu.shape[1] != N_BINS or self.sigma.shape != self.mu.shape:
            shapes = f"{tuple(self.mu.shape)} and {tuple(self.sigma.shape)}"
            raise ValueError(f"rules need mu and sigma of shape (planets, {N_BINS}), not {shapes}")
        if self.wl.shape != (N_BINS,):
            raise ValueError(f"rules need the wavelengths of all {N_BINS} bins, not shape {self.wl.shape}")


@dataclass(frozen=True)
class Value:
    """A node's value for an estimate."""

    data: Tensor  # (P or 1, W); W = 1 unless kind is BINS
    bins: NDArray[np.intp] | None  # (W,) ascending where kind is BINS
    reads: NDArray[np.bool_]  # (283,) the bins that it was computed from


@dataclass(frozen=True)
class Node(ABC):
    """One operation. Subclasses override `evaluate`."""

    place: Place
    kind: Kind

    @abstractmethod
    def evaluate(self, estimate: Estimate) -> Value:
        """The value for an estimate, differentiable in mu and sigma. Raises RuleError where no bin is left."""


@dataclass(frozen=True)
class Number(Node):
    """A constant."""

    value: float

    def evaluate(self, estimate: Estimate) -> Value:
        """(1, 1)."""
        return Value(estimate.mu.new_full((1, 1), self.value), None, np.zeros(N_BINS, dtype=bool))


@dataclass(frozen=True)
class Variable(Node):
    """mu, sigma or wl in every bin."""

    name: str

    def evaluate(self, estimate: Estimate) -> Value:
        """(P, 283), or (1, 283) for wl."""
        data = {"mu": estimate.mu, "sigma": estimate.sigma}.get(self.name)
        if data is None:
            data = torch.as_tensor(estimate.wl, dtype=estimate.mu.dtype, device=estimate.mu.device)[None]
        return Value(data, np.arange(N_BINS), np.ones(N_BINS, dtype=bool))


@dataclass(frozen=True)
class Slice(Node):
    """The bins of `of` whose wavelength lies in one of the ranges."""

    of: Node
    ranges: Ranges

    def evaluate(self, estimate: Estimate) -> Value:
        """(P, bins inside)."""
        inside = np.zeros(N_BINS, dtype=bool)
        for low, high in self.ranges:
            inside |= (estimate.wl >= low) & (estimate.wl <= high)
        return _restrict(self.of.evaluate(estimate), np.flatnonzero(inside), self.place)


@dataclass(frozen=True)
class Elementwise(Node):
    """A function of one or two values, bin by bin, on the bins that all of them have."""

    function: Callable[..., Tensor]
    of: tuple[Node, ...]

    def evaluate(self, estimate: Estimate) -> Value:
        """(P, common bins), or (P, 1)."""
        values = [node.evaluate(estimate) for node in self.of]
        shared = [value.bins for value in values if value.bins is not None]
        reads = np.logical_or.reduce([value.reads for value in values])
        if not shared:
            return Value(self.function(*(value.data for value in values)), None, reads)
        bins = shared[0] if len(shared) == 1 else np.intersect1d(shared[0], shared[1], assume_unique=True)
        parts = [value if value.bins is None else _restrict(value, bins, self.place) for value in values]
        return Value(self.function(*(part.data for part in parts)), bins, _mask(bins))


@dataclass(frozen=True)
class Reduction(Node):
    """A function over bins: one number a planet."""

    function: Callable[[Tensor], Tensor]
    of: Node

    def evaluate(self, estimate: Estimate) -> Value:
        """(P, 1)."""
        value = self.of.evaluate(estimate)
        return Value(self.function(value.data), None, value.reads)


@dataclass(frozen=True)
class Difference(Node):
    """x[i] - x[i-1], or x[i+1] - 2 x[i] + x[i-1]; FGS1 (bin 0) and bins across a gap are no neighbours."""

    order: int
    of: Node

    def evaluate(self, estimate: Estimate) -> Value:
        """(P, bins with all neighbours)."""
        value, order = self.of.evaluate(estimate), self.order
        own = _bins_of(value)
        kept = np.flatnonzero((own[order:] - own[:-order] == order) & (own[:-order] > 0))
        if not kept.size:
            raise self.place.error("no neighbouring AIRS bins to take differences of")
        steps = torch.as_tensor(kept, device=value.data.device)
        taps = [value.data.index_select(1, steps + k) for k in range(order + 1)]
        data = taps[1] - taps[0] if order == 1 else taps[2] - 2 * taps[1] + taps[0]
        return Value(data, own[kept + 1], value.reads)


def _bins_of(value: Value) -> NDArray[np.intp]:
    """The bins of a value of kind BINS, which alone has any."""
    if value.bins is None:
        raise TypeError("one number a planet has no bins")
    return value.bins


def _mask(bins: NDArray[np.intp]) -> NDArray[np.bool_]:
    mask = np.zeros(N_BINS, dtype=bool)
    mask[bins] = True
    return mask


def _restrict(value: Value, bins: NDArray[np.intp], place: Place) -> Value:
    """`value` on those of `bins` that it has. Gathered first, computed later: what is left out has no gradient."""
    own = _bins_of(value)
    kept = np.flatnonzero(np.isin(own, bins, assume_unique=True))
    if not kept.size:
        raise place.error("no bin of the wavelength grid is left here")
    if kept.size == own.size:
        return value
    data = value.data.index_select(1, torch.as_tensor(kept, device=value.data.device))
    return Value(data, own[kept], _mask(own[kept]))


def spread(x: Tensor) -> Tensor:
    """Standard deviation over bins, (P, W) -> (P, 1), with a finite gradient where all bins are equal."""
    return torch.sqrt(x.var(1, correction=0, keepdim=True).clamp_min(1e-30))

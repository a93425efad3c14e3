"""What a configuration's value may be, declared beside its type: `Annotated[int, Range(1, 12)]`."""

import math
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`, both included; `above` and `below` are ends that are not."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    multiple: int = 0  # of which the number must be one; 0: any

    def holds(self, value: Any) -> bool:
        """Whether a number lies inside; NaN and infinities never do."""
        inside = math.isfinite(value) and self.low <= value <= self.high and self.above < value < self.below
        return inside and not (self.multiple and value % self.multiple)

    def __str__(self) -> str:
        if math.isfinite(self.low) and math.isfinite(self.high):
            text = f"{_shown(self.low)} to {_shown(self.high)}"
        else:
            ends = {"{} or more": self.low, "above {}": self.above, "at most {}": self.high, "below {}": self.below}
            text = ", ".join(form.format(_shown(end)) for form, end in ends.items() if math.isfinite(end)) or "finite"
        return f"{text}, a multiple of {self.multiple}" if self.multiple else text


@dataclass(frozen=True, init=False)
class OneOf:
    """The few words or numbers that a value may be."""

    choices: tuple[str | int, ...]

    def __init__(self, *choices: str | int):
        object.__setattr__(self, "choices", choices)

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.choices

    def __str__(self) -> str:
        *others, last = map(str, self.choices)
        return f"{', '.join(others)} or {last}" if others else last


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Positive = Annotated[float, Range(above=0)]
Share = Annotated[float, Range(0, 1)]


def _shown(end: float) -> str:
    return f"{int(end):,}" if end == int(end) else f"{end:g}"

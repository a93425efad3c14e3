"""Rules: soft constraints on a predicted spectrum, as differentiable penalties and as a report of violations.

    rule = parse("mu >= 0") + 0.1 * parse('abs(mean(band("CH4")) - mean(mu[1.9:])) <= 300 * ppm')
    loss = loss + rule.penalty(mu, sigma, wl).mean()

The language is described in `grammar.py`. The algebra: `a + b` wants both (penalties add), `a * b` is content with
either (penalties multiply: zero where one holds), `2.0 * a` weighs. A penalty is the mean over bins of the squared
violation, in units of `unit`; a violation is by how much a comparison fails, in its own units. `<` and `<=` are the
same here: they differ where the violation is zero.
"""

import ast
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..base.instruments import MOLECULAR_BANDS_UM, N_BINS
from ..base.schema import LossConfig
from .expression import Elementwise, Estimate, Node, RuleError, Variable
from .grammar import Bands, Parser, read

__all__ = [
    "Comparison",
    "Rule",
    "RuleError",
    "RuleSet",
    "band_prior",
    "from_config",
    "parse",
    "slack",
    "smoothness",
    "text_of",
]


@dataclass(frozen=True)
class Outcome:
    """A rule applied to an estimate of P planets."""

    penalty: Tensor  # (P,) >= 0; 0: the rule holds
    violation: Tensor  # (P, 283) >= 0: by how much it fails; a rule on means counts in every bin that it read


class Rule(ABC):
    """A soft constraint. Subclasses override `evaluate` alone."""

    @abstractmethod
    def evaluate(self, estimate: Estimate) -> Outcome:
        """Penalty and violation, differentiable in mu and sigma. Raises RuleError where the grid has no bin for it."""

    def penalty(self, mu: Tensor, sigma: Tensor, wl: Any) -> Tensor:
        """(P,) from mu and sigma (P, 283) and the wavelengths (283,) in um."""
        return self.evaluate(_estimate(mu, sigma, wl)).penalty

    def violations(self, mu: Any, sigma: Any, wl: Any) -> NDArray[np.float64]:
        """(P, 283) by how much the rule fails in each bin, 0 where it holds, NaN where mu or sigma is."""
        with torch.no_grad():
            estimate = _estimate(torch.as_tensor(mu).double(), torch.as_tensor(sigma).double(), wl)
            return self.evaluate(estimate).violation.cpu().numpy()

    def __add__(self, other: "Rule") -> "Rule":
        return Sum(self, other) if isinstance(other, Rule) else NotImplemented

    def __mul__(self, other: "Rule | float") -> "Rule":
        if isinstance(other, Rule):
            return Product(self, other)
        return Weighted(self, float(other)) if type(other) in (int, float) else NotImplemented

    __rmul__ = __mul__


@dataclass(frozen=True)
class Comparison(Rule):
    """excess <= 0, where `excess` is a node; its positive part is the violation."""

    excess: Node
    unit: float  # violations are divided by it before they are squared

    def evaluate(self, estimate: Estimate) -> Outcome:
        """Bins that the rule does not speak of have no violation."""
        value = self.excess.evaluate(estimate)
        planets = estimate.mu.shape[0]
        failed = torch.relu(value.data).expand(planets, -1)
        penalty = (failed / self.unit).square().mean(1)
        bins = torch.as_tensor(np.flatnonzero(value.reads) if value.bins is None else value.bins, device=failed.device)
        violation = failed.new_zeros(planets, N_BINS).index_copy(1, bins, failed.expand(planets, len(bins)))
        return Outcome(penalty, violation)


@dataclass(frozen=True)
class Sum(Rule):
    """Both rules."""

    left: Rule
    right: Rule

    def evaluate(self, estimate: Estimate) -> Outcome:
        """Penalties add; a bin's violation is the worse of both."""
        left, right = self.left.evaluate(estimate), self.right.evaluate(estimate)
        return Outcome(left.penalty + right.penalty, torch.maximum(left.violation, right.violation))


@dataclass(frozen=True)
class Product(Rule):
    """Either rule."""

    left: Rule
    right: Rule

    def evaluate(self, estimate: Estimate) -> Outcome:
        """Penalties multiply; violations count for planets that fail both rules."""
        left, right = self.left.evaluate(estimate), self.right.evaluate(estimate)
        # "not all <= 0" and not "any > 0": NaN fails
        both = ~(left.violation <= 0).all(1) & ~(right.violation <= 0).all(1)
        worse = torch.maximum(left.violation, right.violation)
        return Outcome(left.penalty * right.penalty, torch.where(both[:, None], worse, 0.0))


@dataclass(frozen=True)
class Weighted(Rule):
    """A rule whose penalty counts `weight` times."""

    rule: Rule
    weight: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(
                f"a rule's weight is a finite number >= 0, not {self.weight}: less would reward violations"
            )

    def evaluate(self, estimate: Estimate) -> Outcome:
        """The violation stays what it is."""
        outcome = self.rule.evaluate(estimate)
        return Outcome(self.weight * outcome.penalty, outcome.violation)


@dataclass(frozen=True)
class RuleSet(Rule):
    """Named rules, all of them wanted."""

    rules: Mapping[str, Rule]

    def evaluate(self, estimate: Estimate) -> Outcome:
        """The sum of the rules; no rule, no penalty."""
        outcomes = [rule.evaluate(estimate) for rule in self.rules.values()]
        penalty, violation = estimate.mu.new_zeros(len(estimate.mu)), torch.zeros_like(estimate.mu)
        for outcome in outcomes:
            penalty, violation = penalty + outcome.penalty, torch.maximum(violation, outcome.violation)
        return Outcome(penalty, violation)

    def report(self, planet_id: Any, mu: Any, sigma: Any, wl: Any) -> list[dict[str, Any]]:
        """One row for each rule and planet that breaks it, worst first within a rule; planet_id (P,).

        Keys: rule, planet_id, bins (how many), worst_bin (0 is FGS1), worst_um, violation (there, in the rule's units).
        """
        rows, wl = [], np.asarray(wl, dtype=float)
        for name, rule in self.rules.items():
            amount = rule.violations(mu, sigma, wl)
            failed = ~(amount <= 0)
            ranked = np.where(np.isnan(amount), np.inf, amount)
            order = np.argsort(-ranked.max(axis=1), kind="stable")
            for planet in order[failed[order].any(axis=1)]:
                worst = int(ranked[planet].argmax())
                rows.append(
                    {
                        "rule": name,
                        "planet_id": int(planet_id[planet]),
                        "bins": int(failed[planet].sum()),
                        "worst_bin": worst,
                        "worst_um": float(wl[worst]),
                        "violation": float(amount[planet, worst]),
                    }
                )
        return rows


def _estimate(mu: Tensor, sigma: Tensor, wl: Any) -> Estimate:
    return Estimate(mu, sigma, np.asarray(wl.detach().cpu() if isinstance(wl, Tensor) else wl, dtype=np.float64))


def text_of(rule: Rule) -> str:
    """The text that a rule was parsed from; both, joined, of a sum or product of two."""
    if isinstance(rule, Weighted):
        return text_of(rule.rule)
    if isinstance(rule, Comparison):
        return rule.excess.place.text
    if isinstance(rule, Sum | Product):
        sides = dict.fromkeys((text_of(rule.left), text_of(rule.right)))
        return (" and " if isinstance(rule, Sum) else " or ").join(sides)
    return "; ".join(map(text_of, rule.rules.values())) if isinstance(rule, RuleSet) else ""


def slack(rule: Rule) -> float:
    """Violation up to which a rule says nothing: 0 for a limit, the unit for a target (==)."""
    if isinstance(rule, Weighted):
        return slack(rule.rule)
    if isinstance(rule, Comparison):
        return rule.unit if getattr(rule.excess, "function", None) is _EXCESS[ast.Eq] else 0.0
    return max(slack(rule.left), slack(rule.right)) if isinstance(rule, Sum | Product) else 0.0


# How much each comparison is exceeded, as an operation on (left, right)
_EXCESS: dict[type[ast.cmpop], Callable[[Tensor, Tensor], Tensor]] = {
    ast.LtE: lambda left, right: left - right,
    ast.Lt: lambda left, right: left - right,
    ast.GtE: lambda left, right: right - left,
    ast.Gt: lambda left, right: right - left,
    ast.Eq: lambda left, right: (left - right).abs(),
}


def parse(text: str, unit: float = 1.0, bands: Bands = MOLECULAR_BANDS_UM) -> Rule:
    """A rule from its text: comparisons (<, <=, >, >=, ==; chains too), joined by `and` (+) and `or` (*), brackets.

    Args:
        text: e.g. "mu >= 0", "0 < sigma < 500 * ppm", "diff(mu, 2) == 0", 'mean(mu[2.6:2.9]) > mean(mu[2.1:2.3])'.
        unit: the violation that costs a penalty of 1.
        bands: molecule -> ranges in um.

    Raises:
        RuleError: anything that is not in the language; the message points at the column. ValueError: a bad unit.
    """
    if not (math.isfinite(unit) and unit > 0):
        raise ValueError(f"a rule's unit is a finite number > 0, not {unit}")
    line, tree = read(text)
    return _rule(Parser(line, bands), tree, unit)


def _rule(parser: Parser, tree: ast.expr, unit: float, depth: int = 0) -> Rule:
    place = parser.place(tree)
    if isinstance(tree, ast.BoolOp) and depth <= 8:
        first, *others = (_rule(parser, value, unit, depth + 1) for value in tree.values)
        for other in others:
            first = first + other if isinstance(tree.op, ast.And) else first * other
        return first
    if not isinstance(tree, ast.Compare):
        parser.node(tree)  # its own complaint, if it has one, is the better one
        raise place.error("a rule is a comparison, such as mu >= 0")
    sides = [tree.left, *tree.comparators]
    nodes = [parser.node(side) for side in sides]
    comparisons: list[Rule] = []
    for k, operator in enumerate(tree.ops):
        if type(operator) not in _EXCESS:
            raise parser.place(sides[k + 1]).error("only <, <=, >, >= and == compare; none of them stands before this")
        if not any(_learns(node) for node in nodes[k : k + 2]):
            raise parser.place(sides[k]).error("neither side of this comparison depends on mu or sigma")
        kind = max(nodes[k].kind, nodes[k + 1].kind)
        excess = Elementwise(place, kind, _EXCESS[type(operator)], (nodes[k], nodes[k + 1]))
        comparisons.append(Comparison(excess, unit))
    return reduce(add, comparisons)


def _learns(node: Node) -> bool:
    """Whether mu or sigma is part of a node."""
    if isinstance(node, Variable):
        return node.name in ("mu", "sigma")
    of = getattr(node, "of", ())
    return any(map(_learns, of if isinstance(of, tuple) else (of,)))


def smoothness(lam: float, unit: float, max_roughness: float) -> Rule:
    """The AIRS spectrum's second differences scatter by at most `max_roughness` of what its bins scatter by.

    The ratio is the same for large and small features. Where 0.31 comes from: `configs/loss/v50.yaml`. White noise has
    sqrt(6), for a second difference is x - 2 y + z. 0.01 ppm are free: flat spectra have no ratio.
    """
    return lam * parse(f"std(diff(mu, 2)) <= {float(max_roughness)!r} * std(mu[1.9:]) + 0.01 * ppm", unit)


def band_prior(molecule: str, lam: float, unit: float, max_contrast: float, bands: Bands = MOLECULAR_BANDS_UM) -> Rule:
    """A molecule's mean depth in its bands stays within `max_contrast` (a fraction) of the AIRS mean depth."""
    text = f'abs(mean(band("{molecule}")) - mean(mu[1.9:])) <= {float(max_contrast)!r} * mean(mu[1.9:])'
    return lam * parse(text, unit, bands)


def from_config(loss: LossConfig) -> RuleSet:
    """The rules of configs/loss/*.yaml.

    A rule of `loss.rules` is its text, or {expr, weight, unit} where weight 1 and the loss's unit do not fit. One that
    is null is left out, so that an override can switch it off. Raises RuleError or ValueError naming the rule.
    """
    own = {name: tuple((low, high) for low, high in ranges) for name, ranges in loss.bands.ranges_um.items()}
    bands = dict(MOLECULAR_BANDS_UM) | own
    rules: dict[str, Rule] = {}
    if loss.smoothness.enabled:
        rules["smoothness"] = smoothness(loss.smoothness.lam, loss.unit, loss.smoothness.max_roughness)
    if loss.bands.enabled:
        for molecule in loss.bands.molecules:
            rules[f"band_{molecule}"] = band_prior(molecule, loss.bands.lam, loss.unit, loss.bands.max_contrast, bands)
    for name, entry in loss.rules.items():
        if name in rules:
            raise ValueError(f"loss.rules.{name}: this name is taken by a seed rule; choose another")
        if entry is not None:
            rules[name] = _configured(name, entry, loss.unit, bands)
    return RuleSet(rules)


def _configured(name: str, entry: Any, unit: float, bands: Bands) -> Rule:
    fields = dict(entry) if isinstance(entry, Mapping) else {"expr": entry}
    unknown = set(fields) - {"expr", "weight", "unit"}
    if unknown or "expr" not in fields:
        raise ValueError(f"loss.rules.{name}: give the text, or expr, weight and unit; not {sorted(fields)}")
    try:
        return float(fields.get("weight", 1.0)) * parse(fields["expr"], float(fields.get("unit", unit)), bands)
    except RuleError as error:
        raise RuleError(f"in loss.rules.{name}: {error.reason}", error.text, error.column) from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"loss.rules.{name}: {error}") from error

"""How much drift a visit shows: orders and scales of its polynomials, averaged by their evidence.

The true orders and the drift's size are unknown: a polynomial of too high an order costs depth precision, one of too
low an order biases the depth. Around a converged fit the likelihood is Gaussian, so the evidence of every choice -
leaving coefficients out, widening or narrowing their prior - is known in closed form (MacKay 2003, ch. 28).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from ..base.instruments import FGS1
from ..base.products import Array
from ..spectra import Hypothesis, Likelihood
from .gaussnewton import Fit, FitError
from .parameters import GAUGE, Layout, gauge
from .series import Series

SCALES = (0.35, 1.0, 2.8)  # of the drift's prior width; the real drift's size varies by about 10
NEGLIGIBLE = 0.002  # choices with less evidence than that of the best one times this are left out of the average
MOST_ORDERS = {"fgs1": 5, "airs": 5, "second": 2}  # pairs of orders of each drift that are averaged
MOST_ORDERS_TWO_VISITS = {"fgs1": 5, "airs": 2, "second": 2}  # two visits have four drifts
# Second terms of AIRS' drift, in units of the first one's prior width: real visits show none, so none is the rule.
SECOND_SCALES, SECOND_PROBABILITY = (0.03, 0.1, 0.3, 1.0), 0.2


@dataclass(frozen=True)
class Choice:
    """One drift block's order in time, order in colour (0 for FGS1) and scale; order 0: there is no such drift."""

    order: int
    colour: int
    scale: float
    log_prior: float = 0.0  # ln of its probability before the data, up to a constant of the block


Blocks = dict[str, Choice]  # "fgs1_0", "airs_0", "second_0", "fgs1_1", ...
NONE = Choice(0, 0, 1.0)
NO_SECOND = Choice(0, 0, 1.0, float(np.log(1 - SECOND_PROBABILITY)))


def full_choice(layout: Layout, series: Sequence[Series]) -> Blocks:
    """Highest orders, middle scale, for every visit of the layout; no drift where an instrument has no light curve."""
    seen = {(one.instrument == FGS1.name, one.visit) for one in series}
    blocks = {}
    for visit in range(sum(name.startswith("t0_") for name in layout.names)):
        blocks[f"fgs1_{visit}"] = Choice(layout.drift_order, 0, 1.0) if (True, visit) in seen else NONE
        blocks[f"airs_{visit}"] = (
            Choice(layout.drift_order, layout.colour_order, 1.0) if (False, visit) in seen else NONE
        )
        blocks[f"second_{visit}"] = NO_SECOND if (False, visit) in seen else NONE
    return blocks


def restricted(layout: Layout, blocks: Blocks) -> tuple[Array, NDArray[np.bool_]]:
    """Prior widths (S,) of a choice, and which parameters (S,) it leaves free; the others are zero."""
    sd, free = layout.sd.copy(), np.ones(len(layout.sd), bool)
    for name, choice in blocks.items():
        instrument, visit = name.split("_")
        if instrument == "second":
            second = layout[f"airs_second_{visit}"]
            sd[second] *= choice.scale
            free[second] = choice.order > 0
            continue
        drift = layout[f"{instrument}_drift_{visit}"]
        sd[drift] *= choice.scale
        free[drift.start + choice.order : drift.stop] = False
        if instrument == "airs":
            colour = layout[f"airs_colour_{visit}"]
            free[colour.start + choice.colour + 1 : colour.stop] = False
    return sd, free


class Evidence:
    """Log evidence of choices around one fit: at its depths, or these marginalised with the prior that it was run with.

    `known` depths stay where they are. `shared` (S, S) and `gradient` (S,) are the likelihood's.
    """

    def __init__(self, fit: Fit, layout: Layout, known: bool):
        self.fit, self.layout = fit, layout
        # The scale that p and q of an AIRS drift may exchange is held fixed: linearised, dropping coefficients could
        # otherwise be undone along that direction at no cost.
        directions = gauge(layout, fit.state.shared) / layout.sd
        self.shared = fit.system.shared + GAUGE * directions.T @ directions
        self.gradient = fit.system.gradient_shared
        if known:
            return
        system, root = fit.system, fit.depth_root
        whitened = (root.T * system.depth) @ root
        whitened[np.diag_indices_from(whitened)] += 1
        factor = _factor(whitened)
        cross = root.T @ system.cross  # (channels, S)
        off = np.linalg.solve(root, fit.state.depth - fit.depth_mean)
        self.shared = self.shared - cross.T @ cho_solve(factor, cross)
        self.gradient = self.gradient - cross.T @ cho_solve(factor, root.T @ system.gradient_depth - off)

    def __call__(self, choices: list[Blocks]) -> Array:
        """Log evidence of each choice up to a common constant, (n,); all choices at once."""
        restrictions = [restricted(self.layout, blocks) for blocks in choices]
        free = np.stack([own for _, own in restrictions])
        precision = np.stack([sd for sd, _ in restrictions]) ** -2.0
        value = self.fit.state.shared
        moved = np.where(free, 0.0, -value)
        pulled = moved @ self.shared
        offset = value - self.layout.mean
        slope = np.where(free, self.gradient - pulled - precision * offset, 0.0)
        matrix = np.where(free[:, :, None] & free[:, None], self.shared, 0.0)
        matrix += np.where(free, precision, 1.0)[:, :, None] * np.eye(len(value))
        try:
            root = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError as error:
            raise FitError(f"the evidence of the drift is undefined ({error})") from error
        solved = np.linalg.solve(root, slope[:, :, None])[:, :, 0]
        left_out = moved @ self.gradient - 0.5 * (pulled * moved).sum(1)
        inside = 0.5 * (solved**2).sum(1) + 0.5 * np.where(free, np.log(precision) - precision * offset**2, 0).sum(1)
        before = np.array([sum(choice.log_prior for choice in blocks.values()) for blocks in choices])
        return before + left_out + inside - np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)


def _factor(matrix: Array) -> tuple[Array, bool]:
    try:
        return cho_factor(matrix, lower=True)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise FitError(f"the evidence of the drift is undefined ({error})") from error


def _options(name: str, layout: Layout) -> list[Choice]:
    if name.startswith("second"):
        share = float(np.log(SECOND_PROBABILITY / len(SECOND_SCALES)))
        orders = layout.drift_order, layout.colour_order
        return [NO_SECOND, *(Choice(*orders, scale, share) for scale in SECOND_SCALES)]
    colours = range(layout.colour_order + 1) if name.startswith("airs") else (0,)
    return [Choice(*o) for o in product(range(1, layout.drift_order + 1), colours, SCALES)]


def best_choice(evidence: Evidence) -> tuple[Blocks, dict[str, list[tuple[float, Choice]]]]:
    """Most probable choice by coordinate ascent over blocks; each block's options with log evidence, best first."""
    blocks = full_choice(evidence.layout, evidence.fit.series)
    ranked: dict[str, list[tuple[float, Choice]]] = {}
    ranked_beside: dict[str, Blocks] = {}  # the other blocks' choices at that time
    for _ in range(2):
        for name in [name for name, choice in blocks.items() if choice != NONE]:
            others = {other: choice for other, choice in blocks.items() if other != name}
            if ranked_beside.get(name) == others:
                continue
            ranked_beside[name] = others
            options = _options(name, evidence.layout)
            logs = evidence([blocks | {name: option} for option in options])
            ranked[name] = sorted(zip(logs.tolist(), options, strict=True), key=lambda pair: -pair[0])
            blocks = blocks | {name: ranked[name][0][1]}
    return blocks, ranked


def averaged(fit: Fit, layout: Layout) -> Likelihood:
    """Depths' likelihood, a hypothesis for each drift choice that the evidence supports.

    Which ones these are is judged with the prior that the fit was run with; what each counts for, by `combine`.
    """
    marginal, known = (Evidence(fit, layout, known) for known in (False, True))
    blocks, ranked = best_choice(marginal)
    most = MOST_ORDERS if sum(name.startswith("second") for name in ranked) <= 1 else MOST_ORDERS_TWO_VISITS
    options = [_scales_summed(scored)[: most[name.split("_")[0]]] for name, scored in ranked.items()]
    combinations = list(product(*options))
    candidates = [blocks | dict(zip(ranked, (option for _, option in chosen), strict=True)) for chosen in combinations]
    bonus = np.array([sum(bonus for bonus, _ in chosen) for chosen in combinations])
    logs = marginal(candidates) + bonus
    kept = np.flatnonzero(logs >= logs.max() + np.log(NEGLIGIBLE))
    supported = [candidates[i] for i in kept]
    weights = known(supported) + bonus[kept]
    hypotheses = tuple(
        _hypothesis(float(weight), fit, known.shared, layout, blocks)
        for weight, blocks in zip(weights - weights.max(), supported, strict=True)
    )
    system = fit.system
    used = np.any([one.free for one in hypotheses], axis=0)  # what no hypothesis frees would only cost time
    return Likelihood(
        fit.state.depth,
        system.depth,
        system.cross[:, used],
        system.gradient_depth - system.cross[:, ~used] @ -fit.state.shared[~used],
        tuple(one.only(used) for one in hypotheses),
    )


def _scales_summed(scored: list[tuple[float, Choice]]) -> list[tuple[float, Choice]]:
    """One option for each pair of orders, best first: its best scale, and ln of what the other scales add to it.

    The scale moves the evidence, but hardly the depths that follow.
    """
    found: dict[tuple[int, int], list[tuple[float, Choice]]] = {}
    for value, option in scored:
        found.setdefault((option.order, option.colour), []).append((value, option))
    groups = [(np.logaddexp.reduce([value for value, _ in group]), *group[0]) for group in found.values()]
    groups.sort(key=lambda group: -group[0])
    return [(float(total - best), option) for total, best, option in groups]


def _hypothesis(log_weight: float, fit: Fit, shared: Array, layout: Layout, blocks: Blocks) -> Hypothesis:
    """The choice's free parameters with its priors, the others zero; `shared` of the evidence at known depths.

    Shared parameters are counted from the fit's.
    """
    value = fit.state.shared
    sd, free = restricted(layout, blocks)
    prior = sd**-2.0
    best = np.where(free, 0.0, -value)
    slope = fit.system.gradient_shared - shared @ best - prior * (value - layout.mean)
    shared = shared + np.diag(prior)
    best[free] = cho_solve(_factor(shared[np.ix_(free, free)]), slope[free])
    return Hypothesis(log_weight, free, shared, best)

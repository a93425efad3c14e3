"""What training minimises: minus the competition's score, differentiable in torch, plus the rules' penalties.

The score's definition is `metric.py`; this is the same formula on tensors, and a test holds both equal.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.instruments import N_BINS, bin_weights
from ..base.products import Array
from ..rules import Rule
from ..sigma import SIGMA_FLOOR, SIGMA_TRUE


def gll_per_bin(mu: Tensor, sigma: Tensor, truth: Tensor, naive_mean: float, naive_sigma: float) -> Tensor:
    """Normalised log-likelihood of each planet and bin, (P, 283) float64, as `metric.gll_per_bin` gives it.

    mu, sigma, truth (P, 283). Computed in float64 whatever their type: truth - mu is 1e-3 of either. Unlike the
    metric it takes a negative mu, which training may pass through. Raises ValueError for shapes that do not match:
    broadcasting one planet over all would give a plausible wrong score.
    """
    if mu.ndim != 2 or mu.shape[1] != N_BINS or not mu.shape == sigma.shape == truth.shape:
        shapes = ", ".join(str(tuple(v.shape)) for v in (mu, sigma, truth))
        raise ValueError(f"mu, sigma and truth must all be (planets, {N_BINS}), not {shapes}")
    mu, sigma, truth = mu.double(), sigma.double().clamp_min(SIGMA_FLOOR), truth.double()
    predicted = -0.5 * ((truth - mu) / sigma).square() - sigma.log()
    spread = torch.as_tensor(naive_sigma, dtype=mu.dtype, device=mu.device)
    naive = -0.5 * ((truth - naive_mean) / spread).square() - spread.log()
    ideal = -torch.as_tensor(SIGMA_TRUE, device=mu.device).log()
    return (predicted - naive) / (ideal - naive)


def gll_score(mu: Tensor, sigma: Tensor, truth: Tensor, naive_mean: float, naive_sigma: float) -> Tensor:
    """The weighted score of each planet, (P,) float64, FGS1 at its official weight. Its mean is the competition's.

    Not clipped to [0, 1]: the clip has no gradient. Arguments and errors as `gll_per_bin`.
    """
    weight = torch.as_tensor(bin_weights(), device=mu.device)
    return gll_per_bin(mu, sigma, truth, naive_mean, naive_sigma) @ (weight / weight.sum())


@dataclass(frozen=True)
class Losses:
    """One batch's loss and its parts, 0-d float64 tensors: total = -score + penalty."""

    total: Tensor
    score: Tensor
    penalty: Tensor


@dataclass(frozen=True)
class Loss:
    """The training loss: everything that stays the same from batch to batch."""

    naive_mean: float  # `metric.naive_statistics` of the training targets
    naive_sigma: float
    wl: Array  # (283,) um
    rules: Rule | None = None  # e.g. `rules.from_config(config.loss)`

    def __call__(self, mu: Tensor, sigma: Tensor, truth: Tensor) -> Losses:
        """Mean over planets; mu, sigma, truth (P, 283)."""
        score = gll_score(mu, sigma, truth, self.naive_mean, self.naive_sigma)
        penalty = torch.zeros_like(score)
        if self.rules is not None:
            penalty = self.rules.penalty(mu.double(), sigma.double(), self.wl)
        share = torch.full_like(score, 1 / len(score))
        score, penalty = share @ score, share @ penalty
        return Losses(penalty - score, score, penalty)

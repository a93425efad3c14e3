"""Where a planet's light curves meet the spectral prior: Gaussian likelihoods under a Gaussian mixture, in closed form.

A planet's likelihood is a mixture too, over how much drift there is. Depths meet each other only through the shared
parameters (geometry, limb darkening, drift), so that the precision of a likelihood is diagonal minus a low rank. In the
basis that diagonalises the data against a kernel of the prior, every amplitude of that kernel costs next to nothing.

Letters: B depths, S shared parameters, C components of one kernel, Q loadings of a component.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from .products import Array

NEGLIGIBLE = 1e-5  # pairs of likelihood and component with a smaller weight add nothing to the covariance
KERNEL_JITTER = 1e-6  # of a kernel's mean variance, added to its diagonal: a tenth of a ppm for features of 100 ppm


@dataclass(frozen=True)
class Likelihood:
    """exp(-x' precision x / 2 + information' x), with precision = diag(depth) - cross shared^-1 cross'."""

    weight: float
    depth: Array  # (B,) what the data say of each depth, the shared parameters given; 0 where nothing
    cross: Array  # (B, S)
    shared: Array  # (S, S) positive definite, priors of the shared parameters included
    information: Array  # (B,)

    def times(self, vectors: Array) -> Array:
        """precision @ vectors, (B, n)."""
        return self.depth[:, None] * vectors - self.cross @ np.linalg.solve(self.shared, self.cross.T @ vectors)


@dataclass(frozen=True)
class Component:
    """One Gaussian of a mixture prior: covariance scale^2 kernel + loadings loadings'."""

    weight: float
    mean: Array  # (B,)
    scale: float
    kernel: Array  # (B, B) positive definite; components that share it share the array
    loadings: Array  # (B, Q)

    @property
    def cov(self) -> Array:
        """Covariance, (B, B)."""
        return self.scale**2 * _sound(self.kernel) + self.loadings @ self.loadings.T


def combine(likelihoods: Sequence[Likelihood], components: Sequence[Component]) -> tuple[Array, Array, Array]:
    """Posterior mean (B,) and covariance (B, B) of the depths, and the components' weights (C,) after the data.

    The likelihoods' weights are taken as given (they sum to 1); those of the components follow from the evidence that
    each likelihood has for them. Raises ValueError unless all likelihoods have the same `depth`, as those of one
    linearised model have, and LinAlgError where a likelihood or a kernel is not positive definite.
    """
    if any(not np.array_equal(one.depth, likelihoods[0].depth) for one in likelihoods):
        raise ValueError("the likelihoods are not of one linearised model: what they say of single depths differs")
    spaces = _spaces(components, likelihoods[0].depth)
    inside = np.concatenate([index for index, _ in spaces])  # components in the order of the spaces
    answers = [[space.meet(one) for _, space in spaces] for one in likelihoods]
    weights = np.empty((len(likelihoods), len(components)))
    for i, (one, parts) in enumerate(zip(likelihoods, answers, strict=True)):
        log = np.concatenate([part.log_evidence for part in parts])
        share = np.exp(log - log.max())
        weights[i, inside] = one.weight * share / share.sum()
    means = np.stack([np.concatenate([part.mean for part in parts]) for parts in answers])  # (likelihoods, C, B)
    means = means[:, np.argsort(inside)]
    mean = np.einsum("lc,lcb->b", weights, means)
    kept = weights > NEGLIGIBLE
    away = np.sqrt(weights[kept])[:, None] * (means[kept] - mean)
    cov = away.T @ away
    for number, (index, space) in enumerate(spaces):
        cov += space.covariance(weights[:, index], [parts[number] for parts in answers])
    return mean, (cov + cov.T) / 2, weights.sum(0)


def _sound(kernel: Array) -> Array:
    return kernel + KERNEL_JITTER * np.diag(kernel).mean() * np.eye(len(kernel))


def _spaces(components: Sequence[Component], depth: Array) -> list[tuple[Array, "_Space"]]:
    """Components grouped by their kernel, with their places."""
    groups: dict[int, list[int]] = {}
    for i, component in enumerate(components):
        groups.setdefault(id(component.kernel), []).append(i)
    return [(np.array(index), _Space([components[i] for i in index], depth)) for index in groups.values()]


@dataclass(frozen=True)
class _Met:
    """What one likelihood makes of the components of a space."""

    log_evidence: Array  # (C,), prior weight included
    mean: Array  # (C, B)
    spread: Array  # (C, B, S)
    root: Array  # (C, S, S) lower: spread (root root')^-1 spread' is the covariance that the shared parameters add


class _Space:
    """Components of one kernel K = R R', in the basis x = R V y in which the data's diagonal becomes diag(value)."""

    def __init__(self, components: Sequence[Component], depth: Array):
        root = np.linalg.cholesky(_sound(components[0].kernel))
        value, vector = np.linalg.eigh((root.T * depth) @ root)
        value = np.maximum(value, 0)
        self.basis = root @ vector
        self.prior_mean = np.stack([c.mean for c in components])
        self.log_weight = np.log([c.weight for c in components])
        variance = np.array([c.scale for c in components])[:, None] ** 2
        loadings = np.stack(
            [vector.T @ solve_triangular(root, c.loadings, lower=True) for c in components]
        )  # (C, B, Q)
        kept = 1 / (1 + variance * value)  # share of the prior's variance that is left in each direction
        self.own = variance * kept  # (C, B) posterior variance without loadings and shared parameters
        self.level = kept[:, :, None] * loadings
        inner = np.swapaxes(loadings, 1, 2) @ ((value * kept)[:, :, None] * loadings)
        self.inner = np.linalg.inv(inner + np.eye(inner.shape[-1]))  # (C, Q, Q)
        self.log_volume = np.log(kept).sum(1) + np.linalg.slogdet(self.inner)[1]

    def _spread(self, vectors: Array) -> Array:
        """Posterior covariance, shared parameters known, times (C, B, n) or (B, n) vectors."""
        return self.own[:, :, None] * vectors + self.level @ (self.inner @ (np.swapaxes(self.level, 1, 2) @ vectors))

    def meet(self, one: Likelihood) -> _Met:
        """Condition every component on a likelihood."""
        unit = 1 / np.sqrt(np.diag(one.shared))  # of the shared parameters: their scales differ by 1e8
        shared = unit[:, None] * one.shared * unit
        cross = self.basis.T @ (one.cross * unit)
        towards = one.times(self.prior_mean.T).T  # precision @ mean, (C, B)
        log = self.log_weight + self.prior_mean @ one.information - 0.5 * (self.prior_mean * towards).sum(1)
        pull = (one.information - towards) @ self.basis  # (C, B)
        spread = self._spread(cross)
        left = shared - cross.T @ spread  # (C, S, S)
        root = np.linalg.cholesky(left)
        moved = self._spread(pull[:, :, None])
        inner = np.linalg.solve(left, np.swapaxes(spread, 1, 2) @ pull[:, :, None])
        change = (moved + spread @ inner)[:, :, 0]
        log += 0.5 * (pull * change).sum(1) + 0.5 * self.log_volume
        log -= np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
        log += np.log(np.diag(np.linalg.cholesky(shared))).sum()
        return _Met(log, self.prior_mean + change @ self.basis.T, spread, root)

    def covariance(self, weights: Array, met: Sequence[_Met]) -> Array:
        """Weighted sum of the components' covariances, (B, B); weights (likelihoods, C)."""
        of_component = weights.sum(0)
        columns = [
            np.sqrt(w) * solve_triangular(m.root[c], m.spread[c].T, lower=True).T
            for row, m in zip(weights, met, strict=True)
            for c, w in enumerate(row)
            if w > NEGLIGIBLE
        ]
        factor = np.linalg.cholesky(self.inner)
        columns += [np.sqrt(w) * level @ f for w, level, f in zip(of_component, self.level, factor, strict=True)]
        root = np.concatenate(columns, axis=1)
        total = root @ root.T
        total[np.diag_indices_from(total)] += of_component @ self.own
        return self.basis @ total @ self.basis.T

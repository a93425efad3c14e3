"""Where a planet's light curves meet the spectral prior: a Gaussian likelihood under Gaussian mixtures, in closed form.

Depths meet each other only through the shared parameters (geometry, limb darkening, drift), so that the precision of
the likelihood is diagonal minus a low rank. How much drift there is, is open: every hypothesis about it has a low rank
of its own in the same columns, and costs algebra of the shared parameters' size only. In the basis that diagonalises
the data against a kernel of the prior, every amplitude of that kernel costs next to nothing either.

Letters: B depths, S shared parameters, H hypotheses, C components of one kernel, Q loadings of a component.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ..base.compiled import compiled, dot
from ..base.products import Array

KERNEL_JITTER = 1e-6  # of a kernel's mean variance, added to its diagonal: a tenth of a ppm for features of 100 ppm
NO_WEIGHT = 1e-12  # share of a pair below which its covariance is left out: covariances are kept in float32


@dataclass(frozen=True)
class Hypothesis:
    """What is assumed of the shared parameters: some free, with priors, the others held."""

    log_weight: float  # ln of its evidence at the depths `centre`, up to a constant that all share
    free: NDArray[np.bool_]  # (S,)
    shared: Array  # (S, S) precision of the free ones at known depths, priors included; held ones: not looked at
    best: Array  # (S,) the free ones' best values at the depths `centre`, the held ones' values

    def only(self, used: NDArray[np.bool_]) -> "Hypothesis":
        """The same without the parameters that are not `used` (S,), which it must hold."""
        return Hypothesis(self.log_weight, self.free[used], self.shared[np.ix_(used, used)], self.best[used])


@dataclass(frozen=True)
class Likelihood:
    """exp(-x' diag(depth) x / 2 - x' cross y + information' x) of depths x less `centre` and shared parameters y."""

    centre: Array  # (B,) depths around which the model is linear
    depth: Array  # (B,) what the data say of each depth, the shared parameters given; 0 where nothing
    cross: Array  # (B, S)
    information: Array  # (B,)
    hypotheses: tuple[Hypothesis, ...]

    def marginal(self, hypothesis: Hypothesis) -> tuple[Array, Array]:
        """Precision (B, B) of the depths less `centre`, and information (B,) = precision @ their best values."""
        cross, shared = self.cross[:, hypothesis.free], hypothesis.shared[np.ix_(hypothesis.free, hypothesis.free)]
        precision = np.diag(self.depth) - cross @ np.linalg.solve(shared, cross.T)
        return precision, self.information - self.cross @ hypothesis.best


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
        return self.scale**2 * sound(self.kernel) + self.loadings @ self.loadings.T


def sound(kernel: Array) -> Array:
    """The kernel with the jitter that keeps it positive definite."""
    return kernel + KERNEL_JITTER * np.diag(kernel).mean() * np.eye(len(kernel))


def moments(components: Sequence[Component]) -> tuple[Array, Array]:
    """Mean (B,) and covariance (B, B) of a mixture whose components share one kernel; weights need not sum to 1."""
    weight, scale = (np.array([getattr(one, name) for one in components]) for name in ("weight", "scale"))
    weight = weight / weight.sum()
    means = np.stack([one.mean for one in components])
    mean = weight @ means
    pairs = zip(np.sqrt(weight), components, strict=True)
    low_rank = np.concatenate([w * np.column_stack([one.loadings, one.mean - mean]) for w, one in pairs], axis=1)
    return mean, float(weight @ scale**2) * sound(components[0].kernel) + low_rank @ low_rank.T


def combine(likelihood: Likelihood, components: Sequence[Component]) -> tuple[Array, Array, Array]:
    """Posterior mean (B,) and covariance (B, B) of the depths, and the components' weights (C,) after the data.

    What a hypothesis counts for depends on the component, and the other way round: each pair has its own evidence.
    Raises LinAlgError where a hypothesis or a kernel is not positive definite.
    """
    spaces = _spaces(components, likelihood)
    inside = np.concatenate([index for index, _ in spaces])  # components in the order of the spaces
    answers = [space.meet(likelihood.hypotheses) for _, space in spaces]
    log = np.concatenate([answer.log_evidence for answer in answers], axis=1)
    share = np.exp(log - log.max())
    weights = np.empty_like(share)
    weights[:, inside] = share / share.sum()
    parts = [space.moments(weights[:, index], met) for (index, space), met in zip(spaces, answers, strict=True)]
    means = np.concatenate([mean for mean, _ in parts])  # of each component, averaged over hypotheses
    share = weights.sum(0)
    mean = share[inside] @ means
    away = np.sqrt(share[inside])[:, None] * (means - mean)
    cov = away.T @ away + np.sum([within for _, within in parts], axis=0)
    return likelihood.centre + mean, (cov + cov.T) / 2, share


def _spaces(components: Sequence[Component], likelihood: Likelihood) -> list[tuple[Array, "_Space"]]:
    """Components grouped by their kernel, with their places."""
    groups: dict[int, list[int]] = {}
    for i, component in enumerate(components):
        groups.setdefault(id(component.kernel), []).append(i)
    return [(np.array(index), _Space([components[i] for i in index], likelihood)) for index in groups.values()]


@dataclass(frozen=True)
class _Met:
    """What the hypotheses make of the components of a space."""

    log_evidence: Array  # (H, C), weights of hypothesis and component included
    shared: Array  # (H, C, S) shared parameters that the components' answers go with
    free: NDArray[np.bool_]  # (H, S) of the hypotheses
    precision: Array  # (H, S, S) of the shared parameters at known depths


class _Space:
    """Components of one kernel K = R R', in the basis x = R V y in which the data's diagonal becomes diag(value)."""

    def __init__(self, components: Sequence[Component], likelihood: Likelihood):
        root = np.linalg.cholesky(sound(components[0].kernel))
        value, vector = np.linalg.eigh((root.T * likelihood.depth) @ root)
        value = np.maximum(value, 0)
        self.basis = root @ vector
        variance = np.array([c.scale for c in components])[:, None] ** 2
        every = np.concatenate([c.loadings for c in components], axis=1)
        loadings = solve_triangular(root, every, lower=True).T @ vector
        loadings = loadings.reshape(len(components), -1, len(root))  # (C, Q, B)
        kept = 1 / (1 + variance * value)  # share of the prior's variance that is left in each direction
        self.own = variance * kept  # (C, B) posterior variance without loadings and shared parameters
        self.level = kept[:, None] * loadings
        inner = ((value * kept)[:, None] * loadings) @ np.swapaxes(loadings, 1, 2)
        self.inner = np.linalg.inv(inner + np.eye(inner.shape[-1]))  # (C, Q, Q)
        self.offset = np.stack([c.mean for c in components]) - likelihood.centre
        towards = likelihood.depth * self.offset
        pull = (likelihood.information - towards) @ self.basis  # (C, B)
        self.moved = self._spread(pull[:, None])[:, 0]
        log = np.log([c.weight for c in components]) + self.offset @ likelihood.information
        log += 0.5 * ((pull * self.moved).sum(1) - (self.offset * towards).sum(1))
        self.log_evidence = log + 0.5 * (np.log(kept).sum(1) + np.linalg.slogdet(self.inner)[1])  # (C,), y = 0
        shared = np.stack([one.shared for one in likelihood.hypotheses])
        self.unit = 1 / np.sqrt(np.diagonal(shared, axis1=1, axis2=2).mean(0))  # of y: scales differ by 1e8
        cross = likelihood.cross * self.unit
        self.towards_shared = self.offset @ cross  # (C, S)
        cross = cross.T @ self.basis
        self.spread = self._spread(cross)  # (C, S, B)
        self.told = self.spread @ cross.T  # (C, S, S) what the depths' own uncertainty takes from the shared precision
        self.pull_shared = (self.spread @ pull[:, :, None])[:, :, 0]  # (C, S)

    def _spread(self, vectors: Array) -> Array:
        """(C, n, B) or (n, B) vectors times the posterior covariance, shared parameters known."""
        return self.own[:, None] * vectors + ((vectors @ np.swapaxes(self.level, 1, 2)) @ self.inner) @ self.level

    def meet(self, hypotheses: Sequence[Hypothesis]) -> _Met:
        """Condition every component on every hypothesis. Raises LinAlgError where one is not positive definite."""
        free = np.stack([one.free for one in hypotheses])
        both = free[:, :, None] & free[:, None]
        shared = self.unit[:, None] * np.stack([one.shared for one in hypotheses]) * self.unit
        shared = np.where(both, shared, np.eye(len(self.unit)))
        best = np.stack([one.best for one in hypotheses]) / self.unit
        moved = np.where(free[:, None], self.towards_shared @ np.linalg.inv(shared), 0.0)
        log = self.log_evidence + np.array([one.log_weight for one in hypotheses])[:, None]
        log += 0.5 * (moved * self.towards_shared).sum(2) - best @ self.towards_shared.T
        log += np.log(np.diagonal(np.linalg.cholesky(shared), axis1=1, axis2=2)).sum(1)[:, None]
        answer = best[:, None] - moved  # (H, C, S) best at the components' means, then at their answers
        if not _condition(free, shared, self.told, self.pull_shared, log, answer):
            raise np.linalg.LinAlgError("a hypothesis is not positive definite once the depths are integrated out")
        return _Met(log, answer, free, shared)

    def moments(self, weights: Array, met: _Met) -> tuple[Array, Array]:
        """Each component's mean less `centre` over the hypotheses (C, B), and the weighted sum of covariances (B, B).

        weights (H, C) of the pairs; the covariance is around each component's mean.
        """
        share, size = weights.sum(0), len(self.basis)
        among = weights / np.maximum(share, np.finfo(float).tiny)
        centre = np.einsum("hc,hcs->cs", among, met.shared)
        away = np.sqrt(weights)[..., None] * (met.shared - centre)
        cov = away.transpose(1, 2, 0) @ away.swapaxes(0, 1)
        _add_covariances(met.free, met.precision, self.told, weights, cov)
        mean = self.offset + (self.moved - (centre[:, None] @ self.spread)[:, 0]) @ self.basis.T
        total = (cov @ self.spread).reshape(-1, size).T @ self.spread.reshape(-1, size)
        total += ((share[:, None, None] * self.inner) @ self.level).reshape(-1, size).T @ self.level.reshape(-1, size)
        total[np.diag_indices_from(total)] += share @ self.own
        return mean, self.basis @ total @ self.basis.T


@compiled
def _condition(free, shared, told, pull, log, answer):
    """The free shared parameters of every pair, the depths integrated out; False: one is not positive definite.

    free (H, S), shared (H, S, S) precision at known depths, told (C, S, S), pull (C, S); log (H, C) is added to, answer
    (H, C, S) goes from the best values at the components' means to those at their answers.
    """
    hypotheses, components, size = answer.shape
    root, towards, step = np.empty((size, size)), np.empty(size), np.empty(size)
    for h in range(hypotheses):
        index = np.flatnonzero(free[h])
        n = len(index)
        for c in range(components):
            if not _rooted(shared[h], told[c], index, root):
                return False
            best = answer[h, c]
            added = 0.0
            for i in range(size):
                towards[i] = dot(told[c, i], best)
                added -= 0.5 * pull[c, i] * best[i]
            for i in range(n):
                left = pull[c, index[i]] - towards[index[i]] - dot(root[i, :i], step[:i])
                step[i] = left / root[i, i]
                added -= np.log(root[i, i])
            for i in range(n - 1, -1, -1):
                step[i] /= root[i, i]
                for j in range(i):
                    step[j] -= root[i, j] * step[i]
                best[index[i]] -= step[i]
            for i in range(size):
                added += 0.5 * (towards[i] - pull[c, i]) * best[i]
            log[h, c] += added
    return True


@compiled
def _add_covariances(free, shared, told, weights, total):
    """Add each pair's covariance of its free shared parameters, times its weight (H, C), to total (C, S, S).

    Pairs of no weight are left out: they are most of all, and cost the most.
    """
    hypotheses, components = weights.shape
    size = total.shape[1]
    root, inverse = np.empty((size, size)), np.zeros((size, size))  # lower triangle; upper: its inverse, transposed
    for h in range(hypotheses):
        index = np.flatnonzero(free[h])
        n = len(index)
        for c in range(components):
            if weights[h, c] < NO_WEIGHT:
                continue
            _rooted(shared[h], told[c], index, root)
            for j in range(n):
                inverse[j, j] = 1 / root[j, j]
                for i in range(j + 1, n):
                    inverse[j, i] = -dot(root[i, j:i], inverse[j, j:i]) / root[i, i]
            for i in range(n):
                for j in range(i + 1):
                    value = weights[h, c] * dot(inverse[i, i:n], inverse[j, i:n])
                    total[c, index[i], index[j]] += value
                    if j < i:
                        total[c, index[j], index[i]] += value


@compiled
def _rooted(shared, told, index, root):
    """Cholesky's root of shared - told (S, S) in rows and columns `index`; False where there is none."""
    for i in range(len(index)):
        for j in range(i + 1):
            left = shared[index[i], index[j]] - told[index[i], index[j]] - dot(root[i, :j], root[j, :j])
            if j < i:
                root[i, j] = left / root[j, j]
            elif left > 0:
                root[i, i] = np.sqrt(left)
            else:
                return False
    return True

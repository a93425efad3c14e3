"""Gauss-Newton on the linearised model of `visitmodel`, with Gaussian priors on every parameter.

Everything is solved in whitened coordinates (units of the priors' standard deviations), where the normal equations of
a nearly noiseless prior direction stay well conditioned.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from .products import Array
from .visitmodel import Layout, Series, State, chi2_of, normal_equations

CONVERGED = 0.02  # stop when the objective (chi2 plus priors) falls by less


class FitError(RuntimeError):
    """A planet's light curves cannot be fitted; the message says why."""


@dataclass(frozen=True)
class Fit:
    """A converged Gauss-Newton fit."""

    state: State
    layout: Layout
    series: list[Series]
    chi2: float  # of the data
    objective: float  # chi2 of data and priors
    samples: int
    shared_sd: Array  # (S,)
    precision: Array  # (channels, channels) of the depths, everything else marginalised
    information: Array  # (channels,)
    residuals: list[Array]


def gauss_newton(
    series: list[Series],
    layout: Layout,
    start: State,
    period_days: float,
    depth_mean: Array,
    depth_cov: Array,
    iterations: int,
    frozen: tuple[str, ...] = (),
) -> Fit:
    """Maximise the posterior from `start`; parameters named in `frozen` keep their prior mean. Raises FitError."""
    sd = layout.sd.copy()
    for name in frozen:
        sd[layout[name]] = 1e-6
    root = np.linalg.cholesky(depth_cov)  # depth = mean + root z, shared = mean + sd v: the system is solved in z and v

    def whiten(state: State) -> Array:
        z = solve_triangular(root, state.depth - depth_mean, lower=True)
        return np.concatenate([z, (state.shared - layout.mean) / sd])

    def penalty(state: State) -> float:
        return float((whiten(state) ** 2).sum())

    state = start
    for _ in range(iterations):
        system = normal_equations(series, layout, state, period_days)
        objective = system.chi2 + penalty(state)
        if not np.isfinite(objective):
            raise FitError("the likelihood is not finite")
        cross = root.T @ system.cross * sd
        hessian = np.block([[(root.T * system.depth) @ root, cross], [cross.T, sd[:, None] * system.shared * sd]])
        hessian[np.diag_indices_from(hessian)] += 1
        gradient = np.concatenate([root.T @ system.gradient_depth, sd * system.gradient_shared]) - whiten(state)
        step = cho_solve(_factor(hessian), gradient)
        size = len(start.depth)
        step = State(sd * step[size:], root @ step[:size])
        state, new = _line_search(series, layout, state, step, period_days, penalty, objective)
        if objective - new < CONVERGED:
            break
    return _finish(series, layout, state, period_days, sd, penalty)


def _line_search(
    series: list[Series],
    layout: Layout,
    state: State,
    step: State,
    period_days: float,
    penalty: Callable[[State], float],
    objective: float,
) -> tuple[State, float]:
    """Halve the step until the objective falls; the old state when it never does."""
    for halving in range(6):
        scale = 0.5**halving
        trial = State(state.shared + scale * step.shared, np.clip(state.depth + scale * step.depth, 1e-6, 0.5))
        new = chi2_of(series, layout, trial, period_days) + penalty(trial)
        if np.isfinite(new) and new < objective:
            return trial, new
    return state, objective


def _factor(matrix: Array) -> tuple[Array, bool]:
    try:
        return cho_factor(matrix, lower=True)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise FitError(f"the normal equations are singular ({error})") from error


def _finish(
    series: list[Series],
    layout: Layout,
    state: State,
    period_days: float,
    sd: Array,
    penalty: Callable[[State], float],
) -> Fit:
    """Marginalise everything but the depths at the converged state."""
    system = normal_equations(series, layout, state, period_days)
    factor = _factor(system.shared + np.diag(sd**-2))
    solved = cho_solve(factor, system.cross.T)  # (S, channels)
    precision = np.diag(system.depth) - system.cross @ solved
    slope = system.gradient_shared - (state.shared - layout.mean) / sd**2
    information = system.gradient_depth - solved.T @ slope + precision @ state.depth
    return Fit(
        state=state,
        layout=layout,
        series=series,
        chi2=system.chi2,
        objective=system.chi2 + penalty(state),
        samples=system.samples,
        shared_sd=np.sqrt(np.diag(cho_solve(factor, np.eye(len(sd))))),
        precision=(precision + precision.T) / 2,
        information=information,
        residuals=system.residuals,
    )

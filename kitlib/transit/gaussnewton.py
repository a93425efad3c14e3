"""Gauss-Newton on the linearised model of `visitmodel`, with Gaussian priors on every parameter.

Everything is solved in whitened coordinates (units of the priors' standard deviations), where the normal equations of
a nearly noiseless prior direction stay well conditioned.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from ..base.products import Array
from .parameters import GAUGE, Layout, State, balanced, gauge
from .series import Series
from .visitmodel import NormalEquations, normal_equations

ATTEMPTS = 9  # at a step (Levenberg 1944; Marquardt 1963)
LEAST_DAMPING = 1e-3  # of a step after one that failed; how damping grows and falls: Nielsen (1999, IMM-REP-1999-05)
CONVERGED = 0.02  # stop when the objective (chi2 plus priors) falls by less


class FitError(RuntimeError):
    """A planet's light curves cannot be fitted; the message says why."""


@dataclass(frozen=True)
class Fit:
    """A converged Gauss-Newton fit."""

    state: State
    layout: Layout
    series: list[Series]
    system: NormalEquations  # of the likelihood at `state`
    objective: float  # chi2 of data and priors
    depth_mean: Array  # (channels,) of the prior that the fit was run with
    depth_root: Array  # (channels, channels) Cholesky factor of its covariance


def gauss_newton(
    series: list[Series],
    layout: Layout,
    start: State,
    period_days: float,
    depth_mean: Array,
    depth_cov: Array,
    iterations: int,
) -> Fit:
    """Maximise the posterior from `start`. Raises FitError."""
    sd = layout.sd
    root = np.linalg.cholesky(depth_cov)  # depth = mean + root z, shared = mean + sd v: the system is solved in z and v

    def whiten(state: State) -> Array:
        z = solve_triangular(root, state.depth - depth_mean, lower=True)
        return np.concatenate([z, (state.shared - layout.mean) / sd])

    def penalty(state: State) -> float:
        return float((whiten(state) ** 2).sum())

    state, damping, growth, size = State(balanced(layout, start.shared), start.depth), 0.0, 2.0, len(start.depth)
    impact = size + layout["b"].start
    system = normal_equations(series, layout, state, period_days)
    objective = system.chi2 + penalty(state)
    for _ in range(iterations):
        if not np.isfinite(objective):
            raise FitError("the likelihood is not finite")
        told = np.sqrt(np.maximum(system.depth, 0))[:, None] * root
        hessian = np.eye(size + len(sd))
        hessian[:size, :size] += told.T @ told
        hessian[:size, size:] = cross = root.T @ system.cross * sd
        hessian[size:, :size] = cross.T
        hessian[size:, size:] += sd[:, None] * system.shared * sd
        free = gauge(layout, state.shared)
        hessian[size:, size:] += GAUGE * free.T @ free
        hessian[impact, impact] += _bend(layout, state, system)
        gradient = np.concatenate([root.T @ system.gradient_depth, sd * system.gradient_shared]) - whiten(state)
        step = np.zeros(len(gradient))
        for attempt in range(ATTEMPTS):  # the whole step, half of it, then more and more damped ones
            step = step / 2 if attempt == 1 else cho_solve(_factor(hessian, damping), gradient)
            depth = np.clip(state.depth + root @ step[:size], 1e-6, 0.5)
            trial = State(balanced(layout, state.shared + sd * step[size:]), depth)
            found = normal_equations(series, layout, trial, period_days)  # most trials are kept: linearise at once
            new = found.chi2 + penalty(trial)
            if np.isfinite(new) and new < objective:
                break
            if attempt > 0:
                damping, growth = max(growth * damping, LEAST_DAMPING), 2 * growth
        else:
            break  # no step improves: converged to rounding
        gain, expected = objective - new, float(step @ (2 * gradient - hessian @ step))
        damping *= max(1 / 3, 1 - (2 * gain / max(expected, 1e-30) - 1) ** 3)
        damping, growth = damping if damping > LEAST_DAMPING / 10 else 0.0, 2.0
        state, system, objective = trial, found, new
        if gain < CONVERGED:
            break
    return Fit(state, layout, series, system, objective, depth_mean, root)


def _bend(layout: Layout, state: State, system: NormalEquations) -> float:
    """Second derivative along the impact parameter that Gauss-Newton leaves out, in units of its prior; at least 0.

    A light curve depends on b^2, so that near b = 0 its second derivative is its first one over b.
    """
    at = layout["b"].start
    b, slope = float(state.shared[at]), float(system.gradient_shared[at])
    return max(-slope / b, 0.0) * float(layout.sd[at]) ** 2 if b else 0.0


def _factor(matrix: Array, damping: float) -> tuple[Array, bool]:
    damped = matrix.copy()
    damped[np.diag_indices_from(damped)] *= 1 + damping
    try:
        return cho_factor(damped, lower=True, overwrite_a=True)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise FitError(f"the normal equations are singular ({error})") from error

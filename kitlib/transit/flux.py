"""Limb-darkened transit light curves of a planet on a circular orbit, differentiable everywhere.

The flux that a planet hides is the integral of the star's brightness over the lens where the two discs overlap.
Green's theorem turns it into line integrals along the lens' two arcs (Pal 2012, MNRAS 420, 1630; Agol, Luger &
Foreman-Mackey 2020, AJ 159, 123). The star's arc is known in closed form; the planet's arc is smooth after the
substitution below, so that a few Gauss-Legendre nodes reach 1e-9. The derivatives are line integrals along the same
arc (a moving boundary sweeps brightness), hence finite at every contact point, where differentiating the closed forms
of Mandel & Agol (2002) is not.

Glossary: d projected separation of the centres; k radius ratio Rp/Rs; mu = sqrt(1 - r^2) the limb angle's cosine;
phi position angle on the planet's edge, pi pointing at the star's centre. Lengths are in stellar radii.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base.compiled import compiled
from ..base.products import Array

QUADRATURE_NODES = 16  # value to 1e-12, derivatives to 3e-9 of 200 nodes; agreement with batman is tested to 1 ppm
_TINY = 1e-12  # smallest separation, stellar radii: keeps 0/0 out of centred transits, moves the planet by a millimetre


@cache
def _nodes() -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on (0, 1)."""
    x, w = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    return (x + 1) / 2, w / 2


def overlap_integrals(separation: Tensor, radius_ratio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integrals of 1, mu and r^2 over the overlap of star and planet, and their derivatives.

    Arguments broadcast to a common shape S, float64; 0 < radius_ratio < 1. Returns (A, dA/dk, dA/dd), each (*S, 3).
    """
    d, k = torch.broadcast_tensors(separation.detach(), radius_ratio.detach())
    results = tuple(d.new_empty((*d.shape, 3)) for _ in range(3))
    flat = (result.view(-1, 3).numpy() for result in results)
    _overlap(d.reshape(-1).numpy(), k.reshape(-1).numpy(), *_nodes(), *flat)
    return results


def exposed_integrals(separation: Array, slopes: Array, shares: Array, radius_ratio: Array) -> Array:
    """The same averaged over exposures, with derivatives by k and by what moves the separation, (2 + p, 3, J, T).

    separation (T, n) at n moments of each exposure, inf behind the star; slopes (p, T, n): derivatives of it by p
    parameters; shares (n,) of the moments, sum 1; radius_ratio (J,) ascending.
    """
    found = np.zeros((2 + len(slopes), 3, len(radius_ratio), len(separation)))
    _exposed(separation, slopes, shares, radius_ratio, *_nodes(), found)
    return found


@compiled
def _overlap(separation, radius_ratio, nodes, weights, value, by_k, by_d):
    """The integrals of each pair of separation and radius ratio (n,), into `value`, `by_k`, `by_d` (n, 3)."""
    for i in range(len(separation)):
        found = _lens(separation[i], radius_ratio[i], nodes, weights)
        for n in range(3):
            value[i, n], by_k[i, n], by_d[i, n] = found[n], found[3 + n], found[6 + n]


@compiled
def _exposed(separation, slopes, shares, radius_ratio, nodes, weights, found):
    """Fill `found` of `exposed_integrals` where the planet is in front of the star."""
    times, moments = separation.shape
    for t in range(times):
        for m in range(moments):
            if not separation[t, m] < 1 + radius_ratio[-1]:
                continue
            for j in range(len(radius_ratio)):
                one = _lens(separation[t, m], radius_ratio[j], nodes, weights)
                for n in range(3):
                    found[0, n, j, t] += shares[m] * one[n]
                    found[1, n, j, t] += shares[m] * one[3 + n]
                    for p in range(len(slopes)):
                        found[2 + p, n, j, t] += shares[m] * slopes[p, t, m] * one[6 + n]


@compiled
def _lens(separation, k, nodes, weights):
    """Integrals of 1, mu and r^2 over the overlap of one pair, their derivatives by k, and those by the separation."""
    if separation >= 1 + k:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    d = max(separation, _TINY)
    # the planet's arc inside the star is first..2 pi - first; star_half is half of the star's arc
    first = math.acos(min(max((1 - d * d - k * k) / (2 * d * k), -1.0), 1.0))
    star_half = math.acos(min(max((1 + d * d - k * k) / (2 * d), -1.0), 1.0))
    # phi = first + length w^2 removes the square root of mu where the planet's edge leaves the star
    length = math.pi - first
    one, limb, square = star_half, star_half * 2 / 3, star_half / 2
    one_k, limb_k, square_k, one_d, limb_d, square_d = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(nodes)):
        cos = math.cos(first + length * nodes[j] * nodes[j])
        arc = 4 * weights[j] * nodes[j] * length * k  # k d(phi), both halves of the symmetric arc
        r2 = min(d * d + k * k + 2 * d * k * cos, 1.0)
        mu = math.sqrt(1 - r2)
        # fields whose curl is 1, mu, r^2, times x dy - y dx = k (k + d cos phi) d(phi)
        along = arc * (k + d * cos)
        one += along / 2
        limb += along * (1 + mu + mu * mu) / (3 * (1 + mu))
        square += along * r2 / 4
        one_k += arc
        limb_k += arc * mu
        square_k += arc * r2
        one_d += arc * cos
        limb_d += arc * mu * cos
        square_d += arc * r2 * cos
    return one, limb, square, one_k, limb_k, square_k, one_d, limb_d, square_d


class _Overlap(torch.autograd.Function):
    """`overlap_integrals` with its own derivatives as gradient."""

    @staticmethod
    def forward(ctx: Any, separation: Tensor, radius_ratio: Tensor) -> Tensor:
        value, by_k, by_d = overlap_integrals(separation, radius_ratio)
        ctx.save_for_backward(by_k, by_d)
        ctx.shapes = separation.shape, radius_ratio.shape
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        by_k, by_d = ctx.saved_tensors
        to_d, to_k = ctx.shapes
        return (gradient * by_d).sum(-1).sum_to_size(to_d), (gradient * by_k).sum(-1).sum_to_size(to_k)


def brightness_coefficients(u1: Any, u2: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Quadratic limb darkening 1 - u1 (1 - mu) - u2 (1 - mu)^2 as factors of (1, mu, r^2), unit total flux.

    Arguments, arrays or tensors, broadcast. Returns the three factors and their derivatives by u1 and by u2.
    """
    total = math.pi * (1 - u1 / 3 - u2 / 6)
    value = [factor / total for factor in (1 - u1 - 2 * u2, u1 + 2 * u2, u2)]
    by_u1 = [(own + math.pi / 3 * one) / total for own, one in zip((-1, 1, 0), value, strict=True)]
    by_u2 = [(own + math.pi / 6 * one) / total for own, one in zip((-2, 2, 1), value, strict=True)]
    return value, by_u1, by_u2


def relative_flux(separation: Tensor, radius_ratio: Tensor, u1: Tensor, u2: Tensor) -> Tensor:
    """Flux of star and planet over the star's alone; arguments broadcast; differentiable in all four."""
    shape = torch.broadcast_shapes(separation.shape, radius_ratio.shape)
    hidden = _Overlap.apply(separation.expand(shape), radius_ratio.expand(shape))
    return 1 - (hidden * torch.stack(brightness_coefficients(u1, u2)[0], -1)).sum(-1)


def projected_separation(
    time_h: Tensor, time_transit_h: Tensor, period_days: Tensor, a_over_rs: Tensor, impact_param: Tensor
) -> Tensor:
    """Distance of the planet's centre from the star's, in stellar radii, on a circular orbit.

    Behind the star (the far half of the orbit) the distance is set to 10: out of transit.
    """
    phase = 2 * math.pi * (time_h - time_transit_h) / (24 * period_days)
    x, y = a_over_rs * torch.sin(phase), impact_param * torch.cos(phase)
    separation = torch.sqrt(x * x + y * y + _TINY**2)
    return torch.where(torch.cos(phase) > 0, separation, torch.full_like(separation, 10.0))


def transit_flux(
    time_h: Tensor,
    time_transit_h: Tensor,
    period_days: Tensor,
    a_over_rs: Tensor,
    impact_param: Tensor,
    radius_ratio: Tensor,
    u1: Tensor,
    u2: Tensor,
) -> Tensor:
    """Relative flux during a transit; all arguments broadcast together, e.g. (planet, wavelength, time)."""
    separation = projected_separation(time_h, time_transit_h, period_days, a_over_rs, impact_param)
    return relative_flux(separation, radius_ratio, u1, u2)


def integrate_exposure(
    model: Callable[[Tensor], Tensor], time_h: Tensor, exposure_h: float, samples: int = 3
) -> Tensor:
    """Mean of `model(time)` over exposures centred on `time_h`, by Gauss-Legendre in time; last axis is time."""
    x, w = np.polynomial.legendre.leggauss(samples)
    fine = time_h[..., None] + torch.from_numpy(x / 2).to(time_h) * exposure_h
    values = model(fine.flatten(-2))
    return (values.unflatten(-1, fine.shape[-2:]) * torch.from_numpy(w / 2).to(time_h)).sum(-1)


def transit_duration_h(period_days: Tensor, a_over_rs: Tensor, impact_param: Tensor, radius_ratio: Tensor) -> Tensor:
    """First to last contact (T14), hours; 0 where the discs never touch. Seager & Mallen-Ornelas (2003), eq. 3."""
    chord = torch.sqrt(((1 + radius_ratio) ** 2 - impact_param**2).clamp_min(0))
    sine = chord / torch.sqrt((a_over_rs**2 - impact_param**2).clamp_min(_TINY))
    return 24 * period_days / math.pi * torch.arcsin(sine.clamp(max=1))

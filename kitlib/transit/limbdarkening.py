"""Prior over the limb darkening of a star: Gaussian, its mean linear in the star's temperature.

The law is quadratic, I = 1 - u1 (1 - mu) - u2 (1 - mu)^2, with seven coefficients. Two are u1 and u2 of FGS1. Over AIRS
u1 = sum_j u1_j P_j(x), j < 3, and u2 = sum_j u2_j P_j(x), j < 2, with Legendre polynomials of the channel's position.

A star does not follow a quadratic law to parts per million. With the depths of training planets known, their light
curves say which quadratic coefficients give the right depth. Mean, slope and full covariance of these are learnt by
expectation maximisation. Each planet enters as the Gaussian that its light curves make of its coefficients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..base.products import Array

COEFFICIENTS = ("fgs1_u1", "fgs1_u2", "airs_u1_0", "airs_u1_1", "airs_u1_2", "airs_u2_0", "airs_u2_1")
REFERENCE_K = 5840.0  # mean stellar temperature of the competition's systems
KELVIN = 1000.0  # unit of the slope
PRIOR_PLANETS = 10.0  # how many planets the published scatter counts for beside the training planets
ROUNDS = 200


@dataclass(frozen=True)
class LimbDarkening:
    """Prior of the seven `COEFFICIENTS`."""

    mean: Array  # (7,) at REFERENCE_K
    slope: Array  # (7,) per 1,000 K
    cov: Array  # (7, 7) positive definite

    def at(self, temperature_k: float) -> Array:
        """Mean for a star of that temperature, (7,)."""
        return self.mean + self.slope * (temperature_k - REFERENCE_K) / KELVIN

    def arrays(self) -> dict[str, Array]:
        """Name -> float64 array, what `of` makes the prior from."""
        return {f"limb.{f.name}": np.asarray(getattr(self, f.name), np.float64) for f in fields(self)}

    @staticmethod
    def of(arrays: Mapping[str, Array]) -> "LimbDarkening":
        """The prior of its `arrays`, among others. Raises KeyError for one that is not there."""
        return LimbDarkening(**{f.name: arrays[f"limb.{f.name}"] for f in fields(LimbDarkening)})


@dataclass(frozen=True)
class Measured:
    """What one planet's light curves say of its star, its depths known: exp(-x' precision x / 2 + information' x)."""

    temperature_k: float
    precision: Array  # (7, 7), may be singular
    information: Array  # (7,)


# Published by Jeroen Cottaar, who won the competition (docs/method/references.md): ranges of his fits to the real
# training planets, taken as +-2 standard deviations. FGS1 u1 = 0.41 - 1e-4 (Ts - 5840 K) explains 83 % of its variance.
PUBLISHED = LimbDarkening(
    mean=np.array([0.41, 0.155, 0.125, -0.05, 0.0, 0.10, -0.02]),
    slope=np.array([-0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    cov=np.diag(np.array([0.04, 0.055, 0.028, 0.02, 0.01, 0.045, 0.02]) ** 2),
)


def learn_limb_darkening(planets: Sequence[Measured]) -> LimbDarkening:
    """Maximum-likelihood prior of the training planets' stars, weakly tied to the published one."""
    if not planets:
        return PUBLISHED
    precision = np.stack([one.precision for one in planets])
    information = np.stack([one.information for one in planets])
    warm = np.array([(one.temperature_k - REFERENCE_K) / KELVIN for one in planets])
    design = np.column_stack([np.ones_like(warm), warm])
    # the slope's own prior keeps a handful of planets from inventing one: a unit of design for each of PRIOR_PLANETS
    ridge = PRIOR_PLANETS * np.diag([0.0, 0.5**2])
    published = np.stack([PUBLISHED.mean, PUBLISHED.slope])
    coefficients, cov = published, PUBLISHED.cov
    for _ in range(ROUNDS):
        inverse = np.linalg.inv(cov)
        posterior = np.linalg.inv(precision + inverse)  # (P, 7, 7)
        centre = np.einsum("pij,pj->pi", posterior, information + design @ coefficients @ inverse)
        coefficients = np.linalg.solve(design.T @ design + ridge, design.T @ centre + ridge @ published)
        off = centre - design @ coefficients
        scatter = posterior.sum(0) + off.T @ off
        cov = (scatter + PRIOR_PLANETS * PUBLISHED.cov) / (len(planets) + PRIOR_PLANETS)
    return LimbDarkening(coefficients[0], coefficients[1], cov)

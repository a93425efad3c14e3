"""Prior over spectra, learnt from training spectra: level x amplitude-scaled shapes of several kinds.

A spectrum is  depth = L + s shape,  L its AIRS mean level, s its amplitude (rms of the AIRS shape). Its shape is of one
of the `kinds` that the training spectra show, each a low-rank Gaussian plus a stationary Gaussian-process remainder.
FGS1 is bin 0 of every shape, with a scatter of its own that follows the level (unocculted spots).

s is unknown, so the prior is a mixture over a grid of amplitudes. ln s is normal around alpha + beta ln H and what its
kind adds; H is the depth of one scale height that catalogue and level imply. Parts of the mixture are open to
spectra unlike all training spectra, at any amplitude: shapes of atmospheres of any composition, and any smooth shape.

Given a Gaussian likelihood everything is in closed form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import minimize

from ..base.instruments import N_BINS
from ..base.keytable import check
from ..base.products import Array, Catalogue
from ..base.schema import PriorConfig
from .combination import Component, moments
from .kinds import Kinds, learn_kinds

AMPLITUDES = np.linspace(-1.6, 1.6, 5)  # grid of ln s, in standard deviations of its kind
BETWEEN = 0.6  # standard deviations of ln s around each of these, linearised
UNFAMILIAR_WEIGHT, SMOOTH_WEIGHT = 0.24, 0.16  # of the open parts
OPEN_AMPLITUDES = np.geomspace(5e-6, 8e-4, 6)  # of their shapes, as equally probable steps
OPEN_LENGTH = 24.0  # bins: correlation falls to one half over 0.16 um, as in the spectra of the 2024 challenge
REST_LENGTH = 3.0  # bins, of what low-rank shapes leave


class PriorError(ValueError):
    """Training spectra that no prior can be learnt from, or a file of priors that is none."""


@dataclass(frozen=True)
class Shapes:
    """Normalised shapes of a family of spectra: their rms over AIRS bins is 1; bin 0 is FGS1."""

    mean: Array  # (283,)
    cov: Array  # (283, 283)


@dataclass(frozen=True)
class SpectralPrior:
    """Frozen prior; arrays are float64."""

    level_mean: Array  # () mean of L over planets
    level_sd: Array  # () its scatter
    shape_mean: Array  # (283,) of normalised shapes of all kinds
    shape_cov: Array  # (283, 283)
    amplitude_fit: Array  # (2,) alpha, beta
    fgs1_spots: Array  # () scatter of FGS1 against AIRS that follows the level, as a fraction of it
    kinds: Kinds
    unfamiliar: Shapes | None = None  # of atmospheres of any composition; None: smooth shapes alone are the open part

    def arrays(self) -> dict[str, Array]:
        """Name -> float64 array, what `of` makes the prior from."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        for part in ("kinds", "unfamiliar"):
            held = getattr(self, part)
            arrays |= {f"{part}.{f.name}": getattr(held, f.name) for f in fields(held)} if held is not None else {}
        return {name: np.asarray(value, np.float64) for name, value in arrays.items()}

    @staticmethod
    def of(arrays: Mapping[str, Array]) -> "SpectralPrior":
        """The prior of its `arrays`, among others. Raises KeyError for one that is not there."""

        def held(part: str, kind: type) -> Any:
            return kind(**{f.name: arrays[f"{part}.{f.name}"] for f in fields(kind)})

        parts: dict[str, Any] = {name: arrays[name] for name in _ARRAYS} | {"kinds": held("kinds", Kinds)}
        parts |= {"unfamiliar": held("unfamiliar", Shapes)} if "unfamiliar.mean" in arrays else {}
        return SpectralPrior(**parts)

    def components(self, ln_scale_height: float, level: float) -> list[Component]:
        """Mixture for one planet, the learnt part first.

        `level`: the planet's depth, roughly; it sets the scatter of FGS1 that a spotted star makes.
        """
        learnt, half = self._learnt(ln_scale_height, level), 0.5 * np.diag(self.shape_cov)[1:].mean()
        smooth = Shapes(np.zeros(N_BINS), 0.5 * self.shape_cov + half * stationary(OPEN_LENGTH))
        parts = [(SMOOTH_WEIGHT, smooth)]
        parts += [(UNFAMILIAR_WEIGHT, self.unfamiliar)] if self.unfamiliar is not None else []
        loadings, steps = self._loadings(level), len(OPEN_AMPLITUDES)
        opened = [
            Component(weight / steps, self.level_mean + s * shapes.mean, float(s), shapes.cov, loadings)
            for weight, shapes in parts
            for s in OPEN_AMPLITUDES
        ]
        left = 1 - sum(weight for weight, _ in parts)
        return [replace(one, weight=left * one.weight) for one in learnt] + opened

    @property
    def learnt_components(self) -> int:
        """How many of the mixture's components, from the first, are of the kinds that the training spectra show."""
        return len(self.kinds.weight) * len(AMPLITUDES)

    def _learnt(self, ln_scale_height: float, level: float) -> list[Component]:
        alpha, beta = self.amplitude_fit
        loadings, kinds, found = self._loadings(level), self.kinds, []
        steps = np.exp(-0.5 * AMPLITUDES**2 / (1 - BETWEEN**2))
        for k, weight in enumerate(kinds.weight):
            for step, share in zip(kinds.sd[k] * AMPLITUDES, steps / steps.sum(), strict=True):
                s = float(np.exp(alpha + beta * ln_scale_height + kinds.middle[k] + step))
                shape = kinds.mean[k] + step * kinds.slope[k]
                between = BETWEEN * kinds.sd[k] * (shape + kinds.slope[k])
                columns = np.column_stack([loadings, s * kinds.loadings[k], s * between])
                scale = s * float(np.sqrt(kinds.rest[k]))
                mean = self.level_mean + s * shape
                found.append(Component(float(weight * share), mean, scale, stationary(REST_LENGTH), columns))
        return found

    def _loadings(self, level: float) -> Array:
        """What moves a spectrum beside its features, (283, 2): the level, and FGS1 by spots."""
        loadings = np.zeros((N_BINS, 2))
        loadings[:, 0] = self.level_sd
        loadings[0, 1] = self.fgs1_spots * level
        return loadings

    def pooled(self, ln_scale_height: float, level: float) -> tuple[Array, Array]:
        """Mean and covariance of the learnt part of the mixture."""
        return moments(self._learnt(ln_scale_height, level))

    def population(self) -> tuple[Array, Array]:
        """Mean and covariance for a planet without data."""
        return self.pooled(0.0, float(self.level_mean))


_ARRAYS = [f.name for f in fields(SpectralPrior) if f.name not in ("kinds", "unfamiliar")]


def ln_scale_height_depth(catalogue: Catalogue, level: Array) -> Array:
    """ln of the transit depth of one scale height up to a constant, (P,); catalogue plus the depth level (P,).

    H = k_B T / (mu g) with T ~ Ts a^-1/2 and g ~ Mp / Rp^2; depth = 2 Rp H / Rs^2.
    """
    radius = np.sqrt(np.maximum(level, 1e-5))
    value = (
        np.log(catalogue.stellar_temperature_k)
        - 0.5 * np.log(catalogue.semi_major_axis_rs)
        + 3 * np.log(radius)
        + np.log(catalogue.stellar_radius_rsun)
        - np.log(np.maximum(catalogue.planet_mass_mjup, 1e-3))
    )
    return value - np.log(5840.0) + 0.5 * np.log(10.5) + 3 * np.log(8.4)  # about 0 for a typical planet


def learn_prior(depth: Array, catalogue: Catalogue, config: PriorConfig) -> SpectralPrior:
    """Learn from training spectra (N, 283) and their catalogue rows.

    Raises PriorError for fewer than 10 spectra, ConfigError for numbers of shapes or kinds that give no prior.
    """
    depth = np.asarray(depth, np.float64)
    if len(depth) < 10 or not np.isfinite(depth).all():
        raise PriorError(f"cannot learn a spectral prior from {len(depth)} spectra: need 10 finite ones at least")
    check(config, "prior")
    level = depth[:, 1:].mean(1)
    shape = depth - level[:, None]
    amplitude = np.maximum(np.sqrt((shape[:, 1:] ** 2).mean(1)), 1e-7)
    normalised = shape / amplitude[:, None]
    # a planet with next to no features says nothing about the shapes: weight by how much there is to see
    weight = 1 / (1 + (5e-6 / amplitude) ** 2)
    mean = (weight[:, None] * normalised).sum(0) / weight.sum()
    mean[0], atmosphere, spots = _fgs1_offset(shape[:, 0], amplitude, level)
    scatter = normalised - mean
    cov = (weight[:, None] * scatter).T @ scatter / weight.sum()
    # FGS1: only what the atmosphere explains belongs to the shapes, so planets count by that share
    share = (atmosphere * amplitude) ** 2 / ((atmosphere * amplitude) ** 2 + (spots * level) ** 2)
    limit = 4 * atmosphere
    cov[0, 1:] = cov[1:, 0] = (share * np.clip(scatter[:, 0], -limit, limit)) @ scatter[:, 1:] / share.sum()
    cov[0, 0] = max(atmosphere**2, 1e-8)
    values, vectors = np.linalg.eigh(cov)
    kept = slice(-min(config.components, len(depth) // 2), None)
    low_rank = (vectors[:, kept] * np.maximum(values[kept], 0)) @ vectors[:, kept].T
    rest = max(float(np.diag(cov - low_rank)[1:].mean()), 1e-8)
    ln_amplitude, predictor = np.log(amplitude), ln_scale_height_depth(catalogue, level)
    beta, alpha = np.polyfit(predictor, ln_amplitude, 1)
    excess = ln_amplitude - alpha - beta * predictor
    shape_cov = low_rank + rest * stationary(REST_LENGTH)
    return SpectralPrior(
        level_mean=np.array(level.mean()),
        level_sd=np.array(level.std()),
        shape_mean=mean,
        shape_cov=shape_cov,
        amplitude_fit=np.array([alpha, beta]),
        fgs1_spots=np.array(spots),
        kinds=learn_kinds(normalised, excess, weight, mean, shape_cov, config),
    )


def _fgs1_offset(offset: Array, amplitude: Array, level: Array) -> tuple[float, float, float]:
    """FGS1's offset from the AIRS level: mean m and scatter a per amplitude, scatter b per level; robust likelihood.

    offset ~ m s + N(0, (a s)^2 + (b L)^2): an atmosphere moves it with its features, a spotted star with the depth.
    """

    def loss(x: Array) -> float:
        variance = np.exp(2 * x[1]) * amplitude**2 + np.exp(2 * x[2]) * level**2
        return float((np.log(variance) + np.minimum((offset - x[0] * amplitude) ** 2 / variance, 16)).sum())

    start = [float(np.median(offset / amplitude)), 0.0, np.log(3e-3)]
    best = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 2000}).x
    return float(best[0]), float(np.exp(best[1])), float(np.exp(np.clip(best[2], np.log(1e-5), np.log(0.1))))


@cache
def stationary(length: float) -> Array:
    """Unit-variance Matern 3/2 kernel over AIRS bins, `length` in bins; FGS1 independent. Not to be changed."""
    bins = np.arange(N_BINS)
    distance = np.sqrt(3) * np.abs(bins[:, None] - bins[None]) / length
    kernel = (1 + distance) * np.exp(-distance)
    kernel[0, 1:] = kernel[1:, 0] = 0
    return kernel

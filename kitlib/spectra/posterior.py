"""The file of a physical fit: posterior of all planets, its diagnostics, and the fitted white light curves."""

from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors.numpy import load, save

from ..base.instruments import INSTRUMENTS
from ..base.products import Array, LightCurveFit, Posterior
from ..base.provenance import write_atomic

Value = TypeVar("Value")
_SERIES = ("time_h", "flux", "model", "sigma", "drift")
_NAMES = [instrument.name for instrument in INSTRUMENTS]


class PosteriorError(ValueError):
    """A file that is not what `write_posterior` wrote."""


def write_posterior(path: Path, posterior: Posterior, curves: list[LightCurveFit]) -> Path:
    """Write posterior and curves as one safetensors file, atomically: the same content gives the same bytes.

    Curves are laid end to end in float32; `curve.index` (n, 4) holds planet id, visit, instrument and length of each.
    """
    index = [(c.planet_id, c.visit, _NAMES.index(c.instrument), len(c.time_h)) for c in curves]
    arrays = {
        "planet_id": np.asarray(posterior.planet_id, np.int64),
        "mean": np.asarray(posterior.mean, np.float64),
        "cov": np.asarray(posterior.cov, np.float32),
        "curve.index": np.array(index, np.int64).reshape(-1, 4),
    }
    for name in _SERIES:
        parts = [np.asarray(getattr(c, name), np.float32) for c in curves]
        arrays[f"curve.{name}"] = np.concatenate([np.zeros(0, np.float32), *parts])
    for name, values in posterior.diagnostics.items():
        arrays[f"diagnostics.{name}"] = np.asarray(values, np.float64)
    arrays |= {f"inputs.{name}": values for name, values in posterior.inputs.items()}
    return write_atomic(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def read_posterior(path: Path) -> tuple[Posterior, list[LightCurveFit]]:
    """Read back what `write_posterior` wrote.

    Raises:
        FileNotFoundError: no such file; the message names the stage that makes it.
        PosteriorError: the file is truncated or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Run `spectramind predict run.out={path.parent}` first.")
    try:
        arrays = load(path.read_bytes())
        index = arrays["curve.index"]
        series = {name: np.split(arrays[f"curve.{name}"], np.cumsum(index[:, 3])) for name in _SERIES}
        curves = [
            LightCurveFit(int(planet), int(visit), _NAMES[which], *(series[name][i] for name in _SERIES))
            for i, (planet, visit, which, _) in enumerate(index)
        ]
        grouped = (under(arrays, group) for group in ("diagnostics", "inputs"))
        return Posterior(arrays["planet_id"], arrays["mean"], arrays["cov"], *grouped), curves
    except Exception as error:
        raise PosteriorError(f"{path} is not a posterior file ({error}). Delete it and run `predict` again.") from error


def under(arrays: dict[str, Value], group: str) -> dict[str, Value]:
    """What a file holds as `group.name`, by name."""
    return {name[len(group) + 1 :]: value for name, value in arrays.items() if name.startswith(f"{group}.")}


def join(parts: list[tuple[Posterior, list[LightCurveFit]]]) -> tuple[Posterior, list[LightCurveFit]]:
    """Posteriors of disjoint planets as one; a diagnostic that one part lacks is NaN there."""
    posteriors = [posterior for posterior, _ in parts]
    names = sorted({name for posterior in posteriors for name in posterior.diagnostics})
    joined = Posterior(
        planet_id=np.concatenate([p.planet_id for p in posteriors]),
        mean=np.concatenate([p.mean for p in posteriors]),
        cov=np.concatenate([p.cov for p in posteriors]),
        diagnostics={
            name: np.concatenate([p.diagnostics.get(name, np.full(len(p.planet_id), np.nan)) for p in posteriors])
            for name in names
        },
        inputs={name: np.concatenate([p.inputs[name] for p in posteriors]) for name in posteriors[0].inputs},
    )
    return joined, [curve for _, curves in parts for curve in curves]


def level_moments(cov: Array) -> tuple[Array, Array]:
    """Variance of the AIRS level (P,) and its covariance with each bin's depth (P, 283), both float64.

    The level is the mean over AIRS bins; `cov` (P, 283, 283).
    """
    with_level = np.asarray(cov)[:, :, 1:].mean(axis=2, dtype=np.float64)
    return with_level[:, 1:].mean(axis=1), with_level


def airs_variances(cov: Array) -> tuple[Array, Array, Array]:
    """Variance of the AIRS level (P,), its covariance with the shape and the shape's variance, both (P, 282).

    The shape is what the level leaves of each AIRS bin; `cov` (P, 283, 283). Rounding in float32 may leave a shape's
    variance at or below zero.
    """
    level, with_level = level_moments(cov)
    cross = with_level[:, 1:] - level[:, None]
    variance = np.diagonal(cov, axis1=1, axis2=2)[:, 1:].astype(np.float64)
    return level, cross, variance - 2 * cross - level[:, None]

"""What the fusion model looks at: phase-aligned light curves, residual maps, per-bin quantities and metadata.

    fitted series of one planet -> `fit_inputs` (arrays of a fixed size)
    posterior + catalogue + inputs of P planets -> `features_of` -> `Features` (tensors)

Phase is (t - mid-transit) / T14, T14 from first to fourth contact: ingress and egress fall on -1/2 and 1/2 for every
planet. Phases without samples (missing egress, gaps) and visits that do not exist carry zeros and say so.

Letters: P planets, V = 2 visits, W channels, T time samples, F phases, K wavelength groups, N = 282 AIRS bins.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from ..base.execution import in_processes
from ..base.instruments import AIRS, FGS1, N_AIRS_BINS, N_BINS
from ..base.products import Array, Catalogue, Posterior
from ..base.provenance import write_atomic
from ..spectra import level_moments
from ..transit import FittedSeries

VISITS = 2  # a planet of the competition is seen once or twice
PHASE_LIMIT = 1.25  # phases cover +- this many T14: all of a 7.5 h visit for T14 above 3 h
FGS1_PHASES, AIRS_PHASES = 120, 60
GROUP = 6  # neighbouring AIRS bins in one column of the map
GROUPS = N_AIRS_BINS // GROUP  # 47
FGS1_CHANNELS = ("raw", "detrended", "residual", "information")
AIRS_CHANNELS = ("residual", "information")
NODE_CHANNELS = (
    *("mean_shape", "ln_sigma", "prior_shape", "ln_prior_sigma", "ln_shape_sd", "ln_shrinkage"),
    *("ln_flux", "u1", "u2"),
)
POSTERIOR_NODES = 6  # the first node channels say what physical fit and prior found
DIAGNOSTICS = (  # what the fit says of itself: geometry, drift, spectrum, and what the gate looks at
    *("missing_contact", "impact_param", "impact_param_sd", "t0_h", "t0_sd_h", "duration_h", "u1_sd", "wide_geometry"),
    *("fgs1_drift_order", "airs_drift_order", "airs_colour_order", "airs_second_term", "kind_weight", "unfamiliar"),
    *("autocorrelation", "red_noise", "rejected", "transient", "gate", "masked_fraction", "fallback", "visits"),
)
META_COLUMNS = 15 + len(DIAGNOSTICS)  # of `Features.meta`: catalogue and posterior, then these
RESIDUAL_LIMIT = 10.0  # sigmas: a spike is a spike
SHAPE_UNIT = 1e-4  # 100 ppm: features of this size and below enter linearly


class FeatureError(ValueError):
    """Features that cannot be made or read; the message names file or array, and what to do."""


def fit_inputs(
    series: Sequence[FittedSeries], duration_h: float, depth: Array, prior_mean: Array, prior_sigma: Array
) -> dict[str, Array]:
    """The arrays of one planet, of the same shapes for every planet.

    Args:
        series: fitted series of all its visits, in any order; a third visit is left out.
        duration_h: T14.
        depth: (283,) fitted depths, the unit of the light curves.
        prior_mean, prior_sigma: (283,) prior over its spectrum.

    Returns:
        fgs1 (V, 4, F) float32, airs (V, 2, F, K) float16, present (V, 2) float32 (FGS1, AIRS), nodes (3, N) float32
        (ln electrons, u1, u2 of AIRS, means over visits), prior (2, 283) float32.
    """
    fgs1 = np.zeros((VISITS, len(FGS1_CHANNELS), FGS1_PHASES), np.float32)
    airs = np.zeros((VISITS, len(AIRS_CHANNELS), AIRS_PHASES, GROUPS), np.float16)
    present, nodes = np.zeros((VISITS, 2), np.float32), []
    duration_h = duration_h if np.isfinite(duration_h) and duration_h > 0 else 4.0  # hours: a grazing fit has no T14
    for one in series:
        if one.visit >= VISITS or not (one.weight > 0).any():
            continue
        if one.instrument == FGS1.name:
            fgs1[one.visit] = _fgs1_channels(one, duration_h, max(float(depth[0]), 1e-5))
            present[one.visit, 0] = 1
        elif one.instrument == AIRS.name:
            airs[one.visit] = _airs_map(one, duration_h, max(float(np.mean(depth[1:])), 1e-5))
            present[one.visit, 1] = 1
            nodes.append(np.stack([np.log(np.maximum(one.electrons, 1.0)), one.u1, one.u2]))
        else:
            raise FeatureError(f"instrument {one.instrument!r} is neither {FGS1.name} nor {AIRS.name}")
    mean = np.mean(nodes, axis=0) if nodes else np.full((3, N_AIRS_BINS), np.nan)
    prior = np.stack([prior_mean, prior_sigma]).astype(np.float32)
    return {"fgs1": fgs1, "airs": airs, "present": present, "nodes": mean.astype(np.float32), "prior": prior}


def no_inputs() -> dict[str, Array]:
    """`fit_inputs` of a planet without any fit: nothing is present."""
    return fit_inputs((), 4.0, np.zeros(N_BINS), np.full(N_BINS, np.nan), np.full(N_BINS, np.nan))


def airs_residuals(inputs: dict[str, Array]) -> tuple[Array, Array]:
    """What the fits of P planets leave of AIRS, (P, V, F, K) in sigma, NaN where there are no samples; phases (F,).

    `inputs`: `fit_inputs` of each planet, stacked.
    """
    residual, information = np.moveaxis(np.asarray(inputs["airs"], np.float32), 2, 0)
    phases = PHASE_LIMIT * (2 * (np.arange(AIRS_PHASES) + 0.5) / AIRS_PHASES - 1)
    return np.where(information > 0, residual, np.nan), phases


def _phase_sums(one: FittedSeries, duration_h: float, phases: int) -> Callable[[Array], Array]:
    """A function that adds up (T, W) arrays by phase, giving (phases, W)."""
    phase = (one.time_h - one.t0_h) / duration_h
    index = np.floor((phase + PHASE_LIMIT) / (2 * PHASE_LIMIT) * phases)
    inside = (index >= 0) & (index < phases)
    select = np.zeros((phases, len(one.time_h)))
    select[index[inside].astype(int), np.flatnonzero(inside)] = 1
    return lambda values: select @ values


def _fgs1_channels(one: FittedSeries, duration_h: float, depth: float) -> Array:
    """(4, F): raw and detrended flux in units of the depth, residual in sigma, ln(1 + depth / sigma)."""
    add = _phase_sums(one, duration_h, FGS1_PHASES)
    weight = one.weight
    total = add(weight)
    norm = np.where(total > 0, total, 1.0)
    raw = (one.flux / one.gain.mean(0) - 1) / depth
    detrended = (one.flux / one.gain - 1) / depth
    residual = one.flux - one.gain * one.transit
    rows = [
        add(weight * raw) / norm,
        add(weight * detrended) / norm,
        np.clip(add(weight * residual) / np.sqrt(norm), -RESIDUAL_LIMIT, RESIDUAL_LIMIT),
        np.log1p(depth * np.sqrt(total)),
    ]
    return np.stack([row[:, 0] for row in rows])


def _airs_map(one: FittedSeries, duration_h: float, depth: float) -> Array:
    """(2, F, K): residual of each phase and wavelength group in its own sigma, and ln(1 + depth / sigma)."""
    add = _phase_sums(one, duration_h, AIRS_PHASES)

    def grouped(values: Array) -> Array:
        return add(values).reshape(AIRS_PHASES, GROUPS, GROUP).sum(-1)

    total = grouped(one.weight)
    residual = grouped(one.weight * (one.flux - one.gain * one.transit)) / np.sqrt(np.where(total > 0, total, 1.0))
    return np.stack([np.clip(residual, -RESIDUAL_LIMIT, RESIDUAL_LIMIT), np.log1p(depth * np.sqrt(total))])


@dataclass(frozen=True)
class Features:
    """Inputs of the fusion model and the Gaussian that it corrects, for P planets; all tensors, planets first."""

    planet_id: Tensor  # (P,) int64
    fgs1: Tensor  # (P, V, 4, F) float32
    airs: Tensor  # (P, V, 2, F, K) float16
    present: Tensor  # (P, V, 2) bool: FGS1, AIRS
    nodes: Tensor  # (P, N, 9) float32; NaN where not known
    meta: Tensor  # (P, M) float32; NaN where not known
    fitted: Tensor  # (P,) bool; False: the answer is the population's and stays so
    mean: Tensor  # (P, 283) float64, of the Gaussian that is corrected
    variance: Tensor  # (P, 283) float64, its diagonal
    level_variance: Tensor  # (P,) float64, of the mean over AIRS bins L
    cross: Tensor  # (P, 283) float64, cov(L, depth of each bin)

    def __len__(self) -> int:
        return len(self.planet_id)

    def take(self, index: Tensor | Array) -> "Features":
        """The same for a subset of planets, by integer index or boolean mask."""
        index = torch.as_tensor(index, device=self.planet_id.device)
        return self._each(lambda value: value[index])

    def to(self, device: torch.device | str) -> "Features":
        """The same on another device."""
        return self._each(lambda value: value.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Features":
        return Features(**{name: change(value) for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Field name -> tensor."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def with_base(self, base: Posterior) -> "Features":
        """The same inputs, correcting another Gaussian (P planets in the same order)."""
        return dataclasses.replace(self, **_base_of(base))


def joined(parts: Sequence[Features]) -> Features:
    """Features of disjoint planets as one. Raises FeatureError without any part."""
    if not parts:
        raise FeatureError("no features to join: the set of planets is empty")
    return Features(**{name: torch.cat([getattr(part, name) for part in parts]) for name in parts[0].tensors()})


def features_of(posterior: Posterior, catalogue: Catalogue, inputs: dict[str, Array]) -> Features:
    """Features of P planets; rows of posterior, catalogue and of every array of `inputs` correspond.

    `inputs`: `fit_inputs` of each planet, stacked. Raises FeatureError where rows or shapes do not match.
    """
    count = len(posterior.planet_id)
    shapes = {name: (count, *np.shape(value)) for name, value in no_inputs().items()}
    found = {name: np.shape(inputs.get(name, ())) for name in shapes}
    if found != shapes or not np.array_equal(posterior.planet_id, catalogue.planet_id):
        raise FeatureError(f"inputs must have shapes {shapes} in the catalogue's order of planets, not {found}")
    base = _base_of(posterior)
    return Features(
        planet_id=torch.as_tensor(posterior.planet_id),
        fgs1=torch.as_tensor(inputs["fgs1"], dtype=torch.float32),
        airs=torch.as_tensor(inputs["airs"], dtype=torch.float16),
        present=torch.as_tensor(np.asarray(inputs["present"]) > 0.5),
        nodes=_nodes(base, inputs),
        meta=_metadata(posterior, catalogue, base),
        fitted=torch.as_tensor(~posterior.is_population),
        **base,
    )


def _base_of(posterior: Posterior) -> dict[str, Tensor]:
    """Moments of a posterior that the model's answer is built on."""
    level_variance, cross = level_moments(posterior.cov)
    variance = np.diagonal(posterior.cov, axis1=1, axis2=2).astype(np.float64)
    base: dict[str, Array] = {"mean": np.asarray(posterior.mean, np.float64), "variance": variance}
    base |= {"level_variance": level_variance, "cross": cross}
    return {name: torch.as_tensor(np.ascontiguousarray(value)) for name, value in base.items()}


def shape_variance(variance: Tensor, level_variance: Tensor, cross: Tensor) -> Tensor:
    """(P, N) variance of each AIRS bin's departure from the level; arguments as the fields of `Features`."""
    return (variance[:, 1:] - 2 * cross[:, 1:] + level_variance[:, None]).clamp_min(0)


def _nodes(base: dict[str, Tensor], inputs: dict[str, Array]) -> Tensor:
    mean, variance = base["mean"][:, 1:].numpy(), base["variance"][:, 1:].numpy()
    shape_sd = shape_variance(base["variance"], base["level_variance"], base["cross"]).clamp_min(1e-16).sqrt().numpy()
    prior_mean, prior_sigma = (np.asarray(inputs["prior"][:, i, 1:], np.float64) for i in range(2))
    ln_sigma, ln_prior_sigma = 0.5 * np.log(np.maximum(variance, 1e-16)), np.log(np.maximum(prior_sigma, 1e-8))
    own = [
        _shape(mean),
        ln_sigma,
        _shape(prior_mean),
        ln_prior_sigma,
        np.log(shape_sd),
        ln_sigma - ln_prior_sigma,
        *np.moveaxis(inputs["nodes"], 1, 0),
    ]
    return torch.as_tensor(np.stack(own, axis=-1), dtype=torch.float32)


def _shape(mean: Array) -> Array:
    return np.arcsinh((mean - mean.mean(axis=1, keepdims=True)) / SHAPE_UNIT)


def _metadata(posterior: Posterior, catalogue: Catalogue, base: dict[str, Tensor]) -> Tensor:
    """Star, planet and the fit's own judgement of itself, (P, M); NaN where a diagnostic is absent."""
    absent = np.full(len(catalogue), np.nan)
    diagnostics = {name: np.asarray(value, np.float64) for name, value in posterior.diagnostics.items()}

    def log(values: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, np.log(values), np.nan)

    level = base["mean"][:, 1:].mean(1).numpy()
    variance = base["variance"].numpy()
    columns = [
        *(log(catalogue.stellar_radius_rsun), log(catalogue.stellar_mass_msun)),
        *(log(catalogue.stellar_temperature_k), log(catalogue.planet_mass_mjup), log(catalogue.period_days)),
        *(log(catalogue.semi_major_axis_rs), catalogue.inclination_deg),
        *(log(level), (base["mean"][:, 0].numpy() - level) / SHAPE_UNIT),
        *(0.5 * log(variance[:, 0]), 0.5 * log(base["level_variance"].numpy()), 0.5 * log(variance[:, 1:].mean(1))),
        *(log(diagnostics.get(name, absent)) for name in ("chi2_white", "chi2_joint")),
        log(diagnostics.get("a_over_rs", absent)) - log(catalogue.semi_major_axis_rs),
        *(diagnostics.get(name, absent) for name in DIAGNOSTICS),
    ]
    return torch.as_tensor(np.stack(columns, axis=-1), dtype=torch.float32)


def write_set(path: Path, features: Features, truth: Tensor) -> Path:
    """Write features and true spectra (P, 283) as one safetensors file, atomically."""
    if truth.shape != features.mean.shape:
        raise FeatureError(f"truth of shape {tuple(truth.shape)} does not belong to {len(features)} planets")
    tensors = features.tensors() | {"truth": truth.double()}
    return write_atomic(path, save({name: value.contiguous() for name, value in tensors.items()}))


def read_set(path: Path) -> tuple[Features, Tensor]:
    """Read back what `write_set` wrote. Raises FeatureError naming the file."""
    try:
        tensors = load(Path(path).read_bytes())
        truth = tensors.pop("truth")
        return Features(**tensors), truth
    except Exception as error:
        raise FeatureError(f"{path} is no file of training features ({error}). Delete it and make it again.") from error


def make_shards(
    folder: Path,
    shards: int,
    recipe: dict[str, Any],
    make: Callable[[int], tuple[Features, Tensor]],
    workers: int = 1,
    progress: bool = True,
) -> list[Path]:
    """Make the missing ones of `shards` files in `folder`; a killed run goes on where it stopped.

    `make(k)` gives the planets of shard k and must depend on k and `recipe` alone. `recipe` (a JSON object) is kept in
    recipe.json. `workers`: processes. Files of shards are whole or absent. Raises FeatureError where the folder holds
    another recipe's.
    """
    text, kept = json.dumps(recipe, indent=1, sort_keys=True) + "\n", Path(folder) / "recipe.json"
    if kept.is_file() and kept.read_text() != text:
        raise FeatureError(f"{kept}: the shards there were made by another recipe. Empty the folder or give another.")
    write_atomic(kept, text)
    paths = [Path(folder) / f"shard_{k:05d}.safetensors" for k in range(shards)]
    missing = [k for k, path in enumerate(paths) if not path.is_file()]
    given = [(paths[k], make, k) for k in missing]
    for _ in in_processes(_make_shard, given, workers, "training set", "shard", progress, ordered=False):
        pass
    return paths


def _make_shard(path: Path, make: Callable[[int], tuple[Features, Tensor]], number: int) -> None:
    write_set(path, *make(number))


def read_shards(paths: Sequence[Path]) -> tuple[Features, Tensor]:
    """All shards in memory as one set, in the order of `paths`."""
    parts = [read_set(path) for path in paths]
    return joined([features for features, _ in parts]), torch.cat([truth for _, truth in parts])

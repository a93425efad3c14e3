"""The fusion model: a correction of the physical posterior, learnt from what the physical fit leaves over.

With the posterior's FGS1 depth d_0, AIRS level L (mean over N = 282 bins) and shape S_b = d_b - L, the answer is

    mean'_0 = mean_0 + delta_0 sd(d_0)        mean'_b = mean_b + delta_L sd(L) + delta_b sd(S_b)
    cov'    = T cov T^T,  T_0 = f_0 e_0 + u_0 w^T,  T_b = g_b (f_S (e_b - w) + (f_L + u_b) w),   w = 1/N over AIRS,

with the deltas in units of the posterior's sigma (delta_b without a level of its own), factors f of FGS1, level and
shape, a smooth factor g_b per bin, and the low-rank term u w^T: how the error of the shared level enters FGS1 and each
bin. T = 1 and delta = 0 for the untrained model, whose answer is therefore the posterior itself, to the bit.
A planet without a fit keeps the population's answer.
"""

import copy
import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..base.instruments import N_AIRS_BINS, N_BINS
from ..base.keytable import check
from ..base.products import Array, Posterior
from ..base.provenance import write_atomic
from ..base.schema import ModelConfig
from .encoders import AirsEncoder, Fgs1Encoder
from .features import META_COLUMNS, NODE_CHANNELS, POSTERIOR_NODES, VISITS, Features, shape_variance

SMOOTH, COUPLING = 8, 4  # cosines over wavelength of the factor per bin and of the level's coupling
MAX_SHIFT, MAX_LN_FACTOR = 10.0, 6.0  # far beyond any use: a wild input cannot make an infinite answer
INPUT_LIMIT = 6.0  # standard deviations of an input: what lies outside the training set is not extrapolated
MAX_PARAMETERS = 2_000_000
SHAPE_SD = 2e-4  # population base: scatter of a bin around the level, 50-100 ppm typical and 250 ppm in the upper half


class ModelError(ValueError):
    """A model that cannot be built or read; the message names key or file, and what to do."""


@dataclass(frozen=True)
class Answer:
    """The model's answer for P planets; tensors, float64 but for the parts of T."""

    mu: Tensor  # (P, 283)
    sigma: Tensor  # (P, 283)
    factors: Tensor  # (P, 3) f of FGS1, level, shape
    smooth: Tensor  # (P, N) g
    coupling: Tensor  # (P, 283) u


class Fusion(nn.Module):
    """Late fusion of FGS1, AIRS, metadata and posterior: `Features` -> `Answer`."""

    wl: Tensor
    cosines: Tensor

    def __init__(self, config: ModelConfig, wl: Array, device: torch.device | str = "cpu"):
        """`wl` (283,) in um. `scale_inputs` sets the inputs' scales before training."""
        super().__init__()
        self.config, width = config, config.width
        self.register_buffer("wl", torch.as_tensor(np.asarray(wl), dtype=torch.float64))
        for name, size in (("nodes", len(NODE_CHANNELS)), ("meta", META_COLUMNS)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_sd", torch.ones(size))
        self.fgs1 = Fgs1Encoder(config, device) if config.fgs1_encoder else None
        self.airs = AirsEncoder(config, wl)
        self.meta = nn.Linear(META_COLUMNS + 2 * VISITS, width)  # and which of two visits' instruments are present
        self.mix = nn.Sequential(
            nn.LayerNorm(3 * width),
            nn.Linear(3 * width, 2 * width),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * width, width),
            nn.SiLU(),
        )
        self.planet_head = nn.Linear(width, 2 + config.sigma_factors + SMOOTH + 1 + COUPLING)
        self.bin_context = nn.Linear(width, width)
        self.bin_head = nn.Linear(width, 1, bias=False)  # a constant would be level, not shape
        nn.init.zeros_(self.planet_head.weight)
        nn.init.zeros_(self.planet_head.bias)
        nn.init.zeros_(self.bin_head.weight)
        position = (torch.arange(N_AIRS_BINS) + 0.5) / N_AIRS_BINS
        cosines = torch.cos(torch.pi * torch.arange(1, SMOOTH + 1)[:, None] * position)
        self.register_buffer("cosines", cosines.double(), persistent=False)
        self.to(device)

    def scale_inputs(self, features: Features) -> None:
        """Take mean and spread of node features and metadata from a training set; NaN does not count."""
        for name in ("nodes", "meta"):
            values = getattr(features, name).double().flatten(0, -2)
            mean = values.nanmean(0).nan_to_num()
            sd = (values - mean).square().nanmean(0).sqrt().nan_to_num()
            getattr(self, f"{name}_mean").copy_(mean)
            getattr(self, f"{name}_sd").copy_(torch.where(sd > 1e-6, sd, 1.0))

    def forward(self, features: Features) -> Answer:
        """Features of P planets on the model's device."""
        planet, bins = self._encoded(features)
        fitted = features.fitted[:, None].double()
        planet = planet.double() * fitted
        shift, factors, smooth, level = planet.split([2, self.config.sigma_factors, SMOOTH, 1 + COUPLING], dim=1)
        delta = bins.double() * fitted
        delta = _bounded(delta - delta.mean(1, keepdim=True), MAX_SHIFT)
        shift = _bounded(shift, MAX_SHIFT)
        coupling = torch.cat([level[:, :1], level[:, 1:] @ self.cosines[:COUPLING]], dim=1)
        factors = _bounded(factors, MAX_LN_FACTOR).exp().expand(-1, 3)
        smooth = _bounded(smooth @ self.cosines, MAX_LN_FACTOR).exp()
        moved = delta * _shape_variance(features).sqrt()
        airs = shift[:, 1:] * features.level_variance.sqrt()[:, None] + moved - moved.mean(1, keepdim=True)
        move = torch.cat([shift[:, :1] * features.variance[:, :1].sqrt(), airs], dim=1)
        variance = _variance(features, factors, smooth, coupling)
        return Answer(features.mean + move, variance.sqrt(), factors, smooth, coupling)

    def latents(self, features: Features) -> Tensor:
        """(P, width) what the model makes of each planet, ahead of its heads; features on the model's device."""
        return self._mixed(features)[0]

    def _encoded(self, features: Features) -> tuple[Tensor, Tensor]:
        """Outputs of the two heads, (P, ...) and (P, N); zero in an untrained model."""
        mixed, airs = self._mixed(features)
        bins = functional.silu(airs + self.bin_context(mixed)[:, None])
        return self.planet_head(mixed), self.bin_head(bins)[..., 0]

    def _mixed(self, features: Features) -> tuple[Tensor, Tensor]:
        """(P, width) of each planet and (P, N, width) of each of its bins."""
        present = features.present
        nodes = self._scaled("nodes", features.nodes)
        if self.config.base == "population":
            nodes = torch.cat([torch.zeros_like(nodes[..., :POSTERIOR_NODES]), nodes[..., POSTERIOR_NODES:]], dim=-1)
        meta = torch.cat([self._scaled("meta", features.meta), present.flatten(1).float()], dim=1)
        meta = functional.silu(self.meta(meta))
        airs = self._run(self.airs, nodes, _masked(features.airs, present[..., 1]), present[..., 1])
        if self.fgs1 is None:
            fgs1 = torch.zeros_like(meta)
        else:
            fgs1 = self._run(self.fgs1, _masked(features.fgs1, present[..., 0]), present[..., 0])
        return self.mix(torch.cat([fgs1, airs.mean(1).to(fgs1.dtype), meta.to(fgs1.dtype)], dim=1)), airs

    def _run(self, encoder: nn.Module, *inputs: Tensor) -> Tensor:
        if self.config.gradient_checkpointing and self.training:
            return checkpoint(encoder, *inputs, use_reentrant=False)
        return encoder(*inputs)

    def _scaled(self, name: str, values: Tensor) -> Tensor:
        scaled = (values - getattr(self, f"{name}_mean")) / getattr(self, f"{name}_sd")
        return scaled.nan_to_num(0.0, INPUT_LIMIT, -INPUT_LIMIT).clamp(-INPUT_LIMIT, INPUT_LIMIT)


def _shape_variance(features: Features) -> Tensor:
    return shape_variance(features.variance, features.level_variance, features.cross)


def _masked(values: Tensor, present: Tensor) -> Tensor:
    """Zeros, not whatever stands there, for visits that are not present."""
    return torch.where(present.reshape(*present.shape, *(1,) * (values.ndim - 2)), values, 0).float()


def _bounded(values: Tensor, limit: float) -> Tensor:
    """The identity near 0, within +- `limit` everywhere."""
    return limit * torch.tanh(values / limit)


def _variance(features: Features, factors: Tensor, smooth: Tensor, coupling: Tensor) -> Tensor:
    """Diagonal of T cov T^T, (P, 283), as the posterior's own diagonal plus what T changes of it."""
    fgs1, level, shape = factors.T[:, :, None]
    var, cross, level_var = features.variance, features.cross, features.level_variance[:, None]
    u = coupling[:, :1]
    first = var[:, :1] + (fgs1.square() - 1) * var[:, :1] + u.square() * level_var + 2 * fgs1 * u * cross[:, :1]
    total = level + coupling[:, 1:]
    airs = var[:, 1:] + (shape.square() - 1) * _shape_variance(features) + (total.square() - 1) * level_var
    airs = airs + 2 * (shape * total - 1) * (cross[:, 1:] - level_var)
    floor = 1e-6 * var  # rounding of a float32 covariance cannot make a variance negative
    return torch.maximum(torch.cat([first, smooth.square() * airs], dim=1), floor)


def corrected(posterior: Posterior, answer: Answer) -> Posterior:
    """The posterior with the answer's mean and with covariance T cov T^T; diagnostics as they were."""
    factors, smooth, coupling, mu = (
        getattr(answer, name).detach().cpu().double().numpy() for name in ("factors", "smooth", "coupling", "mu")
    )
    cov = np.empty_like(posterior.cov)
    average = np.full(N_AIRS_BINS, 1 / N_AIRS_BINS)
    for i, own in enumerate(posterior.cov):
        change = np.eye(N_BINS)  # built as 1 plus a change, so that no change is exactly none
        change[0, 0] += factors[i, 0] - 1
        change[1:, 1:] += (factors[i, 2] - 1) * np.eye(N_AIRS_BINS)
        change[1:, 1:] += (factors[i, 1] - factors[i, 2] + coupling[i, 1:, None]) * average
        change[0, 1:] += coupling[i, 0] * average
        change[1:] *= smooth[i][:, None]
        cov[i] = change @ own.astype(np.float64) @ change.T
    return dataclasses.replace(posterior, mean=mu, cov=cov)


@torch.no_grad()
def trusted(model: Fusion, share: float) -> Fusion:
    """The same model with its corrections (shifts and logarithms of factors) scaled, up to their far bounds."""
    changed = copy.deepcopy(model)
    for parameter in (changed.planet_head.weight, changed.planet_head.bias, changed.bin_head.weight):
        parameter.mul_(share)
    return changed


def population_base(planet_id: NDArray[np.int64], naive: tuple[float, float]) -> Posterior:
    """The Gaussian that direct regression starts from: the same for every planet, `metric.naive_statistics`."""
    count = len(planet_id)
    cov = naive[1] ** 2 * np.ones((N_BINS, N_BINS)) + SHAPE_SD**2 * np.eye(N_BINS)
    mean = np.full((count, N_BINS), naive[0])
    return Posterior(planet_id, mean, np.repeat(cov[None].astype(np.float32), count, axis=0), {})


def build(config: ModelConfig, wl: Array, device: torch.device | str = "cpu") -> Fusion | None:
    """The untrained model on `device`, or None for model=physics.

    Raises ConfigError for sizes that the schema does not allow, ModelError where they make too big a model together.
    """
    check(config, "model")
    if config.kind == "physics":
        return None
    model = Fusion(config, wl, device)
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > MAX_PARAMETERS:
        raise ModelError(f"the model has {count} parameters, more than {MAX_PARAMETERS}: lower model.width")
    return model


@torch.no_grad()
def predict(model: Fusion | None, posterior: Posterior, features: Features, batch: int = 256) -> Posterior:
    """The model's posterior of P planets, on the model's device; without a model the posterior as it is.

    `features` must be those of `posterior`'s planets, in their order (ModelError).
    """
    if model is None:
        return posterior
    if not np.array_equal(posterior.planet_id, features.planet_id.cpu().numpy()):
        raise ModelError("the features are not those of the posterior's planets, in its order: make them again")
    model.eval()
    device = model.wl.device
    answers = [model(features.take(part).to(device)) for part in torch.arange(len(features)).split(batch)]
    whole = Answer(*(torch.cat([getattr(a, f.name) for a in answers]) for f in dataclasses.fields(Answer)))
    return corrected(posterior, whole)


def save_model(path: Path, model: Fusion, about: dict[str, Any]) -> Path:
    """Write weights, configuration and `about` (a JSON object: recipe, seed, score) as one safetensors file."""
    metadata = {"model": json.dumps(dataclasses.asdict(model.config)), "about": json.dumps(about, sort_keys=True)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    return write_atomic(path, _in_order(save(tensors, metadata)))


def _in_order(data: bytes) -> bytes:
    """A safetensors file with its header's keys sorted: the order of several metadata entries changes by process."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors start at a multiple of 8
    return len(header).to_bytes(8, "little") + header + data[end:]


def load_model(path: Path, device: torch.device | str = "cpu") -> tuple[Fusion, dict[str, Any]]:
    """The model of a file and its `about`. Raises ModelError naming the file."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        config = ModelConfig(**json.loads(metadata["model"]))
        model = build(config, tensors["wl"].numpy(), device)
        if model is None:
            raise ModelError("model=physics has no file of its own")
        model.load_state_dict(tensors, strict=True)
        return model.eval(), json.loads(metadata["about"])
    except Exception as error:
        if is_pickle(path):
            raise ModelError(f"{path} is a pickle, which could run code when it is read: give safetensors") from None
        raise ModelError(f"{path} is not a model of this version ({error}). Train it again.") from error


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, or an archive as torch.save writes it."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(4)[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")
    return False

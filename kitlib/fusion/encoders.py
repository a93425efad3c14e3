"""Encoders of the fusion model: Mamba-2 over FGS1's light curve, CNN and wavelength graph over AIRS.

Shapes: P planets, V visits, F phases, K wavelength groups, N = 282 AIRS bins, d width. A visit that is not present adds
nothing; a planet without any visit is encoded as zeros.

Sources: Mamba-2: Dao & Gu 2024 (arXiv:2405.21060); its blocks alternate in direction, since a transit looks alike from
both ends. Graph convolution: Morris et al. 2019 (arXiv:1810.02244) as in torch-geometric's `DenseGraphConv`; dense,
because the graph is the same for every planet and a matrix product sums in a fixed order.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..base.instruments import MOLECULAR_BANDS_UM, N_AIRS_BINS
from ..base.products import Array
from ..base.schema import ModelConfig
from .features import AIRS_CHANNELS, AIRS_PHASES, FGS1_CHANNELS, FGS1_PHASES, GROUP, NODE_CHANNELS
from .fused import select_implementation

HEADDIM = 16  # of a Mamba-2 head
PATCH = 2  # phases of FGS1 that enter the state space as one step: half the time for the same light curve
CHAIN_REACH = 2  # bins: neighbours on either side that a chain edge joins
REDUCED = AIRS_PHASES // 4  # phases left after two strided convolutions


def over_visits(encode: Callable[[Tensor], Tensor], x: Tensor, present: Tensor) -> Tensor:
    """Mean of `encode` over the visits that are present; absent ones are not even computed.

    x (P, V, ...), present (P, V) bool -> (P, ...), zeros for planets without any visit.
    """
    planet, visit = present.nonzero(as_tuple=True)
    if not len(planet):
        encoded = encode(torch.zeros_like(x[:1, 0]))
        return encoded.new_zeros(len(x), *encoded.shape[1:])
    encoded = encode(x[planet, visit])
    total = encoded.new_zeros(len(x), *encoded.shape[1:]).index_add(0, planet, encoded)
    count = present.sum(1).clamp_min(1).to(encoded.dtype)
    return total / count.reshape(-1, *(1,) * (total.ndim - 1))


class Fgs1Encoder(nn.Module):
    """Phase-aligned light curves (P, V, 4, F) and their presence (P, V) -> (P, d)."""

    def __init__(self, config: ModelConfig, device: torch.device | str = "cpu"):
        super().__init__()
        width = config.width
        self.embed = nn.Linear(PATCH * len(FGS1_CHANNELS), width)
        self.phase = nn.Parameter(0.02 * torch.randn(FGS1_PHASES // PATCH, width))
        sizes = {"d_state": config.state, "headdim": HEADDIM}
        self.mamba = select_implementation(device, width, **sizes)
        self.blocks = nn.ModuleList(self.mamba.block(width, **sizes) for _ in range(config.fgs1_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.fgs1_layers + 1))
        self.attention = nn.Linear(width, 1, bias=False)  # a softmax would not see it

    def forward(self, curves: Tensor, present: Tensor) -> Tensor:
        """See the class."""
        return over_visits(self._visit, curves, present)

    def _visit(self, curve: Tensor) -> Tensor:
        """(n, 4, F) -> (n, d). Steps without samples hold zeros and get no weight in the pooled result."""
        steps = curve.unflatten(-1, (-1, PATCH))  # (n, 4, F / PATCH, PATCH)
        x = self.embed(steps.transpose(1, 2).flatten(2)) + self.phase
        for number, (norm, block) in enumerate(zip(self.norms, self.blocks, strict=False)):
            backwards = number % 2 == 1
            y = norm(x)
            y = block(y.flip(1)).flip(1) if backwards else block(y)
            x = x + y
        x = self.norms[-1](x)
        seen = (steps[:, FGS1_CHANNELS.index("information")] > 0).any(-1)
        share = self.attention(x)[..., 0].float().masked_fill(~seen, -1e4).softmax(-1)
        return (share[..., None].to(x.dtype) * x).sum(1)


class ResidualMapEncoder(nn.Module):
    """CNN over residual maps (P, V, 2, F, K) and their presence (P, V) -> (P, K, d), one vector a wavelength group."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        channels = config.airs_channels
        self.first = nn.Conv2d(len(AIRS_CHANNELS), channels, (5, 3), stride=(2, 1), padding=(2, 1))
        self.phase = nn.Parameter(0.02 * torch.randn(channels, AIRS_PHASES // 2, 1))
        self.second = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1)
        self.third = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, config.width, (REDUCED, 1))  # all phases at once: where in the transit matters
        self.norms = nn.ModuleList(nn.GroupNorm(4, channels) for _ in range(2))

    def forward(self, maps: Tensor, present: Tensor) -> Tensor:
        """See the class."""
        return over_visits(self._visit, maps, present)

    def _visit(self, one: Tensor) -> Tensor:
        x = functional.silu(self.first(one) + self.phase)
        x = functional.silu(self.norms[0](self.second(x)))
        x = x + functional.silu(self.norms[1](self.third(x)))
        return self.last(x)[:, :, 0].transpose(1, 2)


def wavelength_graph(wl: Array) -> Array:
    """Edges between AIRS bins, (2, N, N) of 0 and 1, symmetric, without self-loops, for wavelengths `wl` (283,) in um.

    [0] the chain: bins at most CHAIN_REACH apart. [1] bins that lie in bands of one molecule (MOLECULAR_BANDS_UM), the
    same band or another: its features rise and fall together.
    """
    airs = np.asarray(wl, float)[-N_AIRS_BINS:]
    distance = np.abs(np.arange(N_AIRS_BINS)[:, None] - np.arange(N_AIRS_BINS))
    shared = np.zeros_like(distance, dtype=bool)
    for bands in MOLECULAR_BANDS_UM.values():
        inside = np.any([(airs >= low) & (airs <= high) for low, high in bands], axis=0)
        shared |= inside[:, None] & inside
    return np.stack([(distance > 0) & (distance <= CHAIN_REACH), shared & (distance > 0)]).astype(np.float32)


class GraphLayer(nn.Module):
    """One round of messages along both kinds of edges, x (P, N, d) -> (P, N, d), added to x."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")  # of progress bars that nobody draws
            from torch_geometric.nn.dense import DenseGraphConv  # 4 s to import; a model without a graph does without
        self.norm = nn.LayerNorm(width)
        self.chain = DenseGraphConv(width, width, aggr="mean")
        self.molecules = DenseGraphConv(width, width, aggr="mean")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """`edges` (2, N, N) of `wavelength_graph`."""
        y = self.norm(x)
        return x + self.dropout(functional.silu(self.chain(y, edges[0]) + self.molecules(y, edges[1])))


class BinLayer(nn.Module):
    """A graph layer without edges: each bin for itself, (P, N, d) -> (P, N, d)."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm, self.linear, self.dropout = nn.LayerNorm(width), nn.Linear(width, width), nn.Dropout(dropout)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """`edges` is not looked at."""
        return x + self.dropout(functional.silu(self.linear(self.norm(x))))


class AirsEncoder(nn.Module):
    """Node features (P, N, 9), residual maps (P, V, 2, F, K) and presence (P, V) -> (P, N, d).

    Without `model.airs_encoder` the maps are left out, without `model.graph` no bin hears of another.
    """

    def __init__(self, config: ModelConfig, wl: Array):
        super().__init__()
        self.embed = nn.Linear(len(NODE_CHANNELS), config.width)
        self.position = nn.Parameter(0.02 * torch.randn(N_AIRS_BINS, config.width))
        self.maps = ResidualMapEncoder(config) if config.airs_encoder else None
        layer = GraphLayer if config.graph else BinLayer
        self.layers = nn.ModuleList(layer(config.width, config.dropout) for _ in range(config.graph_layers))
        self.norm = nn.LayerNorm(config.width)
        self.register_buffer("edges", torch.from_numpy(wavelength_graph(wl)), persistent=False)

    def forward(self, nodes: Tensor, maps: Tensor, present: Tensor) -> Tensor:
        """See the class."""
        x = self.embed(nodes) + self.position
        if self.maps is not None:
            x = x + self.maps(maps, present).repeat_interleave(GROUP, dim=1)
        for layer in self.layers:
            x = layer(x, self.edges)
        return self.norm(x)

"""Mamba-2 block in pure torch: the chunked state-space dual, with the recurrence that it equals beside it.

Paper: Dao & Gu 2024, "Transformers are SSMs" (arXiv:2405.21060); "eq." and "section" below are that paper's.

Glossary (paper's letter, meaning, size):
    u       input and output of the block              (b, l, d)  b batch, l length, d = d_model
    E       inner width, expand * d;  H heads of P = headdim channels each: E = H * P
    x, y    input and output of the state-space layer  (b, l, H, P)
    z       gate                                       (b, l, E)
    B, C    input and output projection of the state   (b, l, G, N)  G groups share them among H / G heads, N = d_state
    dt      step (paper: Delta), softplus(dt + dt_bias) (b, l, H)
    A       decay rate, one number a head, -exp(A_log) (H,)
    D       skip, one number a head                    (H,)
    h       state                                      (b, H, N, P)
    Q       chunk length, c = ceil(l / Q) chunks

Parameter names, shapes and order are those of `mamba_ssm.Mamba2` (2.3.2), so that one checkpoint serves both with
`load_state_dict(strict=True)`. `best_block` takes the fused `mamba_ssm` where it works and gives equal numbers.

Does NOT include: step-by-step decoding with a cache, packed sequences (seq_idx, cu_seqlens), tensor parallelism,
`d_ssm` below the inner width, `D_has_hdim`, `norm_before_gate`, learnt initial states.
"""

import importlib
import importlib.util
import logging
import math
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK = 64  # longest chunk; 32 to 128 are level on a CPU at l = 282, 16 is slower (bench/ssm_speed.py --chunks)
NORM_EPS = 1e-5  # as mamba_ssm's gated RMSNorm is built by its Mamba2
DT_MIN, DT_MAX = 1e-3, 1e-1  # initial range of the step, log-uniform (mamba_ssm's defaults)
A_MIN, A_MAX = 1.0, 16.0  # initial range of -A, uniform (mamba_ssm's defaults)
# Self-check: relative L2 error allowed between the fused block and ours. The fused kernels multiply float32 in TF32
# (10 mantissa bits, 5e-4 a product) on newer GPUs; a wrong order, sign or epsilon shows as 1e-1 and more.
OUTPUT_TOLERANCE = 5e-3
GRADIENT_TOLERANCE = 2e-2

log = logging.getLogger(__name__)


def ssd_recurrent(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The readable reference: h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,  y_t = C_t h_t in each head (eq. 1 and 2).

    x (b, l, H, P), dt (b, l, H) positive, A (H,) negative, B and C (b, l, G, N) -> y (b, l, H, P).
    """
    heads, groups = x.shape[2], B.shape[2]
    B, C = (v.repeat_interleave(heads // groups, dim=2) for v in (B, C))  # (b, l, H, N)
    h = x.new_zeros(x.shape[0], heads, B.shape[3], x.shape[3])
    y = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * A)[..., None, None]
        h = decay * h + (dt[:, t, :, None] * B[:, t])[..., :, None] * x[:, t, :, None, :]
        y.append(torch.einsum("bhn,bhnp->bhp", C[:, t], h))
    return torch.stack(y, dim=1)


def ssd_chunked(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int = CHUNK) -> Tensor:
    """The same map as `ssd_recurrent` by matrix products: attention-like inside a chunk, recurrence between chunks.

    Paper: section 6 (block decomposition of the semiseparable matrix). Same arguments and result; `chunk` >= 1 is the
    longest chunk. Cost O(l Q (N + P)) a head instead of l dependent steps.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
    batch, length, heads, width = x.shape
    groups, states = B.shape[2:]
    per_group = heads // groups
    n_chunks = -(-length // chunk)
    q = -(-length // n_chunks)  # even chunks: at most n_chunks - 1 padded samples instead of up to Q - 1
    pad = n_chunks * q - length

    def split(v: Tensor) -> Tensor:  # (b, l, ...) -> (b, c, q, ...); padded steps have dt = 0: no decay, no input
        v = functional.pad(v, (0, 0) * (v.ndim - 2) + (0, pad)) if pad else v
        return v.reshape(batch, n_chunks, q, *v.shape[2:])

    dt = split(dt)
    xdt = split(x) * dt[..., None]  # (b, c, q, H, P)
    B, C = (split(v).transpose(2, 3) for v in (B, C))  # (b, c, G, q, N)
    log_decay = (dt * A).transpose(2, 3)  # (b, c, H, q)
    total = log_decay.cumsum(-1)  # log of the decay from the chunk's start to the end of step i

    # 1. inside each chunk (diagonal blocks): (L o C B^T) X, eq. 16
    mix = (C @ B.transpose(-1, -2))[:, :, :, None]  # (b, c, G, 1, q, q)
    mix = mix * _decay_matrix(log_decay).reshape(batch, n_chunks, groups, per_group, q, q)
    y = mix.reshape(batch, n_chunks, heads, q, q) @ xdt.transpose(2, 3)  # (b, c, H, q, P)
    y = y.transpose(2, 3).reshape(batch, n_chunks * q, heads, width)
    if n_chunks == 1:
        return y[:, :length]

    # 2. each chunk's own state at its end: heads of one group share B, so they are columns of one product
    to_end = torch.exp(total[..., -1:] - total).transpose(2, 3)[..., None]  # (b, c, q, H, 1)
    columns = (xdt * to_end).reshape(batch, n_chunks, q, groups, per_group * width).transpose(2, 3)
    own = B.transpose(-1, -2) @ columns  # (b, c, G, N, H/G * P)

    # 3. recurrence over chunks: state at the start of each
    whole = torch.exp(total[..., -1]).repeat_interleave(width, dim=2).reshape(batch, n_chunks, groups, 1, -1)
    h = own[:, 0]
    start = [h]
    for k in range(1, n_chunks - 1):
        h = whole[:, k] * h + own[:, k]
        start.append(h)

    # 4. what the earlier chunks add (off-diagonal blocks); the first chunk starts from zero
    earlier = (C[:, 1:] @ torch.stack(start, dim=1)).transpose(2, 3)  # (b, c-1, q, G, H/G * P)
    earlier = earlier.reshape(batch, n_chunks - 1, q, heads, width) * torch.exp(total[:, 1:]).transpose(2, 3)[..., None]
    earlier = earlier.reshape(batch, (n_chunks - 1) * q, heads, width)
    return torch.cat([y[:, :q], y[:, q:] + earlier], dim=1)[:, :length]


def _decay_matrix(log_decay: Tensor) -> Tensor:
    """exp of the segment sums, (..., q) -> (..., q, q): [i, j] = exp(sum of steps j+1..i) for i >= j, else 0 (eq. 4).

    Each segment is summed by itself: differences of one running sum would lose float32 digits late in a chunk.
    """
    q = log_decay.shape[-1]
    below = torch.ones(q, q, dtype=torch.bool, device=log_decay.device).tril(-1)
    steps = log_decay[..., :, None].expand(*log_decay.shape, q).masked_fill(~below, 0.0)
    segments = steps.cumsum(-2)  # for i >= j; above the diagonal it holds 0
    return torch.exp(segments).tril()


class GatedRMSNorm(nn.Module):
    """RMSNorm(y * silu(z)) * weight over each group's channels; parameter `weight` (E,) as in mamba_ssm."""

    def __init__(self, channels: int, groups: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.groups = groups

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """y and z (..., E) -> (..., E)."""
        gated = (y * functional.silu(z)).unflatten(-1, (self.groups, -1))
        scale = torch.rsqrt(gated.square().mean(-1, keepdim=True) + NORM_EPS)
        return (gated * scale).flatten(-2) * self.weight


class Mamba2(nn.Module):
    """Mamba-2 block, u (b, l, d_model) -> (b, l, d_model); state_dict interchangeable with `mamba_ssm.Mamba2`.

    `scan` is the state-space layer: `ssd_chunked` (default) or `ssd_recurrent` for comparison.
    Raises ValueError where expand * d_model is no multiple of headdim, or the heads none of ngroups.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        expand: int = 2,
        headdim: int = 64,
        ngroups: int = 1,
        scan: Callable[..., Tensor] = ssd_chunked,
    ):
        super().__init__()
        inner = expand * d_model
        heads, rest = divmod(inner, headdim)
        if rest or not heads or heads % ngroups:
            raise ValueError(
                f"expand * d_model = {inner} must be a multiple of headdim = {headdim} and the {heads} heads of "
                f"ngroups = {ngroups}: choose a headdim that divides {inner}"
            )
        self.d_model, self.d_state, self.d_conv, self.headdim = d_model, d_state, d_conv, headdim
        self.inner, self.heads, self.ngroups = inner, heads, ngroups
        self.scan = scan
        convolved = inner + 2 * ngroups * d_state  # x, B and C
        dt = torch.exp(torch.rand(heads) * math.log(DT_MAX / DT_MIN) + math.log(DT_MIN))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(A_MIN, A_MAX).log())
        self.D = nn.Parameter(torch.ones(heads))
        for decay_free in (self.dt_bias, self.A_log, self.D):
            # mamba_ssm's own mark, which optimiser set-ups look for; a Parameter takes any attribute
            decay_free._no_weight_decay = True  # type: ignore[attr-defined]
        self.in_proj = nn.Linear(d_model, inner + convolved + heads, bias=False)  # order z, x, B, C, dt
        self.conv1d = nn.Conv1d(convolved, convolved, d_conv, groups=convolved, padding=d_conv - 1)
        self.norm = GatedRMSNorm(inner, ngroups)
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """u (b, l, d_model) -> (b, l, d_model), l >= 1, any float dtype; the scan itself is float32 or better."""
        states = self.ngroups * self.d_state
        z, xBC, dt = self.in_proj(u).split([self.inner, self.inner + 2 * states, self.heads], dim=-1)
        xBC = self.conv1d(xBC.transpose(1, 2))[..., : u.shape[1]].transpose(1, 2)  # padded on both sides: keep the past
        x, B, C = functional.silu(xBC).split([self.inner, states, states], dim=-1)
        exact = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(u.device.type, enabled=False):  # decays over hundreds of steps need the digits
            dt = functional.softplus(dt.to(exact) + self.dt_bias.to(exact))
            x = x.to(exact).unflatten(-1, (self.heads, self.headdim))
            B, C = (v.to(exact).unflatten(-1, (self.ngroups, self.d_state)) for v in (B, C))
            y = self.scan(x, dt, -torch.exp(self.A_log.to(exact)), B, C) + self.D.to(exact)[:, None] * x
            y = self.norm(y.flatten(-2), z.to(exact))
        return self.out_proj(y.to(z.dtype))


@dataclass(frozen=True)
class Implementation:
    """Which Mamba-2 runs on a device, and why."""

    name: str  # "torch" or "mamba_ssm"
    reason: str
    block: Callable[..., nn.Module]  # (d_model, d_state=, d_conv=, expand=, headdim=, ngroups=) -> module


def import_fused() -> Callable[..., nn.Module]:
    """The real `mamba_ssm.Mamba2`, with its fused convolution only where `causal_conv1d` is there too.

    Raises whatever the import raises (no triton, no package). `mamba_ssm` imports the compiled `selective_scan_cuda`
    of Mamba-1 unasked; Mamba-2 never calls it, so an empty module of that name stands in where it was not built.
    """
    name = "selective_scan_cuda"
    stand_in = name not in sys.modules and importlib.util.find_spec(name) is None
    if stand_in:
        sys.modules[name] = types.ModuleType(name)
    try:
        fused = importlib.import_module("mamba_ssm.modules.mamba2").Mamba2
    except BaseException:
        if stand_in:
            del sys.modules[name]
        raise
    with_convolution = importlib.util.find_spec("causal_conv1d") is not None

    def build(d_model: int, **sizes: Any) -> nn.Module:
        return fused(d_model, use_mem_eff_path=with_convolution, **sizes)

    return build


def self_check(fused: Callable[..., nn.Module], device: torch.device | str) -> str | None:
    """Compare a fused block with ours, same weights and random input, forward and backward; None, or what differs.

    Odd length, two chunks of ours and one of theirs, several heads. Leaves the random state as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(20251123)  # blocks are made on the CPU; the GPU's state is not touched
        ours, theirs = (build(64, d_state=32, headdim=32).to(device) for build in (Mamba2, fused))
        u, weight = torch.randn(2, 2, 101, 64).to(device).unbind(0)
    u = u.clone().requires_grad_()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    expected, found = (_output_and_gradients(block, u, weight) for block in (ours, theirs))
    names = ["output", "gradient of the input", *(f"gradient of {name}" for name, _ in ours.named_parameters())]
    for name, want, got in zip(names, expected, found, strict=True):
        error = float((got - want).norm() / want.norm())
        if not error <= (OUTPUT_TOLERANCE if name == "output" else GRADIENT_TOLERANCE):  # NaN fails too
            return f"{name} differs by {error:.1e} (relative)"
    return None


def _output_and_gradients(block: nn.Module, u: Tensor, weight: Tensor) -> list[Tensor]:
    y = block(u)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), [u, *block.parameters()])]


@dataclass(frozen=True)
class Runtime:
    """What the probe asks of the machine; every answer can be replaced in a test."""

    cuda_available: Callable[[], bool] = torch.cuda.is_available
    capability: Callable[[Any], tuple[int, int]] = torch.cuda.get_device_capability
    compiled_for: Callable[[], list[str]] = torch.cuda.get_arch_list
    one_element: Callable[[Any], Any] = lambda device: (torch.ones(1, device=device) + 1).item()
    import_fused: Callable[[], Callable[..., nn.Module]] = import_fused
    self_check: Callable[[Callable[..., nn.Module], Any], str | None] = self_check


def usable_cuda(device: torch.device, runtime: Runtime) -> str | None:
    """None where torch can really compute on this CUDA device, else the reason.

    `is_available()` alone is not enough: a P100 says yes to a torch that has no kernels for it and fails at the first
    operation.
    """
    if not runtime.cuda_available():
        return "CUDA is not available"
    major, minor = runtime.capability(device)
    # a GPU also runs the code of lower minor versions of its own major one (an L4, sm_89, runs sm_86)
    if not {f"sm_{major}{lower}" for lower in range(minor + 1)} & set(runtime.compiled_for()):
        return f"this torch has no kernels for sm_{major}{minor} (only {', '.join(runtime.compiled_for())})"
    try:
        runtime.one_element(device)
    except Exception as error:  # CUDA reports broken devices by many types
        return f"a one-element operation failed: {error}"
    return None


def select_implementation(device: torch.device | str, runtime: Runtime | None = None) -> Implementation:
    """Choose between `mamba_ssm` and our own block for a device; logged with its reason, asked once per device."""
    if runtime is None:
        return _select_once(str(device))
    chosen = _select(torch.device(device), runtime)
    log.info("Mamba-2 on %s: %s (%s)", device, chosen.name, chosen.reason)
    return chosen


@lru_cache
def _select_once(device: str) -> Implementation:
    return select_implementation(device, Runtime())


def _select(device: torch.device, runtime: Runtime) -> Implementation:
    def own(reason: str) -> Implementation:
        return Implementation("torch", reason, Mamba2)

    if device.type != "cuda":
        return own(f"the fused kernels need CUDA, the device is {device.type}")
    if reason := usable_cuda(device, runtime):
        return own(reason)
    try:
        fused = runtime.import_fused()
    except Exception as error:  # missing triton, einops, a driver...: all mean the same here
        return own(f"mamba_ssm cannot be imported: {type(error).__name__}: {error}")
    try:
        difference = runtime.self_check(fused, device)
    except Exception as error:  # a Triton kernel that does not compile on this GPU
        return own(f"mamba_ssm fails on this GPU: {type(error).__name__}: {error}")
    if difference:
        return own(f"mamba_ssm gives other numbers than our block: {difference}")
    return Implementation("mamba_ssm", "imports, runs and equals our block", fused)


def best_block(d_model: int, device: torch.device | str = "cpu", **sizes: int) -> nn.Module:
    """The fastest Mamba-2 that is right on `device`, placed there; sizes as in `Mamba2` (d_state, d_conv, ...)."""
    return select_implementation(device).block(d_model, **sizes).to(device)

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
`load_state_dict(strict=True)`. Which of the two runs is decided in `fused.py`.

Does NOT include: step-by-step decoding with a cache, packed sequences (seq_idx, cu_seqlens), tensor parallelism,
`d_ssm` below the inner width, `D_has_hdim`, `norm_before_gate`, learnt initial states.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK = 64  # longest chunk; 32 to 128 are level on a CPU at l = 282, 16 is slower (bench/ssm_speed.py --chunks)
NORM_EPS = 1e-5  # as mamba_ssm's gated RMSNorm is built by its Mamba2
DT_MIN, DT_MAX = 1e-3, 1e-1  # initial range of the step, log-uniform (mamba_ssm's defaults)
A_MIN, A_MAX = 1.0, 16.0  # initial range of -A, uniform (mamba_ssm's defaults)


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

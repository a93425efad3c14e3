"""Mamba-2: chunks against recurrence, recurrence against a dense matrix, mamba_ssm's names."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitlib.fusion import ssm

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def _inputs(batch, length, heads, groups, states, width, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = normal(batch, length, heads, width)
    B, C = normal(batch, length, groups, states), normal(batch, length, groups, states)
    dt = torch.nn.functional.softplus(normal(batch, length, heads) - 2)
    A = -torch.exp(normal(heads))
    return [v.to(dtype).requires_grad_() for v in (x, dt, A, B, C)]


def _value_and_gradients(scan, inputs):
    y = scan(*inputs)
    weight = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), inputs)]


def _assert_close(found, expected, tolerance):
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        scale = want.abs().max().clamp_min(1e-3)
        assert float((got - want).abs().max() / scale) <= tolerance


def test_recurrence_is_the_dense_semiseparable_matrix():
    """y_i = sum_{j<=i} C_i B_j exp(sum_{j<k<=i} dt_k A) dt_j x_j, written out with numpy loops (paper, eq. 3)."""
    x, dt, A, B, C = _inputs(1, 7, 4, 2, 3, 2, torch.float64)
    found = ssm.ssd_recurrent(x, dt, A, B, C)[0].detach().numpy()
    x, dt, A, B, C = (v.detach().numpy() for v in (x[0], dt[0], A, B[0], C[0]))
    expected = np.zeros_like(x)
    for head in range(4):
        group = head // 2
        for i in range(7):
            for j in range(i + 1):
                decay = np.exp(dt[j + 1 : i + 1, head].sum() * A[head])
                expected[i, head] += C[i, group] @ B[j, group] * decay * dt[j, head] * x[j, head]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("length", "chunk"),
    [(1, 1), (1, 64), (2, 1), (7, 3), (63, 64), (64, 64), (65, 64), (128, 64), (129, 64), (191, 32), (282, 64)],
)
def test_chunks_equal_the_recurrence(length, chunk, dtype):
    inputs = _inputs(1, length, 2, 1, 8, 4, dtype, seed=length)
    chunked = functools.partial(ssm.ssd_chunked, chunk=chunk)
    expected = _value_and_gradients(ssm.ssd_recurrent, inputs)
    _assert_close(_value_and_gradients(chunked, inputs), expected, TOLERANCE[dtype])


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 40),
    chunk=st.integers(1, 45),
    groups=st.integers(1, 2),
    per_group=st.integers(1, 3),
    states=st.integers(1, 5),
    width=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_chunks_equal_the_recurrence_at_any_size(batch, length, chunk, groups, per_group, states, width, seed):
    inputs = _inputs(batch, length, groups * per_group, groups, states, width, torch.float64, seed)
    chunked = functools.partial(ssm.ssd_chunked, chunk=chunk)
    _assert_close(_value_and_gradients(chunked, inputs), _value_and_gradients(ssm.ssd_recurrent, inputs), 1e-10)


def test_strong_decay_stays_finite():
    """exp of the upper triangle would overflow without its mask; at decays like these its gradient would be NaN."""
    inputs = _inputs(1, 100, 2, 1, 4, 4, torch.float32)
    inputs[1] = (inputs[1].detach() * 1000).requires_grad_()
    found = _value_and_gradients(ssm.ssd_chunked, inputs)
    assert all(torch.isfinite(v).all() for v in found)
    _assert_close(found, _value_and_gradients(ssm.ssd_recurrent, inputs), 1e-5)


def test_chunk_below_one_is_refused():
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        ssm.ssd_chunked(*_inputs(1, 4, 1, 1, 1, 1, torch.float64), chunk=0)


def test_gradcheck():
    inputs = _inputs(1, 7, 2, 1, 2, 2, torch.float64)
    assert torch.autograd.gradcheck(functools.partial(ssm.ssd_chunked, chunk=3), inputs)


def test_block_is_causal_and_uses_the_past():
    block, u = ssm.Mamba2(16, d_state=8, headdim=8), torch.randn(1, 90, 16)
    changed = u.clone()
    changed[:, 70] += 1
    y, other = block(u), block(changed)
    assert torch.equal(y[:, :70], other[:, :70])
    assert (y[:, 70:] != other[:, 70:]).any(dim=-1).all()


def test_block_against_its_definition():
    """The whole block with torch's own Conv1d and a written-out norm (Mamba-2 paper, figure 6 and section 7)."""
    torch.manual_seed(0)
    block, u = ssm.Mamba2(16, d_state=8, headdim=8, ngroups=2).double(), torch.randn(2, 75, 16, dtype=torch.float64)
    z, xBC, dt = torch.split(u @ block.in_proj.weight.T, [32, 64, 4], dim=-1)
    xBC = torch.nn.functional.silu(block.conv1d(xBC.transpose(1, 2))[..., :75].transpose(1, 2))
    x, B, C = (v.unflatten(-1, (n, -1)) for v, n in zip(xBC.split([32, 16, 16], dim=-1), (4, 2, 2), strict=True))
    dt = torch.log1p(torch.exp(dt + block.dt_bias))
    y = ssm.ssd_recurrent(x, dt, -block.A_log.exp(), B, C) + x * block.D[None, None, :, None]
    y = (y.flatten(-2) * z * torch.sigmoid(z)).reshape(2, 75, 2, 16)
    y = (y / torch.sqrt((y**2).mean(-1, keepdim=True) + 1e-5)).reshape(2, 75, 32) * block.norm.weight
    torch.testing.assert_close(block(u), y @ block.out_proj.weight.T, rtol=1e-10, atol=1e-12)


def test_half_precision_follows_float32():
    torch.manual_seed(0)
    block, u = ssm.Mamba2(32, d_state=16, headdim=16), torch.randn(2, 100, 32)
    expected = block(u).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = block(u)
    assert found.dtype == torch.bfloat16
    assert float((found.detach().float() - expected).norm() / expected.norm()) < 0.03
    assert block.bfloat16()(u.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("d_model", "d_state", "d_conv", "expand", "headdim", "ngroups"), [(64, 64, 4, 2, 64, 1), (48, 16, 3, 3, 12, 4)]
)
def test_names_shapes_and_order_are_mamba_ssm_s(d_model, d_state, d_conv, expand, headdim, ngroups):
    """The table of mamba_ssm 2.3.2's Mamba2.__init__ (its d_ssm = d_inner, rmsnorm, bias=False, conv_bias=True)."""
    inner = expand * d_model
    heads, convolved = inner // headdim, inner + 2 * ngroups * d_state
    expected = [
        ("dt_bias", (heads,)),
        ("A_log", (heads,)),
        ("D", (heads,)),
        ("in_proj.weight", (2 * inner + 2 * ngroups * d_state + heads, d_model)),
        ("conv1d.weight", (convolved, 1, d_conv)),
        ("conv1d.bias", (convolved,)),
        ("norm.weight", (inner,)),
        ("out_proj.weight", (d_model, inner)),
    ]
    block = ssm.Mamba2(d_model, d_state, d_conv, expand, headdim, ngroups)
    assert [(name, tuple(value.shape)) for name, value in block.state_dict().items()] == expected
    assert [name for name, _ in block.named_parameters()] == [name for name, _ in expected]


def test_initial_step_and_decay_lie_in_mamba_ssm_s_ranges():
    block = ssm.Mamba2(512, headdim=1)
    step = torch.nn.functional.softplus(block.dt_bias).detach()
    assert 0.999e-3 <= float(step.min()) < 2e-3 and 0.05 < float(step.max()) <= 0.1001
    rate = block.A_log.exp().detach()
    assert 1 <= float(rate.min()) < 2 and 15 < float(rate.max()) <= 16.001
    assert abs(float(step.log().mean()) - np.log(1e-2)) < 0.15  # log-uniform


@pytest.mark.parametrize("sizes", [{"headdim": 48}, {"headdim": 256}, {"headdim": 32, "ngroups": 3}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="headdim"):
        ssm.Mamba2(64, **sizes)

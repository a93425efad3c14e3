"""Encoders: visits that are absent do not matter, order of visits neither, the graph is the one that is described."""

import numpy as np
import pytest
import torch
from spectra import WL

from kitlib.base.instruments import MOLECULAR_BANDS_UM, N_AIRS_BINS
from kitlib.base.schema import ModelConfig
from kitlib.fusion.encoders import PATCH, AirsEncoder, Fgs1Encoder, over_visits, wavelength_graph
from kitlib.fusion.features import AIRS_PHASES, FGS1_PHASES, GROUP, GROUPS, NODE_CHANNELS

SMALL = ModelConfig(width=16, fgs1_layers=2, state=8, airs_channels=8, graph_layers=1, dropout=0.0)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def curves(planets=3):
    return torch.randn(planets, 2, 4, FGS1_PHASES), torch.ones(planets, 2, dtype=torch.bool)


def maps(planets=3):
    return torch.randn(planets, N_AIRS_BINS, len(NODE_CHANNELS)), torch.randn(planets, 2, 2, AIRS_PHASES, GROUPS)


def test_mean_over_present_visits_by_hand():
    x = torch.tensor([[[1.0], [3.0]], [[5.0], [7.0]], [[9.0], [11.0]]])
    present = torch.tensor([[True, True], [False, True], [False, False]])
    assert over_visits(lambda v: 10 * v, x, present).tolist() == [[20.0], [70.0], [0.0]]
    assert over_visits(lambda v: v + 1, x, torch.zeros_like(present)).tolist() == [[0.0]] * 3


@pytest.mark.parametrize("value", [1e30, float("nan")])
def test_what_stands_in_an_absent_visit_does_not_matter(value):
    encoder = Fgs1Encoder(SMALL)
    x, present = curves()
    present[1, 0] = False
    clean = encoder(x, present)
    x[1, 0] = value
    assert torch.equal(encoder(x, present), clean)


def test_order_of_visits_does_not_matter():
    encoder, airs = Fgs1Encoder(SMALL), AirsEncoder(SMALL, WL)
    x, present = curves()
    torch.testing.assert_close(encoder(x, present), encoder(x.flip(1), present))
    nodes, residuals = maps()
    torch.testing.assert_close(airs(nodes, residuals, present), airs(nodes, residuals.flip(1), present))


def test_planets_do_not_hear_of_each_other():
    encoder, airs = Fgs1Encoder(SMALL), AirsEncoder(SMALL, WL)
    (x, present), (nodes, residuals) = curves(), maps()
    torch.testing.assert_close(encoder(x, present)[1:2], encoder(x[1:2], present[1:2]))
    whole, one = airs(nodes, residuals, present), airs(nodes[1:2], residuals[1:2], present[1:2])
    torch.testing.assert_close(whole[1:2], one, rtol=1e-4, atol=1e-5)


def test_both_ends_of_the_light_curve_reach_the_result_and_so_does_order():
    encoder = Fgs1Encoder(SMALL)
    x, present = curves(1)
    x.requires_grad_()
    encoder(x, present).square().sum().backward()
    reached = x.grad.abs().sum((0, 1, 2))
    assert (reached > 0).all()
    assert not torch.allclose(encoder(x.flip(-1), present), encoder(x, present), atol=1e-3)


def test_phases_without_samples_get_no_attention():
    encoder = Fgs1Encoder(SMALL)
    pooled = []
    encoder.norms[-1].register_forward_hook(lambda _, __, out: pooled.append(out))
    x, present = curves(1)
    x[:, :, 3] = 0.0
    x[:, :, 3, 40] = 2.0  # one phase with information
    torch.testing.assert_close(encoder(x, present), pooled[0][:, 40 // PATCH].mean(0, keepdim=True))


def test_chain_edges_by_hand():
    chain, molecules = wavelength_graph(WL)
    assert np.flatnonzero(chain[100]).tolist() == [98, 99, 101, 102]
    assert np.flatnonzero(chain[0]).tolist() == [1, 2]
    for edges in (chain, molecules):
        assert np.array_equal(edges, edges.T) and not edges.diagonal().any() and set(np.unique(edges)) <= {0, 1}


def test_molecule_edges_join_bins_of_one_molecule_s_bands_and_no_others():
    _, edges = wavelength_graph(WL)
    airs = WL[1:]

    def molecules(um):
        return {m for m, bands in MOLECULAR_BANDS_UM.items() if any(low <= um <= high for low, high in bands)}

    rng = np.random.default_rng(0)
    for i, j in rng.integers(0, N_AIRS_BINS, (500, 2)):
        assert edges[i, j] == float(i != j and bool(molecules(airs[i]) & molecules(airs[j])))
    methane = [int(np.argmin(np.abs(airs - um))) for um in (2.3, 3.3)]  # two bands of CH4
    assert edges[methane[0], methane[1]] == 1


def influence(config, bin_):
    """Which bins' output moves with one bin's node features."""
    encoder = AirsEncoder(config, WL)
    nodes, residuals = maps(1)
    moved = nodes.clone()
    moved[0, bin_] += 1
    present = torch.ones(1, 2, dtype=torch.bool)
    change = (encoder(moved, residuals, present) - encoder(nodes, residuals, present)).abs().sum(-1)[0]
    return set(torch.nonzero(change > 1e-6)[:, 0].tolist())


def test_messages_travel_along_edges_and_only_there():
    bin_ = 200
    chain, molecules = wavelength_graph(WL)
    assert influence(SMALL, bin_) == {bin_} | set(np.flatnonzero(chain[bin_] + molecules[bin_]).tolist())
    bare = ModelConfig(**{**vars(SMALL), "graph": False})
    assert influence(bare, bin_) == {bin_}


def test_map_columns_reach_their_own_wavelengths():
    config = ModelConfig(**{**vars(SMALL), "graph": False})
    encoder = AirsEncoder(config, WL)
    nodes, residuals = maps(1)
    residuals.requires_grad_()
    present = torch.ones(1, 2, dtype=torch.bool)
    encoder(nodes, residuals, present)[0, 20 * GROUP, 0].backward()
    columns = torch.nonzero(residuals.grad.abs().sum((0, 1, 2, 3)) > 1e-9)[:, 0]
    assert 20 in columns  # group norm lets all columns in a little: the own group counts most
    assert residuals.grad.abs().sum((0, 1, 2, 3)).argmax() in (19, 20, 21)


def test_switched_off_parts_have_no_parameters_and_no_effect():
    config = ModelConfig(**{**vars(SMALL), "airs_encoder": False})
    encoder = AirsEncoder(config, WL)
    assert not any(name.startswith("maps") for name, _ in encoder.named_parameters())
    nodes, residuals = maps()
    present = torch.ones(3, 2, dtype=torch.bool)
    assert torch.equal(encoder(nodes, residuals, present), encoder(nodes, 5 * residuals, present))

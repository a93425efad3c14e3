"""The fusion model: untrained it is the physics to the bit; its variance is that of T cov T^T; gaps are inputs."""

import dataclasses

import numpy as np
import pytest
import torch
from spectra import NAIVE, WL
from test_features import toy_catalogue, toy_features, toy_posterior

from kitlib.base.folds import fold_of, split
from kitlib.base.instruments import N_AIRS_BINS, N_BINS
from kitlib.base.schema import ModelConfig
from kitlib.fusion.ensemble import matched, out_of_fold
from kitlib.fusion.features import features_of, no_inputs
from kitlib.fusion.model import (
    MAX_PARAMETERS,
    ModelError,
    build,
    corrected,
    load_model,
    population_base,
    predict,
    save_model,
    trusted,
)
from kitlib.sigma.calibrator import Calibrator, apply

SMALL = {"width": 16, "fgs1_layers": 1, "state": 8, "airs_channels": 8, "graph_layers": 1}


def small(**changes):
    torch.manual_seed(0)
    return build(ModelConfig(**(SMALL | changes)), WL)


def stirred(model, seed=1, scale=0.3):
    """The model with random last layers, as if it had been trained."""
    torch.manual_seed(seed)
    for values in (model.planet_head.weight, model.planet_head.bias, model.bin_head.weight):
        torch.nn.init.normal_(values, std=scale)
    return model.eval()


SWITCHES = [
    {},
    {"fgs1_encoder": False},
    {"airs_encoder": False},
    {"graph": False},
    {"sigma_factors": 1},
    {"gradient_checkpointing": True},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: next(iter(s), "all"))
def test_untrained_model_is_the_posterior_to_the_bit(switches):
    posterior, features, _ = toy_features()
    model = small(**switches).eval()
    model.scale_inputs(features)
    answer = model(features)
    assert np.array_equal(answer.mu.detach().numpy(), posterior.mean)
    diagonal = np.diagonal(posterior.cov, axis1=1, axis2=2).astype(np.float64)
    assert torch.equal(answer.sigma.detach(), torch.from_numpy(diagonal).sqrt())
    after = predict(model, posterior, features)
    assert np.array_equal(after.mean, posterior.mean) and np.array_equal(after.cov, posterior.cov)
    before, now = apply(Calibrator(), posterior), apply(Calibrator(), after)
    assert np.array_equal(before.mu, now.mu) and np.array_equal(before.sigma, now.sigma)


def test_physics_is_the_posterior_itself():
    posterior, features, _ = toy_features()
    assert predict(build(ModelConfig(kind="physics"), WL), posterior, features) is posterior


@pytest.mark.parametrize("switches", SWITCHES[:5], ids=lambda s: next(iter(s), "all"))
def test_sigma_is_the_diagonal_of_the_transformed_covariance(switches):
    """The closed form that is trained against the matrices that are handed on."""
    posterior, features, _ = toy_features()
    model = stirred(small(**switches))
    answer = model(features)
    after = corrected(posterior, answer)
    diagonal = np.diagonal(after.cov, axis1=1, axis2=2)
    np.testing.assert_allclose(answer.sigma.detach().numpy() ** 2, diagonal, rtol=1e-4)
    assert not np.allclose(diagonal, np.diagonal(posterior.cov, axis1=1, axis2=2), rtol=0.05)
    lowest = [np.linalg.eigvalsh(c.astype(np.float64))[0] / np.trace(c) for c in after.cov]
    assert min(lowest) > -1e-7  # positive semidefinite within float32


def test_the_three_factors_act_on_their_own_parts():
    posterior, features, _ = toy_features(2)
    answer = small().eval()(features)
    factors = torch.tensor([[2.0, 3.0, 5.0]] * 2, dtype=torch.float64)
    after = corrected(posterior, dataclasses.replace(answer, factors=factors))
    average = np.r_[0, np.full(N_AIRS_BINS, 1 / N_AIRS_BINS)]
    contrast = np.zeros(N_BINS)
    contrast[10], contrast[200] = 1, -1
    for vector, factor in ((np.eye(N_BINS)[0], 2), (average, 3), (contrast, 5)):
        before, now = (float(vector @ p.cov[0].astype(np.float64) @ vector) for p in (posterior, after))
        assert now / before == pytest.approx(factor**2, rel=1e-3)


def test_deltas_are_in_units_of_the_parts_sigma():
    """A level delta of one moves every AIRS bin by sd(L); a shape delta keeps the level."""
    posterior, features, _ = toy_features(3)
    model = small().eval()
    with torch.no_grad():
        model.planet_head.bias[0], model.planet_head.bias[1] = 0.5, 0.25
    move = (model(features).mu - features.mean).detach()
    sd = features.level_variance.sqrt()
    expected = torch.tensor([0.25, 0.5])[0] * sd  # bounded by tanh(x / 10): 0.25 within 1e-4
    torch.testing.assert_close(move[:, 1:], expected[:, None].expand(-1, N_AIRS_BINS), rtol=1e-3, atol=0)
    torch.testing.assert_close(move[:, 0], 0.5 * features.variance[:, 0].sqrt(), rtol=1e-3, atol=0)
    shaped = small().eval()
    torch.nn.init.normal_(shaped.bin_head.weight)
    move = (shaped(features).mu - features.mean).detach()
    assert move[:, 1:].abs().max() > 1e-6 and move[:, 1:].mean(1).abs().max() < 1e-15


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_trust_is_that_share_of_the_corrections(share):
    (_, features, *_), model = toy_features(), stirred(small(), scale=0.01)  # far from the bounds
    whole, part = model(features), trusted(model, share)(features)
    np.testing.assert_allclose(part.factors.log().detach(), share * whole.factors.log().detach(), rtol=1e-3, atol=1e-9)
    moved = share * (whole.mu - features.mean)
    np.testing.assert_allclose((part.mu - features.mean).detach(), moved.detach(), rtol=1e-3, atol=1e-12)


def test_every_parameter_gets_a_gradient_once_the_heads_have_moved():
    _, features, _ = toy_features()
    model = stirred(small(dropout=0.0)).train()
    answer = model(features)
    ((answer.mu * torch.randn(N_BINS)).sum() / 1e-5 + answer.sigma.log().sum()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_heads_learn_from_the_first_step():
    """Zero weights, but no saddle: each output of an untrained model has a gradient."""
    _, features, _ = toy_features()
    model = small().train()
    answer = model(features)
    away = (answer.mu - features.mean) / 1e-4 - torch.randn(N_BINS)
    (away.square().sum() + (answer.sigma.log() + 5).square().sum()).backward()
    assert (model.planet_head.bias.grad != 0).all() and (model.bin_head.weight.grad != 0).any()


def test_missing_visits_instruments_and_planets_without_fit():
    posterior, features, _ = toy_features(6)
    model = stirred(small())
    present = features.present.clone()
    present[0], present[1, :, 0], present[2, :, 1] = False, False, False
    gaps = dataclasses.replace(features, present=present)
    answer = model(gaps)
    assert torch.isfinite(answer.mu).all() and (answer.sigma > 0).all()
    airs, fgs1 = gaps.airs.clone(), gaps.fgs1.clone()
    airs[~present[..., 1]], fgs1[~present[..., 0]] = float("nan"), float("nan")
    holes = model(dataclasses.replace(gaps, airs=airs, fgs1=fgs1))
    assert torch.equal(holes.mu, answer.mu) and torch.equal(holes.sigma, answer.sigma)
    with_fit = torch.tensor([True] * 5 + [False])
    answer = model(dataclasses.replace(gaps, fitted=with_fit))
    assert torch.equal(answer.mu[5], features.mean[5]) and not torch.equal(answer.mu[4], features.mean[4])
    assert torch.equal(answer.sigma[5], features.variance[5].sqrt())


def test_unknown_diagnostics_and_a_population_only_batch():
    rng = np.random.default_rng(0)
    posterior = toy_posterior(2, rng, fallback=2.0)
    inputs = {name: np.stack([value] * 2) for name, value in no_inputs().items()}
    model = stirred(small())
    after = predict(model, posterior, features_of(posterior, toy_catalogue(2, rng), inputs))
    assert np.array_equal(after.mean, posterior.mean) and np.array_equal(after.cov, posterior.cov)


def test_wild_inputs_give_finite_answers():
    posterior, features, _ = toy_features(3)
    wild = dataclasses.replace(features, nodes=features.nodes * 1e8, meta=features.meta * 1e8)
    model = stirred(small(), scale=100.0)
    answer = model(wild)
    assert torch.isfinite(answer.mu).all() and torch.isfinite(answer.sigma).all() and (answer.sigma > 0).all()


def test_checkpointing_gives_the_same_gradients():
    _, features, _ = toy_features(4)
    found = []
    for switch in (False, True):
        model = stirred(small(gradient_checkpointing=switch)).train()
        torch.manual_seed(3)  # the same dropout
        model(features).sigma.log().sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-9)


def test_direct_regression_does_not_see_the_posterior():
    posterior, features, _ = toy_features(4)
    base = population_base(features.planet_id.numpy(), NAIVE)
    model = stirred(small(base="population"))
    answer = model(features.with_base(base))
    nodes = features.nodes.clone()
    nodes[..., :6] += 100.0
    assert torch.equal(model(dataclasses.replace(features, nodes=nodes).with_base(base)).mu, answer.mu)
    untrained = small(base="population").eval()(features.with_base(base))
    assert (untrained.mu == NAIVE[0]).all()
    np.testing.assert_allclose(untrained.sigma.detach(), NAIVE[1], rtol=1e-3)


def test_the_default_model_is_small():
    model = build(ModelConfig(), WL)
    assert sum(p.numel() for p in model.parameters()) < MAX_PARAMETERS / 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "v5"}, "model.kind"),
        ({"base": "prior"}, "model.base"),
        ({"sigma_factors": 2}, "model.sigma_factors"),
        ({"width": 20}, "model.width"),
        ({"width": 1024}, "parameters"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(ModelConfig(**(SMALL | changes)), WL)


def test_a_model_file_comes_back_as_it_was(tmp_path):
    _, features, _ = toy_features(3)
    model = stirred(small(graph=False))
    model.scale_inputs(features)
    path = save_model(tmp_path / "model.safetensors", model, {"score": 0.5, "seed": 7})
    again, about = load_model(path)
    assert about == {"score": 0.5, "seed": 7} and again.config == model.config
    assert torch.equal(again(features).mu, model(features).mu)
    assert torch.equal(again(features).sigma, model(features).sigma)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors.*Train it again"):
        load_model(path)


def test_features_of_other_planets_are_refused():
    posterior, features, _ = toy_features(3)
    with pytest.raises(ModelError, match="order"):
        predict(small(), posterior, features.take(np.array([1, 0, 2])))


def test_matched_moments_are_those_of_the_mixture():
    rng = np.random.default_rng(0)
    members = [toy_posterior(2, np.random.default_rng(seed)) for seed in range(3)]
    one = matched(members)
    draws = np.concatenate([rng.multivariate_normal(m.mean[0], m.cov[0], 20_000) for m in members])
    np.testing.assert_allclose(one.mean[0], draws.mean(0), atol=4 * draws.std() / np.sqrt(60_000))
    np.testing.assert_allclose(np.diag(one.cov[0]), draws.var(0), rtol=0.05)
    alone = matched(members[:1])
    assert np.array_equal(alone.mean, members[0].mean) and np.array_equal(alone.cov, members[0].cov)
    with pytest.raises(ValueError, match="at least one"):
        matched([])
    with pytest.raises(ValueError, match="same planets"):
        matched([members[0], toy_posterior(3, rng)])


def test_out_of_fold_takes_each_planet_from_its_own_member():
    members = [toy_posterior(4, np.random.default_rng(seed)) for seed in range(2)]
    one = out_of_fold(members, np.array([0, 1, 1, 0]))
    for planet, member in enumerate([0, 1, 1, 0]):
        assert np.array_equal(one.mean[planet], members[member].mean[planet])
        assert np.array_equal(one.cov[planet], members[member].cov[planet])
    with pytest.raises(ValueError, match="folds"):
        out_of_fold(members, np.array([0, 1, 2, 0]))


def test_folds_and_splits_are_even_disjoint_and_drawn_by_the_seed():
    fold = fold_of(23, 5, 1)
    assert set(np.bincount(fold)) == {4, 5}
    assert np.array_equal(fold, fold_of(23, 5, 1)) and not np.array_equal(fold, fold_of(23, 5, 2))
    train, held = split(20, 0.1, 3)
    assert len(held) == 2 and sorted([*train, *held]) == list(range(20))
    assert [len(part) for part in split(2, 0.9, 0)] == [1, 1]
    for call in (lambda: fold_of(3, 4, 0), lambda: fold_of(3, 1, 0), lambda: split(1, 0.1, 0)):
        with pytest.raises(ValueError, match="give|add"):
            call()

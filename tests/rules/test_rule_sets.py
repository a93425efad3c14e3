"""Sets of rules: as configs/loss/v50.yaml gives them, and their report by planet and bin."""

import numpy as np
import pytest
import torch
from spectra import WL

from kitlib.base.config import compose
from kitlib.base.instruments import N_BINS
from kitlib.base.schema import LossConfig
from kitlib.rules import constraints as rules
from kitlib.rules.constraints import RuleError, parse

PLANETS = 3
MU = torch.linspace(0.01, 0.02, PLANETS * N_BINS, dtype=torch.float64).reshape(PLANETS, N_BINS)
SIGMA = MU / 100


@pytest.fixture
def v50() -> LossConfig:
    """configs/loss/v50.yaml as `train` composes it."""
    return compose("train").loss


def test_seed_rules_of_v50(v50):
    seeds = rules.from_config(v50)
    bands = [f"band_{molecule}" for molecule in ("H2O", "CO2", "CO", "CH4", "NH3")]
    assert list(seeds.rules) == ["smoothness", *bands, "nonneg_mu", "bounded_sigma"]
    smooth = torch.full((1, N_BINS), 0.01, dtype=torch.float64)
    assert seeds.penalty(smooth, smooth, WL).item() == 0
    rough = smooth.clone()
    rough[0, 1::2] += 10e-6  # bins scatter by 5 ppm, their second differences by 20: 18.44 ppm too many, unit 10 ppm
    torch.testing.assert_close(
        seeds.rules["smoothness"].penalty(rough, smooth, WL), torch.tensor([1.844**2 * 5e-4]).double()
    )
    below, loud = smooth.clone(), smooth.clone()
    below[0, 3] = -1e-5
    loud[0, 3] = 6.0
    torch.testing.assert_close(seeds.rules["nonneg_mu"].penalty(below, smooth, WL), torch.tensor([1 / 283]).double())
    torch.testing.assert_close(seeds.rules["bounded_sigma"].penalty(smooth, loud, WL), torch.tensor([1 / 283]).double())


def test_overrides_reach_the_rules():
    seeds = rules.from_config(compose("train", ["loss.smoothness.lam=2e-3", "loss.bands.enabled=false"]).loss)
    assert list(seeds.rules) == ["smoothness", "nonneg_mu", "bounded_sigma"]
    assert seeds.rules["smoothness"].weight == 2e-3


def test_band_rule_speaks_of_its_molecule_alone(v50):
    strong = torch.full((1, N_BINS), 0.01, dtype=torch.float64)
    strong[0, (WL >= 2.28) & (WL <= 2.45)] = 0.02  # CO stands out
    seeds = rules.from_config(v50)
    assert seeds.rules["band_CO"].penalty(strong, strong, WL).item() > 0
    assert seeds.rules["band_H2O"].penalty(strong, strong, WL).item() == 0
    v50.bands.ranges_um = {"CO": [[3.0, 3.1]]}
    assert rules.from_config(v50).rules["band_CO"].penalty(strong, strong, WL).item() == 0


def test_switches_of_the_configuration(v50):
    v50.smoothness.enabled = v50.bands.enabled = False
    v50.rules["nonneg_mu"] = None
    v50.rules["mine"] = {"expr": "mu <= 0.015", "weight": 2.0, "unit": 1.0}
    seeds = rules.from_config(v50)
    assert list(seeds.rules) == ["bounded_sigma", "mine"]
    torch.testing.assert_close(seeds.penalty(MU, SIGMA, WL), 2 * parse("mu <= 0.015").penalty(MU, SIGMA, WL))
    v50.rules = {}
    assert rules.from_config(v50).penalty(MU, SIGMA, WL).tolist() == [0.0] * PLANETS


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("mu >= foo", r"column 7: in loss.rules.mine: unknown name"),
        ({"expr": "mu >= 0", "wieght": 2}, r"loss.rules.mine: .*wieght"),
        ({"weight": 2}, r"loss.rules.mine: give the text"),
        ({"expr": "mu >= 0", "weight": -2}, r"loss.rules.mine: a rule's weight"),
        ({"expr": "mu >= 0", "unit": 0}, r"loss.rules.mine: a rule's unit"),
        ({"expr": "mu >= 0", "unit": "ten"}, r"loss.rules.mine: could not convert"),
        (17, r"in loss.rules.mine: a rule is text"),
    ],
)
def test_bad_configured_rules_are_named(v50, entry, message):
    v50.rules["mine"] = entry
    with pytest.raises(ValueError, match=message):
        rules.from_config(v50)


def test_bad_configured_bands_are_named(v50):
    v50.bands.ranges_um = {"CO": [[3.1, 3.0]]}
    with pytest.raises(RuleError, match="the band of CO goes up"):
        rules.from_config(v50)
    v50.bands.ranges_um, v50.bands.molecules = {}, ["XY"]
    with pytest.raises(RuleError, match="unknown molecule 'XY'"):
        rules.from_config(v50)
    v50.bands.molecules, v50.rules["smoothness"] = [], "mu > 0"
    with pytest.raises(ValueError, match="taken by a seed rule"):
        rules.from_config(v50)


def test_report_names_rule_planet_and_bin():
    mu = torch.full((3, N_BINS), 0.02, dtype=torch.float64)
    mu[0, 4], mu[2, 7], mu[2, 8] = -1e-4, -2e-4, -3e-4
    named = rules.RuleSet({"nonneg_mu": parse("mu >= 0"), "bounded_sigma": parse("abs(sigma) < 5.0")})
    rows = named.report(np.array([11, 12, 13]), mu, torch.ones_like(mu), WL)
    assert [(row["rule"], row["planet_id"], row["bins"], row["worst_bin"]) for row in rows] == [
        ("nonneg_mu", 13, 2, 8),
        ("nonneg_mu", 11, 1, 4),
    ]
    assert rows[0]["violation"] == pytest.approx(3e-4) and rows[0]["worst_um"] == pytest.approx(WL[8])

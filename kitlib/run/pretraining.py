"""The set that the fusion model is pre-trained on: simulated planets at light-curve level, fitted like real ones.

Domain randomisation (Tobin et al. 2017, arXiv:1703.06907): a share of the planets has spectra of random families,
detectors as bad as the hidden test set's, drifts of another size, and contacts that lie outside the visit. The model so
meets planets that the spectral prior does not describe, and learns how far it can be trusted then. All but a share draw
what nobody knows of the observatory (`simulate.world`): faults that the physical model does not hold.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base.products import Catalogue, PlanetLightCurves
from ..base.provenance import sha256_json
from ..base.schema import Config, WorldConfig
from ..fusion import Features, features_of, make_shards
from ..simulate import (
    OWN,
    TRAINING,
    catalogue_factors,
    draw_spectra,
    draw_systems,
    draw_visits,
    draw_worlds,
    observed_catalogue,
    random_chemistry,
    simulate_lightcurves,
    with_grazing,
)
from ..transit import Priors
from .fits import fit_planets

TWO_VISITS, PARTIAL = 0.15, 0.06  # shares in the randomised part; elsewhere those of the competition
LN_DRIFT_SD = 0.5  # scatter of the drift's size in the randomised part


def draw_planets(
    count: int,
    randomised: float,
    rng: np.random.Generator,
    samples: int = 375,
    world: WorldConfig | None = None,
    own: float = 0.0,
) -> tuple[list[PlanetLightCurves], Catalogue, np.ndarray]:
    """Light curves, catalogue rows and true spectra (count, 283) of simulated planets, in no order of their ids.

    `randomised`: share with spectra, detectors and drifts of their own; `world`: what each planet draws of what nobody
    knows of the observatory, by default the own world; `own`: share of planets of the own world all the same.
    """
    worlds = draw_worlds(world or WorldConfig(), rng, count)
    worlds[: round(own * count)] = [OWN] * round(own * count)
    systems = draw_systems(count, rng)
    systems = with_grazing(systems.take(rng.permutation(count)), worlds)
    curves, spectra = [], np.empty((count, 283))
    for i in range(count):
        one, wild = systems.take(np.array([i])), rng.random() < randomised
        spectra[i] = draw_spectra(one, rng, random_chemistry(rng) if wild else TRAINING)[0]
        options: dict[str, Any] = {}
        if wild:
            options = {"two_visit_fraction": TWO_VISITS, "partial": PARTIAL}
            options["drift_scale"] = float(np.exp(LN_DRIFT_SD * rng.standard_normal()))
        visits = draw_visits(one, rng, **options)
        options = {"samples": samples, "degraded": wild and rng.random() < 0.5, "visits": visits}
        curves += simulate_lightcurves(one, spectra[i : i + 1], rng, worlds=worlds[i : i + 1], **options)
    return curves, observed_catalogue(systems, rng, catalogue_factors(worlds)), spectra


def fitted_shard(config: Config, priors: Priors, number: int) -> tuple[Features, Tensor]:
    """Features and true spectra (P, 283) of one shard; a function of configuration, priors and number alone."""
    torch.set_num_threads(1)
    rng = np.random.default_rng([config.run.seed, number])
    settings, world = config.pretrain, replace(config.simulate.world, neighbours=0.0)  # no image shows them here
    curves, catalogue, spectra = draw_planets(
        settings.shard, settings.randomised, rng, config.lightcurves.samples, world, settings.own
    )
    posterior, _ = fit_planets(curves, catalogue, priors, config.physfit, progress=False, workers=1)
    return features_of(posterior, catalogue, posterior.inputs), torch.from_numpy(spectra)


def make_pretraining_set(config: Config, priors: Priors, folder: Path, workers: int) -> list[Path]:
    """Files of all shards; those that are there already are kept."""
    recipe = {
        "seed": config.run.seed,
        "shard": config.pretrain.shard,
        "randomised": config.pretrain.randomised,
        "own": config.pretrain.own,
        "samples": config.lightcurves.samples,
        "world": sha256_json(vars(config.simulate.world)),
        "physfit": sha256_json(vars(config.physfit)),
        "prior": sha256_json({name: array.tolist() for name, array in priors.arrays().items()}),
    }
    shards = -(-config.pretrain.planets // config.pretrain.shard)
    make = partial(fitted_shard, config, priors)
    return make_shards(folder, shards, recipe, make, workers, config.run.progress)

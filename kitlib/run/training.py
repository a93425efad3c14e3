"""What the training planets teach beside their spectra: limb darkening, and the fusion model's last steps."""

import shutil
from pathlib import Path

import numpy as np
import torch

from .. import rules
from ..base.folds import fold_of
from ..base.products import Array, Catalogue, Posterior, Spectra
from ..base.provenance import EventLog
from ..base.schema import Config
from ..fusion import Loss, TrainError, features_of, load_model, out_of_fold, predict, train_folds, write_set
from ..transit import Measured, shipped_priors
from .fits import measure_stars
from .inputs import SHIPPED_MODEL, answered, choose_priors
from .planets import light_curves


def measured_stars(
    config: Config, catalogue: Catalogue, truth: Spectra, products: dict[int, Path], workers: int, events: EventLog
) -> dict[int, Measured]:
    """Limb darkening of up to `prior.limb_planets` training planets, by row; none where the shipped prior is used."""
    priors = choose_priors(config.prior, truth.depth, catalogue)
    if priors is shipped_priors():
        return {}
    usable = np.flatnonzero([planet in products for planet in catalogue.planet_id])
    chosen = usable[: config.prior.limb_planets]
    ids = catalogue.planet_id[chosen].tolist()
    curves = [light_curves(products[planet], planet, "train", events) for planet in ids]
    rest = (config.physfit, truth.depth[chosen], config.run.progress, workers)
    found = measure_stars(curves, catalogue.take(chosen), priors, *rest)
    return {int(i): one for i, one in zip(chosen, found, strict=True) if one is not None}


def starting_model(config: Config) -> Path | None:
    """The model file that fine-tuning starts from, None for scratch. Raises TrainError for one of another form."""
    if config.model.kind == "physics" or not config.train.initial:
        return None
    shipped = config.train.initial == "shipped"
    path = SHIPPED_MODEL if shipped else Path(config.train.initial).expanduser()
    if load_model(path)[0].config != config.model:
        raise TrainError(f"{path} has another model.* than this configuration. Give that, or train.initial= (scratch).")
    return path


def fine_tuned(
    config: Config,
    posterior: Posterior,
    rows: Catalogue,
    truth: Spectra,
    naive: tuple[float, float],
    wl: Array,
    out: Path,
    events: EventLog,
) -> Posterior:
    """Each training planet's answer by a model that was not trained on it; the models' files are left in OUT/fusion.

    Below `prior.min_train_planets` planets the shipped model answers, which has seen simulated planets alone. Models of
    an earlier `train` that are not of this one are removed: `predict` takes all that it finds there.
    """
    count = len(truth.planet_id)
    if count < config.prior.min_train_planets:
        events.emit("train", "model_shipped", reason=f"{count} planets are too few to train on")
        _remove_folds(out / "fusion", kept=[])
        return answered([load_model(SHIPPED_MODEL)[0]], posterior, rows)
    features = features_of(posterior, rows, posterior.inputs)
    data = write_set(out / "fusion" / "train.safetensors", features, torch.from_numpy(truth.depth))
    loss = Loss(*naive, wl, rules.from_config(config.loss))
    paths = train_folds(data, config, loss, out / "fusion", starting_model(config))
    _remove_folds(out / "fusion", kept=[path.parent for path in paths])
    members = [predict(load_model(path)[0], posterior, features) for path in paths]
    return out_of_fold(members, fold_of(count, config.train.folds, config.run.seed))


def _remove_folds(folder: Path, kept: list[Path]) -> None:
    """Remove the folds' folders of an earlier `train` that are not among `kept`."""
    for path in folder.glob("fold_*"):
        if path not in kept:
            shutil.rmtree(path)

"""What a stage starts from: the dataset's tables, priors, fusion models and calibrator, each chosen in one place."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from .calibrator import Calibrator
from .ensemble import matched
from .features import features_of
from .frames import read_catalogue, read_spectra_csv
from .fusion import Fusion, load_model, predict
from .limbdarkening import Measured, learn_limb_darkening
from .prior import SpectralPrior, learn_prior, shipped_prior
from .products import Catalogue, Posterior, Prediction, Spectra
from .provenance import EventLog
from .schema import Config, ModelConfig, PriorConfig
from .submission import SubmissionError, read_expected_ids, read_planet_ids

_SHIPPED = Path(str(resources.files("kitlib") / "data"))
SHIPPED_MODEL = _SHIPPED / "fusion.safetensors"


class InputError(ValueError):
    """A stage cannot start from what it was given; the message names file or key, and what to do."""


def check_choices(config: Config) -> None:
    """Refuse words that mean nothing and a named calibrator that is not there, before a stage touches any file."""
    source, named = config.prior.source, config.sigma.calibrator
    if source not in ("auto", "train", "shipped"):
        raise InputError(f"prior.source={source}: give auto, train or shipped")
    if config.data.split not in ("train", "test"):
        raise InputError(f"data.split={config.data.split}: give train or test")
    if named and not Path(named).is_file():
        raise InputError(f"sigma.calibrator={named}: no such file. Leave it empty for the run's own or the shipped.")


def tables(root: Path, split: str) -> list[Path]:
    """The dataset's small files that every stage on frames reads."""
    return [root / "axis_info.parquet", root / "adc_info.csv", root / f"{split}_star_info.csv"]


def catalogue_of(root: Path, split: str, damaged: dict[int, str] | None = None) -> Catalogue:
    """Star and planet table of a split. Raises InputError for an unknown split or a table without planets.

    With `damaged`, planets whose row cannot be used are left out and put into it with the reason.
    """
    path = root / f"{split}_star_info.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give another data.root, or the other data.split.")
    catalogue = read_catalogue(path, damaged)
    if not len(catalogue):
        reason = next(iter(damaged.values()), "") if damaged else ""
        raise InputError(f"{path} holds no planet. Give another data.root, or the other data.split. {reason}".strip())
    return catalogue


def expected_planets(root: Path, split: str, events: EventLog) -> np.ndarray:
    """Planet ids that a submission must hold, in order, (P,) int64.

    Where test_star_info.csv cannot be used, sample_submission.csv says which planets those are; that is logged.
    """
    if split != "test":
        return catalogue_of(root, split).planet_id
    sample = root / "sample_submission.csv"
    try:
        return read_expected_ids(root)
    except SubmissionError as error:
        if not sample.is_file():
            raise
        ids = read_planet_ids(sample)
        events.emit("predict", "ids_from_sample", reason=str(error))
        return ids


def training_set(root: Path) -> tuple[Catalogue, Spectra]:
    """Catalogue rows and true spectra of the training planets that have both, in the catalogue's order."""
    catalogue = catalogue_of(root, "train")
    truth = read_spectra_csv(root / "train.csv")
    catalogue = catalogue.take(np.flatnonzero(np.isin(catalogue.planet_id, truth.planet_id)))
    rows = rows_of(truth.planet_id, catalogue.planet_id)
    return catalogue, Spectra(truth.planet_id[rows], truth.depth[rows])


def rows_of(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row in `known` of each id in `wanted`, (len(wanted),). Raises KeyError naming the first id that is not there."""
    if len(absent := wanted[~np.isin(wanted, known)]):
        raise KeyError(f"planet {absent[0]} and {len(absent) - 1} others are not there")
    order = np.argsort(known, kind="stable")
    return order[np.searchsorted(known, wanted, sorter=order)]


def match(catalogue: Catalogue, expected: np.ndarray) -> tuple[Catalogue, list[int]]:
    """One catalogue row for each expected planet, and the ids of those without any: medians of the table stand in."""
    known = np.isin(expected, catalogue.planet_id)
    rows = np.zeros(len(expected), np.int64)
    rows[known] = rows_of(catalogue.planet_id, expected[known])
    values = {}
    for name in Catalogue.__dataclass_fields__:
        column = getattr(catalogue, name)
        values[name] = np.where(known, column[rows], np.median(column))
    return replace(Catalogue(**values), planet_id=expected), sorted(expected[~known].tolist())


def population(prior: SpectralPrior, planet_id: np.ndarray) -> Prediction:
    """The answer without data: mean and scatter of the prior, the same for every planet."""
    mean, cov = prior.population()
    shape = (len(planet_id), 1)
    return Prediction(planet_id, np.tile(mean, shape), np.tile(np.sqrt(np.diag(cov)), shape))


def choose_prior(config: PriorConfig, depth: np.ndarray, catalogue: Catalogue) -> SpectralPrior:
    """Prior learnt from these spectra (N, 283), or the shipped one where `prior.source` or their number says so.

    What lies beyond the spectra, the shapes of other atmospheres, is the shipped prior's in any case.
    """
    if config.source == "shipped" or (config.source == "auto" and len(depth) < config.min_train_planets):
        return shipped_prior()
    return replace(learn_prior(depth, catalogue, config), unfamiliar=shipped_prior().unfamiliar)


def with_limb_darkening(prior: SpectralPrior, measured: Sequence[Measured]) -> SpectralPrior:
    """The prior with limb darkening learnt from these planets; as it is where there are none."""
    return replace(prior, limb=learn_limb_darkening(measured)) if measured else prior


def run_prior(config: PriorConfig, root: Path, out: Path, events: EventLog) -> tuple[SpectralPrior, list[Path]]:
    """The prior that `train` left in this run, else the dataset's own spectra, else the shipped one; and files read.

    Spectra that cannot be read are logged; with prior.source=train they are an error.
    """
    own, spectra = out / "prior.safetensors", [root / "train.csv", root / "train_star_info.csv"]
    if config.source == "auto" and own.is_file():
        return SpectralPrior.load(own), [own]
    if config.source != "shipped" and all(path.is_file() for path in spectra):
        try:
            catalogue, truth = training_set(root)
            return choose_prior(config, truth.depth, catalogue), spectra
        except ValueError as error:
            if config.source == "train":
                raise
            events.emit("predict", "prior_shipped", reason=str(error))
    if config.source == "train":
        raise InputError(f"prior.source=train needs train.csv and train_star_info.csv in {root}")
    return shipped_prior(), []


def run_models(config: ModelConfig, out: Path) -> tuple[list[Fusion], list[Path]]:
    """The fusion models that `train` left in this run, else the shipped one; none for model=physics; and files read."""
    if config.kind == "physics":
        return [], []
    paths = sorted((out / "fusion").glob("fold_*/model.safetensors")) or [SHIPPED_MODEL]
    return [load_model(path)[0] for path in paths], [path for path in paths if path != SHIPPED_MODEL]


def answered(models: list[Fusion], posterior: Posterior, rows: Catalogue) -> Posterior:
    """The ensemble's posterior; without models the physical one. `rows`: the catalogue's, planet by planet."""
    if not models:
        return posterior
    features = features_of(posterior, rows, posterior.inputs)
    return matched([predict(model, posterior, features) for model in models])


@torch.no_grad()
def latents_of(models: list[Fusion], posterior: Posterior, rows: Catalogue) -> np.ndarray | None:
    """(P, n) what all models of the ensemble make of each planet, side by side; None without models."""
    if not models:
        return None
    features = features_of(posterior, rows, posterior.inputs)
    made = [model.eval().latents(features.to(model.wl.device)).double().cpu().numpy() for model in models]
    return np.concatenate(made, axis=1)


def calibrator_path(out: Path, kind: str) -> Path:
    """Where `train` leaves the calibrator of model=`kind`."""
    return out / f"calibrator_{kind}.json"


def run_calibrator(named: str, out: Path, kind: str) -> tuple[Calibrator, list[Path]]:
    """The calibrator file `named`, else the one that `train` left in this run, else the shipped one; and files read.

    `kind`: of the model whose answers it calibrates, v50 or physics.
    """
    path = Path(named) if named else calibrator_path(out, kind)
    if not named and not path.is_file():
        return Calibrator.from_json(calibrator_path(_SHIPPED, kind).read_text()), []
    try:
        return Calibrator.from_json(path.read_text()), [path]
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error

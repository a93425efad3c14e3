"""What a stage starts from: the dataset's tables, priors, fusion models and calibrator, each chosen in one place."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from .. import rules
from ..base.keytable import check
from ..base.paths import looked_for, mounted_folders
from ..base.products import Catalogue, Posterior, Prediction, Spectra
from ..base.provenance import EventLog
from ..base.schema import Config, ModelConfig, PriorConfig
from ..detector import read_catalogue, read_spectra_csv
from ..fusion import Fusion, features_of, load_model, matched, predict
from ..sigma import Calibrator
from ..spectra import learn_prior
from ..submission import ID_FILES, SubmissionError, read_expected_ids, read_planet_ids
from ..transit import Measured, Priors, learn_limb_darkening, shipped_priors
from .verify import check_stage

_SHIPPED = Path(str(resources.files("kitlib") / "data"))
SHIPPED_MODEL = _SHIPPED / "fusion.safetensors"
MIN_TRAIN = 10  # planets: below, twelve calibration numbers would say nothing
SAMPLE = ID_FILES[1]
TRAINED = ("prior.safetensors", "calibrator_physics.json")  # what every `train` that ended has left


class InputError(ValueError):
    """A stage cannot start from what it was given; the message names file or key, and what to do."""


def check_choices(config: Config) -> None:
    """Refuse what the schema does not allow, rules that cannot be read and named files that are not there.

    A stage asks before it touches any file. Raises ConfigError, InputError, or RuleError with the rule's name.
    """
    check(config)  # `compose` has; a configuration may also be made by hand
    initial = config.train.initial
    files = {"sigma.calibrator": config.sigma.calibrator, "train.initial": "" if initial == "shipped" else initial}
    for key, named in files.items():
        if named and not Path(named).expanduser().is_file():
            raise InputError(f"{key}={named}: no such file{looked_for(named)}. Give another one, or leave the key out.")
    rules.from_config(config.loss)


def tables(root: Path, split: str) -> list[Path]:
    """The dataset's small files that every stage on frames reads."""
    return [root / "axis_info.parquet", root / "adc_info.csv", root / f"{split}_star_info.csv"]


def id_tables(root: Path, split: str) -> list[Path]:
    """The files that `expected_planets` reads."""
    names = ID_FILES if split == "test" else (f"{split}_star_info.csv",)
    return [path for name in names if (path := root / name).is_file()]


def catalogue_of(
    root: Path, split: str, damaged: dict[int, str] | None = None, doubtful: dict[int, str] | None = None
) -> Catalogue:
    """Star and planet table of a split. Raises InputError for an unknown split or a table without planets.

    `damaged` and `doubtful` are filled as `read_catalogue` does.
    """
    path = root / f"{split}_star_info.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give another data.root, or the other data.split.")
    catalogue = read_catalogue(path, damaged, doubtful)
    if not len(catalogue):
        reason = next(iter(damaged.values()), "") if damaged else ""
        raise InputError(f"{path} holds no planet. Give another data.root, or the other data.split. {reason}".strip())
    return catalogue


def usable_catalogue(root: Path, split: str, stage: str, events: EventLog) -> Catalogue:
    """`catalogue_of` the planets whose row can be used; the others are logged, and so are rows of doubt."""
    damaged: dict[int, str] = {}
    doubtful: dict[int, str] = {}
    catalogue = catalogue_of(root, split, damaged, doubtful)
    report_rows(damaged, doubtful, stage, events)
    return catalogue


def report_rows(damaged: dict[int, str], doubtful: dict[int, str], stage: str, events: EventLog) -> None:
    """Log planets whose row of a table cannot be used, and those whose row is used and contradicts itself."""
    if damaged:
        said = f"{len(damaged)} planets are left out for their row of a table: {events.path} holds the reasons"
        warnings.warn(said, stacklevel=3)
    for planet, reason in damaged.items():
        events.emit(stage, "planet_left_out", planet_id=planet, reason=reason)
    for planet, reason in doubtful.items():
        events.emit(stage, "row_doubtful", planet_id=planet, reason=reason)


def expected_planets(root: Path, split: str, stage: str, events: EventLog) -> np.ndarray:
    """Planet ids that a submission must hold, in order, (P,) int64.

    Where test_star_info.csv cannot be used, sample_submission.csv says which planets those are; that is logged, and so
    is a sample that names others.
    """
    if split != "test":
        return read_planet_ids(root / f"{split}_star_info.csv")
    sample = root / SAMPLE
    try:
        ids = read_expected_ids(root)
    except SubmissionError as error:
        if not sample.is_file():
            raise
        ids = read_planet_ids(sample)
        events.emit(stage, "ids_from_sample", reason=str(error))
        return ids
    if sample.is_file() and (difference := _sample_difference(sample, ids)):
        events.emit(stage, "tables_differ", reason=difference)
        warnings.warn(difference, stacklevel=3)
    return ids


def _sample_difference(sample: Path, ids: np.ndarray) -> str:
    """In what the sample's planets are not those of the star table, or ""."""
    try:
        named = read_planet_ids(sample)
    except SubmissionError as error:
        return f"{error}; the planets are taken from {ID_FILES[0]}"
    taken = f"the submission holds those of {ID_FILES[0]}, in its order"
    if len(differing := np.setxor1d(named, ids)):
        first = int(differing[0])
        place = f"{ID_FILES[0]} alone" if first in ids else "it alone"
        return f"{sample} names other planets: {first} is in {place}, {len(differing)} differ in all; {taken}"
    return "" if np.array_equal(named, ids) else f"{sample} names the planets in another order; {taken}"


def training_set(root: Path, stage: str, events: EventLog) -> tuple[Catalogue, Spectra]:
    """Catalogue rows and true spectra of the training planets that have both, in the catalogue's order.

    Rows that cannot be used are logged; they cost their planets alone.
    """
    damaged: dict[int, str] = {}
    catalogue = usable_catalogue(root, "train", stage, events)
    truth = read_spectra_csv(root / "train.csv", damaged)
    report_rows(damaged, {}, stage, events)
    if len(alone := np.setxor1d(catalogue.planet_id, [*truth.planet_id.tolist(), *damaged])):
        place = f"{root / 'train.csv'} and train_star_info.csv"
        reason = f"{len(alone)} planets, {alone[0]} first, are not in both {place}: nothing is learnt from them"
        events.emit(stage, "tables_differ", reason=reason)
    catalogue = catalogue.take(np.flatnonzero(np.isin(catalogue.planet_id, truth.planet_id)))
    rows = rows_of(truth.planet_id, catalogue.planet_id)
    return catalogue, Spectra(truth.planet_id[rows], truth.depth[rows])


def require_planets(count: int, what: str, root: Path, events: EventLog) -> None:
    """Raise InputError where fewer planets can be learnt from than `train` needs."""
    if count < MIN_TRAIN:
        left_out = f"{events.path} holds what was left out and why"
        raise InputError(f"{root / 'train'}: {count} planets {what}; training needs {MIN_TRAIN}. {left_out}.")


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


def population(priors: Priors, planet_id: np.ndarray) -> Prediction:
    """The answer without data: mean and scatter of the prior, the same for every planet."""
    mean, cov = priors.spectrum.population()
    shape = (len(planet_id), 1)
    return Prediction(planet_id, np.tile(mean, shape), np.tile(np.sqrt(np.diag(cov)), shape))


def choose_priors(config: PriorConfig, depth: np.ndarray, catalogue: Catalogue) -> Priors:
    """Spectral prior learnt from these spectra (N, 283) with published limb darkening, or the shipped priors.

    `prior.source` or the number of spectra says which.

    What lies beyond the spectra, the shapes of other atmospheres, is the shipped prior's in any case.
    """
    if config.source == "shipped" or (config.source == "auto" and len(depth) < config.min_train_planets):
        return shipped_priors()
    unfamiliar = shipped_priors().spectrum.unfamiliar
    return Priors(replace(learn_prior(depth, catalogue, config), unfamiliar=unfamiliar))


def with_limb_darkening(priors: Priors, measured: Sequence[Measured]) -> Priors:
    """The priors with limb darkening learnt from these planets; as it is where there are none."""
    return replace(priors, limb=learn_limb_darkening(measured)) if measured else priors


@dataclass(frozen=True)
class Learnt:
    """What light curves are answered with, each part as `train` left it, else as shipped."""

    priors: Priors
    models: list[Fusion]  # none for model=physics
    calibrator: Calibrator
    files: tuple[Path, ...]  # that were read for it; none for what is shipped


def learnt(config: Config, root: Path, out: Path, stage: str, events: EventLog) -> Learnt:
    """Priors, fusion models and calibrator for the run in `out`: of the `train` of `trained_run`, or shipped.

    Args:
        config: the run's.
        root: the dataset; its training spectra give the prior where no `train` has.
        out: the run's folder.
        stage: the stage that asks, for the events.
        events: where it is logged that spectra cannot be read.

    Raises:
        InputError, PriorError, ModelError: a file that is named or found cannot be used.
        VerifyError: files of a `train` that did not end are among them.
    """
    folder = trained_run(config.run.trained, out)
    priors, prior_files = _priors(config.prior, root, folder, stage, events)
    models, model_files = run_models(config.model, folder)
    calibrator, calibrator_files = run_calibrator(config.sigma.calibrator, folder, config.model.kind)
    files = (*prior_files, *model_files, *calibrator_files)
    if (folder / "manifests" / "train.json").is_file():  # else a killed `train` would be mixed with the one before it
        named = Path(config.sigma.calibrator).expanduser() if config.sigma.calibrator else None
        check_stage(folder, "train", [path for path in files if path.is_relative_to(folder) and path != named])
    return Learnt(priors, models, calibrator, files)


def trained_run(named: str, out: Path) -> Path:
    """The folder that `train` wrote: `named`, else `out`, else the one that Kaggle mounts; `out` where there is none.

    Raises InputError where the named one is none, or where several are mounted.
    """
    if named:
        folder = Path(named).expanduser()
        if not _is_trained(folder):
            lacking = ", ".join(name for name in TRAINED if not (folder / name).is_file())
            raise InputError(
                f"run.trained={named}{looked_for(named)} lacks {lacking}: give the folder (run.out) that `train` wrote"
            )
        return folder
    if _is_trained(out):
        return out
    found = {folder.resolve(): folder for folder in mounted_folders() if _is_trained(folder)}
    if len(found) > 1:
        names = ", ".join(map(str, found.values()))
        raise InputError(f"several trained runs are mounted: {names}. Choose by run.trained=DIR.")
    return next(iter(found.values()), out)


def _is_trained(folder: Path) -> bool:
    return all((folder / name).is_file() for name in TRAINED)


def _priors(config: PriorConfig, root: Path, folder: Path, stage: str, events: EventLog) -> tuple[Priors, list[Path]]:
    """The priors that `train` left in `folder`, else the dataset's own spectra, else the shipped one; and files read.

    Spectra that cannot be read are logged; with prior.source=train they are an error.
    """
    own, spectra = folder / "prior.safetensors", [root / "train.csv", root / "train_star_info.csv"]
    if config.source == "auto" and own.is_file():
        return Priors.load(own), [own]
    if config.source != "shipped" and all(path.is_file() for path in spectra):
        try:
            catalogue, truth = training_set(root, stage, events)
            priors = choose_priors(config, truth.depth, catalogue)
            return priors, [] if priors is shipped_priors() else spectra
        except ValueError as error:
            if config.source == "train":
                raise
            events.emit(stage, "prior_shipped", reason=str(error))
    if config.source == "train":
        raise InputError(f"prior.source=train needs train.csv and train_star_info.csv in {root}")
    return shipped_priors(), []


def run_models(config: ModelConfig, folder: Path) -> tuple[list[Fusion], list[Path]]:
    """The fusion models that `train` left in `folder`, else the shipped one; none for model=physics; and files read."""
    if config.kind == "physics":
        return [], []
    paths = sorted((folder / "fusion").glob("fold_*/model.safetensors")) or [SHIPPED_MODEL]
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


def shipped_calibrator(kind: str) -> Calibrator:
    """The calibrator that the kit ships for the answers of model=`kind`."""
    return Calibrator.from_json(calibrator_path(_SHIPPED, kind).read_text())


def run_calibrator(named: str, folder: Path, kind: str) -> tuple[Calibrator, list[Path]]:
    """The calibrator file `named`, else the one that `train` left in `folder`, else the shipped one; and files read.

    `kind`: of the model whose answers it calibrates, v50 or physics.
    """
    path = Path(named).expanduser() if named else calibrator_path(folder, kind)
    if not named and not path.is_file():
        return shipped_calibrator(kind), []
    try:
        return Calibrator.from_json(path.read_text()), [path]
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error

"""Training of the fusion model: AdamW, averaged weights, early stopping on the competition's score.

A run is a folder: checkpoint.safetensors (everything to go on from, with its counters as JSON in the file's header, so
that a kill leaves one whole checkpoint), log.jsonl, history.png, model.safetensors (the best averaged weights). A run
that was killed at any step and started again ends with the same weights, bit for bit, on a CPU with as many threads.
"""

import copy
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from ..base.folds import fold_of, split
from ..base.guarded import Workers
from ..base.keytable import check
from ..base.provenance import EventLog, sha256_file, sha256_json, write_atomic
from ..base.schema import Config, TrainConfig
from ..spectra import under
from .features import Features, read_set, read_shards
from .fused import devices, half_type
from .losses import Loss, gll_score
from .model import Fusion, build, load_model, population_base, save_model


class TrainError(ValueError):
    """A training that cannot start or go on; the message names file or key, and what to do."""


@dataclass(frozen=True)
class TrainingSet:
    """Planets with known spectra, all in memory."""

    features: Features
    truth: Tensor  # (P, 283) float64

    def take(self, index: Tensor | NDArray[Any]) -> "TrainingSet":
        """A subset, by integer index."""
        index = torch.as_tensor(index)
        return TrainingSet(self.features.take(index), self.truth[index])


@dataclass
class Progress:
    """Counters of a run, all plain numbers."""

    step: int = 0
    best_score: float = -math.inf
    best_step: int = 0
    worse: int = 0  # validations since the best one


class Run:
    """One training in one folder."""

    def __init__(self, config: Config, loss: Loss, folder: Path, device: torch.device | str, initial: Path | None):
        """Build or load the model; `initial` is a model file to start from (fine-tuning)."""
        check(config.train, "train")
        self.config, self.loss, self.folder, self.device = config, loss, Path(folder), torch.device(device)
        self.log = EventLog(self.folder / "log.jsonl")
        torch.manual_seed(config.run.seed)
        fresh = build(config.model, loss.wl, device)
        if fresh is None:
            raise TrainError("model=physics has nothing to train: choose model=v50")
        self.model: Fusion = fresh
        self.start = sha256_file(initial) if initial is not None and Path(initial).is_file() else ""
        if initial is not None:
            known, _ = load_model(initial, device)
            if known.config != config.model:
                raise TrainError(f"{initial} has another model configuration: give its own, or train from scratch")
            self.model.load_state_dict(known.state_dict())
        self.average = copy.deepcopy(self.model).eval()
        self.best = copy.deepcopy(self.average)
        self.optimizer = _optimizer(self.model, config.train)
        self.precision = _precision(self.device, config.train.precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)
        self.progress = Progress()

    def fit(self, train: TrainingSet, held: TrainingSet) -> Fusion:
        """Train until `train.steps` or until the score of `held` has not risen for long; returns the best model."""
        settings, counts = self.config.train, self.progress
        if not len(train.features) or not len(held.features):
            raise TrainError(f"training on {len(train.features)} and judging on {len(held.features)} planets: add some")
        train, held = (self._based(one) for one in (train, held))
        if not self.start:
            for model in (self.model, self.average, self.best):
                model.scale_inputs(train.features)
        parts = [asdict(self.config.model), asdict(settings), asdict(self.config.loss), self.config.run.seed]
        recipe = sha256_json([*parts, self.start, _identity(train), _identity(held)])
        self._resume(recipe)
        self._log_device()
        bar = tqdm(total=settings.steps, initial=counts.step, desc="training", disable=not self.config.run.progress)
        if counts.step == 0:
            self._validate(held, bar)
        while counts.step < settings.steps and counts.worse < settings.patience:
            value = self._step(train)
            bar.update()
            if counts.step % settings.validate_every == 0 or counts.step == settings.steps:
                self.log.emit("train", "step", step=counts.step, loss=value, rate=self.optimizer.param_groups[0]["lr"])
                self._validate(held, bar)
            if counts.step % settings.checkpoint_every == 0:
                self._save(recipe)
        bar.close()
        self._save(recipe)
        about = {"seed": self.config.run.seed, "train": asdict(settings), "planets": len(train.features)}
        about |= {"score": counts.best_score, "step": counts.best_step, "naive": self._naive()}
        save_model(self.folder / "model.safetensors", self.best, about)
        plot_history(self.log.path, self.folder / "history.png")
        return self.best

    def _log_device(self) -> None:
        about = {"device": str(self.device), "precision": str(self.precision or torch.float32).removeprefix("torch.")}
        if self.model.fgs1 is not None:
            about |= {"mamba": self.model.fgs1.mamba.name, "reason": self.model.fgs1.mamba.reason}
        self.log.emit("train", "device", **about)

    def _naive(self) -> tuple[float, float]:
        return self.loss.naive_mean, self.loss.naive_sigma

    def _based(self, one: TrainingSet) -> TrainingSet:
        """The set on the device, with the Gaussian that `model.base` wants corrected."""
        features = one.features
        if self.config.model.base == "population":
            features = features.with_base(population_base(features.planet_id.cpu().numpy(), self._naive()))
        return TrainingSet(features.to(self.device), one.truth.to(self.device))

    def _step(self, train: TrainingSet) -> float:
        """One step of the optimiser; its loss."""
        settings, counts = self.config.train, self.progress
        self.model.train()
        chosen = _batch(len(train.truth), settings.batch, counts.step, self.config.run.seed)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate_at(counts.step, settings)
        batch = train.take(chosen.to(self.device))
        with self._autocast():
            answer = self.model(batch.features)
        loss = self.loss(answer.mu, answer.sigma, batch.truth).total
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        counts.step += 1
        self._average(settings.ema)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainError(f"the loss is {value} at step {counts.step}: lower train.learning_rate")
        return value

    def _autocast(self) -> Any:
        return nullcontext() if self.precision is None else torch.autocast(self.device.type, dtype=self.precision)

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        decay = min(decay, (1 + self.progress.step) / (10 + self.progress.step))  # young averages forget faster
        for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)

    def _validate(self, held: TrainingSet, bar: tqdm) -> None:
        """Judge the averaged weights; keep them where they are the best so far."""
        score, counts = score_of(self.average, held, self._naive()), self.progress
        if score > counts.best_score:
            counts.best_score, counts.best_step, counts.worse = score, counts.step, 0
            self.best.load_state_dict(self.average.state_dict())
        else:
            counts.worse += 1
        self.log.emit("train", "validation", step=counts.step, score=score, best=counts.best_score)
        bar.set_postfix(score=f"{score:.4f}", best=f"{counts.best_score:.4f}")

    def _save(self, recipe: str) -> None:
        tensors = {"rng.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        for prefix, model in (("model", self.model), ("average", self.average), ("best", self.best)):
            tensors |= {f"{prefix}.{name}": value for name, value in model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        counters = {"progress": asdict(self.progress), "recipe": recipe, "scaler": self.scaler.state_dict()}
        data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"counters": json.dumps(counters)})
        write_atomic(self._checkpoint, data)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def _resume(self, recipe: str) -> None:
        """Go on from the folder's checkpoint, if there is one; log lines after it are dropped."""
        tensors: dict[str, Tensor] = {}
        if self._checkpoint.is_file():
            counters, tensors = _read_checkpoint(self._checkpoint)
            if counters["recipe"] != recipe:
                raise TrainError(f"{self._checkpoint} belongs to another recipe or data: empty that folder")
            for prefix, model in (("model", self.model), ("average", self.average), ("best", self.best)):
                model.load_state_dict(under(tensors, prefix))
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in under(tensors, "optimizer").items():
                index, _, key = name.partition(".")
                state.setdefault(int(index), {})[key] = value
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state, "param_groups": groups})
            self.scaler.load_state_dict(counters["scaler"])
            for name, value in counters["progress"].items():
                setattr(self.progress, name, value)
        kept = [line for line in self.log.read() if tensors and line.get("step", 0) <= self.progress.step]
        write_atomic(self.log.path, "".join(json.dumps(line) + "\n" for line in kept))
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)
        if tensors:
            torch.set_rng_state(tensors["rng.cpu"])
        else:
            torch.manual_seed(self.config.run.seed)


def score_of(model: Fusion, held: TrainingSet, naive: tuple[float, float], batch: int = 256) -> float:
    """The competition's score of a model's uncalibrated answers, not clipped to [0, 1]."""
    total = 0.0
    model.eval()
    with torch.no_grad():
        for part in torch.arange(len(held.truth), device=held.truth.device).split(batch):
            answer = model(held.features.take(part))
            total += float(gll_score(answer.mu, answer.sigma, held.truth[part], *naive).sum())
    return total / len(held.truth)


def rate_at(step: int, settings: TrainConfig) -> float:
    """Share of the learning rate at a step: linear rise over `warmup`, then half a cosine to zero at `steps`."""
    rise = min(1.0, (step + 1) / max(settings.warmup, 1))
    return rise * 0.5 * (1 + math.cos(math.pi * min(step / max(settings.steps, 1), 1.0)))


def train_one(data: Sequence[Path], config: Config, loss: Loss, folder: Path, initial: Path | None = None) -> Path:
    """One model, stopped by the score of a share `train.validation` of the planets; returns its file.

    `data`: files of `features.write_set`, taken together.
    """
    whole = TrainingSet(*read_shards(data))
    parts = split(len(whole.truth), config.train.validation, config.run.seed)
    Run(config, loss, folder, devices()[0], initial).fit(*(whole.take(part) for part in parts))
    return Path(folder) / "model.safetensors"


def train_folds(data: Path, config: Config, loss: Loss, folder: Path, initial: Path | None = None) -> list[Path]:
    """K models, each trained without its fold and stopped by that fold's score; one fold a GPU at a time.

    `data` is a file of `features.write_set`. Returns the model files, fold by fold; folds go on from their checkpoints.
    Raises TrainError with the reasons of folds that failed, after the others have ended.
    """
    names, work = devices(), partial(_train_fold, data, config, loss, folder, initial)
    if len(names) == 1:
        return [Path(work(k, names[0])) for k in range(config.train.folds)]
    paths, failures, waiting, free = {}, [], list(range(config.train.folds)), list(names)
    used: dict[int, str] = {}
    pool = Workers(work, len(names))
    try:
        while waiting or used:
            while waiting and free:
                fold = waiting.pop(0)
                used[fold] = free.pop(0)
                pool.start(fold, used[fold])
            for ended in pool.wait(5.0):
                free.append(used.pop(ended.task))
                paths[ended.task] = ended.value
                failures += [f"fold {ended.task}: {ended.failure}"] if ended.failure else []
    finally:
        pool.close()
    if failures:
        raise TrainError("; ".join(failures))
    return [Path(paths[k]) for k in sorted(paths)]


def _train_fold(
    data: Path, config: Config, loss: Loss, folder: Path, initial: Path | None, fold: int, device: str
) -> str:
    target = Path(folder) / f"fold_{fold}"
    whole = TrainingSet(*read_set(data))
    own = fold_of(len(whole.truth), config.train.folds, config.run.seed) == fold
    parts = (whole.take(np.flatnonzero(chosen)) for chosen in (~own, own))
    Run(config, loss, target, device, initial).fit(*parts)
    return str(target / "model.safetensors")


def plot_history(log: Path, path: Path) -> Path:
    """Loss and validation score over steps, as a PNG."""
    from matplotlib.figure import Figure  # no display and no global state

    lines = EventLog(log).read()
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, event, key in zip(figure.subplots(1, 2), ("step", "validation"), ("loss", "score"), strict=True):
        chosen = [line for line in lines if line["event"] == event]
        axis.plot([line["step"] for line in chosen], [line[key] for line in chosen])
        axis.set(xlabel="step", ylabel="training loss" if key == "loss" else "validation score")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return path


def _optimizer(model: nn.Module, settings: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); no decay for vectors and for what Mamba-2 marks."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in model.parameters():
        plain = parameter.ndim < 2 or getattr(parameter, "_no_weight_decay", False)
        (free if plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def _precision(device: torch.device, wanted: str) -> torch.dtype | None:
    """The type of autocast; None: none."""
    if device.type != "cuda" or wanted == "float32":
        return None
    return half_type(device)


def _batch(planets: int, size: int, step: int, seed: int) -> Tensor:
    """Planets of a step, a function of its number alone: each epoch is a new permutation, its ragged end left out."""
    size = min(size, planets)
    epoch, place = divmod(step, planets // size)
    order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(planets))
    return order[place * size : (place + 1) * size]


def _identity(one: TrainingSet) -> list[float]:
    """Numbers that differ between two sets of planets."""
    return [len(one.truth), float(one.truth.sum()), float(one.features.mean.sum()), float(one.features.fgs1.sum())]


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
            return json.loads(file.metadata()["counters"]), tensors
    except Exception as error:
        raise TrainError(f"{path} is not a checkpoint ({error}). Delete it to train from the start.") from error

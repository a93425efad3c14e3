"""The typed schema of every configuration key: name, type, default and meaning. configs/*.yaml give other values."""

from dataclasses import dataclass, field
from typing import Any

STAGES = ("simulate", "calibrate", "pretrain", "train", "predict", "diagnose", "submit")
PRECISIONS = ("float32", "half")


@dataclass
class RunConfig:
    """Where a run writes, and how it uses the machine."""

    out: str = "artifacts/run"  # the one writable root of a run
    seed: int = 20251123
    workers: int = 0  # processes for the planet-by-planet stages; 0: all cores (a cluster has its own number)
    progress: bool = True
    backend: str = "loky"  # what computes planet by planet: loky (processes of this machine) | dask (a cluster)
    scheduler: str = ""  # dask: address of its running scheduler, tcp://HOST:PORT; all machines see the same folders
    trained: str = ""  # folder of the run whose `train` is used; "": this one, else the one that Kaggle mounts


@dataclass
class DataConfig:
    """A dataset in the competition's layout."""

    root: str = ""  # "": look for it (local folders, then every Kaggle mount form)
    split: str = "test"  # the planets that `calibrate` and `predict` work on: train | test
    solution: str = ""  # true spectra of the test planets, for scores alone; "": not known


@dataclass
class SimulateConfig:
    """A campaign of the simulated observatory."""

    out: str = "artifacts/sim_tiny"  # becomes OUT/data (a data root) and OUT/solution.csv
    train_planets: int = 24
    test_planets: int = 12
    airs_pairs: int = 5_625  # CDS pairs kept of a visit, evenly spread over its 7.5 h; 5,625 is the real size
    fgs1_pairs: int = 67_500
    two_visit_fraction: float = 0.10
    degrade_test: bool = True  # worse detectors in `test`, as in the real hidden set


@dataclass
class LightCurveConfig:
    """Frames to light curves."""

    samples: int = 375  # time samples of a visit
    hot_sigma: float = 5.0  # dark current clip, robust sigmas
    cosmic_ray_sigma: float = 12.0  # per-pixel clip in time, robust sigmas of that pixel
    threads: int = 1  # threads of the fused kernel inside one planet; planets run in parallel processes


@dataclass
class PhysfitConfig:
    """Physical transit fit."""

    drift_order: int = 5  # highest power of time in the gain drift
    colour_order: int = 5  # highest power of a channel's place along the spectrum in the drift's colour dependence
    max_iterations: int = 8  # Gauss-Newton steps of the joint fit
    outlier_sigma: float = 5.0


@dataclass
class StepConfig:
    """A cheaper way to compute a planet; `null` leaves a value as the run has it."""

    name: str
    cost: float  # its time a planet relative to the full setting's (1), until it has been measured
    samples: int | None = None  # in place of lightcurves.samples
    max_iterations: int | None = None  # in place of physfit.max_iterations


def _steps() -> list[StepConfig]:
    """Costs and losses: EXPERIMENTS.md. Lower orders of the drift would be no way to save time: they lose .03 to .1."""
    return [
        StepConfig("coarse", 0.5, samples=125, max_iterations=4),
        StepConfig("coarsest", 0.35, samples=75, max_iterations=3),
    ]


@dataclass
class BudgetConfig:
    """What `predict` may take. Where time runs short the remaining planets get the next step, in the given order."""

    hours: float = 0.0  # from the start of `predict` to the last planet; 0: no limit
    planet_minutes: float = 10.0  # a planet that takes longer hangs and is ended
    memory_gb: float = 2.0  # free memory below which fewer planets are computed at once
    first: int = 8  # planets, after the first of each process, that are measured before the pace is trusted
    write_s: float = 60.0  # submission.csv is improved at most this often
    steps: list[StepConfig] = field(default_factory=_steps)


@dataclass
class PriorConfig:
    """Spectral prior."""

    source: str = "auto"  # train | shipped | auto: the run's own, else train.csv if large enough, else shipped
    min_train_planets: int = 200  # spectra that a prior, and planets that the fusion model, is trained on at least
    limb_planets: int = 200  # training planets that limb darkening is learnt from
    components: int = 12  # molecular shapes kept of the spectra of all kinds together
    kinds: int = 12  # of atmospheres that training spectra are told apart by, at most
    factors: int = 8  # shapes of each kind


@dataclass
class SigmaConfig:
    """Sigma calibration."""

    calibrator: str = ""  # path of a frozen calibrator; "": the run's own from `train`, else the shipped one
    folds: int = 4  # `train` fits each fold's planets with a prior learnt from the others


@dataclass
class SmoothnessConfig:
    """Penalty on the second difference of the AIRS spectrum."""

    enabled: bool = True
    lam: float = 5e-4


@dataclass
class BandsConfig:
    """Penalty on molecular bands that stand out more than any atmosphere's."""

    enabled: bool = True
    lam: float = 1e-3
    max_contrast: float = 0.1  # band mean against AIRS mean, as a fraction of the AIRS mean depth
    molecules: list[str] = field(default_factory=lambda: ["H2O", "CO2", "CO", "CH4", "NH3"])
    ranges_um: dict[str, list[list[float]]] = field(default_factory=dict)  # replaces a molecule's ranges in instruments


@dataclass
class LossConfig:
    """What training minimises: minus the score, plus rules (kitlib/rules/constraints.py)."""

    unit: float = 1e-5  # the violation that costs a penalty of 1
    smoothness: SmoothnessConfig = field(default_factory=SmoothnessConfig)
    bands: BandsConfig = field(default_factory=BandsConfig)
    rules: dict[str, Any] = field(default_factory=dict)  # name -> text, {expr, weight, unit} or null


@dataclass
class ModelConfig:
    """What turns the physical posterior into the answer (kitlib/fusion/model.py)."""

    kind: str = "v50"  # v50: the fusion model on top of the physical posterior | physics: the posterior itself
    width: int = 32  # channels of every encoder; a multiple of 8
    fgs1_encoder: bool = True  # Mamba-2 over FGS1's light curve
    fgs1_layers: int = 2  # its blocks
    state: int = 16  # its state size
    airs_encoder: bool = True  # CNN over AIRS' residual map
    airs_channels: int = 16  # its channels; a multiple of 4
    graph: bool = True  # edges between wavelengths
    graph_layers: int = 2
    base: str = "posterior"  # what is corrected: posterior | population (direct regression)
    sigma_factors: int = 3  # 3: FGS1, AIRS level and AIRS shape have their own; 1: one for all
    dropout: float = 0.2
    gradient_checkpointing: bool = False  # less memory in training, more time


@dataclass
class TrainConfig:
    """Training of the fusion model (kitlib/fusion/train.py)."""

    initial: str = "shipped"  # what `train` starts from: shipped | path of a model file | "": from scratch
    folds: int = 5
    steps: int = 20_000  # at most; early stopping ends it sooner
    batch: int = 64  # planets
    learning_rate: float = 1e-3
    warmup: int = 500  # steps of rising learning rate; a cosine follows
    weight_decay: float = 1e-2
    clip: float = 1.0  # norm of the gradient
    ema: float = 0.999  # decay of the averaged weights, which are what is validated and kept
    validation: float = 0.1  # share of the planets that stopping is judged on, without folds
    validate_every: int = 250  # steps
    patience: int = 12  # validations without a better score
    checkpoint_every: int = 250  # steps
    precision: str = "float32"  # on CUDA: float32 | half (bfloat16, else float16); the CPU computes in float32


@dataclass
class PretrainConfig:
    """Simulated planets that the fusion model is pre-trained on (kitlib/run/pretraining.py)."""

    planets: int = 20_000
    randomised: float = 0.4  # share with other spectra, worse detectors, other drifts, missing contacts
    shard: int = 250  # planets in one file: what a killed run loses at most


def _signals() -> list[str]:
    bands = ["H2O", "CO2", "CO", "CH4"]
    return [*bands, "drift", "step", "jitter_burst", "hot_pixel", "spot_crossing", "second_visit_offset"]


@dataclass
class InjectConfig:
    """Signals of known size that `diagnose inject` puts into planets' data (kitlib/inject/signals.py)."""

    where: str = "lightcurves"  # into calibrated light curves | frames: copies of raw frames, calibrated anew | both
    signals: list[str] = field(default_factory=_signals)
    planets: int = 4  # the first of data.split; one with two visits is added where second_visit_offset needs it
    amplitudes: list[float] = field(default_factory=lambda: [100.0, 200.0, 400.0])  # molecules: ppm of transit depth
    nuisance_amplitudes: list[float] = field(default_factory=lambda: [300.0, 1000.0])  # others, see signals.SIGNALS


@dataclass
class ReportConfig:
    """The HTML page."""

    planets: int = 100  # planets whose light curves are shown, the worst fits first; 10 kB each
    heavy: bool = True  # Fourier spectra of the residuals, and a map of the fusion model's latents


@dataclass
class Config:
    """One run."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    simulate: SimulateConfig = field(default_factory=SimulateConfig)
    lightcurves: LightCurveConfig = field(default_factory=LightCurveConfig)
    physfit: PhysfitConfig = field(default_factory=PhysfitConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    sigma: SigmaConfig = field(default_factory=SigmaConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    inject: InjectConfig = field(default_factory=InjectConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)

"""The typed schema of every configuration key: name, type, default and meaning. configs/*.yaml give other values.

A key is one line: `name: type = default  # what it is`. `--help` prints that sentence. A long one stands in comment
lines above the key.

The type holds the range, as in `Annotated[int, Range(1, 12)]`. Common ones have names: `Count` is 1 or more, `Natural`
0 or more, `Share` 0 to 1, and `Positive`. One of few words is `Annotated[str, OneOf("a", "b")]`. `compose` refuses
everything else. Which stage reads a key is in `READS` of keytable.py.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from .values import Count, Natural, OneOf, Positive, Range, Share

# in their order, and what each does
STAGES = {
    "simulate": "make a small campaign in the competition's layout (simulate.out)",
    "calibrate": "raw frames -> light curves",
    "pretrain": "fusion model from simulated planets alone; how the shipped one is made",
    "train": "priors, fine-tuned fusion model and calibration of sigma from the training planets",
    "predict": "raw frames -> submission.csv; needs no training before it",
    "diagnose": "scores where the truth is known, reliability of sigma, and the HTML report",
    "submit": "validated submission -> bundle with zip, configuration and checksums",
}
Samples = Annotated[int, Range(20, 5_625)]  # the white fit needs 20; AIRS has no more pairs in a visit
Iterations = Annotated[int, Range(1, 1_000)]
Order = Annotated[int, Range(0, 12)]
Shapes = Annotated[int, Range(1, 281)]  # of a spectrum of 283 bins
Folds = Annotated[int, Range(2, 100)]
Layers = Annotated[int, Range(1, 64)]
PPM = Annotated[float, Range(-1e6, 1e6)]
Times = Annotated[float, Range(0, 1_000)]  # over the own world's, or the target's
Fall = Annotated[float, Range(0, 20)]  # a power of distance
SkyColour = Annotated[str, OneOf("own", "flat", "star", "red")]
GapKind = Annotated[str, OneOf("dark", "half", "frozen")]


@dataclass
class RunConfig:
    """Where a run writes, and how it uses the machine."""

    out: str = "artifacts/run"  # the one writable root of a run
    seed: Annotated[int, Range(0, 2**32 - 1)] = 20251123  # the only seed: the same one gives the same bytes
    # processes for the planet-by-planet stages; 0: all cores (a cluster has its own number)
    workers: Annotated[int, Range(0, 1_024)] = 0
    progress: bool = True  # show progress bars
    # what computes planet by planet: loky (processes of this machine) | dask (a cluster)
    backend: Annotated[str, OneOf("loky", "dask")] = "loky"
    scheduler: str = ""  # dask: address of its running scheduler, tcp://HOST:PORT; all machines see the same folders
    trained: str = ""  # folder of the run whose `train` is used; "": this one, else the one that Kaggle mounts


@dataclass
class DataConfig:
    """A dataset in the competition's layout."""

    root: str = ""  # "": look for it (local folders, then every Kaggle mount form)
    split: Annotated[str, OneOf("train", "test")] = "test"  # the planets that `calibrate` and `predict` work on
    solution: str = ""  # true spectra of the test planets, for scores alone; "": not known


def _range(low: float, high: float) -> Any:
    return field(default_factory=lambda: [low, high])


@dataclass
class WorldConfig:
    """What nobody knows of the observatory; each planet draws from these ranges [low, high], shares and choices.

    The defaults are the own world: a simulator that was tuned once. A share of 0 means never. See simulate/worlds.py.
    """

    airs_wings: list[Times] = _range(1.0, 1.0)  # light outside the core of the image over the own world's
    airs_wing_power: list[Fall] = _range(2.0, 2.0)  # wings fall as distance from the trace to this power
    # light outside the core of FGS1's image over the own world's
    fgs1_wings: list[Annotated[float, Range(0, 5)]] = _range(1.0, 1.0)
    fgs1_wing_power: list[Fall] = _range(3.4, 3.4)  # along the radius: one more than AIRS' after its sum over columns
    airs_sky: list[Times] = _range(1.0, 1.0)  # sky over the own world's
    fgs1_sky: list[Times] = _range(1.0, 1.0)  # the same of FGS1
    sky_colours: list[SkyColour] = field(default_factory=lambda: ["own"])  # of AIRS' sky, one for each planet
    second_drift: list[Share] = _range(0.0, 0.0)  # AIRS: a second separable gain drift, its size over the first's
    # sd of an error of the light curve's depth that no fit finds, relative
    level_error: list[Share] = _range(0.0, 0.0)
    level_error_common: list[Share] = _range(0.5, 0.5)  # share of its variance common to visits and instruments
    excursions: Share = 0.0  # share of visits with a late pointing excursion that costs light (others have theirs)
    excursion_loss: list[Share] = _range(0.0, 0.0)  # light lost at its peak, relative
    intrapixel: list[Share] = _range(0.0, 0.0)  # amplitude of the response to the place within a pixel, relative
    wander: list[Annotated[float, Range(0, 3)]] = _range(0.0, 0.0)  # slow movements of the image, rms in FGS1 pixels
    neighbours: Share = 0.0  # share of planets with another star in the field, of constant light
    neighbour_flux: list[Times] = _range(0.0, 1.0)  # its light over the target's
    neighbour_px: list[Annotated[float, Range(0, 16)]] = _range(3.0, 10.0)  # its distance, pixels
    gaps: Share = 0.0  # share of visits with a gap in telemetry
    gap_share: list[Share] = _range(0.0, 0.05)  # how much of the visit it takes
    # no light, half of it, repeated frames
    gap_kinds: list[GapKind] = field(default_factory=lambda: ["dark", "half", "frozen"])
    catalogue_errors: Share = 0.0  # share of planets whose period or a/Rs is wrong in the catalogue
    catalogue_factor: list[Annotated[float, Range(1, 100)]] = _range(1.0, 2.5)  # by this factor, up or down
    grazing: Share = 0.0  # share of planets on grazing orbits, impact parameter up to 1 + k
    # electrons at which a pixel is full; 0: the converter's end, 149,000, comes first
    full_well_e: Annotated[float, Range(0, 1e9)] = 0.0


@dataclass
class SimulateConfig:
    """A campaign of the simulated observatory."""

    out: str = "artifacts/sim_tiny"  # becomes OUT/data (a data root) and OUT/solution.csv
    train_planets: Annotated[int, Range(0, 100_000)] = 24  # planets with a known truth to learn from
    test_planets: Annotated[int, Range(0, 100_000)] = 12  # planets to predict
    #  CDS pairs kept of a visit, evenly spread over its 7.5 h; 5,625 is the real size
    airs_pairs: Annotated[int, Range(1, 5_625)] = 5_625
    fgs1_pairs: Annotated[int, Range(1, 67_500)] = 67_500  # the same of FGS1
    two_visit_fraction: Share = 0.10  # share of the planets that are seen twice
    degrade_test: bool = True  # worse detectors in `test`, as in the real hidden set
    world: WorldConfig = field(default_factory=WorldConfig)


@dataclass
class LightCurveConfig:
    """Frames to light curves."""

    samples: Samples = 375  # time samples of a visit
    hot_sigma: Positive = 5.0  # dark current clip, robust sigmas
    cosmic_ray_sigma: Positive = 12.0  # per-pixel clip in time, robust sigmas of that pixel
    # threads of the fused kernel inside one planet; planets run in parallel processes
    threads: Annotated[int, Range(1, 256)] = 1


@dataclass
class PhysfitConfig:
    """Physical transit fit."""

    drift_order: Annotated[int, Range(1, 12)] = 5  # highest power of time in the gain drift
    # highest power of a channel's place along the spectrum in the drift's colour dependence
    colour_order: Order = 5
    max_iterations: Iterations = 8  # Gauss-Newton steps of the joint fit
    outlier_sigma: Positive = 5.0  # samples further from the fit are left out, robust sigmas


@dataclass
class StepConfig:
    """A cheaper way to compute a planet; `null` leaves a value as the run has it."""

    name: str  # as events.jsonl calls it
    # its time a planet relative to the full setting's (1), until it has been measured
    cost: Annotated[float, Range(above=0, below=1)]
    samples: Samples | None = None  # in place of lightcurves.samples
    max_iterations: Iterations | None = None  # in place of physfit.max_iterations


def _steps() -> list[StepConfig]:
    """Costs and losses: EXPERIMENTS.md.

    Lower orders of the drift are no way to save time: they lose 0.03 to 0.1.
    """
    return [
        StepConfig("coarse", 0.5, samples=125, max_iterations=4),
        StepConfig("coarsest", 0.35, samples=75, max_iterations=3),
    ]


@dataclass
class BudgetConfig:
    """What `predict` may take. Where time runs short the remaining planets get the next step, in the given order."""

    hours: Annotated[float, Range(0)] = 0.0  # from the start of `predict` to the last planet; 0: no limit
    planet_minutes: Positive = 10.0  # a planet that takes longer hangs and is ended
    memory_gb: Annotated[float, Range(0)] = 2.0  # free memory below which fewer planets are computed at once
    first: Natural = 8  # planets, after the first of each process, that are measured before the pace is trusted
    write_s: Annotated[float, Range(0)] = 60.0  # submission.csv is improved at most this often
    steps: list[StepConfig] = field(default_factory=_steps)  # cheaper settings, in the order in which they are taken


@dataclass
class PriorConfig:
    """Spectral prior."""

    # auto: the run's own, else train.csv if large enough, else shipped
    source: Annotated[str, OneOf("auto", "train", "shipped")] = "auto"
    # spectra that a prior, and planets that the fusion model, is trained on at least
    min_train_planets: Annotated[int, Range(10)] = 200
    limb_planets: Natural = 200  # training planets that limb darkening is learnt from
    components: Shapes = 12  # molecular shapes kept of the spectra of all kinds together
    kinds: Shapes = 12  # of atmospheres that training spectra are told apart by, at most
    factors: Shapes = 8  # shapes of each kind


@dataclass
class SigmaConfig:
    """Sigma calibration."""

    calibrator: str = ""  # path of a frozen calibrator; "": the run's own from `train`, else the shipped one
    folds: Folds = 4  # `train` fits each fold's planets with a prior learnt from the others


@dataclass
class SmoothnessConfig:
    """Penalty on an AIRS spectrum that is rougher than atmospheres are."""

    enabled: bool = True  # whether this rule is one
    lam: Annotated[float, Range(0)] = 5e-4  # its weight
    max_roughness: Positive = 0.31  # scatter of second differences over that of the bins; white noise has 2.45


@dataclass
class BandsConfig:
    """Penalty on molecular bands that stand out more than any atmosphere's."""

    enabled: bool = True  # whether these rules are some
    lam: Annotated[float, Range(0)] = 1e-3  # their weight
    max_contrast: Positive = 0.1  # band mean against AIRS mean, as a fraction of the AIRS mean depth
    # a rule for each
    molecules: list[str] = field(default_factory=lambda: ["H2O", "CO2", "CO", "CH4", "NH3"])
    # replaces a molecule's ranges (low, high) in instruments.py
    ranges_um: dict[str, list[list[Positive]]] = field(default_factory=dict)


@dataclass
class LossConfig:
    """What training minimises: minus the score, plus rules (kitlib/rules/constraints.py)."""

    unit: Positive = 1e-5  # the violation that costs a penalty of 1
    smoothness: SmoothnessConfig = field(default_factory=SmoothnessConfig)
    bands: BandsConfig = field(default_factory=BandsConfig)
    rules: dict[str, Any] = field(default_factory=dict)  # name -> text, {expr, weight, unit} or null


@dataclass
class ModelConfig:
    """What turns the physical posterior into the answer (kitlib/fusion/model.py)."""

    # v50: the fusion model on top of the physical posterior | physics: the posterior itself
    kind: Annotated[str, OneOf("v50", "physics")] = "v50"
    width: Annotated[int, Range(8, 1_024, multiple=8)] = 32  # channels of every encoder; a multiple of 8
    fgs1_encoder: bool = True  # Mamba-2 over FGS1's light curve
    fgs1_layers: Layers = 2  # its blocks
    state: Annotated[int, Range(1, 1_024)] = 16  # its state size
    airs_encoder: bool = True  # CNN over AIRS' residual map
    airs_channels: Annotated[int, Range(4, 1_024, multiple=4)] = 16  # its channels; a multiple of 4
    graph: bool = True  # edges between wavelengths
    graph_layers: Layers = 2  # rounds of messages along them
    # what is corrected: posterior | population (direct regression)
    base: Annotated[str, OneOf("posterior", "population")] = "posterior"
    # 3: FGS1, AIRS level and AIRS shape have their own; 1: one for all
    sigma_factors: Annotated[int, OneOf(1, 3)] = 3
    dropout: Annotated[float, Range(0, below=1)] = 0.2  # share of a layer that a training step leaves out
    gradient_checkpointing: bool = False  # less memory in training, more time


@dataclass
class TrainConfig:
    """Training of the fusion model (kitlib/fusion/train.py)."""

    initial: str = "shipped"  # what `train` starts from: shipped | path of a model file | "": from scratch
    folds: Folds = 5  # each fold's planets are answered by the model of the others
    steps: Natural = 20_000  # at most, 0: the weights stay as they start; early stopping ends it sooner
    batch: Count = 64  # planets of a step
    learning_rate: Annotated[float, Range(above=0, high=1)] = 1e-3  # of AdamW
    warmup: Natural = 500  # steps of rising learning rate; a cosine follows
    weight_decay: Annotated[float, Range(0, 10)] = 1e-2  # of AdamW
    clip: Positive = 1.0  # norm of the gradient
    # decay of the averaged weights, which are what is validated and kept
    ema: Annotated[float, Range(0, below=1)] = 0.999
    # share of the planets that stopping is judged on, without folds
    validation: Annotated[float, Range(above=0, below=1)] = 0.1
    validate_every: Count = 250  # steps from one validation to the next
    patience: Count = 12  # validations without a better score
    checkpoint_every: Count = 250  # steps; a killed run goes on from the last one
    # on CUDA: float32 | half (bfloat16, else float16); the CPU computes in float32
    precision: Annotated[str, OneOf("float32", "half")] = "float32"


@dataclass
class PretrainConfig:
    """Simulated planets that the fusion model is pre-trained on (kitlib/run/pretraining.py)."""

    planets: Count = 20_000  # in all
    randomised: Share = 0.4  # share with other spectra, worse detectors, other drifts, missing contacts
    own: Share = 0.4  # share of the own world; the others draw what nobody knows (`simulate.world`)
    shard: Count = 40  # planets in one file: what a killed run loses at most


SIGNALS = ("H2O", "CO2", "CO", "CH4", "drift", "step", "jitter_burst", "hot_pixel", "spot_crossing",
           "second_visit_offset")  # fmt: skip
Signal = Annotated[str, OneOf(*SIGNALS)]


@dataclass
class InjectConfig:
    """Signals of known size that `diagnose inject` puts into planets' data (kitlib/inject/signals.py)."""

    # into calibrated light curves | frames: copies of raw frames, calibrated anew | both
    where: Annotated[str, OneOf("lightcurves", "frames", "both")] = "lightcurves"
    signals: list[Signal] = field(default_factory=lambda: list(SIGNALS))  # what is put in, one after the other
    # the first of data.split; one with two visits is added where second_visit_offset needs it
    planets: Count = 4
    # molecules: ppm of transit depth
    amplitudes: list[PPM] = field(default_factory=lambda: [100.0, 200.0, 400.0])
    # others, in ppm (jitter_burst into frames: thousandths of a pixel)
    nuisance_amplitudes: list[PPM] = field(default_factory=lambda: [300.0, 1000.0])


@dataclass
class ReportConfig:
    """The HTML page."""

    planets: Natural = 100  # planets whose light curves are shown, the worst fits first; 30 kB each
    heavy: bool = True  # Fourier spectra of the residuals, and a map of the fusion model's latents
    against: str = ""  # folder (run.out) of another run, which the page compares this one with; "" compares with none


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

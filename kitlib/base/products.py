"""The data that flow from stage to stage. Shapes: P planets, T time samples, W bins of an instrument, B = 283.

Wavelengths always ascend; bin 0 is FGS1, bins 1..282 are AIRS-CH0. Depths are (Rp/Rs)^2, a pure number.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .instruments import Instrument

Array = NDArray[np.floating]
COVERED = 2.0  # diagnostics["gate"]: 0 a sound fit, 1 a sound fit of a part of the data, 2 none
POPULATION = 2  # diagnostics["fallback"] from here on: no fit, the population prior


@dataclass(frozen=True)
class CalibrationMaps:
    """Calibration frames of one detector in one visit."""

    instrument: Instrument
    dark_e_per_s: Array  # (rows, cols) float32, electrons per second
    dead: NDArray[np.bool_]  # (rows, cols)
    hot: NDArray[np.bool_]  # (rows, cols)
    flat: Array  # (rows, cols) float32, relative response
    linear_corr: Array  # (6, rows, cols) float64, ascending powers of electrons
    read_noise_e: Array  # (rows, cols) float32, electrons per read


@dataclass(frozen=True)
class MeanFrame:
    """A visit's mean calibrated frame and what its pixels count for, small enough to be kept.

    (32, K): FGS1's 32 columns; of AIRS means of six bins each, wavelengths ascending. NaN where no pixel was read.
    """

    flux_e: Array  # (32, K) float32, electrons per CDS pair and pixel
    weights: Array  # (32, K) float16; negative: pixels far from the star, whose light is taken away as sky


@dataclass(frozen=True)
class LightCurve:
    """Time series of one instrument in one visit: mean electrons per CDS pair in each time sample."""

    instrument: Instrument
    time_h: Array  # (T,) float64, hours since the visit's start, mid-exposure
    flux_e: Array  # (T, W) float32, electrons per CDS pair; NaN where no pair survived
    variance_e2: Array  # (T, W) float32, electrons^2, of the mean; inf where flux is NaN
    pairs: NDArray[np.int32]  # (T,) CDS pairs averaged into each sample
    centroid_px: Array  # (T, 2) float32, (row, column) offset of the star from its visit mean; AIRS column: 0
    quality: dict[str, float] = field(
        default_factory=dict
    )  # dead/hot/saturated fractions, rejected samples, background
    frame: MeanFrame | None = None  # None: the light curve was not made from frames


@dataclass(frozen=True)
class PlanetLightCurves:
    """All visits of one planet. A visit that could not be read is absent and its reason is in the event log."""

    planet_id: int
    visits: tuple[dict[str, LightCurve], ...]  # each {"FGS1": ..., "AIRS-CH0": ...}; one instrument may be missing


@dataclass(frozen=True)
class Catalogue:
    """`star_info.csv`: noisy catalogue values, one row a planet."""

    planet_id: NDArray[np.int64]  # (P,)
    stellar_radius_rsun: Array  # (P,) Rs
    stellar_mass_msun: Array  # (P,) Ms
    stellar_temperature_k: Array  # (P,) Ts
    planet_mass_mjup: Array  # (P,) Mp
    period_days: Array  # (P,) P
    semi_major_axis_rs: Array  # (P,) sma, in stellar radii
    inclination_deg: Array  # (P,) i
    # e is 0 for every planet of the competition and is therefore not carried

    def __len__(self) -> int:
        return len(self.planet_id)

    def take(self, index: NDArray[np.integer] | slice) -> "Catalogue":
        """The same table for a subset of planets, in the order of `index`."""
        return Catalogue(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Spectra:
    """True or estimated spectra without uncertainty, e.g. `train.csv`."""

    planet_id: NDArray[np.int64]  # (P,)
    depth: Array  # (P, 283)


@dataclass(frozen=True)
class Posterior:
    """Gaussian posterior of each planet's spectrum, before calibration of its sigma."""

    planet_id: NDArray[np.int64]  # (P,)
    mean: Array  # (P, 283)
    cov: Array  # (P, 283, 283) float32, symmetric positive definite
    diagnostics: dict[str, Array]  # name -> (P,): chi2, fallback level, visits, missing egress, ...
    inputs: dict[str, Array] = field(default_factory=dict)  # name -> (P, ...): `fits.with_inputs`

    def take(self, index: NDArray[np.bool_] | NDArray[np.integer] | slice) -> "Posterior":
        """The same for a subset of planets, in the order of `index`."""
        diagnostics = {name: values[index] for name, values in self.diagnostics.items()}
        inputs = {name: values[index] for name, values in self.inputs.items()}
        return Posterior(self.planet_id[index], self.mean[index], self.cov[index], diagnostics, inputs)

    @property
    def sigma(self) -> Array:
        """(P, 283) float64 standard deviation of each bin."""
        return np.sqrt(np.diagonal(self.cov, axis1=1, axis2=2).astype(np.float64))

    @property
    def is_population(self) -> NDArray[np.bool_]:
        """(P,) planets that carry the population prior instead of a fit."""
        return np.asarray(self.diagnostics.get("fallback", np.zeros(len(self.planet_id)))) >= POPULATION

    @property
    def is_covered(self) -> NDArray[np.bool_]:
        """(P,) planets whose fit does not describe their light curves: the covariance covers the misfit already."""
        return np.asarray(self.diagnostics.get("gate", np.zeros(len(self.planet_id)))) >= COVERED


@dataclass(frozen=True)
class LightCurveFit:
    """White light curve of one instrument in one visit, with the fit. Flux 1 is the star out of transit."""

    planet_id: int
    visit: int
    instrument: str  # "FGS1" or "AIRS-CH0"
    time_h: Array  # (T,) hours since the visit's start, ascending
    flux: Array  # (T,) normalised; not used where sigma is inf or flux NaN
    model: Array  # (T,) fitted star x drift x transit
    sigma: Array  # (T,) standard deviation of `flux`; inf where there is no sample
    drift: Array  # (T,) the model without its transit

    def __post_init__(self) -> None:
        shapes = {name: np.shape(getattr(self, name)) for name in ("time_h", "flux", "model", "sigma", "drift")}
        if len(set(shapes.values())) != 1 or len(shapes["time_h"]) != 1:
            raise ValueError(
                f"light curve of planet {self.planet_id}, visit {self.visit}, {self.instrument}: time_h, flux, model, "
                f"sigma and drift must be 1-d arrays of one length, got {shapes}"
            )


@dataclass(frozen=True)
class Prediction:
    """Calibrated spectra, ready for the submission."""

    planet_id: NDArray[np.int64]  # (P,)
    mu: Array  # (P, 283)
    sigma: Array  # (P, 283), > 0

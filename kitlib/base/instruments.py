"""Every constant of the two instruments and of the competition's file layout, with its source. Nothing here is fitted.

Sources: [M] measured on real frames of the Ariel Data Challenge 2025, [C] stated by the competition's files or pages.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Instrument:
    """One detector, its read-out and the names of its files.

    Frames come in pairs (first read, last read); their difference is one correlated double sample (CDS).
    """

    name: str  # as in the competition's file names
    rows: int  # spatial axis of the detector, pixels
    cols: int  # dispersion axis (AIRS) or second spatial axis (FGS1), pixels
    first_read_s: float  # cumulative exposure of the first read of a pair, seconds [C: axis_info; M]
    last_read_s: float  # cumulative exposure of the last read of a pair, seconds [C: axis_info; M]
    cadence_s: float  # time from one pair to the next, seconds [M]
    pairs_per_visit: int  # CDS pairs in a full visit of 7.5 h [C]
    crop: tuple[int, int]  # detector columns [start, stop) that carry the submission's bins
    descending: bool  # True where wavelength falls with the column index
    centre: tuple[float, float | None]  # PSF centre (row, column) in pixels; None where the star is a trace [M]

    @property
    def n_pixels(self) -> int:
        """Pixels of one frame, which is one row of a signal file."""
        return self.rows * self.cols

    @property
    def cds_s(self) -> float:
        """Exposure of one CDS pair, seconds."""
        return self.last_read_s - self.first_read_s

    @property
    def n_bins(self) -> int:
        """Spectral bins that the instrument contributes to the submission."""
        return 1 if self.centre[1] is not None else self.crop[1] - self.crop[0]

    @property
    def time_column(self) -> str:
        """Column of `axis_info.parquet` with the start of each sub-exposure, hours."""
        return f"{self.name}-axis0-h"

    def signal_file(self, visit: int) -> str:
        """File name of a visit's frames inside a planet's folder."""
        return f"{self.name}_signal_{visit}.parquet"

    def calibration_dir(self, visit: int) -> str:
        """Folder name of a visit's calibration frames inside a planet's folder."""
        return f"{self.name}_calibration_{visit}"


FGS1 = Instrument(
    name="FGS1",
    rows=32,
    cols=32,
    first_read_s=0.1,
    last_read_s=0.2,
    cadence_s=0.4,
    pairs_per_visit=67_500,
    crop=(0, 32),
    descending=False,
    centre=(15.75, 15.30),
)
AIRS = Instrument(
    name="AIRS-CH0",
    rows=32,
    cols=356,
    first_read_s=0.1,
    last_read_s=4.6,
    cadence_s=4.8,
    pairs_per_visit=5_625,
    crop=(39, 321),
    descending=True,
    centre=(15.6, None),
)
INSTRUMENTS = (FGS1, AIRS)

ADC_GAIN = 0.4369  # ADU per electron, 65535 / 150000 [C: adc_info.csv; M]
ADC_OFFSET_E = -1000.0  # electrons = ADU / gain + offset [C: adc_info.csv; M]
CALIBRATION_FRAMES = ("dark", "dead", "flat", "linear_corr", "read")  # [C]
LINEARITY_COEFFICIENTS = 6  # ascending powers 0..5, applied in electrons [M]

N_AIRS_BINS = AIRS.n_bins  # 282
N_BINS = 1 + N_AIRS_BINS  # 283: bin 0 is FGS1, bins 1..282 are AIRS, ascending wavelength
FGS1_WAVELENGTH_UM = 0.7  # as wl_1 is written in wavelengths.csv [C]
VISIT_HOURS = 7.5  # [M]
AIRS_OVER_FGS1_JITTER = 0.13  # rms shift of the AIRS trace over that of FGS1's image, in pixels of each [M]

# The official metric's constants [C]
SIGMA_TRUE_FGS1 = 1e-6
SIGMA_TRUE_AIRS = 1e-5
FGS1_WEIGHT = 57.846

PPM = 1e-6  # a depth in ppm times this is the pure number that all arrays hold

# Molecular bands inside 1.95-3.90 um: (low, high) in um. HITRAN band centres; widths as seen at R ~ 100.
MOLECULAR_BANDS_UM: dict[str, tuple[tuple[float, float], ...]] = {
    "H2O": ((2.45, 2.95),),
    "CO2": ((1.95, 2.10), (2.65, 2.85)),
    "CO": ((2.28, 2.45),),
    "CH4": ((2.15, 2.45), (3.15, 3.60)),
    "NH3": ((1.95, 2.10), (2.15, 2.40), (2.85, 3.15)),
}


def submission_columns() -> list[str]:
    """Names of the submission's columns in the official order: planet_id, wl_1..wl_283, sigma_1..sigma_283."""
    return [
        "planet_id",
        *(f"wl_{i}" for i in range(1, N_BINS + 1)),
        *(f"sigma_{i}" for i in range(1, N_BINS + 1)),
    ]


def bin_weights() -> np.ndarray:
    """The official metric's weight of each bin, shape (283,)."""
    return np.concatenate([[FGS1_WEIGHT], np.ones(N_AIRS_BINS)])

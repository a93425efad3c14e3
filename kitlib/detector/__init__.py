"""Raw frames to light curves.

In: parquet files of one planet's visits (uint16 frames, calibration maps, axes, converter), as `frames` and `tables`
read them. Out: `PlanetLightCurves`, electrons per CDS pair with a variance for every sample, one product file a planet.
Read in this order: frames, axes (time), parquet (their files), tables, csvtable (their text), calibrate (dead and hot
pixels, electrons), sky (what lies in front of the star, pair by pair), glitches (frames that do not show the star),
profile (where the star's light lies, what jitter does), neighbour (another star's light, which does not dip), cleaning
(outliers in time), extraction (weighted sums), lightcurves (a planet and what it lacks, a whole split).
"""

from .axes import Axis, AxisInfo, read_axis_info
from .calibrate import SATURATED_ADU, adc_to_electrons, calibration_maps, image_statistics, kernel_parameters, linearise
from .cleaning import MAD_TO_SIGMA, robust_sigma
from .csvtable import FrameError, read_csv, short_reason
from .extraction import BLOCKS, needed_pixels
from .frames import list_visits, read_calibration, read_signal, scan_signal
from .lightcurves import calibrate_planets, planet_lightcurves, product_maker, read_lightcurves, write_lightcurves
from .profile import airs_profile, fgs1_profile, good_pixels
from .tables import (
    PLANET_ID,
    Adc,
    Converters,
    read_adc_info,
    read_catalogue,
    read_spectra_csv,
    read_wavelengths,
)

__all__ = [
    "Adc",
    "Axis",
    "AxisInfo",
    "BLOCKS",
    "Converters",
    "FrameError",
    "MAD_TO_SIGMA",
    "PLANET_ID",
    "SATURATED_ADU",
    "adc_to_electrons",
    "airs_profile",
    "calibrate_planets",
    "calibration_maps",
    "fgs1_profile",
    "good_pixels",
    "image_statistics",
    "kernel_parameters",
    "linearise",
    "list_visits",
    "needed_pixels",
    "planet_lightcurves",
    "product_maker",
    "read_adc_info",
    "read_axis_info",
    "read_calibration",
    "read_catalogue",
    "read_csv",
    "read_lightcurves",
    "read_signal",
    "read_spectra_csv",
    "read_wavelengths",
    "robust_sigma",
    "scan_signal",
    "short_reason",
    "write_lightcurves",
]

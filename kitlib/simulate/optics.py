"""Starlight on the two detectors: wavelengths, flux per column, point-spread functions, background.

Fluxes are electrons per CDS pair. Everything is measured on the first 25 pairs of frames of planet 342072318 (the
"reference star") and, for the spectrum, on the light curves of a second planet; competitors published both.
"""

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import erf

from ..base.instruments import AIRS, FGS1, FGS1_WAVELENGTH_UM
from ..base.products import Array

# um over column / 355, ascending powers: `AIRS-CH0-axis2-um` of axis_info.parquet obeys it to 2e-15
DISPERSION_UM = (4.078463140898871, -1.5739400934050298, -0.871270327048639)
REFERENCE_TEMPERATURE_K = 4797.6  # star_info.csv of the reference star
REFERENCE_FGS1_E = 2.25e5  # its FGS1 electrons per CDS pair
_HC_OVER_K_UM_K = 14387.77  # second radiation constant

# Reference spectrum: knots (detector column, thousand electrons per CDS pair) of a cubic spline in ln flux over column.
# 63 knots follow the mean of the two measured spectra to 1.6 % at worst (0.4 % rms) inside the crop.
_SPECTRUM_KNOTS = np.array([
    (0, 0.1006), (10, 0.1262), (20, 0.3961), (23, 0.654), (25, 1.003), (27, 1.285), (30, 1.989),
    (32, 2.468), (33, 2.938), (35, 3.671), (39, 5.476), (41, 6.464), (49, 10.8), (54, 13.25),
    (57, 14.74), (59, 15.79), (60, 15.87), (63, 16.97), (67, 18.17), (79, 20.68), (100, 24.03),
    (116, 26.75), (124, 27.83), (131, 29.54), (140, 30.66), (159, 35.91), (180, 38.44), (195, 45.39),
    (204, 51.63), (210, 57.73), (220, 66.63), (226, 72.28), (240, 74.71), (244, 78.4), (248, 79.06),
    (253, 83.64), (256, 84.7), (260, 87.95), (266, 85.13), (268, 93.68), (271, 100.7), (274, 107.8),
    (281, 116.1), (285, 124.1), (290, 135.1), (293, 142.3), (295, 142.7), (300, 147.2), (304, 141.2),
    (306, 138.7), (308, 152.2), (312, 166.6), (315, 156.7), (320, 103.4), (325, 55.32), (328, 36.71),
    (331, 36.37), (336, 34.18), (344, 32.63), (347, 19.83), (351, 6.779), (353, 2.991), (355, 1.62),
])  # fmt: skip

# Row profile of AIRS: two Gaussians, each (share, sigma at 0 um, sigma per um), pixels, and wings that fall as
# distance^-2, (share, half width per um). Fitted to the reference star's rows in 14 groups of columns, above the
# background below; residuals of 3 to 10 % in the core and 20 % beyond it are the real profile's diffraction structure.
AIRS_CENTRE_ROW = 15.65
AIRS_CORE = ((0.5373, 0.6041, 0.1471), (0.1480, 0.0, 0.9918))
AIRS_WINGS = (0.3147, 0.5)
FGS1_CORE_SIGMA_PX = (1.16, 1.01)  # rows, columns
FGS1_CORE_FRACTION = 0.83
FGS1_WING_PX, FGS1_WING_POWER = 8.0, 3.2  # wings: (1 + (r / a)^2)^-power, most of it in four spikes:
FGS1_SPIKE_FLOOR = 0.06  # brightness between the spikes over that in them

BACKGROUND_FGS1_E = 0.7  # e- per pixel and CDS pair
BACKGROUND_AIRS_E = (5.0, 29.0)  # from the red to the blue end of the crop
SKY_COLOURS = ("own", "flat", "star", "red")
AIRS_WING_POWER, FGS1_FALL = 2.0, 3.4  # how the wings fall with distance; FGS1: from 5.5 to 20 px
_WING_START_PX = 4.0  # beyond it the wings of other worlds differ from these


def column_wavelengths_um() -> Array:
    """Wavelength of each AIRS detector column, (356,), descending."""
    return np.polynomial.polynomial.polyval(np.arange(AIRS.cols) / (AIRS.cols - 1), DISPERSION_UM)


_WAVELENGTHS_UM = np.append(FGS1_WAVELENGTH_UM, column_wavelengths_um()[slice(*AIRS.crop)][::-1])


def wavelengths_um() -> Array:
    """The 283 wavelengths of `wavelengths.csv`: 0.7 um for FGS1, then the AIRS crop in ascending order."""
    return _WAVELENGTHS_UM.copy()


def planck(wavelength_um: Array | float, temperature_k: Array | float) -> Array:
    """Planck's law in photons up to a constant factor; the arguments broadcast."""
    return wavelength_um**-4 / np.expm1(_HC_OVER_K_UM_K / (wavelength_um * temperature_k))


def _reference_columns() -> Array:
    column, kilo = _SPECTRUM_KNOTS.T
    return 1e3 * np.exp(CubicSpline(column, np.log(kilo))(np.arange(AIRS.cols)))


_REFERENCE_AIRS_E = _reference_columns()


def star_columns(temperature_k: float, brightness: float) -> tuple[float, Array]:
    """Electrons per CDS pair out of transit: FGS1 sum, and AIRS sum over rows of each column, (356,).

    Args:
        temperature_k: colour of the star: the reference spectrum times a ratio of Planck functions.
        brightness: electrons of all AIRS bins over those of the reference star.
    """
    wavelength = column_wavelengths_um()
    colour = planck(wavelength, temperature_k) / planck(wavelength, REFERENCE_TEMPERATURE_K)
    crop = slice(*AIRS.crop)
    scale = brightness * _REFERENCE_AIRS_E[crop].sum() / (_REFERENCE_AIRS_E * colour)[crop].sum()
    visible = planck(FGS1_WAVELENGTH_UM, temperature_k) / planck(FGS1_WAVELENGTH_UM, REFERENCE_TEMPERATURE_K)
    return float(REFERENCE_FGS1_E * scale * visible), _REFERENCE_AIRS_E * colour * scale


def star_flux(temperature_k: float, brightness: float) -> Array:
    """Electrons per CDS pair of each submission bin, (283,)."""
    fgs1, columns = star_columns(temperature_k, brightness)
    return np.concatenate([[fgs1], columns[slice(*AIRS.crop)][::-1]])


def background_columns() -> Array:
    """Zodiacal and thermal background in each AIRS column of the own world, electrons per pixel and pair, (356,)."""
    low, high = AIRS.crop
    x = np.clip((np.arange(AIRS.cols) - low) / (high - low), 0, 1)
    light = np.exp(np.interp(x, [0, 1], np.log(BACKGROUND_AIRS_E)))
    dimming = np.minimum(1.0, np.sqrt(_REFERENCE_AIRS_E / _REFERENCE_AIRS_E[low]))  # the band-pass cuts it as well
    return 1.35 + (light - 1.35) * dimming


def sky_columns(factor: float, colour: str, star: Array) -> Array:
    """Background in each AIRS column, (356,): `factor` times the own world's mean over the crop, in another colour.

    Args:
        factor: over the own world's.
        colour: own, flat, star (as the star's columns) or red (the own ramp the other way round).
        star: (356,) the star's electrons in each column.
    """
    own, crop = background_columns(), slice(*AIRS.crop)
    if colour == "own":
        return factor * own
    x = np.clip((np.arange(AIRS.cols) - AIRS.crop[0]) / (AIRS.crop[1] - AIRS.crop[0]), 0, 1)
    ramp = np.exp(np.interp(x, [0, 1], np.log(BACKGROUND_AIRS_E[::-1])))
    shape = {"flat": np.ones(AIRS.cols), "star": star, "red": ramp}[colour]
    return factor * own[crop].mean() * shape / shape[crop].mean()


def pixel_gauss(edges: Array, sigma: Array | float) -> Array:
    """Integral of a centred unit Gaussian over pixels given by their edges along the last axis."""
    return np.diff(erf(edges / (np.sqrt(2) * sigma)), axis=-1) / 2


def airs_psf(offset_px: float | Array = 0.0, wings_over: float = 1.0, power: float = AIRS_WING_POWER) -> Array:
    """Share of a column's light in each row, (..., 356, 32), for row offsets of the star (scalar or any shape).

    `wings_over`: light of the wings outside the core over the own world's; `power`: how they fall there.
    """
    wavelength = column_wavelengths_um()[:, None]
    edges = np.arange(AIRS.rows + 1) - 0.5 - AIRS_CENTRE_ROW - np.asarray(offset_px, float)[..., None, None]
    parts = [share * pixel_gauss(edges, sigma + slope * wavelength) for share, sigma, slope in AIRS_CORE]
    share, width = AIRS_WINGS
    wings = share * np.diff(np.arctan(edges / (width * wavelength)), axis=-1) / np.pi
    if (wings_over, power) != (1.0, AIRS_WING_POWER):
        wings = _other_wings(wings, edges, wings_over, power)
    profile = np.sum(parts, axis=0) + wings
    return profile / profile.sum(-1, keepdims=True)


def _other_wings(wings: Array, edges: Array, over: float, power: float) -> Array:
    """AIRS wings (..., 32) that turn beyond 4 px into others, which hold `over` times as much light there."""
    far = np.abs(edges[..., 1:] + edges[..., :-1]) / 2 / _WING_START_PX
    outside = far**4 / (1 + far**4)  # 0 in the core, 1 far from it
    own = outside * wings
    other = own * np.maximum(far, 1e-3) ** (AIRS_WING_POWER - power)
    return wings - own + over * own.sum(-1, keepdims=True) / other.sum(-1, keepdims=True) * other


def fgs1_core_fraction(wings_over: float = 1.0) -> float:
    """Share of the light in FGS1's core where the wings hold `wings_over` times the own world's."""
    return FGS1_CORE_FRACTION + (1 - FGS1_CORE_FRACTION) * (1 - wings_over)


def fgs1_psf(
    offset_px: Array | tuple[float, float] = (0.0, 0.0), wings_over: float = 1.0, power: float = FGS1_FALL
) -> Array:
    """Share of the star's light in each FGS1 pixel, (..., 32, 32), for (row, column) offsets (..., 2).

    `wings_over`: light of the wings over the own world's; `power`: how they fall with the radius.
    """
    offset = np.asarray(offset_px, float)
    shares = []
    distances = []
    for axis in (0, 1):
        shift = FGS1.centre[axis] + offset[..., axis, None]
        edges = np.arange(FGS1.rows + 1) - 0.5 - shift
        shares.append(pixel_gauss(edges, FGS1_CORE_SIGMA_PX[axis]))
        distances.append(np.arange(FGS1.rows) - shift)
    rows, cols = distances
    radius2 = rows[..., :, None] ** 2 + cols[..., None, :] ** 2
    # cos^2(2 angle) without trigonometry
    along = ((rows[..., :, None] ** 2 - cols[..., None, :] ** 2) / np.maximum(radius2, 1e-9)) ** 2
    wings = (1 + radius2 / FGS1_WING_PX**2) ** -FGS1_WING_POWER
    wings = wings * (FGS1_SPIKE_FLOOR + (1 - FGS1_SPIKE_FLOOR) * along**8)
    wings = wings * (1 + radius2 / _WING_START_PX**2) ** ((FGS1_FALL - power) / 2)
    wings = wings / wings.sum((-2, -1), keepdims=True)
    core = shares[0][..., :, None] * shares[1][..., None, :]
    fraction = fgs1_core_fraction(wings_over)
    return fraction * core + (1 - fraction) * wings

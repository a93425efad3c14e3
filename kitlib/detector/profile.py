"""Spatial profile, background and pixel weights of a visit, from its mean image: pure functions on (rows, cols).

The weights are Horne's (1986, PASP 98, 609) with two additions to the pixels' photon and read noise. Pointing jitter
moves flux between neighbours in a known pattern: gradient and curvature of the profile. And the sky, which `sky` takes
away, is known with an error that all pixels of a light curve share. Such weights are
nearly 1 where photons dominate, taper where read noise does, and rearrange themselves around a missing pixel so that
jitter still cancels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from ..base.instruments import AIRS, FGS1, Instrument
from ..base.products import Array, CalibrationMaps
from .cleaning import robust_sigma
from .sky import LIT_ROWS, SkyFit, fit_sky, sky_pixels, star_pixels

# Far wings of a diffraction-limited image fall as r^-3, and as distance^-2 once summed along the dispersion. On real
# frames the slopes are 3.4 (FGS1, 5.5 to 20 px) and 1.96 (AIRS, 7.6 to 15.6 px).
_WING_POWER = {FGS1.name: 3.0, AIRS.name: 2.0}
_WING_START_PX = {FGS1.name: 12.0, AIRS.name: 8.5}
_WING_COLUMNS = 10  # AIRS: sigma of the spread of the wings along the dispersion, pixels
_PROFILE_COLUMNS = 7  # AIRS: half width of the window of columns that share one profile
# Strength of the jitter terms: rms shift, and rms change of the squared width. Real shifts: 0.10, 0.013 px [M]. FGS1's
# terms are weaker because its light curve is decorrelated afterwards, and an undersampled image has rough gradients.
_JITTER_PX = {FGS1.name: 0.05, AIRS.name: 0.03}
_WIDTH_PX2 = {FGS1.name: 0.006, AIRS.name: 0.005}
_BLINDNESS = 10.0  # to a neighbour: its image and what a shift of it would change, over what they are
_DEAR = 1.1  # noise over that of weights that see the neighbour, from which on these are better
_TEMPLATE_ERROR = 0.1  # of a neighbour's light in a pixel: of one as bright as the star, 11 % are misplaced
_NEGLIGIBLE = 0.01  # weights below this part of the largest one are dropped


@dataclass(frozen=True)
class Extraction:
    """What turns calibrated pixels into light curves without sky: see `light_curves`."""

    weights: Array  # (rows, cols) float32; AIRS sums along rows, FGS1 over all pixels
    sky: NDArray[np.bool_]  # (rows, cols): these pixels add to the mean far light, all others to the star's
    sky_fit: SkyFit
    aperture_px: Array  # (W,) sum of the weights of the star's pixels: pixels of sky in a light curve
    background_e: Array  # (W,) electrons per pixel and pair: sky as the mean image has it, for the noise alone
    flux_e: Array  # (W,) electrons per pair, of the mean image
    variance_e2: Array  # (W,) electrons^2 of one pair: photons, read noise and error of the sky, which bins share
    star_e: Array  # (rows, cols) electrons per pair of the star alone, in all pixels
    dilution: Array  # (W,) electrons per pair that a neighbour leaves in each light curve; zeros without one
    dilution_sd: Array  # (W,) what its template is wrong by

    def light_curves(self, star_e: Array, sky_e: Array) -> Array:
        """(W, n) from weighted sums over the star's pixels and over the sky pixels, each (W, n), electrons per pair."""
        return star_e - self.aperture_px[:, None] * self.sky_fit.beneath(sky_e)


def good_pixels(maps: CalibrationMaps, mean: Array, noise: Array, saturated: Array) -> NDArray[np.bool_]:
    """(rows, cols): neither dead, hot, saturated in over 0.1 % of the pairs, unread, nor with unexplained noise.

    Noise is unexplained above 10 x the photon and read noise, in pixels fainter than 2,000 e-: in brighter ones jitter
    explains it.
    """
    expected = np.sqrt(np.maximum(mean, 0) + 2 * maps.read_noise_e**2)
    with np.errstate(invalid="ignore"):
        wild = (noise > 10 * expected) & (mean < 2000)
        return np.isfinite(mean) & ~maps.dead & ~maps.hot & (saturated <= 1e-3) & ~wild


def pixel_variance(mean: Array, maps: CalibrationMaps) -> Array:
    """Variance of one pair in each pixel (rows, cols), electrons^2 after division by the flat: signal + 2 read^2."""
    return np.maximum(mean, 0) / maps.flat + 2 * (maps.read_noise_e / maps.flat) ** 2


def _windowed_sum(values: Array, half_width: int) -> Array:
    """Sum over a sliding window of 2 * half_width + 1 columns (last axis), zero beyond the ends."""
    width = 2 * half_width + 1
    return uniform_filter1d(values, width, axis=-1, mode="constant") * width


def _robust_fit(design: Array, values: Array, background: int) -> Array:
    """Least squares values (n,) = design (n, k) @ x, outliers clipped at 4 robust sigmas.

    The first `background` terms are backgrounds: where they add up to less than nothing, all of them are 0. The others
    make the wing, whose shape is trusted to 5 %: bright wings weigh less, the background is read where they are faint.
    """
    keep = np.ones(len(values), bool)
    weight = np.ones(len(values))
    solution: Array = np.zeros(design.shape[1])
    for _ in range(6):
        if keep.sum() < 2 * design.shape[1]:
            return np.zeros(design.shape[1])
        scale = np.where(keep, weight, 0.0)
        solution = np.linalg.lstsq(design * scale[:, None], values * scale, rcond=None)[0]
        if np.median(design[:, :background] @ solution[:background]) < 0:
            solution[:background] = 0
            wing = design[:, background:] * scale[:, None]
            solution[background:] = np.linalg.lstsq(wing, values * scale, rcond=None)[0]
        weight = 1 / np.hypot(1.0, 0.05 * (design[:, background:] @ solution[background:]))
        residual = (values - design @ solution) * weight
        keep = np.abs(residual) <= 4 * max(float(robust_sigma(residual[keep])), 1e-3)
    return solution


def _airs_background(image: Array, outer: NDArray[np.bool_], level: Array, distance: Array) -> Array:
    """Background (cols,) beneath the wings in the pixels `outer`; `level` (cols,) is the light of each column's core.

    background = b0 + b1 L, wing = (a0 + a1 column) L (distance / 10)^-2, with L the light smoothed over 10 columns:
    wings spread along the dispersion too, and diffuse sky light has nearly the star's spectrum.
    """
    spread = gaussian_filter1d(level, _WING_COLUMNS, mode="nearest")
    scale = max(spread.max(), 1.0)
    column = np.linspace(-1, 1, len(level))
    wing = spread / scale * (distance / 10.0) ** -_WING_POWER[AIRS.name]
    one = np.ones_like(image)
    design = np.stack([one, one * spread / scale, wing, wing * column], axis=-1)
    solution = _robust_fit(design[outer], image[outer], background=2)
    return solution[0] + solution[1] * spread / scale


def _bridged(profile: Array, read: NDArray[np.bool_], distance: Array) -> Array:
    """Profile (rows, cols) with the rows that were not `read` (rows,) between two that were; `distance` (rows,)."""
    known = np.flatnonzero(read)
    missing = np.flatnonzero(~read)
    missing = missing[(missing > known[0]) & (missing < known[-1])]
    after = known[np.searchsorted(known, missing)]
    before = known[np.searchsorted(known, missing) - 1]
    span = np.log(distance)
    share = ((span[missing] - span[before]) / (span[after] - span[before]))[:, None]
    bridged: Array = profile.copy()
    low, high = (np.log(np.maximum(profile[rows], 1e-6)) for rows in (before, after))
    bridged[missing] = np.exp(low + share * (high - low))
    return bridged


def airs_profile(mean: Array, good: NDArray[np.bool_], instrument: Instrument) -> tuple[Array, Array, Array]:
    """Profile (rows, cols) summing to 1 along rows, flux (cols,) and background (cols,) of a mean image (rows, cols).

    The background, a constant plus a share of the light around each column, is what lies beneath a wing ~ distance^-2
    in the outer rows: these hold 20-90 e- of the star.
    Columns that hold no light take the profile of the nearest column that does; rows that nobody has read lie on a
    power of the distance between those that were.
    """
    image = np.where(good, mean, 0.0).astype(np.float64)
    distance = np.abs(np.arange(instrument.rows) - instrument.centre[0])[:, None]
    outer = good & (distance > _WING_START_PX[instrument.name])
    core = distance <= 8
    level = np.sum(image[LIT_ROWS], axis=0)
    column = np.arange(instrument.cols)
    known = np.flatnonzero(good[LIT_ROWS].any(axis=0))
    if len(known) == 0:
        raise ValueError("no column of the image holds light")
    background = _airs_background(image, outer, np.interp(column, known, level[known]), distance)
    image = np.where(good, mean - background, 0.0)
    flux = np.maximum(np.sum(image * core, axis=0), 0.0)
    use = good.astype(float)
    read = np.atleast_1d(np.isfinite(mean).any(axis=1))
    profile: Array = np.zeros_like(image)
    for _ in range(3):
        numerator = _windowed_sum(use * image * flux, _PROFILE_COLUMNS)
        denominator = _windowed_sum(use * flux**2, _PROFILE_COLUMNS)
        profile = np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1.0), 0.0)
        profile = _bridged(profile, read, distance[:, 0])
        lit = _windowed_sum(flux, _PROFILE_COLUMNS) > 500.0 * (2 * _PROFILE_COLUMNS + 1)
        lit &= np.sum(profile, axis=0) > 0
        if not lit.any():
            raise ValueError("no column of the image holds light")
        nearest = np.flatnonzero(lit)[np.argmin(np.abs(column[:, None] - np.flatnonzero(lit)), axis=1)]
        profile = profile[:, nearest]
        profile = profile / np.sum(profile, axis=0)
        # least squares, without the pixels that disagree by more than the profile's own roughness can explain
        deviant = np.abs(image - flux * profile) > 0.15 * flux * profile + 100.0
        use = (good & ~deviant).astype(float)
        norm = np.sum(good * profile**2 / (flux * profile + 400), axis=0)
        fit = np.sum(good * profile * image / (flux * profile + 400), axis=0) / np.maximum(norm, 1e-12)
        flux = np.maximum(fit, 0.0)
    return profile, flux, background


def fgs1_profile(mean: Array, good: NDArray[np.bool_], instrument: Instrument) -> tuple[Array, Array, Array]:
    """Profile (rows, cols) summing to 1, flux (1,) and background (1,) of a mean image (rows, cols).

    The background is the constant beneath a wing ~ r^-3 in the corners. Unread and bad pixels take the geometric mean
    of their good neighbours, or the wing where they have none.
    """
    row, col = np.mgrid[: instrument.rows, : instrument.cols]
    radius = np.hypot(row - instrument.centre[0], col - instrument.centre[1])
    basis = np.maximum(radius / 10.0, 0.1) ** -_WING_POWER[instrument.name]
    outer = good & (radius > _WING_START_PX[instrument.name])
    design = np.stack([np.ones(outer.sum()), basis[outer]], axis=-1)
    background, wing = np.split(_robust_fit(design, mean[outer].astype(np.float64), background=1), 2)
    image = np.where(good, mean - background[0], np.nan).astype(np.float64)
    padded = np.pad(np.log(np.maximum(image, 1e-3)), 1, constant_values=np.nan)
    neighbours = np.stack([padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]])
    count = np.sum(np.isfinite(neighbours), axis=0)
    filled = np.exp(np.nansum(neighbours, axis=0) / np.maximum(count, 1))
    filled = np.where((count >= 2) & (radius < _WING_START_PX[instrument.name]), filled, wing[0] * basis)
    image = np.where(good, image, filled)
    flux = image.sum()
    if not flux > 0:
        raise ValueError("the image holds no light")
    return image / flux, np.array([flux]), background


def _jitter_modes(profile: Array, instrument: Instrument) -> Array:
    """(modes, rows, cols): change of the normalised image for one rms of pointing jitter and of width."""
    shift = _JITTER_PX[instrument.name]
    width = 0.5 * _WIDTH_PX2[instrument.name]
    axes = (0,) if instrument.centre[1] is None else (0, 1)
    modes = []
    for axis in axes:
        slope = np.gradient(profile, axis=axis)
        modes += [shift * slope, width * np.gradient(slope, axis=axis)]
    return np.stack(modes)


def _constrained_weights(
    flux: Array, profile: Array, variance: Array, good: NDArray[np.bool_], modes: Array, sky_e2: Array
) -> Array:
    """Minimum-variance weights (W, n) of unit response to `profile` (W, n), for W light curves of flux (W,).

    A light curve without a good pixel that holds light gets none, and later no say in the fit.
    Covariance: diag(variance) + flux^2 modes^T modes + sky_e2 for each two pixels, by the Woodbury identity; modes
    (W, k, n), sky_e2 (W,) the variance of the sky that will be subtracted from each pixel.
    """
    inverse = np.where(good, 1.0 / variance, 0.0)
    sky = np.broadcast_to(np.sqrt(sky_e2)[:, None, None], (len(flux), 1, profile.shape[1]))
    scaled = np.concatenate([flux[:, None, None] * modes, sky], axis=1)
    plain = inverse * profile
    small = np.eye(scaled.shape[1]) + (scaled * inverse[:, None]) @ scaled.mT
    shares = np.linalg.solve(small, scaled @ plain[..., None])
    weights = plain - inverse * (scaled.mT @ shares)[..., 0]
    weights[np.abs(weights) < _NEGLIGIBLE * np.abs(weights).max(axis=1, keepdims=True)] = 0.0
    response = np.sum(weights * profile, axis=1, keepdims=True)
    lit = response > 0
    if not lit.any():
        raise ValueError("the good pixels hold no light")
    return np.where(lit, weights / np.where(lit, response, 1.0), 0.0)


def plan_extraction(
    maps: CalibrationMaps, mean: Array, good: NDArray[np.bool_], other_e: Array | None = None
) -> Extraction:
    """Weights of every pixel from the mean image (rows, cols) in e- per pair. Flux is that of the star in all rows.

    A neighbour's image `other_e` (rows, cols) in it gets no response, as far as that costs little noise.
    Raises ValueError where the image holds no light.
    """
    plan = _planned(maps, mean, good, other_e, False)
    if other_e is None:
        return plan
    blind = _planned(maps, mean, good, other_e, True)
    cost = np.sqrt(np.median(blind.variance_e2 / np.where(plan.variance_e2 > 0, plan.variance_e2, 1.0)))
    return blind if cost < _DEAR else plan


def _planned(
    maps: CalibrationMaps, mean: Array, good: NDArray[np.bool_], other_e: Array | None, blind: bool
) -> Extraction:
    """`plan_extraction`, with weights that are `blind` to the neighbour or not."""
    instrument = maps.instrument
    spectral = instrument.centre[1] is None
    other = np.zeros(mean.shape) if other_e is None else other_e
    alone = mean if other_e is None else mean - other
    profile, total, background = (airs_profile if spectral else fgs1_profile)(alone, good, instrument)
    modes = _jitter_modes(profile, instrument)
    if blind:
        slopes = np.gradient(other, axis=(0,) if spectral else (0, 1))
        slopes = [slopes] if spectral else list(slopes)
        modes = np.concatenate([modes, _BLINDNESS * np.stack([other, *slopes]) / np.maximum(total, 1.0)])
    scatter = pixel_variance(profile * total + np.maximum(background, 0.0) + np.maximum(other, 0.0), maps)
    crop = slice(*instrument.crop) if spectral else slice(None)

    def by_series(image: NDArray[Any]) -> NDArray[Any]:
        """(..., rows, cols) to (W, ..., n): the pixels of each light curve."""
        return np.moveaxis(image[..., crop], -1, 0) if spectral else image.reshape(1, *image.shape[:-2], -1)

    far = sky_pixels(instrument)
    light, variance, moves = by_series(profile), by_series(scatter), by_series(modes)
    flux = np.maximum(total[crop], 1.0)
    fit, sky_weights = fit_sky(variance, by_series(good & far), flux)
    star = by_series(good & star_pixels(instrument))
    weights = _constrained_weights(flux, light, variance, star, moves, fit.variance_e2)
    # the star's own far light goes with the sky: the rest is scaled to the whole
    lost = weights.sum(axis=1) * fit.beneath(np.sum(sky_weights * light, axis=1) * flux) / flux
    weights /= (1.0 - lost)[:, None]
    aperture = weights.sum(axis=1)

    def collected(image: Array) -> Array:
        """(W,) what the light curves hold of an image."""
        seen = by_series(np.where(good, image, 0.0))
        return np.sum(weights * seen, axis=1) - aperture * fit.beneath(np.sum(sky_weights * seen, axis=1))

    wrong = _TEMPLATE_ERROR * np.sqrt(np.sum((weights * by_series(other)) ** 2, axis=1))
    both = weights + sky_weights
    placed = np.zeros((instrument.rows, instrument.cols), np.float32)
    placed[:, crop] = both.T if spectral else both.reshape(placed.shape)
    return Extraction(
        weights=placed,
        sky=far,
        sky_fit=fit,
        aperture_px=aperture,
        background_e=np.broadcast_to(background, total.shape)[crop],
        flux_e=collected(mean),
        variance_e2=np.sum(weights**2 * variance, axis=1) + aperture**2 * fit.variance_e2,
        star_e=profile * total,
        dilution=collected(other),
        dilution_sd=wrong,
    )

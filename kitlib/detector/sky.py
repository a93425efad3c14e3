"""The sky in front of a star, told from time and place alone: pure functions on (rows, cols).

The light around a star is sky and wings. No mean image can tell how much of each, and a depth would depend on the
answer, since wings dip and sky does not. So nothing here splits that light. Sky is what is uniform along a column
of AIRS, or over the stamp of FGS1. Each light curve is a weighted sum over the pixels of the star, minus the sum of
these weights times the light of the pixels far from it, pair by pair. Sky cancels exactly, whatever its size and its
course in time. What goes with it is the star's own far light, a hundredth at most, which dips like the star.

One column's far pixels know the sky badly: cancelling column by column costs 4 % of noise, and 8 % at the red end. But
the colour of the sky is smooth, or follows a star's. A few smooth courses along the spectrum hold it, alone and times
the star's spectrum. All columns together give their amplitudes in each pair.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from ..base.instruments import Instrument
from ..base.products import Array

LIT_ROWS = slice(10, 22)  # AIRS: 97 % of the light; with the rows beyond, noise falls by 0.3 %, the white light's rises
_SKY_ROWS = 5  # AIRS, at each edge of the detector
_FGS1_STAR_PX = 8.3  # 97 % of the light; with the pixels beyond, the noise would fall by 0.1 %
_FGS1_SKY_PX = 12.0
_FGS1_SKY_STEP = 3  # every third pixel beyond: all of them would lower the noise by 0.7 %
_LIT_EDGE, _LEAST_EDGE_E = 1.5, 5.0  # brightness over the other edge's; electrons per pair below which none counts
_COURSES = (8, 4)  # cubic B-splines along the spectrum: of the sky's own light, and times the star's spectrum


def star_pixels(instrument: Instrument) -> NDArray[np.bool_]:
    """(rows, cols): the pixels whose weighted sums are the light curves."""
    row, col = np.mgrid[: instrument.rows, : instrument.cols]
    if instrument.centre[1] is not None:
        return np.hypot(row - instrument.centre[0], col - instrument.centre[1]) < _FGS1_STAR_PX
    return (row >= LIT_ROWS.start) & (row < LIT_ROWS.stop) & _submitted(instrument)


def sky_pixels(instrument: Instrument) -> NDArray[np.bool_]:
    """(rows, cols): the pixels far from the star that show the sky of each pair."""
    row, col = np.mgrid[: instrument.rows, : instrument.cols]
    if instrument.centre[1] is not None:
        radius = np.hypot(row - instrument.centre[0], col - instrument.centre[1])
        return (radius > _FGS1_SKY_PX) & ((row + col) % _FGS1_SKY_STEP == 0)
    return ((row < _SKY_ROWS) | (row >= instrument.rows - _SKY_ROWS)) & _submitted(instrument)


def without_lit_edge(mean: Array, good: NDArray[np.bool_], instrument: Instrument) -> NDArray[np.bool_]:
    """`good` (rows, cols) without the edge of an AIRS image on which another star shines.

    The star's wings are alike on both edges, to 20 % on real frames, and the sky is the same: an edge half as bright
    again as the other one shows no sky.
    """
    if instrument.centre[1] is None:
        edges = (slice(0, _SKY_ROWS), slice(instrument.rows - _SKY_ROWS, None))
        shown = [np.where(good, mean, np.nan)[edge, slice(*instrument.crop)] for edge in edges]
        light = [float(np.nanmean(one)) if np.isfinite(one).any() else np.nan for one in shown]
        if max(light) > _LIT_EDGE * max(min(light), _LEAST_EDGE_E):  # False with NaN
            good = good.copy()
            good[edges[int(np.argmax(light))]] = False
    return good


def _submitted(instrument: Instrument) -> NDArray[np.bool_]:
    column = np.arange(instrument.cols)
    return (column >= instrument.crop[0]) & (column < instrument.crop[1])


@dataclass(frozen=True)
class SkyFit:
    """Sky beneath each light curve = courses @ (solve @ mean light of the sky pixels), linear and pair by pair."""

    courses: Array  # (W, J)
    solve: Array  # (J, W)
    variance_e2: Array  # (W,) electrons^2 of the sky in one pixel and pair: the error of the fit

    def beneath(self, sky_e: Array) -> Array:
        """Electrons per pixel (W, ...) of the sky beneath each light curve, from mean far light `sky_e` (W, ...)."""
        return self.courses @ (self.solve @ sky_e)


def fit_sky(variance: Array, usable: NDArray[np.bool_], flux: Array) -> tuple[SkyFit, Array]:
    """The fit, and the weight (W, n) of each sky pixel in the mean far light of its light curve.

    The weights are inverse variances: a pixel in which another star shines, counts for less the brighter it is.

    Args:
        variance: (W, n) electrons^2 of one pair.
        usable: (W, n) the good sky pixels; a light curve without any takes the sky of the others.
        flux: (W,) the star's light, electrons per pair.

    Raises ValueError where fewer light curves see the sky than it has courses.
    """
    inverse = np.where(usable, 1.0 / variance, 0.0)
    information = inverse.sum(axis=1)
    courses = _courses(flux)
    if np.count_nonzero(information) < courses.shape[1]:
        raise ValueError("hardly a good pixel far from the star is left to show the sky")
    # pseudo-inverse: the two kinds of courses are nearly the same where the star's spectrum is smooth
    covariance = np.linalg.pinv((courses.T * information) @ courses, rcond=1e-10, hermitian=True)
    error = np.einsum("wj,jk,wk->w", courses, covariance, courses)
    solve = covariance @ (courses.T * information)
    weights = inverse / np.where(information > 0, information, 1.0)[:, None]
    return SkyFit(courses, solve, error), weights


def _courses(flux: Array) -> Array:
    """(W, J): how the sky may go along the spectrum; a single light curve has one sky."""
    if len(flux) == 1:
        return np.ones((1, 1))
    place = np.linspace(0, 1, len(flux))
    own, starlike = (_splines(place, count) for count in _COURSES)
    return np.concatenate([own, starlike * (flux / flux.max())[:, None]], axis=1)


def _splines(place: Array, count: int) -> Array:
    """Values (n, count) of the cubic B-splines with even knots at `place` (n,) from 0 to 1; they add up to 1."""
    knots = np.concatenate([np.zeros(3), np.linspace(0, 1, count - 2), np.ones(3)])
    design: Array = BSpline.design_matrix(place, knots, 3).toarray()
    return design

"""Pairs of frames that do not show the star: dark or half lit ones, frames sent again, full-scale or garbled ones.

They are told by what they are, pair by pair, in the raw reads of some of the pixels. That happens before anything is
averaged: one such pair spoils the mean image or the time sample that it enters. They cost themselves and nothing else.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from ..base.compiled import compiled
from ..base.instruments import Instrument
from ..base.products import Array
from .calibrate import uint16_at
from .cleaning import MAD_TO_SIGMA, median
from .frames import Signal
from .sky import sky_pixels

STARLESS, FLARED = 0.8, 1.25  # of the visit's median light: no transit is deeper than 0.1, no drift larger
_SCATTER = 8.0  # and by this many standard deviations of a pair, where the star is faint
_CORE_PX = 4.0  # 90 % of the light
_CORE_COLUMNS, _SKY_STEP = 4, 8  # every fourth AIRS column, every eighth sky pixel: 20 MB of a visit


def lost_pairs(signal: Signal) -> NDArray[np.bool_]:
    """(n,) pairs that do not show the star as the visit's others do, or are the same frames as the pair before.

    Light is last minus first read, in the star's core and far from it. Nothing is lost in a visit without light, or
    where no pair would be left: that is another fault, and reported as such.
    """
    core, far = _watched(signal.instrument)
    inside = np.isin(signal.pixels, np.flatnonzero(core))
    outside = np.isin(signal.pixels, np.flatnonzero(far))
    chosen = np.flatnonzero(inside | outside)
    n = signal.n_pairs
    sums, marks = np.zeros((2, n), np.int64), np.zeros(n, np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, (len(chosen), 2), dtype=np.uint64) | np.uint64(1)
    _watch(signal.addresses[chosen], outside[chosen].astype(np.int64), factors, sums, marks)
    star = sums[0].astype(np.float64)
    level = float(median(star))
    if not level > 0:
        return np.zeros(n, bool)
    lost = _departs(star, (1 - STARLESS) * level, (FLARED - 1) * level)
    if outside.any():
        share = (1 - STARLESS) * level * outside.sum() / max(inside.sum(), 1)
        lost |= _departs(sums[1].astype(np.float64), share, share)
    lost[1:] |= marks[1:] == marks[:-1]
    return lost if not lost.all() else np.zeros(n, bool)


def _watched(instrument: Instrument) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(rows, cols) pixels of the star's core and pixels far from it that are looked at."""
    row, col = np.mgrid[: instrument.rows, : instrument.cols]
    if instrument.centre[1] is None:
        core = (np.abs(row - instrument.centre[0]) < _CORE_PX) & (col % _CORE_COLUMNS == 0)
        core &= (col >= instrument.crop[0]) & (col < instrument.crop[1])
    else:
        core = np.hypot(row - instrument.centre[0], col - instrument.centre[1]) < _CORE_PX
    far = np.zeros(instrument.n_pixels, bool)
    far[np.flatnonzero(sky_pixels(instrument))[::_SKY_STEP]] = True
    return core, far.reshape(core.shape)


def _departs(light: Array, below: float, above: float) -> NDArray[np.bool_]:
    """Which values (n,) leave the median by more than the limits and by more than their own scatter explains."""
    steps = np.abs(np.diff(light))
    sigma = MAD_TO_SIGMA * float(median(steps)) / np.sqrt(2) if len(steps) else 0.0
    off = light - median(light)
    return (off < -max(below, _SCATTER * sigma)) | (off > max(above, _SCATTER * sigma))


@compiled
def _watch(addresses, group, factors, sums, marks):
    """Add up pixels pair by pair: sums (2, n) of last minus first read by group (k,); marks (n,) of all reads.

    The marks are sums of reads times odd factors (k, 2) modulo 2^64: equal for equal frames, else by no chance.
    """
    n = marks.shape[0]
    for k in range(addresses.shape[0]):
        raw = numba.carray(uint16_at(addresses[k]), (2 * n,))
        into = sums[group[k]]
        one, two = factors[k, 0], factors[k, 1]
        for t in range(n):
            first, last = raw[2 * t], raw[2 * t + 1]
            into[t] += np.int64(last) - np.int64(first)
            marks[t] += np.uint64(first) * one + np.uint64(last) * two

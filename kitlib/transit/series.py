"""Light curves as the physical fit sees them: normalised series with weights, white or channel by channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from ..base.instruments import FGS1
from ..base.products import Array, LightCurve, PlanetLightCurves
from ..detector import MAD_TO_SIGMA

SPIKE_WINDOW = 9  # samples: no ingress is steeper than the median of so many follows
# A pointing excursion: a centroid away by so much of its scatter and so many pixels, for a while. What is found by its
# course in time is left out to where next to nothing of a Gaussian is left.
SLIP_SIGMA, LEAST_SLIP_PX, MOST_SLIPPED = 6.0, 0.1, 0.3
BUMP_WIDTHS_H, BUMP_SIGMA, LEAST_BUMP_PX, BUMP_REACH = tuple(0.03 * 1.2 ** np.arange(14)), 8.0, 0.01, 3.0
MOST_BUMPS = 3
GROSS_SIGMA = 8.0  # departures of single samples that neither noise nor drift nor features reach
STARLESS, FLARED = 0.8, 1.25  # of the median light: no transit of the competition is deeper than 0.1, no drift larger


@dataclass(frozen=True)
class Series:
    """Normalised light curves of one instrument in one visit."""

    instrument: str
    visit: int
    time_h: Array  # (T,)
    exposure_h: float  # length of one sample
    flux: Array  # (T, W), over its median: 1 lies in transit where the transit lasts for more than half the visit
    weight: Array  # (T, W), inverse variance of `flux`; 0 where there is no sample
    position: Array  # (W,) channel position in [-1, 1]
    channels: slice  # of the planet's depth vector
    level_e: Array  # (W,) electrons per CDS pair that `flux` 1 stands for
    lit: int  # samples in time that had a weight before any was left out as an outlier


@dataclass(frozen=True)
class FittedSeries:
    """One instrument in one visit with the factors of its fitted model: flux ~ gain * transit."""

    instrument: str
    visit: int
    time_h: Array  # (T,)
    flux: Array  # (T, W) normalised
    weight: Array  # (T, W) inverse variance of `flux`; 0 where there is no sample
    gain: Array  # (T, W) star times drift
    transit: Array  # (T, W) 1 out of transit
    t0_h: float  # mid-transit on the scale of `time_h`
    electrons: Array  # (W,) flux out of transit per CDS pair
    u1: Array  # (W,) quadratic limb darkening of the fit
    u2: Array


def series_of(planet: PlanetLightCurves, white: bool) -> list[Series]:
    """Normalised series of every visit and instrument; AIRS as 282 channels, or as one white channel.

    Depth vector: [FGS1, AIRS...]; channels without any finite sample keep weight 0 and are filled by the prior.
    """
    found = []
    for number, visit in enumerate(planet.visits):
        slips = excursions(visit)
        for curve in visit.values():
            fgs1 = curve.instrument.name == FGS1.name
            flux, weight = _weights(curve.flux_e, curve.variance_e2)
            held = holds_star(flux, weight) & ~within(curve.time_h, slips)
            weight = np.where(held[:, None], weight, 0.0)
            if white and not fgs1:  # a hit in one channel must not cost the sum of all of them its sample
                flux, weight = _white(flux, np.where(_spiked(flux, weight, GROSS_SIGMA), 0.0, weight))
            # (1) median 1 in each channel; a dead channel stays at weight 0
            level = _medians(flux, weight > 0, 1.0)
            width = flux.shape[1]
            step = float(np.median(np.diff(curve.time_h))) if len(curve.time_h) > 1 else 0.0
            single = np.median(curve.pairs) <= 1
            found.append(
                Series(
                    instrument=curve.instrument.name,
                    visit=number,
                    time_h=np.asarray(curve.time_h, np.float64),
                    exposure_h=curve.instrument.cds_s / 3600 if single else step,
                    flux=flux / level,
                    weight=weight * level**2,
                    position=np.zeros(1) if width == 1 else np.linspace(-1, 1, width),
                    channels=slice(0, 1) if fgs1 else slice(1, 1 + width),
                    level_e=level,
                    lit=int((weight > 0).any(1).sum()),
                )
            )
    return found


def excursions(visit: Mapping[str, LightCurve]) -> list[tuple[float, float]]:
    """Spans of a visit (start, end), hours, in which the telescope slipped away: FGS1's centroid says so.

    Light is lost there that no smooth drift describes. Two signs: a centroid that is far away, and one that departs for
    a while as a bump in time, however little. A centroid that moves for more than 30 % of the visit is no excursion,
    and nothing is left out.
    """
    if FGS1.name not in visit:
        return []
    curve = visit[FGS1.name]
    if len(curve.time_h) < 2:
        return []
    offset = curve.centroid_px - np.median(curve.centroid_px, axis=0)
    noise = MAD_TO_SIGMA * np.median(np.abs(offset), axis=0)
    away = (np.abs(offset) > SLIP_SIGMA * np.maximum(noise, LEAST_SLIP_PX / SLIP_SIGMA)).any(axis=1)
    step = float(np.median(np.diff(curve.time_h)))
    spans = [(float(t) - 1.5 * step, float(t) + 1.5 * step) for t in curve.time_h[away]] + _bumps(curve.time_h, offset)
    return spans if within(curve.time_h, spans).mean() <= MOST_SLIPPED else []


def _bumps(time_h: Array, offset: Array) -> list[tuple[float, float]]:
    """Spans around Gaussian bumps of a centroid (T, 2), pixels, the clearest first, each taken away before the next.

    A bump is clear against what the same filter finds at other times, so that a centroid that wanders has none.
    """
    found: list[tuple[float, float]] = []
    left = np.where(np.isfinite(offset), offset, 0.0)
    for _ in range(MOST_BUMPS):
        best = (0.0, 0.0, 0.0, np.zeros(2))
        for width in BUMP_WIDTHS_H:
            centres = np.arange(time_h[0], time_h[-1], width / 2)
            shape = np.exp(-0.5 * ((time_h - centres[:, None]) / width) ** 2)
            root = np.sqrt((shape**2).sum(1, keepdims=True))
            signal = shape @ left / root  # as large by chance in the middle of a visit as at its ends
            scatter = MAD_TO_SIGMA * np.median(np.abs(signal), axis=0)
            clear = (np.abs(signal) > np.maximum(BUMP_SIGMA * scatter, LEAST_BUMP_PX * root)).any(axis=1)
            explained = np.where(clear, (signal**2).sum(1), 0.0)
            at = int(explained.argmax())
            if explained[at] > best[0]:
                best = (float(explained[at]), float(centres[at]), width, signal[at] / root[at])
        explained_px2, centre, width, height_px = best
        if not explained_px2 > 0:
            break
        found.append((centre - BUMP_REACH * width, centre + BUMP_REACH * width))
        left = left - np.exp(-0.5 * ((time_h - centre) / width) ** 2)[:, None] * height_px
    return found


def within(time_h: Array, spans: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """(T,) moments inside any of these spans (start, end)."""
    inside = np.zeros(len(time_h), bool)
    for start, end in spans:
        inside |= (time_h > start) & (time_h < end)
    return inside


def holds_star(flux: Array, weight: Array) -> NDArray[np.bool_]:
    """(T,) samples that hold the star's light: neither dark, nor half lit, nor the same frame again, nor beside these.

    `flux` (T, W) in any unit; what has no weight is not looked at. A visit without any light is left as it is.
    """
    good = weight > 0
    level = _medians(flux, good, 0.0)
    seen = np.where(good, level, 0.0).sum(1)
    light = np.where(good, flux, 0.0).sum(1) / np.where(seen > 0, seen, 1.0)
    light = np.where(seen > 0, light, 1.0)
    lost = (light < STARLESS) | (light > FLARED)
    lost = np.where(_long(lost), lost, False)  # a single wild sample is an outlier, and treated as one
    same = np.zeros(len(flux), bool)
    if len(flux) > 1:
        both = good[1:] & good[:-1]
        again = ((np.diff(flux, axis=0) == 0) | ~both).all(1) & both.any(1)
        same[1:] |= again
        same[:-1] |= again
    lost |= same
    beside = lost.copy()
    beside[1:] |= lost[:-1]
    beside[:-1] |= lost[1:]
    return ~beside if (~beside).any() else np.ones(len(flux), bool)


def _long(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which marks have a marked neighbour."""
    near = np.zeros_like(marked)
    near[1:] |= marked[:-1]
    near[:-1] |= marked[1:]
    return marked & near


def _weights(flux_e: Array, variance_e2: Array) -> tuple[Array, Array]:
    flux, variance = flux_e.astype(np.float64), variance_e2.astype(np.float64)
    good = np.isfinite(flux) & np.isfinite(variance) & (variance > 0)
    return np.where(good, flux, 0.0), np.where(good, 1 / np.where(good, variance, 1.0), 0.0)


def _medians(flux: Array, good: NDArray[np.bool_], without: float) -> Array:
    """Median of each channel's good samples, (W,); `without` any the value given."""
    level = np.median(flux, axis=0)
    for w in np.flatnonzero(~good.all(0)):
        level[w] = np.median(flux[good[:, w], w]) if good[:, w].any() else without
    return level


def _white(flux: Array, weight: Array) -> tuple[Array, Array]:
    """Sum over channels, each missing sample filled with its channel's median times the sample's relative level."""
    good = weight > 0
    level = _medians(flux, good, 0.0)
    relative = np.where(good, flux, 0).sum(1) / np.maximum(np.where(good, level, 0).sum(1), 1e-30)
    filled = np.where(good, flux, relative[:, None] * level)
    variance = np.where(good, 1 / np.where(good, weight, 1.0), 0.0).sum(1)
    enough = good.mean(1) > 0.5
    return filled.sum(1, keepdims=True), np.where(enough, 1 / np.maximum(variance, 1e-30), 0.0)[:, None]


def rescaled(series: list[Series]) -> list[Series]:
    """Inflate a channel's variance where its sample-to-sample scatter exceeds it: blind to transit and drift."""
    scaled = []
    for one in series:
        root = np.sqrt(one.weight)
        pair = (root[1:] > 0) & (root[:-1] > 0)
        difference = np.where(pair, np.diff(one.flux, axis=0), 0.0)
        expected = np.sqrt(
            np.where(pair, 1 / np.maximum(one.weight[1:], 1e-30) + 1 / np.maximum(one.weight[:-1], 1e-30), 1.0)
        )
        z = np.where(pair, np.abs(difference / expected), np.nan)
        counts = pair.sum(0)
        seen = counts > 20
        if seen.any():
            ratio = np.ones(z.shape[1])
            ratio[seen] = (MAD_TO_SIGMA * np.nanmedian(z[:, seen], axis=0)) ** 2
            common = max(float(np.median(ratio[seen])), 1.0)
            # the ratio of n samples scatters by 1.65 / sqrt(n): only clear excess is a channel's own
            own = ratio > common * (1 + 3 * 1.65 / np.sqrt(np.maximum(counts, 1)))
            one = replace(one, weight=one.weight / np.where(own, ratio, common))
        scaled.append(one)
    return scaled


def without_spikes(series: list[Series], sigma: float) -> list[Series]:
    """Weight 0 for samples that leave the running median of their channel by more than `sigma` of its own scatter."""
    return [replace(one, weight=np.where(_spiked(one.flux, one.weight, sigma), 0.0, one.weight)) for one in series]


def _spiked(flux: Array, weight: Array, sigma: float) -> NDArray[np.bool_]:
    departure = (flux - median_filter(flux, (SPIKE_WINDOW, 1), mode="mirror")) * np.sqrt(weight)
    return np.abs(departure) > sigma * max(robust_sd([departure]), 1.0)


def robust_sd(residuals: list[Array]) -> float:
    """Standard deviation of the nonzero residuals by their median absolute value; 1 where there is none."""
    values = np.concatenate([r[r != 0].ravel() for r in residuals])
    return float(MAD_TO_SIGMA * np.median(np.abs(values))) if len(values) else 1.0


def without(series: list[Series], residuals: list[Array], sigma: float) -> tuple[list[Series], int]:
    """The same series with samples further than `sigma` from the model given weight 0, and how many those are."""
    cleaned, dropped = [], 0
    for one, residual in zip(series, residuals, strict=True):
        bad = np.abs(residual) > sigma
        dropped += int(bad.sum())
        cleaned.append(replace(one, weight=np.where(bad, 0.0, one.weight)))
    return cleaned, dropped

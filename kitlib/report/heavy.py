"""Figures that take their time, behind `report.heavy`: power spectra of residuals, a map of the model's latents."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import periodogram

from ..base.products import Array, LightCurveFit
from .data import ReportData, once
from .diagnostics import usable

_CELLS = 16  # of frequency, equally wide in its logarithm
_SEED = 20251123
TSNE_FROM = 30  # planets: below, neighbourhoods say nothing and the two largest principal components are shown


@dataclass(frozen=True)
class ResidualPower:
    """Power of an instrument's residuals over sigma by frequency; 1 everywhere if they are white and sigma is right."""

    instrument: str
    curves: int
    per_hour: Array  # (n,) frequency, cycles per hour
    median: Array  # (n,) over light curves
    low: Array  # (n,) 16 and 84 % of the light curves
    high: Array


@dataclass(frozen=True)
class LatentMap:
    """Planets in a plane: near each other where the fusion model sees them alike."""

    method: str
    places: Array  # (P, 2)


@once
def residual_powers(data: ReportData) -> list[ResidualPower]:
    """Fourier spectra of the white residuals, one an instrument; empty unless `data.heavy`."""
    if not data.heavy:
        return []
    found = []
    for instrument in sorted({panel.instrument for panel in data.panels}, reverse=True):
        series = [
            curve_power(panel) for panel in data.panels if panel.instrument == instrument and usable(panel).sum() > 8
        ]
        if not series:
            continue
        top = max(frequency[-1] for frequency, _ in series)
        edges = np.geomspace(min(frequency[0] for frequency, _ in series) * 0.999, top * 1.001, _CELLS + 1)
        binned = np.array([_binned(frequency, power, edges) for frequency, power in series])
        kept = np.isfinite(binned).any(0)
        low, median, high = np.nanquantile(binned[:, kept], [0.16, 0.5, 0.84], axis=0)
        centre = np.sqrt(edges[1:] * edges[:-1])[kept]
        found.append(ResidualPower(instrument, len(series), centre, median, low, high))
    return found


def curve_power(panel: LightCurveFit) -> tuple[Array, Array]:
    """Frequencies in cycles per hour and power of one light curve's residuals over sigma; white noise has mean 1.

    Samples are evenly spaced; missing ones count as 0, and the power is scaled up for them.
    """
    good = usable(panel)
    z = np.where(good, np.nan_to_num((panel.flux - panel.model) / panel.sigma, posinf=0, neginf=0), 0.0)
    step_h = float(np.median(np.diff(panel.time_h)))
    frequency, power = periodogram(z, fs=1 / step_h, detrend=False, scaling="density")
    return frequency[1:], power[1:] / (2 * step_h * good.mean())


@once
def latent_map(data: ReportData) -> LatentMap | None:
    """The planets' latents in two dimensions by scikit-learn, the same for the same input; None without them."""
    if data.latents is None or len(data.latents) < 3:
        return None
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    values = np.asarray(data.latents, float)
    spread = values.std(0)
    values = (values - values.mean(0))[:, spread > 1e-9] / spread[spread > 1e-9]
    if values.shape[1] < 2:
        return None
    count = len(values)
    if count < TSNE_FROM:
        return LatentMap("principal components", PCA(2, random_state=_SEED).fit_transform(values))
    places = TSNE(2, perplexity=min(30.0, (count - 1) / 3), init="pca", random_state=_SEED).fit_transform(values)
    return LatentMap("t-SNE", places)


def _binned(frequency: Array, power: Array, edges: Array) -> Array:
    """Mean power in each cell, NaN where there is no frequency."""
    cell = np.digitize(frequency, edges) - 1
    count = np.bincount(cell, minlength=len(edges) - 1)[: len(edges) - 1]
    total = np.bincount(cell, power, minlength=len(edges) - 1)[: len(edges) - 1]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)

"""The row without shared knowledge: each bin fitted alone, depth and a quadratic baseline, as many public notebooks do.

Geometry, mid-transit time and limb darkening come from the white fit; each bin's posterior meets the naive mean and
sigma of the training spectra, which keeps hopeless bins in range; sigma grows with the scatter that the fit leaves.
"""

import numpy as np

from kitlib.base.instruments import N_BINS
from kitlib.base.products import Array, Catalogue, PlanetLightCurves
from kitlib.base.schema import PhysfitConfig
from kitlib.transit.priors import Priors
from kitlib.transit.series import rescaled, series_of
from kitlib.transit.visitmodel import State, model_flux
from kitlib.transit.whitefit import layout_for, white_fit

BASELINE_ORDER = 2
DEPTH_STEP = 1e-4


def independent_bins(
    planet: PlanetLightCurves, row: Catalogue, priors: Priors, naive: tuple[float, float], config: PhysfitConfig
) -> tuple[Array, Array]:
    """Mean and sigma of one planet's 283 bins, (283,) each. Raises FitError where the white fit fails."""
    white = white_fit(planet, row, priors, config)
    layout = layout_for(row, priors.limb, len(planet.visits), config.drift_order, 0)
    shared = white.state.shared.copy()
    for name, where in layout.names.items():  # no drift: the baseline of each bin takes it up
        if "drift" in name:
            shared[where] = 0.0
    base = np.full(N_BINS, white.state.depth[1])
    base[0] = white.state.depth[0]
    period = float(row.period_days[0])
    information, shift = np.full(N_BINS, naive[1] ** -2.0), (naive[0] - base) / naive[1] ** 2
    for one in rescaled(series_of(planet, white=False)):
        transit = model_flux(one, layout, State(shared, base), period)
        deeper = model_flux(one, layout, State(shared, base + DEPTH_STEP), period)
        tau = one.time_h / one.time_h[-1] * 2 - 1
        for w in range(transit.shape[1]):
            powers = np.stack([transit[:, w] * tau**k for k in range(BASELINE_ORDER + 1)], axis=1)
            slope = (deeper - transit)[:, w] / DEPTH_STEP
            residual = (one.flux - transit)[:, w]
            root = _without_outliers(np.sqrt(one.weight[:, w]), powers, residual)
            baseline, _ = np.linalg.qr(root[:, None] * powers)
            slope = root * slope - baseline @ (baseline.T @ (root * slope))
            data = root * residual - baseline @ (baseline.T @ (root * residual))
            strength = slope @ slope
            left = data - slope * (slope @ data) / max(strength, 1e-30)
            excess = max(1.0, left @ left / max((root > 0).sum() - BASELINE_ORDER - 2, 1))
            b = one.channels.start + w
            information[b] += strength / excess
            shift[b] += (slope @ data) / excess
    return base + shift / information, information**-0.5


def _without_outliers(root: Array, powers: Array, residual: Array) -> Array:
    """Root weights (T,), 0 for the samples that lie 5 robust standard deviations from the baseline."""
    baseline, _ = np.linalg.qr(root[:, None] * powers)
    left = root * residual - baseline @ (baseline.T @ (root * residual))
    spread = 1.4826 * np.median(np.abs(left[root > 0])) if (root > 0).any() else 1.0
    return np.where(np.abs(left) < 5 * spread, root, 0.0)

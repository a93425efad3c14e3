"""What a fit tells beside the posterior: depths by the light curves alone, errors of the orbit, orders of the drift.

Nothing here goes into the answer: it is what the report shows of it.
"""

import numpy as np
from numpy.polynomial.legendre import legvander

from ..base.instruments import N_AIRS_BINS, N_BINS
from ..base.products import Array
from ..spectra import Likelihood, level_moments
from .driftorder import Evidence
from .gaussnewton import Fit
from .limbdarkening import COEFFICIENTS
from .parameters import Layout

MEASURED_BINS = 6  # AIRS bins in one measured point
MEASURED_POINTS = 1 + N_AIRS_BINS // MEASURED_BINS  # FGS1, then AIRS
HELD = 1e-3  # of its prior's width: a parameter with less room than that was not free


def alone(likelihood: Likelihood) -> tuple[Array, Array]:
    """Depths (B,) and their covariance (B, B) by the light curves alone, under the most probable choice of drift.

    A bin that no light curve says anything of has a depth of NaN and an infinite variance.
    """
    best = max(likelihood.hypotheses, key=lambda one: one.log_weight)
    precision, information = likelihood.marginal(best)
    seen = likelihood.depth > 0
    mean, cov = np.full(len(seen), np.nan), np.diag(np.full(len(seen), np.inf))
    own = np.linalg.inv(precision[np.ix_(seen, seen)])
    mean[seen] = likelihood.centre[seen] + own @ information[seen]
    cov[np.ix_(seen, seen)] = own
    return mean, cov


def measured_depths(likelihood: Likelihood) -> Array:
    """`alone` in points of several bins: their mean depth and its standard deviation, (2, MEASURED_POINTS).

    The first point is FGS1, the others are `MEASURED_BINS` AIRS bins each. NaN where no bin was seen, or where the
    light curves alone leave a depth open.
    """
    found = np.full((2, MEASURED_POINTS), np.nan)
    try:
        mean, cov = alone(likelihood)
    except np.linalg.LinAlgError:
        return found
    group = np.concatenate([[0], 1 + np.arange(N_AIRS_BINS) // MEASURED_BINS])
    seen = np.isfinite(mean)
    select = (group[None] == np.arange(MEASURED_POINTS)[:, None]) & seen
    some = select.any(1)
    average = select[some] / select[some].sum(1, keepdims=True)
    average = average[:, seen]
    variance = np.einsum("ga,ab,gb->g", average, cov[np.ix_(seen, seen)], average)
    found[0, some] = average @ mean[seen]
    found[1, some] = np.sqrt(np.where(variance > 0, variance, np.nan))
    return found


def shown(likelihood: Likelihood, prior_mean: Array, prior_cov: Array) -> dict[str, Array]:
    """What the report shows beside a posterior, float32; the prior (B,), (B, B) is of its learnt part.

    measured (2, 48): `measured_depths`. prior_shape (2, 283): each bin less the AIRS level as the prior expects it, and
    its standard deviation.
    """
    level, with_level = level_moments(prior_cov[None])
    variance = np.diag(prior_cov) - 2 * with_level[0] + level[0]
    shape = np.stack([prior_mean - prior_mean[1:].mean(), np.sqrt(np.maximum(variance, 0))])
    return {"measured": measured_depths(likelihood).astype(np.float32), "prior_shape": shape.astype(np.float32)}


def nothing_shown() -> dict[str, Array]:
    """`shown` of a planet without a fit: NaN."""
    shapes = {"measured": MEASURED_POINTS, "prior_shape": N_BINS}
    return {name: np.full((2, size), np.nan, np.float32) for name, size in shapes.items()}


def orbit_errors(fit: Fit) -> dict[str, float]:
    """Standard deviations of a/Rs, b, t0 (h) of the first visit, and of u1, u2 in the middle of AIRS.

    Everything else is integrated out, depths included. NaN where the fit does not determine them; 0 for what was held.
    """
    names = ("a_over_rs_sd", "impact_param_sd", "t0_sd_h", "u1_sd", "u2_sd")
    layout, sd = fit.layout, fit.layout.sd
    precision = sd[:, None] * Evidence(fit, layout, known=False).shared * sd + np.eye(len(sd))
    try:
        cov = sd[:, None] * np.linalg.inv(precision) * sd
    except np.linalg.LinAlgError:
        return dict.fromkeys(names, np.nan)
    basis = np.zeros((2, len(COEFFICIENTS)))
    middle = legvander(np.zeros(1), 2)[0]
    basis[0, 2:5], basis[1, 5:7] = middle, middle[:2]
    basis = basis @ layout.limb_root
    own = [layout[name].start for name in ("ln_a", "b", "t0_0")]
    limb = layout["limb"]
    variance = [*np.diag(cov)[own], *np.einsum("ia,ab,ib->i", basis, cov[limb, limb], basis)]
    scale = [float(np.exp(fit.state.shared[own[0]])), 1.0, 1.0, 1.0, 1.0]
    return {
        name: by * float(np.sqrt(v)) if v >= 0 else np.nan for name, v, by in zip(names, variance, scale, strict=True)
    }


def drift_orders(fit: Fit, layout: Layout) -> dict[str, float]:
    """The most probable drift of the first visit: orders in time of FGS1 and AIRS, in colour, and a second term.

    `layout` is the one of full orders. An instrument without a light curve has the order 0.
    """
    free = fit.layout.sd > HELD * layout.sd

    def order(name: str) -> float:
        return float(free[layout[f"{name}_0"]].sum())

    return {
        "fgs1_drift_order": order("fgs1_drift"),
        "airs_drift_order": order("airs_drift"),
        "airs_colour_order": max(order("airs_colour") - 1, 0.0),
        "airs_second_term": float(order("airs_second") > 0),
    }

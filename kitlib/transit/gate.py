"""The gate: does a fit describe its planet's light curves? Every planet passes it; nothing is answered past it.

`white_figures` and `joint_figures` measure. `complaints` compares with thresholds and says in words what is wrong: a
model that misses something leaves residuals that know each other. `noisier` says where residuals are larger than their
noise explains, whether or not they know each other. Nothing need be wrong with the model then, but sigma is too small.
`bench/gate.py` prints the figures of sound planets, and the share of them that the thresholds turn away.

What such a fit says of its own error: `covered` looks how far a transit of this length, put into the residuals at any
other time, would be mistaken, and widens FGS1, level and shape by that.
"""

from collections.abc import Mapping

import numpy as np

from ..base.instruments import FGS1, N_AIRS_BINS
from ..base.products import Array
from .gaussnewton import Fit
from .series import Series

MOST_CHI2 = 1.45  # of white light, a sample; sound: up to 1.40
MOST_CHI2_JOINT = 1.15  # of all channels, a sample; sound: up to 1.03
MOST_AUTOCORRELATION = 0.35  # of neighbouring white residuals; sound: up to 0.25
MOST_REJECTED = 0.12  # share of the white samples that hold light and were left out as outliers; sound: up to 0.02
MOST_TRANSIENT = 6.5  # standard deviations of light lost or gained for a while (`transients`); sound: up to 5.5
MOST_RED = 2.6  # residuals averaged over half an hour, over what their scatter would average to; sound: up to 2.3
HALF_HOUR_H = 0.5
TRIAL_STEPS = 60  # places of the trial transit in the residuals


def white_figures(fit: Fit) -> dict[str, float]:
    """What the white residuals say: chi2 a sample, autocorrelation, scatter over half hours, share left out.

    The worst of all series: one broken instrument must not hide behind a sound one.
    """
    figures = [_figures(one, residual[:, 0]) for one, residual in zip(fit.series, fit.system.residuals, strict=True)]
    figures = [one for one in figures if one]
    if not figures:
        return {"chi2_white": np.inf, "autocorrelation": 1.0, "red_noise": np.inf, "rejected": 1.0}
    return {name: max(one[name] for one in figures) for name in figures[0]}


def _figures(one: Series, residual: Array) -> dict[str, float]:
    """Of one white series with its residuals (T,) in sigma; empty without samples."""
    used = one.weight[:, 0] > 0
    r, count = residual[used], int(used.sum())
    if count < 20:
        return {}
    lit = max(one.lit, 1)
    width = max(round(HALF_HOUR_H / max(float(np.median(np.diff(one.time_h))), 1e-6)), 2)
    means = r[: count // width * width].reshape(-1, width).mean(1) if count >= 2 * width else np.zeros(1)
    return {
        "chi2_white": float((r**2).mean()),
        "autocorrelation": float(r[1:] @ r[:-1]) / max(float(r @ r), 1e-30),
        "red_noise": float(np.sqrt((means**2).mean() * width / max(float((r**2).mean()), 1e-30))),
        "rejected": 1 - count / lit,
    }


def joint_figures(fit: Fit) -> dict[str, float]:
    """chi2 a sample of all channels."""
    return {"chi2_joint": fit.system.chi2 / max(fit.system.samples, 1)}


LIMITS = {
    "chi2_joint": (MOST_CHI2_JOINT, "residuals have {value:.3g} times the variance that their noise explains"),
    "autocorrelation": (MOST_AUTOCORRELATION, "neighbouring white residuals are alike (correlation {value:.2f})"),
    "red_noise": (
        MOST_RED,
        "half-hour means of white residuals scatter by {value:.3g} times what white noise would",
    ),
    "transient": (MOST_TRANSIENT, "light is lost or gained for a while, by {value:.0f} standard deviations"),
    "rejected": (MOST_REJECTED, "{value:.0%} of the white samples had to be left out"),
}


def noisier(figures: Mapping[str, float]) -> list[str]:
    """Whether white light scatters by more than its noise explains, in words."""
    value = figures["chi2_white"]
    return (
        [] if value <= MOST_CHI2 else [f"white residuals have {value:.3g} times the variance that their noise explains"]
    )


def complaints(figures: Mapping[str, float]) -> list[str]:
    """What is wrong, in words; empty for a fit that describes its light curves."""
    return [
        words.format(value=figures[name])
        for name, (most, words) in LIMITS.items()
        if name in figures and not figures[name] <= most
    ]


def trial_error(one: Series, residual: Array, transit: Array) -> float:
    """How far off, in relative depth, a transit like the fitted one is when it is put at other times of the residuals.

    Args:
        one: a white series.
        residual: (T,) of its fit, in sigma.
        transit: (T,) its fitted transit, 1 outside.

    Returns:
        Root mean square over places all around the visit. At each, the residuals give the transit an amplitude beside a
        level and a slope. 0 where there is nothing to measure.
    """
    root = np.sqrt(one.weight[:, 0])
    shape = 1 - transit
    if not (root > 0).any() or shape.max() <= 0:
        return 0.0
    count = len(shape)
    tau = np.linspace(-1, 1, count)
    baseline, _ = np.linalg.qr(root[:, None] * np.stack([np.ones(count), tau], axis=1))
    found = []
    for shift in np.linspace(0, count, TRIAL_STEPS, endpoint=False).astype(int):
        trial = root * np.roll(shape, shift)
        trial = trial - baseline @ (baseline.T @ trial)
        norm = float(trial @ trial)
        if norm > 1e-3 * float(((root * shape) ** 2).sum()):
            found.append(float(trial @ residual) / norm)
    return float(np.sqrt(np.mean(np.square(found)))) if found else 0.0


def covered(cov: Array, mean: Array, fgs1: float, airs: float, chi2_joint: float) -> Array:
    """Covariance (283, 283) that covers a misfit.

    Args:
        cov, mean: the posterior.
        fgs1, airs: relative errors of the depths by `trial_error`.
        chi2_joint: of all channels; the shape's errors grow by its root.
    """
    shape = max(chi2_joint, 1.0)
    wide = shape * cov
    level = np.zeros(len(mean))
    level[-N_AIRS_BINS:] = airs * np.abs(mean[-N_AIRS_BINS:])
    wide += np.outer(level, level)
    wide[0, 0] += (fgs1 * mean[0]) ** 2
    return (wide + wide.T) / 2


def instrument_errors(fit: Fit, transits: list[Array]) -> tuple[float, float]:
    """`trial_error` of FGS1 and of AIRS, each the largest of its visits."""
    found = {True: 0.0, False: 0.0}
    for one, residual, transit in zip(fit.series, fit.system.residuals, transits, strict=True):
        fgs1 = one.instrument == FGS1.name
        found[fgs1] = max(found[fgs1], trial_error(one, residual[:, 0], transit))
    return found[True], found[False]

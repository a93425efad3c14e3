"""Charts and tables that a notebook shows beside the report's figures. Charts are drawn into axes that they are given.

Shapes: P planets, 283 bins (0: FGS1). Depths are shares of the star's light and are drawn in percent or ppm.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..base.instruments import FGS1, INSTRUMENTS, PPM
from ..base.products import Array, PlanetLightCurves, Posterior, Prediction
from ..detector import robust_sigma, scan_signal
from ..sigma import Calibrator, level_shape_z
from ..spectra import SpectralPrior, airs_variances

_FIRST, _SECOND, _GREY = "#0072B2", "#D55E00", "#7f8c9b"  # Okabe & Ito: told apart by colour-blind readers


def raw_pair(axes: Sequence[Axes], planet_dir: Path, visit: int = 0) -> None:
    """The difference of a visit's first two reads in ADU, an image for each instrument (two axes).

    Raises:
        FrameError: a file that does not hold an instrument's frames.
    """
    for axis, instrument in zip(axes, INSTRUMENTS, strict=True):
        reads = scan_signal(Path(planet_dir) / instrument.signal_file(visit), instrument).head(2).collect().to_numpy()
        image = (reads[1].astype(float) - reads[0]).reshape(instrument.rows, instrument.cols)
        low, high = np.percentile(image, (1, 99.5))
        shown = axis.imshow(image, aspect="auto", cmap="magma", vmin=low, vmax=high, interpolation="none")
        axis.set(title=f"{instrument.name}: second read less first", xlabel="column", ylabel="row")
        axis.figure.colorbar(shown, ax=axis, label="ADU")


def white_noise(axis: Axes, curves: Sequence[PlanetLightCurves]) -> None:
    """Scatter between neighbouring samples of every white light curve against what photons and reads explain, in ppm.

    The scatter is that of second differences: a transit and a drift, which are smooth, drop out.
    """
    for instrument, colour in zip(INSTRUMENTS, (_FIRST, _SECOND), strict=True):
        points = [_noise_of(visit[instrument.name].flux_e, visit[instrument.name].variance_e2)
                  for one in curves for visit in one.visits if instrument.name in visit]  # fmt: skip
        axis.plot(*np.reshape(points, (-1, 2)).T, "o", ms=4, color=colour, alpha=0.8, label=instrument.name)
    axis.axline((0, 0), slope=1, color=_GREY, lw=1, ls="--", label="nothing but that noise")
    axis.set(xlabel="expected noise of a sample, ppm", ylabel="measured scatter, ppm", xlim=(0, None), ylim=(0, None))
    axis.legend(frameon=False)


def _noise_of(flux: Array, variance: Array) -> tuple[float, float]:
    """Expected and measured noise in ppm of the sum over wavelengths of flux and variance, (T, W) each."""
    whole = np.isfinite(flux).all(1)
    white, power = flux[whole].sum(1, dtype=np.float64), variance[whole].sum(1, dtype=np.float64)
    second = (white[:-2] - 2 * white[1:-1] + white[2:]) / np.sqrt(6)
    star = float(np.median(white))
    return float(np.sqrt(np.median(power))) / star / PPM, float(robust_sigma(second)) / star / PPM


def kinds_of_atmospheres(axis: Axes, prior: SpectralPrior, wavelengths_um: Array, shown: int = 6) -> None:
    """The mean shapes of the prior's most frequent kinds of atmospheres, one above the other; their rms is 1."""
    kinds = prior.kinds
    order = np.argsort(-np.asarray(kinds.weight))[:shown]
    for place, kind in enumerate(order):
        height = 4.0 * (len(order) - 1 - place)
        (line,) = axis.plot(wavelengths_um[1:], height + kinds.mean[kind][1:])
        axis.axhline(height, color=_GREY, lw=0.5)
        words = f"{100 * kinds.weight[kind]:.0f} % of spectra"
        axis.text(wavelengths_um[-1], height + 0.5, words, ha="right", fontsize=8, color=line.get_color())
    axis.set(xlabel="wavelength, um", ylabel="depth less its level, scaled", yticks=[])


def level_errors(axes: Sequence[Axes], mu: Array, truth: Array) -> None:
    """Recovered less true depth of FGS1 and of the AIRS level against the true one; mu, truth (P, 283), two axes."""
    parts = (("FGS1", mu[:, 0], truth[:, 0]), ("AIRS level", mu[:, 1:].mean(1), truth[:, 1:].mean(1)))
    for axis, (name, found, true) in zip(axes, parts, strict=True):
        error = (found - true) / PPM
        axis.axhline(0, color=_GREY, lw=0.8)
        axis.plot(100 * true, error, "o", ms=4, color=_FIRST)
        axis.set(xlabel="true depth, %", ylabel="recovered less true, ppm")
        axis.set_title(f"{name}: rms {np.sqrt(np.mean(error**2)):.0f} ppm, median {np.median(np.abs(error)):.0f}")


def errors_over_sigma(axis: Axes, mu: Array, cov: Array, truth: Array) -> None:
    """Errors over their sigma for FGS1, AIRS level and AIRS shape beside a unit Gaussian; cov (P, 283, 283)."""
    z = level_shape_z(mu, cov, truth)
    parts = {"FGS1": z["fgs1"], "AIRS level": z["level"], "AIRS shape": z["shape"]}
    edges = np.linspace(-4, 4, 17)
    for (name, values), colour in zip(parts.items(), (_FIRST, _SECOND, "#009E73"), strict=True):
        flat = np.asarray(values).ravel()
        flat = np.clip(flat[np.isfinite(flat)], -4, 4)
        share = np.histogram(flat, edges)[0] / len(flat) / np.diff(edges)
        axis.stairs(share, edges, color=colour, lw=1.5, label=f"{name}: rms {np.sqrt(np.mean(flat**2)):.2f}")
    x = np.linspace(-4, 4, 200)
    axis.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), "--", color=_GREY, label="honest: rms 1")
    axis.set(xlabel="(true less recovered) / sigma", ylabel="density")
    axis.legend(frameon=False, fontsize=8)


def most_structured(posterior: Posterior, count: int) -> NDArray[np.int64]:
    """Ids of the planets whose spectra depart furthest from a flat line, in units of the shape's sigma, best first."""
    shape = posterior.mean[:, 1:] - posterior.mean[:, 1:].mean(1, keepdims=True)
    variance = np.maximum(airs_variances(posterior.cov)[2], PPM**2)
    return posterior.planet_id[np.argsort(-(shape**2 / variance).mean(1), kind="stable")[:count]]


def spectra(axes: Sequence[Axes], wavelengths_um: Array, prediction: Prediction, planets: Sequence[int]) -> None:
    """Spectra with their 1 sigma band, a planet an axes; FGS1 is the point on the left. Depths in percent."""
    beside = 1.8  # um: where FGS1 is drawn, so that its 0.7 um do not stretch the axis
    for axis, planet in zip(axes, planets, strict=False):
        row = int(np.flatnonzero(prediction.planet_id == planet)[0])
        mu, sigma = 100 * prediction.mu[row], 100 * prediction.sigma[row]
        axis.fill_between(wavelengths_um[1:], (mu - sigma)[1:], (mu + sigma)[1:], color=_FIRST, alpha=0.25, lw=0)
        axis.plot(wavelengths_um[1:], mu[1:], color=_FIRST, lw=1)
        axis.errorbar([beside], mu[:1], sigma[:1], fmt="o", ms=4, color=_SECOND)
        axis.set_xticks([beside, 2, 2.5, 3, 3.5], [FGS1.name, "2.0", "2.5", "3.0", "3.5"])
        axis.set_title(f"planet {planet}", fontsize=9)
    for axis in axes[len(planets) :]:
        axis.set_axis_off()


def sigma_against_depth(axis: Axes, prediction: Prediction) -> None:
    """Each planet's error bar against its depth: FGS1, and the median AIRS bin. In ppm against percent."""
    depth, sigma = 100 * prediction.mu, prediction.sigma / PPM
    axis.plot(depth[:, 0], sigma[:, 0], "o", ms=4, color=_SECOND, label=FGS1.name)
    axis.plot(depth[:, 1:].mean(1), np.median(sigma[:, 1:], axis=1), "o", ms=4, color=_FIRST, label="AIRS, median bin")
    axis.set(xlabel="depth, %", ylabel="sigma, ppm", yscale="log")
    axis.yaxis.set_major_formatter("{x:.0f}")
    axis.yaxis.set_minor_formatter("{x:.0f}")
    axis.legend(frameon=False)


def prediction_rows(prediction: Prediction) -> list[dict[str, Any]]:
    """A row a planet: depth and sigma of FGS1, and of AIRS on average, in ppm."""
    mu, sigma = prediction.mu / PPM, prediction.sigma / PPM
    columns = {
        "FGS1, ppm": mu[:, 0],
        "its sigma": sigma[:, 0],
        "AIRS mean, ppm": mu[:, 1:].mean(1),
        "median sigma of a bin": np.median(sigma[:, 1:], axis=1),
        "features, ppm rms": mu[:, 1:].std(1),
    }
    return [
        {"planet": int(planet), **{name: int(round(float(values[row]))) for name, values in columns.items()}}
        for row, planet in enumerate(prediction.planet_id)
    ]


def calibration_rows(calibrator: Calibrator) -> list[dict[str, Any]]:
    """What a calibrator does to each part: factor on sigma, floors in ppm and in percent of the depth, scale."""
    parts = (("FGS1", "fgs1"), ("AIRS level", "level"), ("AIRS shape", "shape"))
    return [
        {
            "part": words,
            "factor on sigma": round(getattr(calibrator, f"factor_{name}"), 3),
            "floor, ppm": round(getattr(calibrator, f"floor_{name}_ppm"), 1),
            "floor, % of depth": round(100 * getattr(calibrator, f"relative_{name}", np.nan), 3),
            "correction of the mean, %": round(100 * (getattr(calibrator, f"scale_{name}") - 1), 3),
        }
        for words, name in parts
    ]


def outcome_rows(posterior: Posterior) -> list[dict[str, Any]]:
    """How many planets were answered by what: the fit, a part of the data, a widened sigma, the population."""
    gate = np.asarray(posterior.diagnostics.get("gate", np.zeros(len(posterior.planet_id))))
    population, covered = posterior.is_population, posterior.is_covered & ~posterior.is_population
    part = (gate > 0) & ~covered & ~population
    words = {
        "the fit of all data": ~(population | covered | part),
        "the fit of a sound part of the data": part,
        "a fit with a sigma that covers its misfit": covered,
        "the population's mean and scatter": population,
    }
    return [{"answered by": name, "planets": int(of.sum())} for name, of in words.items()]


def event_rows(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each event that names a planet: planet, stage, what happened, and why in words."""
    return [
        {"planet": event["planet_id"], "stage": event["stage"], "event": event["event"], "why": event.get("reason", "")}
        for event in events
        if "planet_id" in event
    ]


def reliability_rows(calibration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of all planets together, a row a part: bias and spread of error over sigma, coverage. From calibration.json."""
    everyone = calibration["groups"][0]
    return [
        {
            "part": name,
            "planets": everyone["planets"],
            "bias, sigma": round(part["mean"], 2),
            "spread, sigma": round(part["std"], 2),
            **{f"within {100 * float(p):.0f} %": f"{100 * share:.0f} %" for p, share in part["coverage"].items()},
        }
        for name, part in everyone["parts"].items()
    ]


def score_rows(calibration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The score taken apart: total, FGS1, AIRS. From calibration.json."""
    names = {"score": "score", "accuracy": "accuracy part", "loss": "lost by sigma", "honest": "of this luck alone"}
    return [
        {"part": part, **{words: None if found[key] is None else round(found[key], 4) for key, words in names.items()}}
        for part, found in calibration["score"].items()
    ]

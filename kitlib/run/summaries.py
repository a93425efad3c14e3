"""Short tables of the notebooks, and which planets they show.

Shapes: P planets, 283 bins (0: FGS1). Depths are shares of the star's light and are shown in percent or ppm.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.instruments import PPM
from ..base.products import Posterior, Prediction
from ..sigma import Calibrator
from ..spectra import airs_variances


def most_structured(posterior: Posterior, count: int) -> NDArray[np.int64]:
    """Ids of the planets whose spectra depart furthest from a flat line, in units of the shape's sigma, best first."""
    shape = posterior.mean[:, 1:] - posterior.mean[:, 1:].mean(1, keepdims=True)
    variance = np.maximum(airs_variances(posterior.cov)[2], PPM**2)
    return posterior.planet_id[np.argsort(-(shape**2 / variance).mean(1), kind="stable")[:count]]


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

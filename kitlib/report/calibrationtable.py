"""What `diagnose calibration` leaves: whether sigma is right, for whom it is not, and what that costs, in numbers.

The page's tables and figures of the same name are made of the same functions.
"""

from typing import Any

import numpy as np

from ..base.instruments import PPM
from ..base.products import Array
from ..sigma import Decomposition, bin_factors, decompose, honest_loss, weighted
from .data import ReportData, once
from .diagnostics import PartReliability, worst_planets
from .groups import judged_groups

_RANGES = 8  # wavelength ranges that the table by bin sums up


def calibration(data: ReportData) -> dict[str, Any]:
    """Content of OUT/calibration.json; errors are recovered minus true, over sigma.

    Returns:
        planets; groups: [{split, name, planets, parts: {part: {mean, std, rms, robust, coverage, quantiles, count, pit,
        qq: [[Gaussian, observed], ...]}}}], the first of them all planets; score: `score_parts`; by_bin: columns of
        `by_bin`; worst: [{planet_id, score, reasons}].

    Raises:
        ValueError: the truth is not known.
    """
    if data.truth is None:
        raise ValueError("calibration needs the true spectra: give data.solution, and a data.root with train.csv")
    total = weighted(_decomposed(data).score)[:, 0]
    worst = worst_planets(data)
    return {
        "planets": len(data.prediction.planet_id),
        "groups": [
            {
                "split": group.split,
                "name": group.name,
                "planets": int(group.members.sum()),
                "parts": {part.name: _numbers(part) for part in parts},
            }
            for group, parts in judged_groups(data)
        ],
        "score": score_parts(data),
        "by_bin": {name: np.round(values, 6).tolist() for name, values in by_bin(data).items()},
        "worst": [{**planet, "score": round(float(total[planet.pop("row")]), 6)} for planet in worst],
    }


def score_parts(data: ReportData) -> dict[str, dict[str, float | None]]:
    """Score, accuracy part, loss by sigma and the loss that luck alone explains, of FGS1 and AIRS and in total.

    `decomposition` defines them; `honest` is None without a posterior, whose covariance it is drawn from.
    """
    found, honest = _decomposed(data), _luck(data)
    columns = {"score": found.score, "accuracy": found.accuracy, "loss": found.loss}
    means = {name: weighted(cells).mean(0) for name, cells in columns.items()}
    return {
        part: {**{name: float(mean[i]) for name, mean in means.items()}, "honest": honest[i]}
        for i, part in enumerate(("total", "FGS1", "AIRS"))
    }


@once
def by_bin(data: ReportData) -> dict[str, Array]:
    """Columns of 283 bins: wavelength in um, mean score, accuracy part, loss, best factor on sigma, errors."""
    found = _decomposed(data)
    truth, naive = data.judge()
    error = data.prediction.mu - truth
    return {
        "wavelength_um": np.asarray(data.wavelengths_um, float),
        "score": found.score.mean(0),
        "accuracy": found.accuracy.mean(0),
        "loss": found.loss.mean(0),
        "factor": bin_factors(data.prediction.mu, data.prediction.sigma, truth, *naive),
        "rms_error_ppm": np.sqrt((error**2).mean(0)) / PPM,
        "median_sigma_ppm": np.median(data.prediction.sigma, axis=0) / PPM,
    }


def by_range(data: ReportData) -> list[dict[str, float]]:
    """`by_bin` in FGS1's bin and summed up in ranges of AIRS: means, with first and last wavelength."""
    columns = by_bin(data)
    airs = np.array_split(np.arange(1, len(data.wavelengths_um)), _RANGES)
    rows = []
    for bins in [np.array([0]), *airs]:
        row = {name: float(values[bins].mean()) for name, values in columns.items() if name != "wavelength_um"}
        rows.append({"low_um": float(columns["wavelength_um"][bins[0]]),
                     "high_um": float(columns["wavelength_um"][bins[-1]]), **row})  # fmt: skip
    return rows


def cells(data: ReportData) -> dict[str, Array]:
    """The heat maps, (P, 283) each: score of every planet and bin, and what sigma's size costs there."""
    found = _decomposed(data)
    return {"score": found.score, "loss": found.loss}


def loss_of_planets(data: ReportData) -> Array | None:
    """(P,) what the size of sigma costs in each planet's score; None without truth."""
    return None if data.truth is None else weighted(_decomposed(data).loss)[:, 0]


def calibration_text(found: dict[str, Any]) -> str:
    """`calibration`'s result for a terminal: spread and coverage by group and part, and the score's parts."""
    rows = [
        f"{'planets':<34}{'n':>5}  {'part':<11}{'mean':>7}{'spread':>8}{'50 %':>7}{'68 %':>7}{'90 %':>7}{'95 %':>7}"
    ]
    for group in found["groups"]:
        for i, (name, part) in enumerate(group["parts"].items()):
            head = f"{group['name']:<34}{group['planets']:>5}" if i == 0 else " " * 39
            shares = "".join(f"{100 * share:>7.1f}" for share in part["coverage"].values())
            rows.append(f"{head}  {name:<11}{part['mean']:>+7.2f}{part['std']:>8.3f}{shares}")
    rows.append(f"\n{'':<8}{'score':>9}{'accuracy':>10}{'lost by sigma':>15}{'luck alone':>15}")
    for name, part in found["score"].items():
        luck = "" if part["honest"] is None else f"{part['honest']:>15.4f}"
        rows.append(f"{name:<8}{part['score']:>9.4f}{part['accuracy']:>10.4f}{part['loss']:>15.4f}{luck}")
    return "\n".join(rows)


@once
def _luck(data: ReportData) -> list[float | None]:
    """Loss that luck alone explains: in total, of FGS1 and of AIRS."""
    if data.posterior is None:
        return [None] * 3
    truth, naive = data.judge()
    fgs1, airs = honest_loss(data.prediction.sigma, data.posterior.cov, truth, *naive)
    cells = np.concatenate([[fgs1], np.full(len(data.wavelengths_um) - 1, airs)])
    return weighted(cells[None])[0].tolist()


@once
def _decomposed(data: ReportData) -> Decomposition:
    truth, naive = data.judge()
    return decompose(data.prediction.mu, data.prediction.sigma, truth, *naive)


def _numbers(part: PartReliability) -> dict[str, Any]:
    pairs = np.round(np.stack(part.quantiles, axis=1), 4).tolist()
    return {**part.summary, "pit": part.pit.round(5).tolist(), "qq": pairs}

"""This run's answers beside another run's: what changed in each planet, and what that was worth in its score."""

from dataclasses import dataclass

import numpy as np

from ..sigma import Score, gll_per_bin, gll_score, weighted
from .data import ReportData, once
from .diagnostics import level_sigma


@dataclass(frozen=True)
class Difference:
    """One planet's answer less the other run's. Depths are in this run's sigma."""

    planet_id: int
    fgs1: float
    level: float  # of the mean over AIRS bins; NaN without a posterior, which its sigma is taken from
    shape: float  # rms over AIRS bins of what is left without the level
    sigma: float  # median over AIRS bins of the ratio of the sigmas
    score: float | None = None  # of this run; None without a truth
    gain: float | None = None  # by how much it is above the other run's


@once
def differences(data: ReportData) -> list[Difference]:
    """Planets that both runs answered, the largest change first: of the score, or else of the spectrum."""
    if data.against is None:
        return []
    mine, theirs = _rows(data)
    this, other = data.prediction, data.against.prediction
    mu, sigma = this.mu[mine], this.sigma[mine]
    moved, ratio = mu - other.mu[theirs], other.sigma[theirs] / sigma
    by_level = level_sigma(data)
    level = moved[:, 1:].mean(1)
    shape = (moved[:, 1:] - level[:, None]) / sigma[:, 1:]
    level_by = np.full(len(mine), np.nan) if by_level is None else by_level[mine]
    scores = _planet_scores(data)
    found = [
        Difference(
            planet_id=int(this.planet_id[row]),
            fgs1=float(moved[i, 0] / sigma[i, 0]),
            level=float(level[i] / level_by[i]),
            shape=float(np.sqrt((shape[i] ** 2).mean())),
            sigma=float(np.median(1 / ratio[i, 1:])),
            score=None if scores is None else float(scores[0][i]),
            gain=None if scores is None else float(scores[0][i] - scores[1][i]),
        )
        for i, row in enumerate(mine)
    ]
    return sorted(found, key=lambda one: -(one.shape if one.gain is None else abs(one.gain)))


def total_scores(data: ReportData) -> tuple[Score, Score] | None:
    """Scores of this run and of the other over the planets of both; None without a truth or such planets."""
    if data.against is None or data.truth is None:
        return None
    truth, naive = data.judge()
    mine, theirs = _rows(data)
    if not len(mine):
        return None
    this, other = data.prediction, data.against.prediction
    return (
        gll_score(this.mu[mine], this.sigma[mine], truth[mine], *naive),
        gll_score(other.mu[theirs], other.sigma[theirs], truth[mine], *naive),
    )


def other_spectrum(data: ReportData, planet_id: int) -> np.ndarray | None:
    """The other run's spectrum (283,) of a planet; None where there is none."""
    if data.against is None:
        return None
    found = np.flatnonzero(data.against.prediction.planet_id == planet_id)
    return data.against.prediction.mu[found[0]] if len(found) else None


def _rows(data: ReportData) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the planets of both runs, in this prediction and in the other."""
    assert data.against is not None
    _, mine, theirs = np.intersect1d(
        data.prediction.planet_id, data.against.prediction.planet_id, assume_unique=True, return_indices=True
    )
    return mine, theirs


def _planet_scores(data: ReportData) -> tuple[np.ndarray, np.ndarray] | None:
    """(n,) shares of the score of the planets of both runs; None without a truth."""
    if data.against is None or data.truth is None:
        return None
    truth, naive = data.judge()
    mine, theirs = _rows(data)
    this, other = data.prediction, data.against.prediction
    return (
        weighted(gll_per_bin(this.mu[mine], this.sigma[mine], truth[mine], *naive))[:, 0],
        weighted(gll_per_bin(other.mu[theirs], other.sigma[theirs], truth[mine], *naive))[:, 0],
    )

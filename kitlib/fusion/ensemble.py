"""Posteriors of several models as one, and out-of-fold posteriors for the sigma calibrator."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..base.products import Posterior


def matched(members: Sequence[Posterior]) -> Posterior:
    """The Gaussian with the moments of the members' equal mixture: mean of means, mean covariance plus their scatter.

    Lakshminarayanan et al. 2017 (arXiv:1612.01474), section 2.4, for full covariances. Diagnostics are the first's.
    Raises ValueError without members, or where they are not of the same planets in the same order.
    """
    if not members:
        raise ValueError("an ensemble needs at least one member")
    first = members[0]
    if any(not np.array_equal(first.planet_id, member.planet_id) for member in members):
        raise ValueError("the members of an ensemble must be posteriors of the same planets in the same order")
    mean = sum((member.mean for member in members), np.zeros_like(first.mean)) / len(members)
    cov = np.zeros_like(first.cov)
    for member in members:
        away = (member.mean - mean).astype(cov.dtype)
        cov += (member.cov + away[:, :, None] * away[:, None, :]) / len(members)
    return replace(first, mean=mean, cov=cov)


def out_of_fold(members: Sequence[Posterior], fold: NDArray[np.integer]) -> Posterior:
    """Each planet's posterior by the member that was not trained on it: member k for planets with `fold` k, (P,).

    What `sigma.fit_calibrator` is to see. Raises ValueError for a fold without a member.
    """
    if len(fold) and not 0 <= fold.min() <= fold.max() < len(members):
        raise ValueError(f"{len(members)} members cannot serve folds {fold.min()} to {fold.max()}")
    mean, cov = members[0].mean.copy(), members[0].cov.copy()
    for k, member in enumerate(members):
        mean[fold == k], cov[fold == k] = member.mean[fold == k], member.cov[fold == k]
    return replace(members[0], mean=mean, cov=cov)

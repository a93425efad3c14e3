"""What a report is made of. Shapes: P planets, T time samples, 283 bins (0: FGS1, 1..282: AIRS)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from ..base.instruments import N_BINS
from ..base.products import Array, Catalogue, LightCurve, LightCurveFit, PlanetLightCurves, Posterior, Prediction
from ..rules import RuleSet

Value = TypeVar("Value")


@dataclass(frozen=True)
class OtherRun:
    """A run that this one is held against."""

    name: str
    prediction: Prediction  # its planets may be others; those of both are compared


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows.

    Raises:
        ValueError: arrays that do not fit together, or truth without the naive statistics that its score needs.
    """

    title: str
    prediction: Prediction  # what was submitted
    wavelengths_um: Array  # (283,)
    scores: tuple[tuple[str, float, float, float], ...] = ()  # (name, total, FGS1 part, AIRS part)
    truth: Array | None = None  # (P, 283) true depths in the prediction's order; None for the hidden test set
    naive: tuple[float, float] | None = None  # mean and standard deviation of all training targets
    posterior: Posterior | None = None  # the prediction's own covariance (calibrated), and the fit's diagnostics
    panels: tuple[LightCurveFit, ...] = ()  # of the planets shown in detail
    extracted: tuple[PlanetLightCurves, ...] = ()  # of these planets, as `calibrate` keeps them
    events: tuple[Mapping[str, Any], ...] = ()  # as `EventLog.read` gives them
    manifests: tuple[Mapping[str, Any], ...] = ()  # as `stage_manifest` writes them
    rules: RuleSet | None = None  # soft constraints that the prediction is held against
    injection: Mapping[str, Any] | None = None  # content of OUT/inject.json
    catalogue: Catalogue | None = None  # of the planets, in the prediction's order
    limb: Array | None = None  # (P, 2) limb darkening u1, u2: medians of the AIRS bins
    measured: Array | None = None  # (P, 2, 48) depths by the light curves alone, and their sd; NaN where not known
    prior_shape: Array | None = None  # (P, 2, 283) bins less the AIRS level as the prior expects them, and their sd
    residuals: Array | None = None  # (P, V, F, K) AIRS residuals / sigma by visit, phase and bins; NaN: no samples
    phases: Array | None = None  # (F,) of these: (t - mid-transit) / T14
    against: OtherRun | None = None
    about: str = ""  # which run it is, and what answered
    heavy: bool = False  # whether the expensive figures are wanted: spectra of residuals
    latents: Array | None = None  # (P, n) what the fusion model makes of each planet, for its map

    def __post_init__(self) -> None:
        ids = np.asarray(self.prediction.planet_id)
        shape = (len(ids), N_BINS)
        if not len(ids):
            raise ValueError("report: no planet was predicted, there is nothing to show. Run `predict` first.")
        fields = {"prediction.mu": self.prediction.mu, "prediction.sigma": self.prediction.sigma}
        if self.truth is not None:
            fields["truth"] = self.truth
        for name, value in fields.items():
            if np.shape(value) != shape or not np.isfinite(value).all():
                raise ValueError(f"report: {name} must be finite and of shape {shape}, got {np.shape(value)}")
        if np.any(self.prediction.sigma <= 0):
            raise ValueError("report: prediction.sigma must be positive in every bin")
        if np.shape(self.wavelengths_um) != (N_BINS,):
            raise ValueError(f"report: wavelengths_um must have shape ({N_BINS},), got {np.shape(self.wavelengths_um)}")
        if self.posterior is not None and not np.array_equal(self.posterior.planet_id, ids):
            raise ValueError("report: posterior and prediction must hold the same planets in the same order")
        if self.posterior is not None:
            self._check_covariance(self.posterior)
        if self.truth is not None and self.naive is None:
            raise ValueError(
                "report: truth needs `naive` (mean and sigma of all training targets) to be scored against"
            )
        if (self.residuals is None) != (self.phases is None):
            raise ValueError("report: residuals and phases come together")
        for name in ("catalogue", "limb", "measured", "prior_shape", "residuals"):
            if (found := getattr(self, name)) is not None and len(found) != len(ids):
                raise ValueError(f"report: {name} of {len(found)} planets, {len(ids)} were predicted")
        if self.latents is not None and len(self.latents) != len(ids):
            raise ValueError(f"report: latents of {len(self.latents)} planets, {len(ids)} were predicted")
        shown = {one.planet_id for one in self.panels} | {one.planet_id for one in self.extracted}
        strangers = sorted(shown - set(ids.tolist()))
        if strangers:
            raise ValueError(f"report: light curves of planets that were not predicted: {strangers[:5]}")

    def judge(self) -> tuple[Array, tuple[float, float]]:
        """Truth (P, 283) and naive statistics. Raises ValueError where they are not known."""
        if self.truth is None or self.naive is None:
            raise ValueError("report: without a truth there is nothing to compare with")
        return self.truth, self.naive

    def _check_covariance(self, posterior: Posterior) -> None:
        ratio = float(np.median(posterior.sigma / self.prediction.sigma))
        if not abs(ratio - 1) < 0.05:
            raise ValueError(
                f"report: posterior.cov is not the covariance of this prediction, its sigma is {ratio:.2f} times the "
                "prediction's. Calibrate it (calibrator.calibrated_covariance), or run `predict` again."
            )

    def index(self, planet_id: int) -> int:
        """Row of a planet in the prediction. Raises KeyError naming it when it is not there."""
        rows = np.flatnonzero(np.asarray(self.prediction.planet_id) == planet_id)
        if not len(rows):
            raise KeyError(f"planet {planet_id} is not among the {len(self.prediction.planet_id)} predicted planets")
        return int(rows[0])

    def diagnostic(self, name: str) -> Array:
        """(P,) a diagnostic of the physical fit; NaN where it is not known."""
        found = {} if self.posterior is None else self.posterior.diagnostics
        return np.asarray(found.get(name, np.full(len(self.prediction.planet_id), np.nan)), float)

    def extracted_of(self, planet_id: int) -> tuple[dict[str, LightCurve], ...]:
        """A planet's visits as they were extracted; none where they did not come along."""
        return next((one.visits for one in self.extracted if one.planet_id == planet_id), ())

    def panels_of(self, planet_id: int) -> list[LightCurveFit]:
        """A planet's light curves, by visit, FGS1 before AIRS."""
        mine = [panel for panel in self.panels if panel.planet_id == planet_id]
        return sorted(mine, key=lambda panel: (panel.visit, panel.instrument != "FGS1"))


def once(compute: Callable[[ReportData], Value]) -> Callable[[ReportData], Value]:
    """Compute a function of a report's data once for each of them: page, tables and figures share their numbers."""
    name = f"{compute.__module__}.{compute.__qualname__}"

    @wraps(compute)
    def kept(data: ReportData) -> Value:
        found = vars(data)  # past the frozen fields, as functools.cached_property does; `replace` starts anew
        if name not in found:
            found[name] = compute(data)
        return found[name]

    return kept

"""What is kept of a fit: its figures, its fitted series for the fusion model, its white light curves for people."""

import numpy as np
import torch

from ..base.instruments import AIRS
from ..base.products import Catalogue, LightCurveFit, PlanetLightCurves
from .flux import transit_duration_h
from .gate import joint_figures, white_figures
from .gaussnewton import Fit
from .series import FittedSeries
from .visitmodel import fitted


def fitted_series(fit: Fit, period_days: float) -> list[FittedSeries]:
    """All series of a joint fit as the fusion model takes them."""
    found = []
    for one in fit.series:
        model = fitted(one, fit.layout, fit.state, period_days)
        t0_h = float(fit.state.shared[fit.layout[f"t0_{one.visit}"]][0])
        found.append(
            FittedSeries(
                instrument=one.instrument,
                visit=one.visit,
                time_h=one.time_h,
                flux=one.flux,
                weight=one.weight,
                gain=model.gain,
                transit=model.transit,
                t0_h=t0_h,
                electrons=model.star * one.level_e,
                u1=model.u1,
                u2=model.u2,
            )
        )
    return found


def diagnostics_of(planet: PlanetLightCurves, row: Catalogue, white: Fit, fit: Fit) -> dict[str, float]:
    """Figures of a planet's fit by name: of the gate, of its geometry (hours, stellar radii), of its data."""
    shared, layout = fit.state.shared, fit.layout

    def of(name: str) -> float:
        return float(shared[layout[name]][0])

    values = [of("ln_a"), of("b"), float(np.sqrt(fit.state.depth[1:].mean()))]
    period, a, b, k = (
        torch.tensor(v, dtype=torch.float64) for v in (float(row.period_days[0]), np.exp(values[0]), *values[1:])
    )
    half = float(transit_duration_h(period, a, b, k)) / 2
    first = [of(f"t0_{v}") - half for v in range(len(planet.visits))]
    start = min(float(one.time_h[0]) for one in fit.series)
    end = max(float(one.time_h[-1]) for one in fit.series)
    bright = [float(one.level_e.sum()) for one in fit.series if one.instrument == AIRS.name]
    masked = [curve.quality.get("masked_fraction", np.nan) for visit in planet.visits for curve in visit.values()]
    return {
        "visits": float(len(planet.visits)),
        "missing_contact": float(any(t < start + 0.1 or t + 2 * half > end - 0.1 for t in first)),
        **white_figures(white),
        **joint_figures(fit),
        "duration_h": 2 * half,
        "t0_h": of("t0_0"),
        "a_over_rs": float(np.exp(of("ln_a"))),
        "impact_param": abs(of("b")),
        "level": float(fit.state.depth[1:].mean()),
        "electrons": float(np.mean(bright)) if bright else np.nan,
        "masked_fraction": max(masked),
    }


def white_curves(planet: PlanetLightCurves, white: Fit, row: Catalogue) -> list[LightCurveFit]:
    """White light curves with their fit, over the star's light."""
    curves = []
    for one in white.series:
        model = fitted(one, white.layout, white.state, float(row.period_days[0]))
        weight, star = one.weight[:, 0], max(float(model.star[0]), 1e-30)
        sigma = np.where(weight > 0, 1 / np.sqrt(np.maximum(weight, 1e-30)), np.inf)
        gain = model.gain[:, 0]
        values = (array / star for array in (one.flux[:, 0], gain * model.transit[:, 0], sigma, gain))
        curves.append(LightCurveFit(planet.planet_id, one.visit, one.instrument, one.time_h, *values))
    return curves

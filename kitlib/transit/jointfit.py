"""Second step of the physical fit: all channels of all visits together, from the white fit's state."""

from dataclasses import replace

import numpy as np

from ..base.instruments import FGS1, N_BINS
from ..base.products import Array, Catalogue, PlanetLightCurves
from ..base.schema import PhysfitConfig
from ..spectra import ln_scale_height_depth
from .driftorder import Blocks, Evidence, best_choice, full_choice, restricted
from .gaussnewton import Fit, FitError, gauss_newton
from .limbdarkening import Measured
from .parameters import Layout, State, limb_coefficients
from .priors import Priors
from .series import GROSS_SIGMA, Series, rescaled, series_of, without
from .visitmodel import normal_equations, separable_start
from .whitefit import CATALOGUE, FIXED, layout_for, white_fit


def joint_fit(
    planet: PlanetLightCurves,
    row: Catalogue,
    priors: Priors,
    config: PhysfitConfig,
    white: Fit,
    geometry: str = CATALOGUE,
    impact: float | None = None,
) -> tuple[Fit, Layout]:
    """Fit all channels together from the white fit: at full drift orders, then at the most probable ones.

    Returns the fit and the layout of full orders, which `driftorder.averaged` takes. `impact` is held where given.
    """
    series = rescaled(series_of(planet, white=False))
    layout = layout_for(row, priors.limb, len(planet.visits), config.drift_order, config.colour_order, geometry, impact)
    period = float(row.period_days[0])
    level = float(white.state.depth[1])
    mean, cov = priors.spectrum.pooled(float(ln_scale_height_depth(row, np.array([level]))[0]), level)
    start, cleaned = _joint_start(series, layout, white, period, float(np.sqrt(np.diag(cov - cov.mean()).mean())))
    single = replace(layout, sd=restricted_sd(layout, full_choice(layout, series)))
    fit = gauss_newton(cleaned, single, start, period, mean, cov, config.max_iterations)
    cleaned, _ = without(fit.series, fit.system.residuals, config.outlier_sigma)
    blocks, _ = best_choice(Evidence(fit, layout, known=False))
    _, free = restricted(layout, blocks)
    start = State(np.where(free, fit.state.shared, 0.0), fit.state.depth)
    chosen = replace(layout, sd=restricted_sd(layout, blocks))
    return gauss_newton(cleaned, chosen, start, period, mean, cov, config.max_iterations), layout


def restricted_sd(layout: Layout, blocks: Blocks) -> Array:
    """Prior widths (S,) under which what a choice of drifts leaves out does not move."""
    sd, free = restricted(layout, blocks)
    return np.where(free, sd, FIXED * layout.sd)


def _joint_start(
    series: list[Series], layout: Layout, white: Fit, period_days: float, shape_sd: float
) -> tuple[State, list[Series]]:
    """White fit's state with the separable drift that the channels show; the series without gross outliers."""
    shared = layout.mean.copy()
    for name, where in white.layout.names.items():
        if name.startswith("airs_colour"):
            shared[layout[name].start] = 1.0
        else:
            shared[layout[name]] = white.state.shared[where]
    depth = np.full(N_BINS, white.state.depth[1])
    depth[0] = white.state.depth[0]
    state = State(shared.copy(), depth)
    residuals = normal_equations(series, layout, state, period_days).residuals
    series, _ = without(series, residuals, GROSS_SIGMA)
    for one in series:
        if one.instrument != FGS1.name:
            drift, colour = separable_start(one, layout, state, period_days, shape_sd)
            shared[layout[f"airs_drift_{one.visit}"]] = drift
            shared[layout[f"airs_colour_{one.visit}"]] = colour
    return State(shared, depth), series


def measure_limb_darkening(
    planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig, depth: Array
) -> Measured | None:
    """What a planet's light curves say of its star's limb darkening, its spectrum `depth` (283,) known.

    None where the planet cannot be fitted. The fit itself does not know `depth`: the linear model around it does.
    """
    try:
        fit, _ = joint_fit(planet, row, priors, config, *white_fit(planet, row, priors, config))
    except (FitError, np.linalg.LinAlgError):
        return None
    system, layout, value = fit.system, fit.layout, fit.state.shared
    gradient = system.gradient_shared - system.cross.T @ (depth - fit.state.depth)
    other = np.setdiff1d(np.arange(len(value)), np.arange(len(value))[layout["limb"]])
    weight = layout.sd[other] ** -2.0
    matrix = system.shared[np.ix_(other, other)] + np.diag(weight)
    towards = gradient[other] - weight * (value[other] - layout.mean[other])
    across = system.shared[layout["limb"]][:, other]
    solved = np.linalg.solve(matrix, np.column_stack([across.T, towards]))
    precision = system.shared[layout["limb"], layout["limb"]] - across @ solved[:, :-1]
    pull = gradient[layout["limb"]] - across @ solved[:, -1]
    inverse = np.linalg.inv(layout.limb_root)
    precision = inverse.T @ (precision + precision.T) @ inverse / 2
    information = inverse.T @ pull + precision @ limb_coefficients(layout, value)
    return Measured(float(row.stellar_temperature_k[0]), precision, information)

"""The winner's design of 2025 on the kit's light curves: what the kit's own prior and drift are measured against.

Jeroen Cottaar won the challenge with one Gaussian model of everything (docs/method/references.md; none of his code is
here). What is taken from his descriptions:

- light = star x drift x transit + white noise; the star free in each channel, geometry and limb darkening free within
  priors that training planets gave;
- drift: a free polynomial of low order in time and wavelength, one in time for FGS1. No separable structure, and no
  average over orders;
- spectrum: a level that is all but free, and beside it, scaled by one number a planet, five principal components of
  training spectra and a Gaussian process over wavelength for what they leave; FGS1 has a white offset of its own.
  Components are those of spectra that were divided by the square root of their own scatter, not centred;
- the number is the most probable one given the planet's light curves, at least 0.2 of a typical spectrum;
- sigma of FGS1, AIRS level and AIRS shape calibrated on training planets.

Both solvers get the same light curves, noise, white fit, limb-darkening prior and outlier cut: they differ in prior and
drift. Everything is linear and Gaussian around the fit, so that the posterior is in closed form.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from population import shipped_training
from rows import SEEDS, Row, drawn, worlds
from scipy.optimize import minimize

from kitlib.base.execution import in_processes
from kitlib.base.instruments import N_AIRS_BINS, N_BINS
from kitlib.base.products import Array, Catalogue, PlanetLightCurves, Posterior
from kitlib.base.schema import PhysfitConfig
from kitlib.spectra.combination import Component, Hypothesis, Likelihood, combine
from kitlib.transit.fit import IN_PARTS
from kitlib.transit.gaussnewton import Fit, FitError, gauss_newton
from kitlib.transit.grazing import grazes, profile
from kitlib.transit.parameters import Layout, State
from kitlib.transit.priors import Priors, shipped_priors
from kitlib.transit.series import GROSS_SIGMA, rescaled, series_of, without
from kitlib.transit.visitmodel import normal_equations
from kitlib.transit.whitefit import FIXED, layout_for, white_fit

TIME_ORDER, WAVELENGTH_ORDER = 5, 5  # of the drift. He chose 3 in time: here levels would be wrong by 2.7 sigma
AIRS_DRIFT_SD, FGS1_DRIFT_SD = 3e-4, 1e-3  # of each coefficient; those that score best here, of 3e-4, 1e-3 and 3e-3
COMPONENTS = 5  # 15 and 25 are no better here
TYPICAL = 1e-4  # scatter of the AIRS shape at scale 1
LEVEL_SD = 0.01  # all but free: depths are 0.004 to 0.08
SCALES = np.geomspace(0.2, 20, 47)  # of a planet's spectrum, in steps of a tenth
LENGTHS = (1.0, 3.0, 9.0, 27.0, 81.0)  # of the Gaussian process, bins (0.0069 um each); their amplitudes are learnt


@dataclass(frozen=True)
class Design:
    """The prior over spectra: level_mean + N(0, LEVEL_SD^2) on all bins + scale N(0, shape)."""

    level_mean: float
    shape: Array  # (283, 283), the AIRS shape's mean variance TYPICAL^2; bin 0 is FGS1

    def component(self, scale: float) -> Component:
        """The Gaussian at one scale."""
        return Component(1.0, np.full(N_BINS, self.level_mean), scale, self.shape, np.full((N_BINS, 1), LEVEL_SD))


def learn_design(depth: Array) -> Design:
    """Principal components and Gaussian process of training spectra (N, 283)."""
    level = depth[:, 1:].mean(1)
    shape = depth - level[:, None]
    scatter = np.maximum(shape[:, 1:].std(1), 1e-7)
    shape = shape / np.sqrt(scatter)[:, None]
    unit = np.sqrt((shape[:, 1:] ** 2).mean()) / TYPICAL
    fgs1 = np.sqrt((shape[:, 0] ** 2).mean()) / TYPICAL  # it counts as one bin among others, then regains its size
    away = np.concatenate([shape[:, :1] / fgs1, shape[:, 1:] / unit], axis=1)
    left, values, rows = np.linalg.svd(away, full_matrices=False)
    weights, rows = (left * values)[:, :COMPONENTS], rows[:COMPONENTS]
    rest = away - weights @ rows
    cov = (rows.T * (weights**2).mean(0)) @ rows
    cov[1:, 1:] += _process(rest[:, 1:])
    cov[0, 0] += (rest[:, 0] ** 2).mean()
    back = np.ones(N_BINS)
    back[0] = fgs1 / unit
    return Design(float(level.mean()), back[:, None] * cov * back)


def _process(rest: Array) -> Array:
    """Covariance (282, 282) of the Gaussian process that spectra less their components (N, 282) most probably are of.

    A sum of squared exponentials of fixed lengths.
    """
    bins = np.arange(N_AIRS_BINS)
    kernels = np.stack([np.exp(-0.5 * ((bins[:, None] - bins) / length) ** 2) for length in LENGTHS])
    size = (rest**2).mean()
    seen = rest.T @ rest / len(rest) / size

    def loss(ln_variance: Array) -> tuple[float, Array]:
        variance = np.exp(ln_variance)
        inverse = np.linalg.inv(np.tensordot(variance, kernels, 1) + 1e-6 * np.eye(N_AIRS_BINS))
        slope = inverse - inverse @ seen @ inverse
        value = -np.linalg.slogdet(inverse)[1] + (inverse * seen).sum()
        return value, variance * (kernels * slope).sum(axis=(1, 2))

    start = np.full(len(LENGTHS), -np.log(len(LENGTHS)))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-14, 3)] * len(LENGTHS)).x
    return size * np.tensordot(np.exp(found), kernels, 1)


def free_layout(layout: Layout) -> Layout:
    """The layout with a drift that is a free polynomial of time and wavelength, and no separable one.

    The separable term is held at zero; what the kit calls the second term holds a coefficient for each pair of powers.
    """
    sd = layout.sd.copy()
    for name, where in layout.names.items():
        if name.startswith(("airs_drift", "airs_colour")):
            sd[where] = FIXED * sd[where]
        elif name.startswith("airs_second"):
            sd[where] = AIRS_DRIFT_SD
        elif name.startswith("fgs1_drift"):
            sd[where] = FGS1_DRIFT_SD
    return replace(layout, sd=sd)


def fit_baseline(
    planet: PlanetLightCurves, row: Catalogue, design: Design, priors: Priors, config: PhysfitConfig
) -> tuple[Array, Array, float]:
    """Mean (283,), covariance (283, 283) and scale of one planet's spectrum. Raises FitError where there is no fit."""
    period = float(row.period_days[0])
    white, geometry = white_fit(planet, row, priors, config)
    graze = profile(white, period) if grazes(white) else None
    if graze is not None:
        white = graze.white
    orders = TIME_ORDER, WAVELENGTH_ORDER
    held = graze.impact if graze else None
    layout = free_layout(layout_for(row, priors.limb, len(planet.visits), *orders, geometry, held))
    shared = layout.mean.copy()
    for name in ("ln_a", "b", "fgs1_delay", "limb", *(f"t0_{v}" for v in range(len(planet.visits)))):
        shared[layout[name]] = white.state.shared[white.layout[name]]
    depth = np.full(N_BINS, white.state.depth[1])
    depth[0] = white.state.depth[0]
    series, state, scale = rescaled(series_of(planet, white=False)), State(shared, depth), 1.0
    series, _ = without(series, normal_equations(series, layout, state, period).residuals, GROSS_SIGMA)
    for sigma in (config.outlier_sigma, None):
        one = design.component(scale)
        fit = gauss_newton(series, layout, state, period, one.mean, one.cov, config.max_iterations)
        mean, cov, scale = meet(likelihood(fit), design)
        state = fit.state
        if sigma is not None:
            series, _ = without(fit.series, fit.system.residuals, sigma)
    return *(graze.widened(mean, cov) if graze else (mean, cov)), scale


def likelihood(fit: Fit) -> Likelihood:
    """What the light curves say of the depths around a fit, everything else free within its prior."""
    system, value, sd = fit.system, fit.state.shared, fit.layout.sd
    slope = system.gradient_shared - (value - fit.layout.mean) / sd**2
    precision = system.shared + np.diag(sd**-2.0)
    every = Hypothesis(0.0, np.ones(len(sd), bool), precision, np.linalg.solve(precision, slope))
    return Likelihood(fit.state.depth, system.depth, system.cross, system.gradient_depth, (every,))


def meet(seen: Likelihood, design: Design) -> tuple[Array, Array, float]:
    """Posterior mean (283,) and covariance (283, 283) of the depths at the most probable scale, and that scale."""
    _, _, weight = combine(seen, [design.component(float(scale)) for scale in SCALES])
    scale = float(SCALES[weight.argmax()])
    mean, cov, _ = combine(seen, [design.component(scale)])
    return mean, cov, scale


def _one(*given) -> tuple[Array, Array, float] | None:
    """`fit_baseline`, None where there is no fit."""
    try:
        return fit_baseline(*given)
    except (FitError, np.linalg.LinAlgError):
        return None


def fit_baselines(
    curves: list[PlanetLightCurves],
    catalogue: Catalogue,
    design: Design,
    priors: Priors,
    config: PhysfitConfig,
    kit: Posterior,
    workers: int = 1,
) -> Posterior:
    """The baseline's posterior of planets that `kit` has fitted, with the kit's diagnostics and `scale` (NaN: kit's).

    Repairs and fallbacks are no part of the comparison: a planet that the kit answers by a part of its data or without
    a fit, or that the baseline cannot fit, keeps the kit's answer.
    """
    plain = np.flatnonzero((kit.diagnostics["gate"] != IN_PARTS) & (kit.diagnostics["fallback"] == 0))
    given = [(curves[i], catalogue.take(slice(i, i + 1)), design, priors, config) for i in plain]
    mean, cov, scale = kit.mean.copy(), kit.cov.copy(), np.full(len(curves), np.nan)
    for i, one in zip(plain, in_processes(_one, given, workers, "baseline", progress=False), strict=True):
        if one is not None:
            mean[i], cov[i], scale[i] = one
    return Posterior(kit.planet_id, mean, cov, kit.diagnostics | {"scale": scale})


@cache
def shipped_design() -> Design:
    """Learnt from the spectra that the kit's shipped prior is learnt from."""
    return learn_design(shipped_training()[0])


def beside(row: Row, name: str, role: str, workers: int) -> Posterior:
    """The baseline's posterior of the planets of a row that `rows.fitted` gave for this name and role."""
    population = drawn(name, worlds()[name], len(row.catalogue), SEEDS[role], workers)
    if population is None:
        raise ValueError(f"{name}: its spectra do not lie here")
    given = shipped_design(), shipped_priors(), PhysfitConfig()
    return fit_baselines(population.curves, row.catalogue, *given, row.found, workers)

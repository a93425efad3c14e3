"""How each figure of `figures.py` is drawn; the numbers come from the kit's own functions."""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from subjects import Subject

from kitlib.base.instruments import AIRS, FGS1, PPM
from kitlib.base.products import Array, LightCurveFit
from kitlib.detector.sky import sky_pixels, star_pixels
from kitlib.sigma.metric import gll_per_bin
from kitlib.spectra import Likelihood, airs_variances, ln_scale_height_depth, moments
from kitlib.transit.fit import detailed_fit
from kitlib.transit.flux import transit_flux
from kitlib.transit.gate import LIMITS, white_figures
from kitlib.transit.limbdarkening import REFERENCE_K
from kitlib.transit.whitefit import white_fit

# Okabe & Ito's palette: told apart by colour-blind readers and in grey
BLUE, RED, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7f8c9b"
AIRS_BINS = slice(1, None)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _bare(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)


def _cds(subject: Subject, name: str) -> Array:
    """Electrons of a pair in the mean image of an instrument."""
    return np.maximum((subject.airs if name == AIRS.name else subject.fgs1).mean, 1)


def _binned(values: Array, width: int) -> Array:
    count = len(values) // width
    return values[: count * width].reshape(count, width, *values.shape[1:]).mean(1)


def _curve(axis: Axes, curve: LightCurveFit, colour: str, offset: float) -> None:
    axis.plot(curve.time_h, curve.flux + offset, ".", ms=4, color=colour, alpha=0.7, mec="none")
    axis.plot(curve.time_h, curve.model + offset, color="black", lw=0.9)


def hero(subject: Subject) -> Figure:
    """A raw frame, the light curves with their fit, the spectrum with its error bars and the truth."""
    answer, _ = subject.fit
    figure = _figure(11, 5.6)
    grid = figure.add_gridspec(2, 2, width_ratios=[1, 1.15], height_ratios=[1, 2.2])
    frame, light, spectrum = (
        figure.add_subplot(grid[0, 0]),
        figure.add_subplot(grid[1, 0]),
        figure.add_subplot(grid[:, 1]),
    )
    last = subject.airs.raw_adu(subject.airs.signal.n_pairs // 2)[1]
    frame.imshow(np.sqrt(last), aspect="auto", cmap="magma", origin="lower", vmax=np.sqrt(last).max())
    frame.set(title="1  one of 146,250 raw frames (AIRS-CH0)", xlabel="column", ylabel="row")
    low = 0.0
    for curve, colour in zip(answer.curves, (BLUE, RED), strict=True):
        _curve(light, curve, colour, low)
        light.text(7.4, curve.model[-1] + low + 0.0012, curve.instrument, ha="right", color=colour)
        low -= 0.006
    light.set(title="2  light curves of both instruments, and the fit", xlabel="hours", ylabel="light (shifted)")
    _bare(light)
    wl, sigma = subject.wavelengths_um, np.sqrt(np.diag(answer.cov))
    spectrum.fill_between(
        wl[AIRS_BINS], *((answer.mean + s * sigma)[AIRS_BINS] / PPM for s in (-1, 1)), color=BLUE, alpha=0.25, lw=0
    )
    spectrum.plot(wl[AIRS_BINS], answer.mean[AIRS_BINS] / PPM, color=BLUE, label="recovered, ±1 sigma")
    spectrum.plot(wl[AIRS_BINS], subject.truth[AIRS_BINS] / PPM, color=RED, lw=1.3, label="true")
    spectrum.errorbar([1.75], answer.mean[:1] / PPM, sigma[:1] / PPM, fmt="o", color=BLUE)
    spectrum.plot([1.75], subject.truth[:1] / PPM, "D", color=RED, mfc="none")
    spectrum.annotate("FGS1\n(0.7 µm)", (1.75, 0.8), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
    spectrum.set(title="3  the planet's transmission spectrum", xlabel="wavelength, µm", ylabel="transit depth, ppm")
    spectrum.legend(frameon=False)
    _bare(spectrum)
    return figure


STEPS = (
    ("raw frames", "two instruments,\nuint16, 7.5 h", "detector"),
    ("light curves", "sky-blind weighted\nsums, in electrons", "detector"),
    ("likelihood", "star × drift × transit,\nall bins together", "transit"),
    ("posterior", "likelihood × prior\nover spectra", "spectra"),
    ("fusion", "network corrects\nwhat is left", "fusion"),
    ("sigma", "calibrated: FGS1,\nlevel, shape apart", "sigma"),
    ("submission", "checked file\nand one report", "submission, report"),
)


def dataflow(subject: Subject) -> Figure:
    """The data's way, a box a step, with the folder of kitlib that does it."""
    del subject
    figure = _figure(11, 2.1)
    axis = figure.add_subplot()
    for i, (name, what, room) in enumerate(STEPS):
        axis.add_patch(
            FancyBboxPatch((i + 0.06, 0.25), 0.8, 0.62, boxstyle="round,pad=0.02", fc="#eaf2f8", ec=BLUE, lw=1.2)
        )
        axis.text(i + 0.46, 0.74, name, ha="center", va="center", weight="bold", fontsize=9.5)
        axis.text(i + 0.46, 0.47, what, ha="center", va="center", fontsize=7.6)
        axis.text(i + 0.46, 0.13, f"{room}/", ha="center", va="center", fontsize=8, family="monospace", color=GREY)
        if i:
            axis.annotate("", (i + 0.04, 0.56), (i - 0.12, 0.56), arrowprops={"arrowstyle": "->", "color": BLUE})
    axis.annotate(
        "the gate: does the fit describe its data?", (2.46, 0.9), (2.46, 1.12), ha="center", fontsize=8.5, color=RED,
        arrowprops={"arrowstyle": "->", "color": RED},
    )  # fmt: skip
    axis.set(xlim=(0, len(STEPS)), ylim=(0, 1.2))
    axis.axis("off")
    return figure


def instruments(subject: Subject) -> Figure:
    """Mean image of both instruments on a logarithmic scale, with the cut-out, and a pixel's reads."""
    figure = _figure(10, 3.4)
    airs, fgs1 = figure.subplots(1, 2, gridspec_kw={"width_ratios": [3.2, 1]})
    for axis, name in ((airs, AIRS.name), (fgs1, FGS1.name)):
        shown = axis.imshow(np.log10(_cds(subject, name)), aspect="auto", cmap="magma", origin="lower", vmin=1)
        axis.set(title=f"{name}: electrons of one pair, log10", xlabel="column", ylabel="row")
        figure.colorbar(shown, ax=axis, pad=0.02)
    for column, name in ((AIRS.crop[0], "3.90 µm"), (AIRS.crop[1] - 1, "1.95 µm")):
        airs.axvline(column, color="white", lw=1, ls="--")
        airs.text(column, 29.2, name, color="white", ha="center", fontsize=9, bbox={"fc": "black", "lw": 0, "pad": 1})
    return figure


def extraction(subject: Subject) -> Figure:
    """Weights of a column, and what a uniform sky of any size does to each light curve with and without them."""
    plan, mean = subject.airs.plan, subject.airs.mean
    figure = _figure(10, 3.6)
    rows, change = figure.subplots(1, 2)
    column = AIRS.crop[1] - 31
    rows.semilogy(
        np.arange(AIRS.rows), np.maximum(mean[:, column], 0.3), "o-", ms=3, color=GREY, label="light, electrons"
    )
    star, sky = (pixels(AIRS)[:, column] for pixels in (star_pixels, sky_pixels))
    for used, colour, name in ((star, BLUE, "star's pixels"), (sky, GREEN, "sky's pixels")):
        for row in np.flatnonzero(used):
            rows.axvspan(
                row - 0.5, row + 0.5, color=colour, alpha=0.15, lw=0, label=name if row == np.argmax(used) else None
            )
    weights = rows.twinx()
    weights.plot(np.arange(AIRS.rows), np.where(star, plan.weights[:, column], np.nan), "s-", ms=3, color=BLUE)
    weights.set(ylabel="weight", ylim=(0, 1.6))
    rows.set(title=f"AIRS-CH0, column {column}", xlabel="row", ylabel="electrons of one pair")
    rows.legend(loc="upper left", fontsize=8, frameon=False)
    uniform = 10.0 * np.ones((len(plan.aperture_px), 1))
    star_e = plan.flux_e[:, None] + plan.aperture_px[:, None] * uniform
    blind = plan.light_curves(star_e, uniform) / plan.light_curves(plan.flux_e[:, None], 0 * uniform) - 1
    naive = star_e / plan.flux_e[:, None] - 1
    wl = subject.wavelengths_um[AIRS_BINS][::-1]
    change.plot(wl, -100 * naive[:, 0], color=RED, label="plain sum over the star's pixels")
    change.plot(wl, -100 * blind[:, 0], color=BLUE, label="the kit's weighted sum")
    change.set(
        title="10 electrons of sky a pixel: change of the depth", xlabel="wavelength, µm", ylabel="% of the depth"
    )
    change.legend(frameon=False, fontsize=9)
    _bare(change)
    return figure


def transit(subject: Subject) -> Figure:
    """Limb darkening of both instruments as the prior has it, and the transits that follow."""
    limb = subject.priors.limb
    draws = np.random.default_rng(1).multivariate_normal(limb.at(REFERENCE_K), limb.cov, 200)
    figure = _figure(10, 3.6)
    profile, curves = figure.subplots(1, 2)
    mu = np.linspace(0, 1, 101)
    radius = np.sqrt(1 - mu**2)
    for name, first, second, colour in (("FGS1", 0, 1, BLUE), ("AIRS-CH0, middle", 2, 5, RED)):
        u1, u2 = draws[:, first], draws[:, second]
        brightness = 1 - u1[:, None] * (1 - mu) - u2[:, None] * (1 - mu) ** 2
        low, middle, high = np.percentile(brightness, [5, 50, 95], axis=0)
        profile.fill_between(radius, low, high, color=colour, alpha=0.25, lw=0)
        profile.plot(radius, middle, color=colour, label=name)
        mean = limb.at(REFERENCE_K)[[first, second]]
        for impact, style in ((0.1, "-"), (0.7, "--")):
            time = np.linspace(-2.5, 2.5, 401)
            values = (0.0, 4.0, 10.5, impact, 0.12, *mean)
            flux = transit_flux(*(torch.as_tensor(v, dtype=torch.float64) for v in (time, *values))).numpy()
            curves.plot(time, 100 * (flux - 1), style, color=colour, label=f"{name.split(',')[0]}, b = {impact}")
    profile.set(
        title="brightness of the star (5 to 95 % of the prior)",
        xlabel="distance from its centre",
        ylabel="over the centre's",
    )
    curves.axhline(-100 * 0.12**2, color=GREY, lw=0.8, ls=":")
    curves.text(-2.45, -100 * 0.12**2, "(Rp/Rs)²", va="bottom", color=GREY)
    curves.set(title="transits of one planet, Rp/Rs = 0.12", xlabel="hours from the middle", ylabel="light lost, %")
    for axis in (profile, curves):
        axis.legend(frameon=False, fontsize=8)
        _bare(axis)
    return figure


def _level_errors(subject: Subject) -> dict[str, tuple[float, float]]:
    """sd of FGS1's depth and of AIRS' level, ppm, without a spectral prior, for what is taken as known."""
    fit = subject.joint
    system, sd, names = fit.system, fit.layout.sd, fit.layout.names
    groups = {"limb": ("limb",), "orbit": ("ln_a", "b", "t0", "fgs1_delay")}
    member = {name: next((g for g, starts in groups.items() if name.startswith(starts)), "drift") for name in names}
    cases = {"all known": (), "orbit open": ("orbit",), "limb darkening open": ("limb",), "drift open": ("drift",),
             "all open": ("orbit", "limb", "drift")}  # fmt: skip
    found = {}
    for case, opened in cases.items():
        free = np.zeros(len(sd), bool)
        for name, where in names.items():
            free[where] = member[name] in opened
        precision = np.diag(system.depth)
        if free.any():
            shared = (system.shared + np.diag(sd**-2.0))[np.ix_(free, free)]
            cross = system.cross[:, free]
            precision = precision - cross @ np.linalg.solve(shared, cross.T)
        cov = np.linalg.inv(precision)
        found[case] = float(np.sqrt(cov[0, 0])) / PPM, float(np.sqrt(airs_variances(cov[None])[0][0])) / PPM
    return found


def drift(subject: Subject) -> Figure:
    """The fitted drift at several wavelengths, and what each unknown costs the depth."""
    answer, details = subject.fit
    figure = _figure(10, 3.8)
    apart, cost = figure.subplots(1, 2)
    for one in details.series:
        fgs1 = one.instrument == FGS1.name
        wl = subject.wavelengths_um[:1] if fgs1 else subject.wavelengths_um[AIRS_BINS]
        for w, colour in ((0, GREY),) if fgs1 else ((0, BLUE), (141, GREEN), (281, RED)):
            gain = one.gain[:, w] / one.gain[:, w].mean() - 1
            apart.plot(one.time_h, gain / PPM, color=colour, label=f"{one.instrument}, {wl[w]:.2f} µm")
    middle, half = answer.diagnostics["t0_h"], answer.diagnostics["duration_h"] / 2
    apart.axvspan(middle - half, middle + half, color=GREY, alpha=0.12, lw=0, label="transit")
    apart.set(title="drift of the gain, as fitted", xlabel="hours", ylabel="ppm of the light")
    apart.legend(frameon=False, fontsize=8)
    errors = _level_errors(subject)
    place = np.arange(len(errors))
    for shift, index, name, colour in ((-0.2, 0, "FGS1", BLUE), (0.2, 1, "AIRS level", RED)):
        bars = cost.barh(place + shift, [pair[index] for pair in errors.values()], 0.38, color=colour, label=name)
        cost.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
    cost.set(title="error of the depth, by what is not known", xlabel="ppm, before the prior over spectra")
    cost.set_yticks(place, list(errors))
    cost.invert_yaxis()
    cost.legend(frameon=False, loc="upper right")
    for axis in (apart, cost):
        _bare(axis)
    return figure


def _alone(likelihood: Likelihood) -> tuple[Array, Array]:
    """Depths (283,) and their covariance by the light curves alone, under the most probable choice of drift."""
    best = max(likelihood.hypotheses, key=lambda one: one.log_weight)
    precision, information = likelihood.marginal(best)
    cov = np.linalg.inv(precision)
    return likelihood.centre + cov @ information, cov


def _shape(mean: Array, cov: Array) -> tuple[Array, Array]:
    """AIRS bins less their mean, and the standard deviation of that, ppm."""
    airs = mean[AIRS_BINS]
    return (airs - airs.mean()) / PPM, np.sqrt(np.maximum(airs_variances(cov[None])[2][0], 0)) / PPM


def posterior(subject: Subject) -> Figure:
    """One spectrum's shape: by the light curves alone, by the prior alone, and by both."""
    answer, details = subject.fit
    wl = subject.wavelengths_um[AIRS_BINS]
    alone, spread = _shape(*_alone(details.likelihood))
    level = float(answer.mean[AIRS_BINS].mean())
    prior = subject.priors.spectrum
    expected = prior.components(float(ln_scale_height_depth(subject.row, np.array([level]))[0]), level)
    before, before_sd = _shape(*moments(expected))
    after, after_sd = _shape(answer.mean, answer.cov)
    truth = (subject.truth[AIRS_BINS] - subject.truth[AIRS_BINS].mean()) / PPM
    figure = _figure(10, 3.8)
    axes = figure.subplots(1, 3, sharey=True)
    width = 3
    axes[0].errorbar(
        _binned(wl, width), _binned(alone, width), _binned(spread, width) / np.sqrt(width), fmt=".", ms=3, lw=0.7,
        color=GREY, label="three bins together",
    )  # fmt: skip
    axes[0].set(title="likelihood: light curves alone", ylabel="AIRS depth less its mean, ppm")
    for axis, middle, sd, name in ((axes[1], before, before_sd, "prior"), (axes[2], after, after_sd, "posterior")):
        axis.fill_between(wl, middle - sd, middle + sd, color=BLUE, alpha=0.25, lw=0)
        axis.plot(wl, middle, color=BLUE, label=f"{name}, ±1 sigma")
        axis.set(title=name if name == "prior" else "posterior: both")
    for axis in axes:
        axis.plot(wl, truth, color=RED, lw=1.2, label="true")
        axis.set(xlabel="wavelength, µm")
        axis.legend(frameon=False, fontsize=8)
        _bare(axis)
    return figure


def gate(subject: Subject) -> Figure:
    """The gate's figures over their limits, for a sound planet and for three that are not, and what is answered."""
    figure = _figure(10, 4.2)
    axis = figure.add_subplot()
    colours = (GREEN, BLUE, RED, PINK)
    for number, (name, (planet, row)) in enumerate(subject.spoilt.items()):
        fit, geometry = white_fit(planet, row, subject.priors, subject.config)
        answer, _ = detailed_fit(planet, row, subject.priors, subject.config)
        figures = white_figures(fit)
        ratio = [max(figures[one] / LIMITS[one][0], 1e-2) for one in figures]
        place = np.arange(len(ratio)) + 0.2 * (number - 1.5)
        outcome = {0.0: "sound", 1.0: "a part of the data", 2.0: "sigma covers it"}[answer.diagnostics["gate"]]
        label = f"{name}: {outcome}" + (", catalogue set aside" if geometry == "wrong" else "")
        axis.bar(place, ratio, 0.18, color=colours[number], label=label)
    axis.set_yscale("log")
    axis.axhline(1, color="black", lw=1)
    axis.set_xticks(np.arange(len(figures)), list(figures))
    axis.set(ylabel="figure over its limit", title="the white fit of all data, and what is answered")
    axis.legend(frameon=False, fontsize=8.5)
    _bare(axis)
    return figure


def fusion(subject: Subject) -> Figure:
    """What the shipped fusion model changes on planets of the own world, and whether it helps."""
    physics, v50, truth = subject.others
    figure = _figure(10, 3.6)
    moved, sigma, error = figure.subplots(1, 3)
    parts = ("FGS1", "AIRS level", "AIRS shape")
    spread = [_parts_sd(one.cov) for one in (physics, v50)]
    means = [_parts(one.mean) for one in (physics, v50)]
    errors = [[(own - real) for own, real in zip(mean, _parts(truth), strict=True)] for mean in means]
    for i, (name, colour) in enumerate(zip(parts, (BLUE, RED, GREEN), strict=True)):
        change = ((means[1][i] - means[0][i]) / spread[0][i]).ravel()
        moved.hist(change, np.linspace(-0.6, 0.6, 25), density=True, histtype="step", color=colour, label=name)
        sigma.hist(
            (spread[1][i] / spread[0][i]).ravel(),
            np.linspace(0.8, 1.2, 25),
            density=True,
            histtype="step",
            color=colour,
        )
    for shift, own, name, colour in ((-0.2, errors[0], "physics", GREY), (0.2, errors[1], "v50", BLUE)):
        bars = error.bar(
            np.arange(3) + shift, [np.median(np.abs(e)) / PPM for e in own], 0.38, color=colour, label=name
        )
        error.bar_label(bars, fmt="%.1f", fontsize=8)
    error.set_xticks(np.arange(3), parts)
    moved.set(title="v50 less physics", xlabel="in sigma", yticks=[])
    sigma.set(title="sigma of v50", xlabel="over physics'", yticks=[])
    error.set(title=f"median error, {len(truth)} planets", ylabel="ppm")
    for axis in (moved, error):
        axis.legend(frameon=False, fontsize=8)
    for axis in (moved, sigma, error):
        _bare(axis)
    return figure


def _parts(depth: Array) -> tuple[Array, Array, Array]:
    """FGS1 (P,), level (P,) and shape (P, 282) of spectra."""
    level = depth[:, 1:].mean(1)
    return depth[:, 0], level, depth[:, 1:] - level[:, None]


def _parts_sd(cov: Array) -> tuple[Array, Array, Array]:
    level, _, shape = airs_variances(cov)
    return np.sqrt(cov[:, 0, 0]), np.sqrt(level), np.sqrt(np.maximum(shape, 1e-18))


NAIVE = 0.0146, 0.0106  # mean and standard deviation of the competition's training targets, about


def _bin_score(error: Array, sigma: Array) -> tuple[Array, Array]:
    """s of FGS1 and of an AIRS bin of a planet of mean depth, for an error and a sigma (n,), pure numbers."""
    truth = np.full((len(error), 283), NAIVE[0])
    found = gll_per_bin(truth + error[:, None], np.repeat(sigma[:, None], 283, 1), truth, *NAIVE)
    return found[:, 0], found[:, 1]


def score(subject: Subject) -> Figure:
    """What an error bar of a wrong size costs, and what a right one is worth by its size."""
    del subject
    figure = _figure(10, 3.6)
    wrong, size = figure.subplots(1, 2)
    stated = np.geomspace(0.25, 4, 121)
    one = np.ones_like(stated)
    # an error of exactly its own sigma has the mean log-likelihood of a Gaussian error of that size
    both = _bin_score(20 * PPM * one, 20 * PPM * stated)
    for values, name, colour in zip(both, ("FGS1", "AIRS bin"), (BLUE, RED), strict=True):
        wrong.plot(stated, values - values.max(), color=colour, label=name)
    wrong.set(xscale="log", title="a wrong size of sigma costs", xlabel="sigma stated / true", ylabel="points of a bin")
    wrong.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    wrong.minorticks_off()
    wrong.legend(frameon=False)
    ppm = np.geomspace(3, 1000, 200)
    for values, name, colour in zip(_bin_score(ppm * PPM, ppm * PPM), ("FGS1", "AIRS bin"), (BLUE, RED), strict=True):
        size.plot(ppm, values, color=colour, label=name)
    size.set(xscale="log", title="right error bars, by their size", xlabel="sigma, ppm", ylabel="score of the bin")
    size.axhline(0, color=GREY, lw=0.8)
    size.legend(frameon=False)
    for axis in (wrong, size):
        _bare(axis)
    return figure


FIGURES: dict[str, Callable[[Subject], Figure]] = {
    one.__name__: one
    for one in (hero, dataflow, instruments, extraction, transit, drift, posterior, gate, fusion, score)
}

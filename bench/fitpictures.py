"""The pictures of `figures.py` that only the docs have: what is degenerate, what the gate finds, what sigma costs."""

import numpy as np
from matplotlib.figure import Figure
from pictures import AIRS_BINS, BLUE, GREEN, GREY, PINK, RED, bare, figure_of
from subjects import Subject

from kitlib.base.instruments import FGS1, PPM
from kitlib.base.products import Array
from kitlib.sigma.metric import gll_per_bin
from kitlib.spectra import airs_variances
from kitlib.transit import detailed_fit
from kitlib.transit.gate import LIMITS, MOST_CHI2, white_figures
from kitlib.transit.whitefit import white_fit


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
    figure = figure_of(10, 3.8)
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
    apart.legend(fontsize=8, framealpha=0.9, edgecolor="none")
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
        bare(axis)
    return figure


def gate(subject: Subject) -> Figure:
    """The gate's figures over their limits, for a sound planet and for three that are not, and what is answered."""
    figure = figure_of(10, 4.2)
    axis = figure.add_subplot()
    colours = (GREEN, BLUE, RED, PINK)
    most = {name: limit for name, (limit, _) in LIMITS.items()} | {"chi2_white": MOST_CHI2}
    for number, (name, (planet, row)) in enumerate(subject.spoilt.items()):
        fit, geometry = white_fit(planet, row, subject.priors, subject.config)
        answer, _ = detailed_fit(planet, row, subject.priors, subject.config)
        figures = white_figures(fit)
        ratio = [max(figures[one] / most[one], 1e-2) for one in figures]
        place = np.arange(len(ratio)) + 0.2 * (number - 1.5)
        outcome = {0.0: "sound", 1.0: "a part of the data", 2.0: "sigma covers it"}[answer.diagnostics["gate"]]
        label = f"{name}: {outcome}" + (", catalogue set aside" if geometry == "wrong" else "")
        axis.bar(place, ratio, 0.18, color=colours[number], label=label)
    axis.set_yscale("log")
    axis.axhline(1, color="black", lw=1)
    axis.set_xticks(np.arange(len(figures)), list(figures))
    axis.set(ylabel="figure over its limit", title="the white fit of all data, and what is answered")
    axis.legend(frameon=False, fontsize=8.5)
    bare(axis)
    return figure


def fusion(subject: Subject) -> Figure:
    """What the shipped fusion model changes on planets of the own world, and whether it helps."""
    physics, v50, truth = subject.others
    figure = figure_of(10, 3.6)
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
        bare(axis)
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
    figure = figure_of(10, 3.6)
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
        bare(axis)
    return figure

"""The pictures of `figures.py` that only the docs have: how the kit works, and what models look like.

Numbers come from the kit's own functions, colours are those of its figures.
"""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from subjects import Subject

from kitlib.base.instruments import AIRS
from kitlib.detector.sky import sky_pixels, star_pixels
from kitlib.report.drawing import DARK, LIGHT
from kitlib.transit.flux import transit_flux
from kitlib.transit.limbdarkening import REFERENCE_K

BLUE, RED, GREEN, PINK, GREY = (LIGHT[name] for name in ("part0", "part1", "part2", "part3", "measured"))
AIRS_BINS = slice(1, None)


def figure_of(width: float, height: float) -> Figure:
    """An empty figure of so many inches that leaves no global state behind."""
    return Figure(figsize=(width, height), layout="constrained")


def darkened(figure: Figure) -> Figure:
    """The figure itself, each of its colours exchanged for its fellow in the dark, as charts.js does for the report."""
    fellow = {"#000000": DARK["ink"], "#ffffff": DARK["panel"]} | {LIGHT[name]: DARK[name] for name in LIGHT}
    figure.draw_without_rendering()  # labels of axes are made while drawing
    for axis in figure.axes:
        axis.tick_params(which="both", colors=DARK["ink"])  # of those too that are made later
    for artist in figure.findobj():
        parts = [artist, *filter(None, [getattr(artist, "arrow_patch", None)])]
        for one, part in ((one, part) for one in parts for part in _COLOURED if hasattr(one, f"get_{part}")):
            own = getattr(one, f"get_{part}")()
            if isinstance(own, str) and own in ("none", "auto"):
                continue
            rows = to_rgba_array(own)
            if not rows[:, 3].any():
                continue  # nothing of it is seen
            worn = [(*to_rgb(fellow.get(to_hex(row), to_hex(row))), row[3]) for row in rows]
            getattr(one, f"set_{part}")(worn if np.ndim(own) == 2 else worn[0])
    return figure


_COLOURED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def bare(axis: Axes) -> None:
    """Take the frame's upper and right side away."""
    axis.spines[["top", "right"]].set_visible(False)


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
    figure = figure_of(11, 2.1)
    axis = figure.add_subplot()
    for i, (name, what, room) in enumerate(STEPS):
        axis.add_patch(
            FancyBboxPatch((i + 0.06, 0.25), 0.8, 0.62, boxstyle="round,pad=0.02", ec=BLUE, fc=(*to_rgb(BLUE), 0.1))
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


def extraction(subject: Subject) -> Figure:
    """Weights of a column, and what a uniform sky of any size does to each light curve with and without them."""
    plan, mean = subject.airs.plan, subject.airs.mean
    figure = figure_of(10, 3.6)
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
    bare(change)
    return figure


def transit(subject: Subject) -> Figure:
    """Limb darkening of both instruments as the prior has it, and the transits that follow."""
    limb = subject.priors.limb
    draws = np.random.default_rng(1).multivariate_normal(limb.at(REFERENCE_K), limb.cov, 200)
    figure = figure_of(10, 3.6)
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
        bare(axis)
    return figure

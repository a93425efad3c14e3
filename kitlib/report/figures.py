"""Figures of the report for notebooks (matplotlib): the numbers of the page, from the same functions."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..base.instruments import AIRS, FGS1, MOLECULAR_BANDS_UM, PPM, bin_weights
from ..base.products import Array, PlanetLightCurves
from ..sigma import PIT_CELLS
from .bands import pit_band, quantile_band
from .calibrationtable import by_bin, cells
from .data import ReportData
from .diagnostics import CURVE_LEVELS, all_parts, panel_statistics, planet_scores, usable
from .heavy import latent_map, residual_powers

# Okabe & Ito's palette: told apart by colour-blind readers and in grey
_ESTIMATE, _TRUTH, _POINTS = "#0072B2", "#D55E00", "#7f8c9b"
_PARTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


class NotebookFigure(Figure):
    """A figure that a notebook shows without pyplot, so that drawing leaves no global state behind."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=80)
        return buffer.getvalue()


def spectrum_figure(data: ReportData, planet_id: int) -> Figure:
    """Recovered spectrum with its 1 sigma band, the truth where known, and the molecules' bands.

    FGS1 has a narrow panel of its own on the left; with truth, a second row shows error over sigma.

    Raises:
        KeyError: the planet was not predicted.
    """
    row = data.index(planet_id)
    truth = None if data.truth is None else data.truth[row]
    wavelength = np.asarray(data.wavelengths_um)
    return answer_figure(f"Planet {planet_id}", wavelength, data.prediction.mu[row], data.prediction.sigma[row], truth)


def answer_figure(title: str, wavelength: Array, mu: Array, sigma: Array, truth: Array | None = None) -> Figure:
    """`spectrum_figure` of arrays: wavelengths in um, depths and their sigma as pure numbers, (283,) each."""
    mu, sigma, truth = mu / PPM, sigma / PPM, None if truth is None else truth / PPM
    figure = NotebookFigure(figsize=(10, 4.2 if truth is None else 5.2), layout="constrained")
    grid = {"width_ratios": [1, 12], "height_ratios": [1] if truth is None else [3, 1]}
    axes = figure.subplots(len(grid["height_ratios"]), 2, sharex="col", sharey="row", gridspec_kw=grid, squeeze=False)
    fgs1, airs = axes[0]
    fgs1.errorbar(wavelength[:1], mu[:1], sigma[:1], fmt="o", color=_ESTIMATE)
    airs.fill_between(wavelength[1:], (mu - sigma)[1:], (mu + sigma)[1:], color=_ESTIMATE, alpha=0.25, lw=0)
    airs.plot(wavelength[1:], mu[1:], color=_ESTIMATE, label="recovered, ±1 sigma")
    if truth is not None:
        fgs1.plot(wavelength[:1], truth[:1], "o", ms=9, mfc="none", color=_TRUTH)
        airs.plot(wavelength[1:], truth[1:], color=_TRUTH, label="true")
        for axis, part in zip(axes[1], (slice(0, 1), slice(1, None)), strict=True):
            axis.axhspan(-1, 1, color="0.5", alpha=0.15, lw=0)
            axis.axhline(0, color="0.5", lw=0.8)
            axis.plot(wavelength[part], ((mu - truth) / sigma)[part], ".", color=_POINTS)
        axes[1, 0].set_ylabel("error / sigma")
    _mark_molecules(airs)
    fgs1.set_ylabel("depth, ppm")
    fgs1.set_xticks(wavelength[:1], [f"{wavelength[0]:.1f}"])
    axes[-1, 1].set_xlabel("wavelength, um")
    figure.legend(loc="upper right", frameon=False, ncols=2)  # beside the title: the spectrum may go anywhere
    figure.suptitle(title)
    return figure


def _mark_molecules(axis: Axes) -> None:
    """One thin row of bars a molecule along the top of the axes, in axes units vertically."""
    transform = axis.get_xaxis_transform()
    low, high = axis.get_xlim()
    for i, (name, bands) in enumerate(MOLECULAR_BANDS_UM.items()):
        height = 1.03 + 0.05 * i
        for start, stop in bands:
            span = [max(start, low), min(stop, high)]
            axis.plot(span, [height] * 2, transform=transform, color="0.6", lw=4, clip_on=False, solid_capstyle="butt")
        axis.text(low, height, f"{name} ", transform=transform, ha="right", va="center", fontsize=7)
    axis.set_xlim(low, high)


def light_curve_figure(data: ReportData, planet_id: int) -> Figure:
    """White light curves of one planet with their fit and residuals, one column a light curve.

    Raises:
        KeyError: the planet was not predicted.
        ValueError: the report holds no usable light curve of it.
    """
    data.index(planet_id)
    panels = [panel for panel in data.panels_of(planet_id) if usable(panel).any()]
    if not panels:
        raise ValueError(f"no light curve of planet {planet_id} came with this report: raise report.planets")
    figure = NotebookFigure(figsize=(5 * len(panels), 4.6), layout="constrained")
    axes = figure.subplots(2, len(panels), sharex="col", gridspec_kw={"height_ratios": [3, 1]}, squeeze=False)
    for (top, bottom), panel in zip(axes.T, panels, strict=True):
        good = usable(panel)
        time, flux, model = (np.asarray(v, float)[good] for v in (panel.time_h, panel.flux, panel.model))
        statistics = panel_statistics(panel)
        top.plot(time, 100 * flux, ".", ms=2.5, color=_POINTS)
        top.plot(time, 100 * model, color=_TRUTH)
        top.set_title(f"{panel.instrument}, visit {panel.visit}", fontsize=10)
        bottom.plot(time, (flux - model) / PPM, ".", ms=2.5, color=_POINTS)
        bottom.axhline(0, color=_TRUTH)
        words = f"time, h\nresiduals {statistics['rms_ppm']:.0f} ppm rms, expected {statistics['sigma_ppm']:.0f}"
        bottom.set_xlabel(f"{words}; chi2 per sample {statistics['chi2']:.2f}", fontsize=9)
    axes[0, 0].set_ylabel("flux, % of the star")
    axes[1, 0].set_ylabel("residuals, ppm")
    figure.suptitle(f"Planet {planet_id}")
    return figure


def measured_figure(curves: PlanetLightCurves) -> Figure:
    """Light curves as they were extracted, a row a visit: FGS1, AIRS white, and the AIRS map, each over its median.

    Raises:
        ValueError: the planet has no light curve.
    """
    if not curves.visits:
        raise ValueError(f"planet {curves.planet_id} has no light curves")
    figure = NotebookFigure(figsize=(12, 3 * len(curves.visits)), layout="constrained")
    for row, visit in zip(figure.subplots(len(curves.visits), 3, squeeze=False), curves.visits, strict=True):
        for axis, name in zip(row, (FGS1.name, AIRS.name), strict=False):
            if name in visit:
                white = np.nansum(visit[name].flux_e.astype(np.float64), axis=1)
                axis.plot(visit[name].time_h, white / np.median(white), ".", ms=2, color=_POINTS)
            axis.set_title(f"{name}, white" if name in visit else f"{name}: none")
        if AIRS.name in visit:
            flux = visit[AIRS.name].flux_e
            extent = (visit[AIRS.name].time_h[0], visit[AIRS.name].time_h[-1], 1, flux.shape[1])
            image = (flux / np.nanmedian(flux, axis=0)).T
            low, high = np.nanpercentile(image, (1, 99))
            row[2].imshow(image, aspect="auto", origin="lower", extent=extent, vmin=low, vmax=high)
            row[2].set(title="AIRS-CH0, over each bin's median", ylabel="bin")
        row[0].set_ylabel("flux over its median")
        for axis in row:
            axis.set_xlabel("hours since the visit's start")
    figure.suptitle(f"Planet {curves.planet_id}")
    return figure


def reliability_figure(data: ReportData) -> Figure:
    """Coverage and quantiles of all parts, and the probability integral transform of each.

    Raises:
        ValueError: the truth is not known.
    """
    _need_truth(data)
    parts = all_parts(data)
    planets = len(parts[0].z)
    figure = NotebookFigure(figsize=(11, 6), layout="constrained")
    grid = figure.add_gridspec(2, 1)
    upper, lower = (figure.add_subfigure(part) for part in (grid[0], grid[1]))
    coverage, quantiles = upper.subplots(1, 2)
    coverage.plot([0, 100], [0, 100], "--", color="0.5")
    widest = max((part.quantiles[0] for part in parts), key=len)
    quantiles.fill_between(widest, *quantile_band(widest, planets), color="0.5", alpha=0.2, lw=0)
    quantiles.plot(widest[[0, -1]], widest[[0, -1]], "--", color="0.5")
    for part, colour in zip(parts, _PARTS, strict=False):
        coverage.plot(100 * CURVE_LEVELS, 100 * part.observed, color=colour, label=part.name)
        quantiles.plot(*part.quantiles, color=colour)
    coverage.set(xlabel="expected, %", ylabel="observed, %", title="coverage")
    coverage.legend(frameon=False, fontsize=8)
    quantiles.set(
        xlabel="unit Gaussian", ylabel="error over sigma", title="quantiles, 95 % of honest lines lie in the band"
    )
    for part, axis, colour in zip(parts, lower.subplots(1, len(parts), sharey=True), _PARTS, strict=False):
        axis.stairs(100 * part.pit, np.linspace(0, 1, PIT_CELLS + 1), fill=True, color=colour, alpha=0.6)
        for limit in pit_band(planets):
            axis.axhline(100 * limit, ls=":", color="0.5")
        axis.set_title(f"{part.name}: mean {part.summary['mean']:+.2f}, spread {part.summary['std']:.2f}", fontsize=9)
        axis.set_xlabel("predicted probability below the truth", fontsize=8)
    lower.axes[0].set_ylabel("share, %")
    return figure


def score_figure(data: ReportData) -> Figure:
    """Score and accuracy part by bin with the best factor on sigma, and the score of every planet and bin.

    Raises:
        ValueError: the truth is not known.
    """
    _need_truth(data)
    columns, score = by_bin(data), cells(data)["score"]
    figure = NotebookFigure(figsize=(11, 7), layout="constrained")
    lines, factor, rows = figure.subplots(3, 1, height_ratios=[3, 1.5, 4])
    wavelength = columns["wavelength_um"][1:]
    lines.plot(wavelength, columns["score"][1:], color=_ESTIMATE, label="score")
    lines.plot(wavelength, columns["accuracy"][1:], color=_TRUTH, label="accuracy part")
    lines.legend(frameon=False)
    lines.set_ylabel("score")
    factor.axhline(1, ls="--", color="0.5")
    factor.plot(wavelength, columns["factor"][1:], color=_POINTS)
    factor.set(ylabel="best factor\non sigma", ylim=(0, None), xlabel="wavelength, um")
    order = np.argsort(score @ bin_weights())
    low = min(np.quantile(score, 0.02), 0.5)
    image = rows.imshow(score[order], aspect="auto", cmap="cividis", vmin=low, vmax=1, interpolation="none")
    rows.set(xlabel="bin (0: FGS1)", ylabel="planets, the worst on top", yticks=[])
    figure.colorbar(image, ax=rows, label="score")
    return figure


def power_figure(data: ReportData) -> Figure | None:
    """Fourier power of the white residuals; None unless `report.heavy`."""
    found = residual_powers(data)
    if not found:
        return None
    figure = NotebookFigure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()
    for one, colour in zip(found, _PARTS, strict=False):
        axis.fill_between(one.per_hour, one.low, one.high, color=colour, alpha=0.2, lw=0)
        axis.plot(one.per_hour, one.median, color=colour, label=f"{one.instrument}, {one.curves} light curves")
    axis.axhline(1, ls="--", color="0.5")
    axis.set(xscale="log", yscale="log", xlabel="frequency, cycles per hour", ylabel="power / white noise")
    axis.legend(frameon=False)
    return figure


def latent_figure(data: ReportData) -> Figure | None:
    """The planets in the plane of the fusion model's latents, coloured by score or depth; None without latents."""
    found = latent_map(data)
    if found is None:
        return None
    scores = planet_scores(data)
    colour, words = (scores[:, 0], "score") if scores is not None else (data.prediction.mu[:, 1:].mean(1), "mean depth")
    figure = NotebookFigure(figsize=(6, 4.5), layout="constrained")
    axis = figure.subplots()
    points = axis.scatter(found.places[:, 0], found.places[:, 1], c=colour, cmap="cividis", edgecolors="0.4")
    figure.colorbar(points, ax=axis, label=words)
    axis.set(xticks=[], yticks=[], title=f"latents of the fusion model: {found.method}")
    return figure


def _need_truth(data: ReportData) -> None:
    if data.truth is None:
        raise ValueError("reliability needs the true spectra: give data.solution")

"""The report's figures for notebooks, as plotly figures: the same definitions that the page draws, with titles."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..base.instruments import AIRS, FGS1, INSTRUMENTS, PPM, bin_weights
from ..base.products import Array, PlanetLightCurves, Prediction
from ..detector import robust_sigma, scan_signal
from ..spectra import SpectralPrior
from . import planetcharts, runcharts, stagecharts
from .bands import pit_band
from .calibrationtable import by_bin, cells
from .comparison import differences, other_spectrum
from .data import ReportData
from .diagnostics import all_parts, level_errors, panel_statistics, planet_scores, usable
from .drawing import Spec, grid, template
from .heavy import latent_map, residual_powers
from .planetcharts import Beside

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def shown(figure: Spec, title: str = "", height: int = 420) -> "Figure":
    """A figure of `planetcharts` or `runcharts` as plotly's own, which a notebook shows; `height` in pixels."""
    from plotly.graph_objects import Figure  # alone here: the page is made without plotly's Python package

    layout = figure["layout"] | {"template": template(), "height": height, "title": {"text": title, "y": 0.98}}
    titled = bool(layout.get("annotations"))  # figures side by side: the legend stands above their titles
    named = any(trace.get("showlegend") for trace in figure["data"])
    top = (34 if named else 12) + (40 if title else 0) + (20 if titled else 0)
    layout["margin"] = {"t": top} | ({"r": 36} if titled else {})  # a title may be wider than its figure
    layout["legend"] = {"y": 1 + (24 / (height - 120) if titled else 0)}
    return Figure({"data": figure["data"], "layout": layout})


def spectrum_figure(data: ReportData, planet_id: int) -> "Figure":
    """Recovered spectrum with its error bars, the measured points, the prior, and the truth where it is known.

    Raises:
        KeyError: the planet was not predicted.
    """
    row = data.index(planet_id)
    mu, sigma = data.prediction.mu[row], data.prediction.sigma[row]
    figure = planetcharts.spectrum(data.wavelengths_um, mu, sigma, beside(data, row))
    return shown(figure, f"Planet {planet_id}", 420 if data.truth is None else 520)


def beside(data: ReportData, row: int) -> Beside:
    """What the spectrum of a row of the prediction is drawn beside."""
    measured = None if data.measured is None else np.asarray(data.measured[row], float)
    prior = None if data.prior_shape is None else np.asarray(data.prior_shape[row], float)
    other = other_spectrum(data, int(data.prediction.planet_id[row]))
    return Beside(
        truth=None if data.truth is None else data.truth[row],
        measured=measured if measured is not None and np.isfinite(measured).any() else None,
        prior_shape=prior if prior is not None and np.isfinite(prior).all() else None,
        other=None if other is None or data.against is None else (data.against.name, other),
    )


def answer_figure(title: str, wavelength: Array, mu: Array, sigma: Array, truth: Array | None = None) -> "Figure":
    """`spectrum_figure` of arrays: wavelengths in um, depths and their sigma as pure numbers, (283,) each."""
    figure = planetcharts.spectrum(wavelength, mu, sigma, Beside(truth=truth))
    return shown(figure, title, 420 if truth is None else 520)


def spectra_figure(data: ReportData, planets: Sequence[int], across: int = 2) -> "Figure":
    """`spectrum_figure` of several planets, `across` side by side.

    Raises:
        KeyError: one of them was not predicted.
    """
    found = []
    for planet in planets:
        row = data.index(planet)
        mu, sigma = data.prediction.mu[row], data.prediction.sigma[row]
        one = planetcharts.spectrum(data.wavelengths_um, mu, sigma, beside(data, row))
        one["layout"]["title"] = {"text": f"planet {planet}"}
        one["layout"]["yaxis3"]["tickfont"] = {"size": 8}  # five molecules in little room
        found.append(one)
    rows = [found[i : i + across] for i in range(0, len(found), across)]
    return shown(grid(rows), height=80 + 360 * len(rows))


def light_curve_figure(data: ReportData, planet_id: int) -> "Figure":
    """White light curves of one planet, a row a visit: with fit and drift, with the transit alone, and what is left.

    Raises:
        KeyError: the planet was not predicted.
        ValueError: the report holds no usable light curve of it.
    """
    data.index(planet_id)
    panels = [panel for panel in data.panels_of(planet_id) if usable(panel).any()]
    if not panels:
        raise ValueError(f"no light curve of planet {planet_id} came with this report: raise report.planets")
    rows: dict[int, list[Spec]] = {}
    for panel in panels:
        found, figure = panel_statistics(panel), planetcharts.light_curve(panel)
        rows.setdefault(panel.visit, []).append(figure)
        words = f"{panel.instrument}, visit {panel.visit}: residuals {found['rms_ppm']:.0f} ppm rms"
        figure["layout"]["title"] = {"text": f"{words}, expected {found['sigma_ppm']:.0f}"}
    return shown(grid(list(rows.values())), f"Planet {planet_id}", 90 + 470 * len(rows))


def residual_figure(data: ReportData, planet_id: int) -> "Figure | None":
    """What the fit leaves of AIRS by time and wavelength, a column a visit; None where the run kept none.

    Raises:
        KeyError: the planet was not predicted.
    """
    figures = residual_maps(data, data.index(planet_id))
    for visit, figure in figures.items():
        figure["layout"]["title"] = {"text": f"AIRS-CH0, visit {visit}"}
    return shown(grid([list(figures.values())]), f"Planet {planet_id}: residuals") if figures else None


def residual_maps(data: ReportData, row: int) -> dict[int, Spec]:
    """The map of each visit of a planet that has one."""
    if data.residuals is None or data.phases is None:
        return {}
    duration = float(data.diagnostic("duration_h")[row])
    return {
        visit: planetcharts.residual_map(np.asarray(one, float), data.phases, duration, data.wavelengths_um)
        for visit, one in enumerate(data.residuals[row])
        if np.isfinite(one).any() and np.isfinite(duration)
    }


def light_maps(data: ReportData, planet_id: int) -> dict[int, Spec]:
    """AIRS' light by time and wavelength, of each visit of a planet whose light curves came along."""
    visits = enumerate(data.extracted_of(planet_id))
    maps = {i: planetcharts.extracted_map(v[AIRS.name], data.wavelengths_um) for i, v in visits if AIRS.name in v}
    return maps


def frame_maps(data: ReportData, planet_id: int) -> list[tuple[int, str, Spec, Spec]]:
    """(visit, instrument, mean frame, weights) of each frame that came along, by visit, FGS1 before AIRS."""
    wavelengths = data.wavelengths_um
    return [
        (number, name, planetcharts.mean_frame(frame, wavelengths), planetcharts.weight_map(frame, wavelengths))
        for number, visit in enumerate(data.extracted_of(planet_id))
        for name in (FGS1.name, AIRS.name)
        if name in visit and (frame := visit[name].frame) is not None
    ]


def measured_figure(curves: PlanetLightCurves) -> "Figure":
    """Light curves as they were extracted, a row a visit: FGS1, AIRS white, and the AIRS map, each over its median.

    Raises:
        ValueError: the planet has no light curve.
    """
    if not curves.visits:
        raise ValueError(f"planet {curves.planet_id} has no light curves")
    rows = []
    for visit in curves.visits:
        row = [planetcharts.extracted(visit[name]) for name in (FGS1.name, AIRS.name) if name in visit]
        row += [planetcharts.extracted_map(visit[AIRS.name])] if AIRS.name in visit else []
        rows.append(row)
    return shown(grid(rows), f"Planet {curves.planet_id}", 340 * len(rows))


def raw_pair_figure(planet_dir: Path, visit: int = 0) -> "Figure":
    """The difference of a visit's first two reads in ADU, an image for each instrument.

    Raises:
        FrameError: a file that does not hold an instrument's frames.
    """
    rows = []
    for instrument in INSTRUMENTS:
        reads = scan_signal(Path(planet_dir) / instrument.signal_file(visit), instrument).head(2).collect().to_numpy()
        image = (reads[1].astype(float) - reads[0]).reshape(instrument.rows, instrument.cols)
        rows.append([stagecharts.raw_pair(image, instrument)])
    return shown(grid(rows), f"Planet {Path(planet_dir).name}: one pair of frames", 680)


def noise_figure(curves: Sequence[PlanetLightCurves]) -> "Figure":
    """Scatter between neighbouring samples of every white light curve against what photons and reads explain, in ppm.

    The scatter is that of second differences: a transit and a drift, which are smooth, drop out.
    """
    found = {}
    for instrument in INSTRUMENTS:
        points = [_noise_of(visit[instrument.name].flux_e, visit[instrument.name].variance_e2)
                  for one in curves for visit in one.visits if instrument.name in visit]  # fmt: skip
        found[instrument.name] = np.reshape(points, (-1, 2))
    return shown(stagecharts.white_noise(found))


def _noise_of(flux: Array, variance: Array) -> tuple[float, float]:
    """Expected and measured noise in ppm of the sum over wavelengths of flux and variance, (T, W) each."""
    whole = np.isfinite(flux).all(1)
    white, power = flux[whole].sum(1, dtype=np.float64), variance[whole].sum(1, dtype=np.float64)
    second = (white[:-2] - 2 * white[1:-1] + white[2:]) / np.sqrt(6)
    star = float(np.median(white))
    return float(np.sqrt(np.median(power))) / star / PPM, float(robust_sigma(second)) / star / PPM


def kinds_figure(prior: SpectralPrior, wavelengths_um: Array) -> "Figure":
    """The mean shapes of the prior's most frequent kinds of atmospheres, one above the other; their rms is 1."""
    return shown(stagecharts.kinds(prior, wavelengths_um), height=460)


def level_error_figure(mu: Array, truth: Array) -> "Figure":
    """Recovered less true depth of FGS1 and of the AIRS level against the true one; mu, truth (P, 283)."""
    parts = {"FGS1": (mu[:, 0], truth[:, 0]), "AIRS level": (mu[:, 1:].mean(1), truth[:, 1:].mean(1))}
    return shown(grid([[stagecharts.level_error(*pair, name, i) for i, (name, pair) in enumerate(parts.items())]]))


def sigma_depth_figure(prediction: Prediction) -> "Figure":
    """Each planet's error bar against its depth: FGS1, and the median AIRS bin. In ppm against percent."""
    return shown(stagecharts.sigma_against_depth(prediction))


def reliability_figure(data: ReportData) -> "Figure":
    """Coverage and quantiles of all parts, and the probability integral transform of each.

    Raises:
        ValueError: the truth is not known.
    """
    _need_truth(data)
    parts = all_parts(data)
    limits = pit_band(planets := len(parts[0].z))
    lower = [runcharts.pit(part, i, limits) for i, part in enumerate(parts)]
    return shown(grid([[runcharts.coverage(parts), runcharts.quantiles(parts, planets)], lower]), height=680)


def score_figure(data: ReportData) -> "Figure":
    """Score and accuracy part by bin with the best factor on sigma, and the score of every planet and bin.

    Raises:
        ValueError: the truth is not known.
    """
    _need_truth(data)
    score = cells(data)["score"]
    order = np.argsort(score @ bin_weights())
    planets = [str(data.prediction.planet_id[row]) for row in order]
    heat = runcharts.cells(score[order], planets, "score", data.wavelengths_um)
    return shown(grid([[runcharts.by_bin(by_bin(data))], [heat]]), height=760)


def sigma_error_figure(data: ReportData) -> "Figure":
    """Error of each planet's FGS1 depth and AIRS level against its sigma.

    Raises:
        ValueError: the truth is not known.
    """
    _need_truth(data)
    return shown(grid([sigma_errors(data)]))


def sigma_errors(data: ReportData) -> list[Spec]:
    """The figures of `sigma_error_figure`, one a part."""
    planets = [str(planet) for planet in data.prediction.planet_id]
    found = level_errors(data)
    return [runcharts.sigma_error(*pair, part, i, planets) for i, (part, pair) in enumerate(found.items())]


def two_runs_figure(data: ReportData) -> "Figure | None":
    """What changed against another run, planet by planet; None without `report.against`."""
    found = differences(data)
    return None if data.against is None or not found else shown(runcharts.two_runs(found, data.against.name))


def power_figure(data: ReportData) -> "Figure | None":
    """Fourier power of the white residuals; None unless `report.heavy`."""
    found = residual_powers(data)
    return shown(runcharts.powers(found)) if found else None


def latent_figure(data: ReportData) -> "Figure | None":
    """The planets in the plane of the fusion model's latents, coloured by score or depth; None without latents."""
    figure = latents_chart(data)
    return None if figure is None else shown(figure, "Latents of the fusion model")


def latents_chart(data: ReportData) -> Spec | None:
    """The figure of `latent_figure`."""
    found, scores = latent_map(data), planet_scores(data)
    if found is None:
        return None
    depth = 1e6 * data.prediction.mu[:, 1:].mean(1)
    colour, words = (depth, "mean depth, ppm") if scores is None else (scores[:, 0], "score")
    return runcharts.latents(found, colour, words, [str(planet) for planet in data.prediction.planet_id])


def _need_truth(data: ReportData) -> None:
    if data.truth is None:
        raise ValueError("reliability needs the true spectra: give data.solution")

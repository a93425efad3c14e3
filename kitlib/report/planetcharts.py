"""Figures of one planet, each defined here once: spectrum, light curve, maps of residuals and light, mean frames."""

from dataclasses import dataclass

import numpy as np

from ..base.instruments import AIRS, FGS1, MOLECULAR_BANDS_UM, N_AIRS_BINS, PPM
from ..base.products import Array, LightCurve, LightCurveFit, MeanFrame
from ..transit import MEASURED_BINS
from .diagnostics import usable
from .drawing import DIVERGING, SEQUENTIAL, Spec, axis, band, dots, dotted, line, ppm_range

MAX_SAMPLES = 200  # points drawn of one light curve; longer ones are averaged
MAP_SAMPLES = 60  # columns of a map of the light by time
DECADES = 5  # of a mean frame's colours, which begin at 1 electron a pair
MOST_WEIGHT = 1.5  # at both ends of the colours of weights
MOST_RESIDUAL = 4.0  # sigmas at the end of a map's colours
PERCENT = 100.0


@dataclass(frozen=True)
class Beside:
    """What a spectrum is drawn beside, pure numbers; None: not known, or not to be drawn."""

    truth: Array | None = None  # (283,)
    measured: Array | None = None  # (2, 48) depths by the light curves alone and their sd: FGS1, then groups of bins
    prior_shape: Array | None = None  # (2, 283) bins less the AIRS level, as the prior expects them, and their sd
    other: tuple[str, Array] | None = None  # another run's name and its spectrum (283,)


def spectrum(wavelength_um: Array, mu: Array, sigma: Array, beside: Beside | None = None) -> Spec:
    """A recovered spectrum with its error bars: FGS1 on the left by itself, the molecules' bands on top.

    `mu`, `sigma` (283,) are pure numbers. With a truth, a second row shows error over sigma.
    """
    beside = beside or Beside()
    wl, mu, sigma = np.asarray(wavelength_um, float), mu / PPM, sigma / PPM
    truth = None if beside.truth is None else beside.truth / PPM
    traces = [*_prior(wl, mu, beside), *_measured(wl, beside), *_recovered(wl, mu, sigma)]
    if truth is not None:
        traces += _true(wl, truth) + _pulls(wl, (mu - truth) / sigma)
    if beside.other is not None:
        name, other = beside.other
        traces += _both(wl, other / PPM, name, "other", f"{name}: %{{y:,.0f}} ppm", 6)
    traces += _molecules(wl)
    known = [mu - 2 * sigma, mu + 2 * sigma, *([truth] if truth is not None else [])]
    if beside.measured is not None:
        known.append(beside.measured[0] / PPM)
    low = 0.34 if truth is not None else 0.0
    bottom = "y2" if truth is not None else "y"
    names = list(MOLECULAR_BANDS_UM)
    layout = {
        "xaxis": axis(domain=[0, 0.08], range=[-1, 1], tickvals=[0], ticktext=[f"{wl[0]:.1f}"], anchor=bottom)
        | {"showgrid": False, "fixedrange": True},
        "xaxis2": axis("wavelength, µm", domain=[0.1, 1], range=[wl[1] - 0.02, wl[-1] + 0.02], anchor=bottom),
        "yaxis": axis("depth, ppm", domain=[low, 0.82], range=ppm_range(*known), tickformat=",.0f", anchor="x"),
        "yaxis3": axis(domain=[0.84, 1], range=[len(names) - 0.4, -0.6], anchor="x", showgrid=False, showline=False)
        | {"tickvals": list(range(len(names))), "ticktext": names, "ticks": "", "fixedrange": True},
    }
    if truth is not None:
        most = 1.05 * max(3.2, float(np.abs((mu - truth) / sigma).max()))
        layout["yaxis2"] = axis("error / σ", domain=[0, 0.26], range=[-most, most], nticks=5, anchor="x")
    return {"data": traces, "layout": layout}


def _recovered(wl: Array, mu: Array, sigma: Array) -> list[Spec]:
    told = "%{x:.3f} µm: %{y:,.0f} ± %{customdata:.1f} ppm<extra></extra>"
    bars = {"type": "data", "array": sigma[:1], "thickness": 2, "width": 5}
    fgs1 = dots(np.zeros(1), mu[:1], 8, "estimate", name="recovered", customdata=sigma[:1], showlegend=False)
    airs = line(wl[1:], mu[1:], "estimate", name="recovered, ±1 σ", customdata=sigma[1:], hovertemplate=told)
    return [
        *band(wl[1:], (mu - sigma)[1:], (mu + sigma)[1:], "band", xaxis="x2"),
        fgs1 | {"error_y": bars, "hovertemplate": f"{wl[0]:.2f} µm" + told[9:]},
        airs | {"name": "recovered", "xaxis": "x2"},
    ]


def _true(wl: Array, truth: Array) -> list[Spec]:
    found = _both(wl, truth, "true", "truth", "true: %{y:,.0f} ppm", 11)
    found[0]["marker"] |= {"symbol": "circle-open", "line": {"width": 2}, "opacity": 1}
    return found


def _both(wl: Array, depth: Array, name: str, colour: str, told: str, size: float) -> list[Spec]:
    """A spectrum as a line, its FGS1 as a point; one entry in the legend."""
    told = f"{told}<extra></extra>"
    point = dots(np.zeros(1), depth[:1], size, colour, name=name, showlegend=False, legendgroup=name)
    along = line(wl[1:], depth[1:], colour, 1.4, name=name, xaxis="x2", legendgroup=name)
    return [point | {"hovertemplate": told}, along | {"hovertemplate": told}]


def _pulls(wl: Array, pull: Array) -> list[Spec]:
    told: Spec = {
        "hovertemplate": "%{x:.3f} µm: error %{y:.1f} σ<extra></extra>",
        "name": "error / σ",
        "showlegend": False,
    }
    found = [
        dots(np.zeros(1), pull[:1], 6, yaxis="y2", **told),
        dots(wl[1:], pull[1:], 4, xaxis="x2", yaxis="y2", **told),
    ]
    for side in (-2, 2):
        found += [
            dotted(np.array([-1, 1]), np.full(2, side), yaxis="y2"),
            dotted(wl[[1, -1]], np.full(2, side), xaxis="x2", yaxis="y2"),
        ]
    return found


def _measured(wl: Array, beside: Beside) -> list[Spec]:
    """Points of several bins, as the light curves alone give them."""
    if beside.measured is None:
        return []
    depth, sd = beside.measured / PPM
    group = wl[1 : 1 + N_AIRS_BINS].reshape(-1, MEASURED_BINS).mean(1)
    name, found = "measured, light curves alone", []
    for x, part, axes in ((np.zeros(1), slice(0, 1), {}), (group, slice(1, None), {"xaxis": "x2"})):
        one = dots(x, depth[part], 4, "measured", name=name, legendgroup=name, **axes)
        bars = {"type": "data", "array": sd[part], "thickness": 1, "width": 0}
        told = "measured: %{y:,.0f} ± %{error_y.array:.0f} ppm<extra></extra>"
        found.append(one | {"error_y": bars, "hovertemplate": told})
    found[0]["showlegend"] = False
    return found


def _prior(wl: Array, mu: Array, beside: Beside) -> list[Spec]:
    """The prior over shapes, moved to the recovered level: of the level itself it says next to nothing."""
    if beside.prior_shape is None:
        return []
    shape, sd = beside.prior_shape / PPM
    middle, name = mu[1:].mean() + shape, "prior of the shape, ±1 σ"
    found = [
        line(wl[1:], (middle + side * sd)[1:], "prior", 1, "dash", name=name, legendgroup=name, xaxis="x2")
        | {"showlegend": side > 0}
        for side in (-1, 1)
    ]
    bars = {"type": "data", "array": sd[:1], "thickness": 1, "width": 4}
    point = dots(np.full(1, 0.6), middle[:1], 4, "prior", name=name, legendgroup=name, showlegend=False)
    return [*found, point | {"error_y": bars}]


def _molecules(wl: Array) -> list[Spec]:
    """One row of bars a molecule, where it absorbs."""
    found = []
    for row, (name, bands) in enumerate(MOLECULAR_BANDS_UM.items()):
        inside = [(max(a, wl[1]), min(b, wl[-1])) for a, b in bands]
        x = [v for a, b in inside if b > a for v in (a, b, np.nan)]
        own = line(np.array(x), np.where(np.isfinite(x), float(row), np.nan), "points", 8, xaxis="x2", yaxis="y3")
        found.append(own | {"opacity": 0.55, "meta": name})
    return found


def drawn_samples(panel: LightCurveFit) -> tuple[dict[str, Array], int]:
    """Usable samples of a light curve (n,): time_h, flux, model, drift; and how many each is the mean of."""
    good = usable(panel)
    names = ("time_h", "flux", "model", "drift")
    series = {name: np.asarray(getattr(panel, name), np.float64)[good] for name in names}
    count = int(good.sum())
    averaged = -(-count // MAX_SAMPLES)
    if averaged > 1:
        edges = np.arange(0, count, averaged)
        sizes = np.diff(edges, append=count)
        series = {name: np.add.reduceat(values, edges) / sizes for name, values in series.items()}
    return series, averaged


def light_curve(panel: LightCurveFit) -> Spec:
    """One white light curve: as measured with its fit and drift, over its drift with the transit, and what is left."""
    series, _ = drawn_samples(panel)
    time, flux, model, drift = series.values()
    residual = (flux - model) / PPM
    most = 1.4 * float(np.quantile(np.abs(residual), 0.99)) or 1.0
    percent, ends = "%{x:.2f} h: %{y:.3f} %<extra></extra>", time[[0, -1]]
    middle: Spec = {"yaxis": "y2"}
    low: Spec = {"yaxis": "y3"}
    traces = [
        dots(time, PERCENT * flux, 3.5, name="light", hovertemplate=percent, showlegend=False),
        line(time, PERCENT * model, "truth", 2, name="fit"),
        line(time, PERCENT * drift, "prior", 1.5, "dash", name="drift alone"),
        dots(
            time,
            PERCENT * flux / drift,
            3.5,
            name="light over drift",
            hovertemplate=percent,
            showlegend=False,
            **middle,
        ),
        line(time, PERCENT * model / drift, "estimate", 2, name="transit alone", **middle),
        dots(time, residual, 3.5, name="residual", showlegend=False, **low)
        | {"hovertemplate": "%{x:.2f} h: %{y:.0f} ppm<extra></extra>"},
        line(ends, np.zeros(2), "truth", **low),
    ]
    layout = {
        "xaxis": axis("time, h", anchor="y3"),
        "yaxis": axis("flux, %", domain=[0.66, 1], anchor="x", nticks=5),
        "yaxis2": axis("over drift, %", domain=[0.3, 0.62], anchor="x", nticks=5),
        "yaxis3": axis("residual, ppm", domain=[0, 0.25], range=[-most, most], nticks=4, anchor="x"),
    }
    return {"data": traces, "layout": layout}


def residual_map(residual: Array, phase: Array, duration_h: float, wavelength_um: Array) -> Spec:
    """What a visit's fit leaves of AIRS by time and wavelength, in sigma; NaN where there are no samples.

    Args:
        residual: (F, K) residuals of phases and groups of bins, each over its own sigma.
        phase: (F,) (t - mid-transit) / T14.
        duration_h: T14.
        wavelength_um: (283,) of all bins.
    """
    wl = np.asarray(wavelength_um, float)[1:].reshape(residual.shape[1], -1).mean(1)
    hours = phase * duration_h
    seen = np.isfinite(residual).any(1)
    heat = {
        "type": "heatmap",
        "x": hours[seen],
        "y": wl,
        "z": residual[seen].T,
        "zmin": -MOST_RESIDUAL,
        "zmax": MOST_RESIDUAL,
        "colorscale": DIVERGING,
        "hoverongaps": False,
        "name": "residual / σ",
        "colorbar": {"title": {"text": "residual / σ", "side": "right"}},
        "hovertemplate": "%{x:.2f} h, %{y:.2f} µm: %{z:.1f} σ<extra></extra>",
    }
    contacts = [dotted(np.full(2, side * duration_h / 2), wl[[0, -1]]) for side in (-1, 1)]
    layout = {
        "xaxis": axis("hours from mid-transit", range=[hours[seen][0], hours[seen][-1]], showgrid=False),
        "yaxis": axis("wavelength, µm", range=wl[[0, -1]], showgrid=False),
    }
    return {"data": [heat, *contacts], "layout": layout}


def extracted(curve: LightCurve) -> Spec:
    """An instrument's white light curve as it was extracted, over its median."""
    white = np.nansum(curve.flux_e.astype(np.float64), axis=1)
    told = "%{x:.2f} h: %{y:.4f}<extra></extra>"
    traces = [
        dots(
            curve.time_h, white / np.median(white), 3, name=curve.instrument.name, showlegend=False, hovertemplate=told
        )
    ]
    layout = {
        "title": {"text": f"{curve.instrument.name}, white"},
        "xaxis": axis("hours since the visit's start"),
        "yaxis": axis("flux over its median"),
    }
    return {"data": traces, "layout": layout}


def extracted_map(curve: LightCurve, wavelength_um: Array | None = None) -> Spec:
    """AIRS' light by time and wavelength, each group of bins over its median; NaN where there are no samples.

    `wavelength_um` (283,) of all bins; without it the bins are counted.
    """
    flux = curve.flux_e.astype(np.float64)
    seen = np.isfinite(flux)
    typical = np.nanmedian(np.where(seen.any(0), flux, 0.0), axis=0)
    times = np.linspace(0, len(flux), min(MAP_SAMPLES, len(flux)) + 1).astype(int)[:-1]

    def light(values: Array) -> Array:
        grouped = np.where(seen, values, 0.0).reshape(len(flux), -1, MEASURED_BINS).sum(2)
        return np.add.reduceat(grouped, times, axis=0).T

    expected = light(np.broadcast_to(typical, flux.shape))
    image = np.divide(light(flux), expected, out=np.full(expected.shape, np.nan), where=expected > 0)
    low, high = np.nanpercentile(image, (1, 99)) if np.isfinite(image).any() else (0.0, 1.0)
    bins = np.arange(1.0, flux.shape[1] + 1) if wavelength_um is None else np.asarray(wavelength_um, float)[1:]
    group = bins.reshape(-1, MEASURED_BINS).mean(1)
    hours = np.add.reduceat(curve.time_h, times) / np.diff(times, append=len(flux))
    unit = "bin" if wavelength_um is None else "µm"
    heat = {
        "type": "heatmap",
        "x": hours,
        "y": group,
        "z": np.clip(image, low, high),
        "colorscale": SEQUENTIAL,
        "hoverongaps": False,
        "name": "flux",
        "colorbar": {"title": {"text": "flux over its median", "side": "right"}},
        "hovertemplate": f"%{{x:.2f}} h, %{{y:.2f}} {unit}: %{{z:.4f}}<extra></extra>",
    }
    layout = {
        "title": {"text": f"{curve.instrument.name}, over its median"},
        "xaxis": axis("hours since the visit's start", showgrid=False),
        "yaxis": axis("bin" if wavelength_um is None else "wavelength, µm", range=group[[0, -1]], showgrid=False),
    }
    return {"data": [heat], "layout": layout}


def mean_frame(frame: MeanFrame, wavelength_um: Array) -> Spec:
    """A visit's mean calibrated frame: electrons per pair and pixel, on one logarithmic scale for all frames."""
    ticks = list(range(DECADES + 1))
    heat = {
        "z": np.log10(np.maximum(frame.flux_e.astype(np.float64), 1.0)),
        "zmin": 0,
        "zmax": DECADES,
        "colorscale": SEQUENTIAL,
        "name": "log10 electrons",
        "colorbar": {"title": {"text": "electrons", "side": "right"}}
        | {"tickvals": ticks, "ticktext": [f"{10**tick:,}" for tick in ticks]},
    }
    return _on_detector(heat, "10^%{z:.2f} electrons", wavelength_um)


def weight_map(frame: MeanFrame, wavelength_um: Array) -> Spec:
    """What the pixels of a visit's mean frame count for in the light curves; sky, which is taken away, is negative."""
    heat = {
        "z": frame.weights.astype(np.float64),
        "zmin": -MOST_WEIGHT,
        "zmax": MOST_WEIGHT,
        "colorscale": DIVERGING,
        "name": "weight",
        "colorbar": {"title": {"text": "weight", "side": "right"}},
    }
    return _on_detector(heat, "weight %{z:.2f}", wavelength_um)


def _on_detector(heat: Spec, told: str, wavelength_um: Array) -> Spec:
    """A heat map of a kept frame: FGS1 by its columns, AIRS by wavelength."""
    rows, columns = heat["z"].shape
    across, title, place = np.arange(columns), "column, pixels", "column %{x}"
    if columns != rows:
        across = np.asarray(wavelength_um, float)[1:].reshape(columns, -1).mean(1)
        title, place = "wavelength, µm", "%{x:.2f} µm"
    told = f"row %{{y}}, {place}: {told}<extra></extra>"
    layout = {"xaxis": axis(title, showgrid=False), "yaxis": axis("row, pixels", showgrid=False)}
    if columns == rows:  # pixels are square
        layout["xaxis"] |= {"constrain": "domain"}
        layout["yaxis"] |= {"constrain": "domain", "scaleanchor": "x"}
    drawn = {"type": "heatmap", "x": across, "y": np.arange(rows), "hoverongaps": False, "hovertemplate": told}
    return {"data": [drawn | heat], "layout": layout}


INSTRUMENTS = (FGS1.name, AIRS.name)

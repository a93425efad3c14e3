"""Signals of known size for `inject`: molecular bands, and nuisances that a pipeline must not take for them.

All but two are factors on the star's light, one for each time and bin: the same for light curves and for frames. A hot
pixel and a jitter burst act on single pixels (`frameinject`); of the latter light curves carry the loss of light.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.constants import c, h, k
from scipy.special import expm1

from ..base.instruments import AIRS, FGS1, INSTRUMENTS, MOLECULAR_BANDS_UM, N_BINS, PPM, VISIT_HOURS, Instrument
from ..base.products import Array, LightCurve, PlanetLightCurves
from ..transit import transit_flux

PLACES = ("lightcurves", "frames")
# CO2's strongest band, 4.3 um, lies outside of AIRS-CH0.
BAND_CENTRES_UM = {"H2O": (2.7,), "CO2": (2.0, 2.7), "CO": (2.35,), "CH4": (3.3,)}
_BAND_EDGE = 1e-3  # of a band's peak; below, a bin is outside
BURST_H, SPOT_SD_H = 0.3, 0.1  # duration of a jitter burst; width of a spot's bump
SPOT_COOLNESS = 0.85  # temperature of a spot over the star's


@dataclass(frozen=True)
class Signal:
    """What is injected; `amplitude` 1 is one unit."""

    summary: str
    band: bool = False
    units: tuple[str, str] = ("ppm", "ppm")  # in light curves, in frames
    places: tuple[str, ...] = PLACES
    visits: str = "first"  # first | second | all
    instruments: tuple[Instrument, ...] = INSTRUMENTS

    def unit(self, place: str) -> str:
        """Unit of its amplitudes in `place`."""
        return self.units[PLACES.index(place)]

    def hits(self, visit: int) -> bool:
        """Whether it is in the visit of that number, counted from 0."""
        return self.visits == "all" or visit == ("first", "second").index(self.visits)


def _band(molecule: str) -> Signal:
    where = " and ".join(f"{centre} um" for centre in BAND_CENTRES_UM[molecule])
    return Signal(f"{molecule} at {where}: extra depth at the centre", True, visits="all", instruments=(AIRS,))


SIGNALS = {molecule: _band(molecule) for molecule in BAND_CENTRES_UM} | {
    "drift": Signal("grey sine of one period a visit: half its range"),
    "step": Signal("grey step between mid-transit and egress"),
    "jitter_burst": Signal(
        "pointing noise in transit: loss of FGS1's light; in frames rms shift in thousandths of FGS1's pixel",
        units=("ppm", "mpx"),
    ),
    "hot_pixel": Signal(
        "a pixel of AIRS turns hot in mid-visit: of its column's light", places=("frames",), instruments=(AIRS,)
    ),
    "spot_crossing": Signal("bump in transit: of FGS1's light, fainter in the infrared"),
    "second_visit_offset": Signal("grey extra depth in the second visit", visits="second"),
}


@dataclass(frozen=True)
class Scene:
    """What a signal must know of a planet, from the fit of its untouched light curves."""

    planet_id: int
    t0_h: tuple[float, ...]  # mid-transit of each visit, hours since its start
    period_days: float
    a_over_rs: float
    impact_param: float
    duration_h: float  # T14
    temperature_k: float  # of the star
    depth: Array  # (283,)
    u1: Array  # (283,) quadratic limb darkening
    u2: Array  # (283,)
    wavelengths_um: Array  # (283,)


def band_profile(molecule: str, wavelengths_um: Array) -> Array:
    """Extra depth of each bin over that at the band's centre, (283,): Gaussians half as wide as the molecule's ranges.

    0 in FGS1 and below a thousandth. A centre's range is the one of `instruments.MOLECULAR_BANDS_UM` that holds it.
    """
    profile = np.zeros(len(wavelengths_um))
    for centre in BAND_CENTRES_UM[molecule]:
        low, high = next(r for r in MOLECULAR_BANDS_UM[molecule] if r[0] <= centre <= r[1])
        sd = (high - low) / 2 / np.sqrt(8 * np.log(2))  # full width at half maximum: half of the range
        profile = np.maximum(profile, np.exp(-0.5 * ((wavelengths_um - centre) / sd) ** 2))
    profile[0] = 0.0
    return np.where(profile < _BAND_EDGE, 0.0, profile)


def bins_of(instrument: Instrument) -> slice:
    """Where an instrument's bins are among the 283."""
    return slice(0, 1) if instrument.name == FGS1.name else slice(1, N_BINS)


def factor(name: str, amplitude: float, scene: Scene, visit: int, instrument: Instrument, time_h: Array) -> Array:
    """Factor on the star's light, (T, W), of a signal in the visit of that number; 1 where it does nothing.

    Args:
        name: one of `SIGNALS`, not hot_pixel.
        amplitude: in units of the signal in light curves.
        scene: the planet.
        visit: number of the visit, counted from 0.
        instrument: FGS1 (W = 1) or AIRS-CH0 (W = 282, ascending wavelength).
        time_h: (T,) hours since the visit's start.
    """
    bins, size = bins_of(instrument), amplitude * PPM
    ones = np.ones(scene.depth[bins].shape)
    if SIGNALS[name].band:
        return deeper(scene, visit, bins, size * band_profile(name, scene.wavelengths_um)[bins], time_h)
    if name == "second_visit_offset":
        return deeper(scene, visit, bins, size * ones, time_h)
    t0, duration = scene.t0_h[visit], scene.duration_h
    wavelength, bluest = scene.wavelengths_um[bins], scene.wavelengths_um[0]
    course, colour = {
        "drift": lambda: (np.sin(2 * np.pi * time_h / VISIT_HOURS), ones),
        "step": lambda: (time_h > t0 + duration / 4, ones),
        # an image that is wider in the red loses less by the same shift
        "jitter_burst": lambda: (-1.0 * in_burst(scene, visit, time_h), (bluest / wavelength) ** 2),
        "spot_crossing": lambda: (
            _bump((time_h - t0 + duration / 5) / SPOT_SD_H),
            spot_contrast(wavelength, scene.temperature_k) / spot_contrast(bluest, scene.temperature_k),
        ),
    }[name]()
    return 1 + size * np.outer(course, colour)


def deeper(scene: Scene, visit: int, bins: slice, extra: Array, time_h: Array) -> Array:
    """Transit with depth + `extra` over the fitted transit, (T, W); extra (W,). Exactly 1 out of transit."""
    found = np.ones((len(time_h), len(extra)))
    near = np.flatnonzero(np.abs(time_h - scene.t0_h[visit]) < 0.6 * scene.duration_h + 0.1)
    changed = np.flatnonzero(extra != 0)
    depth = scene.depth[bins][changed]

    def flux(depth: Array) -> Array:
        scalars = scene.t0_h[visit], scene.period_days, scene.a_over_rs, scene.impact_param
        channels = np.sqrt(np.maximum(depth, 1e-8)), scene.u1[bins][changed], scene.u2[bins][changed]
        values = [torch.as_tensor(v, dtype=torch.float64) for v in (time_h[near][:, None], *scalars, *channels)]
        return transit_flux(*values).numpy()

    if len(near) and len(changed):
        found[np.ix_(near, changed)] = flux(depth + extra[changed]) / flux(depth)
    return found


def in_burst(scene: Scene, visit: int, time_h: Array) -> Array:
    """(T,) 1 in the jitter burst, which lies in the first half of the transit, else 0."""
    centre = scene.t0_h[visit] - scene.duration_h / 8
    return (np.abs(time_h - centre) < BURST_H / 2).astype(float)


def spot_contrast(wavelength_um: Array, temperature_k: float) -> Array:
    """1 - brightness of a spot over the star's, black bodies both."""
    energy = h * c / (np.asarray(wavelength_um) * 1e-6 * k * temperature_k)
    return 1 - expm1(energy) / expm1(energy / SPOT_COOLNESS)


def _bump(x: Array) -> Array:
    return np.where(np.abs(x) < 4, np.exp(-0.5 * x**2), 0.0)


def into_lightcurves(planet: PlanetLightCurves, name: str, amplitude: float, scene: Scene) -> PlanetLightCurves:
    """The planet's light curves with a signal in them; what it does not touch is kept bit for bit."""
    signal = SIGNALS[name]

    def changed(curve: LightCurve, visit: int) -> LightCurve:
        if not signal.hits(visit) or curve.instrument.name not in {one.name for one in signal.instruments}:
            return curve
        by = factor(name, amplitude, scene, visit, curve.instrument, np.asarray(curve.time_h))
        return replace(curve, flux_e=(curve.flux_e * by).astype(curve.flux_e.dtype))

    visits = ({n: changed(curve, i) for n, curve in visit.items()} for i, visit in enumerate(planet.visits))
    return replace(planet, visits=tuple(visits))

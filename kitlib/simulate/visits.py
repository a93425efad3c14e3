"""What happens during a visit: when the planet transits, how the gain drifts, how the telescope points."""

from dataclasses import dataclass, field

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from scipy.signal import lfilter

from ..base.instruments import AIRS, FGS1, INSTRUMENTS, VISIT_HOURS, Instrument
from ..base.products import Array
from .systems import Systems

MAX_DRIFT_ORDER = 5
DRIFT_RMS = {AIRS.name: (1.4e-4, 4.8e-4), FGS1.name: (2e-4, 1.6e-3)}  # log-uniform; FGS1: several 1e-3 peak to peak
MID_TRANSIT_H = (3.0, 4.5)
MAX_TIMING_OFFSET_H = 0.015  # FGS1 against AIRS
PARTIAL_TRANSITS = 0.008  # visits moved so that ingress or egress is lost; long transits lose one anyway: 2 % in all
EXCURSIONS = 0.03  # visits with a late pointing excursion
JITTER_PX = {AIRS.name: (0.013, 0.007), FGS1.name: (0.1, 0.1)}  # rms of 4.5 and 0.1 s exposures: rows, columns [M]
WANDER_SINES, WANDER_PERIOD_H = 6, (0.7, 2 * VISIT_HOURS)
GAP_LIGHT = {"dark": 0.0, "half": 0.5}
GAP_KINDS = (*GAP_LIGHT, "frozen")
PX_PER_FGS1_PX = {AIRS.name: 0.1, FGS1.name: 1.0}  # a slow slip of the telescope, in pixels of each


@dataclass(frozen=True)
class Drift:
    """Separable gain 1 + amplitude p(time) q(column), both polynomials in ascending powers on [-1, 1], rms 1 each."""

    amplitude: float
    time: Array  # (order + 1,)
    column: Array  # (order + 1,); (1,) for FGS1
    second: "Drift | None" = None  # in some worlds: another such term, added to the first

    def course(self, time_h: Array) -> Array:
        """p(time), (T,), for hours since the visit's start."""
        return polynomial.polyval(2 * np.asarray(time_h) / VISIT_HOURS - 1, self.time)

    def gain(self, time_h: Array, bins: int) -> Array:
        """Relative gain, (T, bins), for hours since the visit's start and the crop's bins, wavelengths ascending."""
        colour = polynomial.polyval(np.linspace(1, -1, bins), self.column)
        gain: Array = 1 + self.amplitude * self.course(time_h)[:, None] * colour
        return gain if self.second is None else gain + self.second.gain(time_h, bins) - 1

    def column_gain(self, instrument: Instrument, time_h: Array) -> Array:
        """Relative gain, (T, cols), of every detector column; outside the crop that of its edge."""
        low, high = instrument.crop
        x = np.clip(2 * (np.arange(instrument.cols) - low) / (high - 1 - low) - 1, -1, 1)
        columns = self.amplitude * polynomial.polyval(x, self.column)
        gain: Array = 1 + self.course(time_h)[:, None] * columns
        return gain if self.second is None else gain + self.second.column_gain(instrument, time_h) - 1


@dataclass(frozen=True)
class Excursion:
    """The telescope slips away late in a visit and comes back: a Gaussian in time."""

    time_h: float
    width_h: float
    row_px: float  # FGS1 pixels at the peak
    col_px: float
    loss: float = 0.0  # light lost at the peak, relative, whatever the wavelength

    def course(self, time_h: Array) -> Array:
        """1 at the peak, (T,)."""
        return np.exp(-0.5 * ((np.asarray(time_h) - self.time_h) / self.width_h) ** 2)

    def offset(self, time_h: Array) -> Array:
        """(T, 2) row and column offsets in FGS1 pixels."""
        return self.course(time_h)[:, None] * np.array([self.row_px, self.col_px])


@dataclass(frozen=True)
class Wander:
    """The telescope moves slowly during the whole visit: a sum of sines along each axis."""

    amplitude_px: Array  # (2, n) rows and columns, FGS1 pixels
    period_h: Array  # (2, n)
    phase: Array  # (2, n) radians

    def offset(self, time_h: Array) -> Array:
        """(T, 2) row and column offsets in FGS1 pixels."""
        turn = 2 * np.pi * np.asarray(time_h)[:, None, None] / self.period_h + self.phase
        return (self.amplitude_px * np.sin(turn)).sum(axis=2)


@dataclass(frozen=True)
class Gap:
    """A gap in telemetry: for a while frames are dark, half lit, or the last one before it is sent again and again."""

    start_h: float
    stop_h: float
    kind: str  # one of GAP_KINDS
    instruments: tuple[str, ...]  # whose frames are concerned

    def holds(self, time_h: Array) -> NDArray[np.bool_]:
        """The moments inside the gap, shaped as `time_h`."""
        return (np.asarray(time_h) >= self.start_h) & (np.asarray(time_h) < self.stop_h)


@dataclass(frozen=True)
class Visit:
    """The true course of one visit."""

    t0_h: dict[str, float]  # instrument name -> mid-transit, hours since the visit's start
    drift: dict[str, Drift]
    excursion: Excursion | None
    # What only other worlds have (worlds.py):
    level_error: dict[str, float] = field(default_factory=dict)  # instrument name -> relative error of the depth
    gaps: tuple[Gap, ...] = ()
    intrapixel: float = 0.0  # amplitude of the response to the place within a pixel
    phase: tuple[float, float] = (0.0, 0.0)  # where in a pixel the star lies, (row, column), pixels
    wander: Wander | None = None

    def shown(self, transit: Array, instrument: Instrument) -> Array:
        """The transit as the instrument shows it, like `transit`: deeper or shallower for no reason that it tells."""
        return transit - self.level_error.get(instrument.name, 0.0) * (1 - transit)

    def throughput(self, time_h: Array) -> Array:
        """Share of the star's light that reaches the detectors, (T,)."""
        if self.excursion is None:
            return np.ones(len(time_h))
        return 1 - self.excursion.loss * self.excursion.course(time_h)

    def pixel_response(self, offset_px: Array) -> Array:
        """Response to the star at (row, column) offsets (..., 2) or row offsets (..., 1), over that at rest, (...)."""
        rest = np.array(self.phase)[: offset_px.shape[-1]]
        turned = np.cos(2 * np.pi * (offset_px + rest)) - np.cos(2 * np.pi * rest)
        return 1 + self.intrapixel * turned.mean(axis=-1)

    def lit(self, instrument: Instrument, time_h: Array) -> Array:
        """Share of all light that gaps let pass, like `time_h`; frozen frames are lit like the one that they repeat."""
        share = np.ones(np.shape(time_h))
        for gap in self.gaps:
            if instrument.name in gap.instruments and gap.kind in GAP_LIGHT:
                share[gap.holds(time_h)] = GAP_LIGHT[gap.kind]
        return share

    def offset(self, time_h: Array) -> Array:
        """Slow pointing offset in FGS1 pixels, (T, 2)."""
        moved = np.zeros((len(time_h), 2)) if self.wander is None else self.wander.offset(time_h)
        return moved if self.excursion is None else moved + self.excursion.offset(time_h)


def draw_visits(
    systems: Systems,
    rng: np.random.Generator,
    two_visit_fraction: float = 0.10,
    drift_scale: float = 1.0,
    partial: float = PARTIAL_TRANSITS,
) -> list[tuple[Visit, ...]]:
    """One or two visits for each system; each has its own mid-transit and its own drift.

    `drift_scale`: factor on the drift's amplitude; `partial`: share of visits moved so that ingress or egress is lost.
    """
    visits = []
    for duration in systems.duration_h:
        count = 2 if rng.random() < two_visit_fraction else 1
        visits.append(tuple(_draw_visit(duration, rng, drift_scale, partial) for _ in range(count)))
    return visits


def kept_pairs(instrument: Instrument, pairs: int) -> NDArray[np.int64]:
    """Indices of the CDS pairs that are kept of a full visit, spread evenly over it, (pairs,)."""
    if not 0 < pairs <= instrument.pairs_per_visit:
        raise ValueError(f"{instrument.name}: {pairs} pairs asked for, a visit has 1..{instrument.pairs_per_visit}")
    return np.arange(pairs) * instrument.pairs_per_visit // pairs


def pair_times_h(instrument: Instrument, pairs: int) -> Array:
    """Middle of the exposure between the two reads of each kept pair, hours since the visit's start, (pairs,)."""
    # Stamps are starts of sub-exposures: first read 0.1 s after the pair's slot begins, second 0.1 s later.
    seconds = kept_pairs(instrument, pairs) * instrument.cadence_s + 0.2 + instrument.cds_s / 2
    return seconds / 3600


def autoregressive(shape: tuple[int, ...], keep: float, rng: np.random.Generator) -> Array:
    """Unit normal deviates with correlation `keep` from one to the next along the first axis."""
    scale = np.sqrt(1 - keep**2)
    kicks = rng.standard_normal(shape)
    kicks[0] /= scale
    return lfilter([scale], [1, -keep], kicks, axis=0)


def _draw_visit(duration_h: float, rng: np.random.Generator, drift_scale: float, partial: float) -> Visit:
    t0 = rng.uniform(*MID_TRANSIT_H)
    if rng.random() < partial:
        inside = duration_h / 2 * rng.uniform(0.2, 0.8)  # this long after the start, or before the end
        t0 = inside if rng.random() < 0.5 else VISIT_HOURS - inside
    t0_h = {AIRS.name: t0, FGS1.name: t0 + rng.uniform(-MAX_TIMING_OFFSET_H, MAX_TIMING_OFFSET_H)}
    drift = {instrument.name: _draw_drift(instrument, rng, drift_scale) for instrument in INSTRUMENTS}
    excursion = draw_excursion(rng) if rng.random() < EXCURSIONS else None
    return Visit(t0_h, drift, excursion)


def draw_excursion(rng: np.random.Generator, loss: float = 0.0) -> Excursion:
    """A late excursion that loses this share of the light at its peak."""
    peak_h, width_h = rng.uniform(5, 7.5), rng.uniform(0.05, 0.3)
    row, col = rng.normal(0, 0.5, 2)
    return Excursion(peak_h, width_h, row, col, loss)


def draw_wander(rng: np.random.Generator, rms_px: float) -> Wander:
    """Slow movements of this rms over a visit along each axis, with periods from 40 minutes to twice the visit."""
    shape, (shortest, longest) = (2, WANDER_SINES), WANDER_PERIOD_H
    period_h = shortest * (longest / shortest) ** rng.random(shape)
    phase, amplitude = 2 * np.pi * rng.random(shape), rng.standard_normal(shape)
    unscaled = Wander(amplitude, period_h, phase).offset(np.linspace(0, VISIT_HOURS, 501))
    return Wander(rms_px * amplitude / unscaled.std(axis=0)[:, None], period_h, phase)


def draw_second_drift(rng: np.random.Generator, amplitude: float) -> Drift:
    """A second term of AIRS' drift: its own course in time, and a colour whose mean over the spectrum is zero."""
    orders = rng.integers(1, MAX_DRIFT_ORDER + 1, 2)
    time, column = (_polynomial(rng, int(order), centred=True) for order in orders)
    return Drift(amplitude, time, column)


def _draw_drift(instrument: Instrument, rng: np.random.Generator, scale: float) -> Drift:
    low, high = np.log(DRIFT_RMS[instrument.name])
    time = _polynomial(rng, int(rng.integers(1, MAX_DRIFT_ORDER + 1)), centred=True)
    order = int(rng.integers(0, MAX_DRIFT_ORDER + 1)) if instrument is AIRS else 0
    return Drift(scale * float(np.exp(rng.uniform(low, high))), time, _polynomial(rng, order, centred=False))


def _polynomial(rng: np.random.Generator, order: int, centred: bool) -> Array:
    """Coefficients uniform in (-1, 1), scaled to rms 1 over [-1, 1]; `centred` takes the mean away."""
    coefficients = rng.uniform(-1, 1, order + 1)
    x = np.linspace(-1, 1, 501)
    if centred:
        coefficients[0] -= polynomial.polyval(x, coefficients).mean()
    return coefficients / np.sqrt(np.mean(polynomial.polyval(x, coefficients) ** 2))

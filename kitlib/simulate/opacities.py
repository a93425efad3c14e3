"""Cross-sections of molecules on AIRS' 282 wavelengths, computed from published constants.

Three ways, from exact to drawn:

- a linear molecule or symmetric top is a rigid rotor: lines of P, Q and R branches from its rotational constants, with
  Hoenl-London factors and Boltzmann populations (Herzberg, *Infrared and Raman Spectra*, 1945, chapter IV);
- methane is a spherical top whose branches are narrowed by the Coriolis force (same book);
- an asymmetric molecule has no such formula: smooth bands at published places, times a fine structure that is drawn once,
  with the size and the correlation that measured cross-sections of water, methane and hydrogen sulphide have.

Band origins, strengths (cm per molecule, round figures near 296 K), rotational constants and Coriolis constants: HITRAN
(Gordon et al. 2022) and Herzberg; NIST webbook for diatomic molecules (Huber & Herzberg 1979). Water, hydrogen sulphide,
formaldehyde, sulphur dioxide, ethylene and ethane: origins of HITRAN, peaks in round figures of ExoMol at 1,000 K.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..base.products import Array
from .optics import wavelengths_um

TEMPERATURE_K = 1000.0
FLOOR_CM2 = 1e-27  # cross-section between the bands
_SECOND_RADIATION = 1.4388  # h c / k, K cm
_STEP = 0.5  # cm-1, of the grid that lines are counted on
_LINE_WIDTH = 2.0  # cm-1, standard deviation: pressure, and the many weaker lines beside each strong one
_RESOLUTION_BINS = 1.1  # standard deviation of the response of a bin to its neighbours
FINE_BINS = 1.4  # standard deviation of the kernel that correlates a drawn fine structure
_MOST_J, _MOST_J_TOP = 120, 45


@dataclass(frozen=True)
class Band:
    """A vibrational band of a rotor."""

    origin: float  # cm-1
    strength: float  # cm per molecule, of the cold band
    change: float = 0.0  # of the rotational constant B, cm-1
    kind: str = "parallel"  # or perpendicular, spherical
    lower: float = 0.0  # energy of the lower state, cm-1: above 0 for a hot band
    degeneracy: int = 1  # of the lower state
    zeta: float = 0.0  # Coriolis constant


@dataclass(frozen=True)
class Rotor:
    """A linear molecule, or a symmetric or spherical top."""

    b: float  # rotational constant, cm-1
    bands: tuple[Band, ...]
    c: float | None = None  # that around the axis; None: a linear molecule or a spherical top
    odd_weight: float = 1.0  # spin weight of odd J over that of even J
    third_weight: float = 1.0  # spin weight of K = 0, 3, 6 ... over the others'
    continuum: "tuple[Envelope, ...]" = ()  # hot bands too many to be listed, as one smooth band each


# (centre um, log10 peak cross-section cm^2, half-width below um, half-width above um); falls off as sech
Envelope = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """Smooth bands with a fine structure drawn once."""

    bands: tuple[Envelope, ...]
    fine: float = 0.35  # rms of the fine structure in ln cross-section
    number: int = 0  # of its draw


Molecule = Rotor | Drawn


def with_hot_band(band: Band, shift: float, lower: float, degeneracy: int) -> tuple[Band, Band]:
    """A band and the same transition from an excited state, `shift` cm-1 away."""
    return band, replace(band, origin=band.origin + shift, lower=lower, degeneracy=degeneracy)


MOLECULES: dict[str, Molecule] = {
    "CO": Rotor(1.9225, (*with_hot_band(Band(4260.06, 7.5e-20, -0.0350), -52.9, 2143.3, 3),)),
    "CO2": Rotor(
        0.39022,
        (
            *with_hot_band(Band(3714.78, 1.5e-18, -0.0032), 8.5, 667.4, 2),
            *with_hot_band(Band(3612.84, 1.0e-18, -0.0032), -32.5, 667.4, 2),
            *with_hot_band(Band(5099.66, 1.1e-20, -0.0033), -37.9, 667.4, 2),
            *with_hot_band(Band(4977.83, 3.5e-20, -0.0032), -12.4, 667.4, 2),
            *with_hot_band(Band(4853.62, 7.8e-21, -0.0030), -45.9, 667.4, 2),
        ),
        odd_weight=0.0,
        continuum=((2.06, -22.1, 0.05, 0.025), (2.64, -22.6, 0.04, 0.04), (2.82, -20.35, 0.02, 0.048), (3.2, -24.1, 0.1, 0.15)),
    ),
    "HCN": Rotor(
        1.47822,
        (
            *with_hot_band(Band(3311.48, 9.5e-18, -0.0104), -19.0, 712.0, 2),
            *with_hot_band(Band(4004.17, 1.5e-19, -0.0090, "perpendicular"), -30.0, 712.0, 2),
            Band(4684.3, 5e-21, -0.0080),
            Band(3502.1, 3e-20, -0.0070),
            Band(2805.6, 5e-21, -0.0100, "perpendicular"),
        ),
        continuum=((2.15, -23.6, 0.1, 0.1), (2.75, -23.0, 0.08, 0.08)),
    ),
    "C2H2": Rotor(
        1.17665,
        (
            *with_hot_band(Band(3294.84, 5.0e-18, -0.0059), -10.8, 660.0, 4),
            *with_hot_band(Band(3281.90, 4.6e-18, -0.0042), -12.5, 660.0, 4),
            *with_hot_band(Band(4091.17, 1.3e-19, -0.0060, "perpendicular"), -15.0, 660.0, 4),
            Band(3882.42, 8e-20, -0.0050, "perpendicular"),
            Band(4727.1, 1e-20, -0.0050),
            Band(2703.1, 2e-20, -0.0060, "perpendicular"),
        ),
        odd_weight=3.0,
        continuum=((2.15, -23.3, 0.08, 0.08), (2.85, -22.3, 0.04, 0.04), (3.75, -21.9, 0.05, 0.10)),
    ),
    "CH4": Rotor(
        5.2410,
        (
            *with_hot_band(Band(3018.92, 1.0e-17, -0.0400, "spherical", zeta=0.055), -14.0, 1310.8, 3),
            Band(3062.7, 2e-19, -0.05, "spherical", zeta=0.05),
            *with_hot_band(Band(2830.3, 4e-19, 0.02, "spherical", zeta=-0.3), -20.0, 1310.8, 3),
            Band(2612.0, 5.0e-20, 0.02, "spherical", zeta=-0.3),
            *with_hot_band(Band(4319.2, 3.8e-19, -0.03, "spherical", zeta=0.25), -20.0, 1310.8, 3),
            *with_hot_band(Band(4223.5, 2.4e-19, -0.03, "spherical", zeta=0.4), -20.0, 1310.8, 3),
            *with_hot_band(Band(4540.6, 7.0e-20, -0.04, "spherical", zeta=0.1), -20.0, 1310.8, 3),
            Band(4123.0, 3e-20, -0.03, "spherical", zeta=0.2),
            Band(3870.5, 1e-20, -0.03, "spherical", zeta=0.3),
        ),
        continuum=((2.3, -21.8, 0.08, 0.08), (2.66, -21.8, 0.10, 0.10), (2.98, -21.6, 0.05, 0.10)),
    ),
    "NH3": Rotor(
        9.9444,
        (
            Band(3336.1, 1.0e-18, -0.13),
            Band(3443.7, 4.0e-19, -0.06, "perpendicular", zeta=0.06),
            Band(3229.0, 3.0e-19, 0.1, "perpendicular", zeta=-0.4),
            Band(4294.0, 8e-20, -0.13),
            Band(4416.9, 3.5e-19, -0.06, "perpendicular", zeta=0.06),
            Band(4955.8, 4e-20, 0.05, "perpendicular", zeta=-0.2),
            Band(5052.0, 4.5e-19, 0.0, "perpendicular", zeta=0.1),
            Band(2586.1, 1.5e-19, 0.1, "perpendicular", zeta=-0.25),
            Band(2895.5, 1e-20, -0.1),
        ),
        c=6.2287,
        third_weight=2.0,
        continuum=((2.55, -21.9, 0.10, 0.10), (3.0, -20.9, 0.15, 0.2), (3.8, -21.6, 0.2, 0.2)),
    ),
    "PH3": Rotor(
        4.4524,
        (
            Band(2321.1, 9.0e-18, -0.03),
            Band(3440.3, 3.0e-19, 0.02, "perpendicular", zeta=-0.2),
            Band(3085.5, 5.0e-20, 0.03, "perpendicular", zeta=-0.2),
            Band(2910.0, 4.0e-20, 0.03),
            Band(4566.0, 1.0e-19, -0.06),
            Band(4644.0, 4.0e-20, -0.05, "perpendicular", zeta=0.0),
        ),
        c=3.9193,
        third_weight=2.0,
        continuum=((2.35, -22.9, 0.1, 0.1), (2.92, -21.3, 0.08, 0.15), (3.6, -22.0, 0.2, 0.2)),
    ),
    "H2O": Drawn(
        (
            (1.876, -20.0, 0.05, 0.040),
            (2.60, -20.4, 0.055, 0.09),
            (2.662, -20.2, 0.045, 0.07),
            (2.85, -20.4, 0.12, 0.12),
            (3.17, -21.1, 0.15, 0.16),
            (3.55, -22.0, 0.25, 0.20),
        ),
        fine=0.45,
        number=1,
    ),
    "H2S": Drawn(((1.94, -22.0, 0.05, 0.05), (2.63, -21.2, 0.06, 0.07), (3.82, -21.4, 0.08, 0.10)), 0.45, 2),
    "H2CO": Drawn(
        (
            (2.84, -20.4, 0.015, 0.06),
            (3.44, -19.6, 0.09, 0.06),
            (3.517, -19.0, 0.07, 0.05),
            (3.594, -19.0, 0.04, 0.08),
            (3.677, -19.7, 0.04, 0.06),
        ),
        fine=0.3,
        number=3,
    ),
    "SO2": Drawn(
        (
            (2.00, -25.0, 0.04, 0.05),
            (2.46, -23.4, 0.012, 0.05),
            (2.75, -21.9, 0.010, 0.07),
            (3.33, -23.2, 0.012, 0.15),
            (3.68, -22.2, 0.040, 0.12),
            (4.02, -20.7, 0.06, 0.1),
        ),
        fine=0.15,
        number=4,
    ),
}
# Molecules of the shifted family alone: no shipped prior has seen them.
OTHERS: dict[str, Molecule] = {
    "N2O": Rotor(
        0.41901,
        (
            *with_hot_band(Band(2563.34, 1.4e-18, -0.0030), -5.0, 588.8, 2),
            *with_hot_band(Band(3480.82, 2.0e-18, -0.0051), -14.0, 588.8, 2),
            Band(3363.98, 1.2e-19, -0.0050),
            Band(4417.38, 6e-20, -0.0069),
            Band(4630.16, 6e-21, -0.0060),
        ),
    ),
    "OCS": Rotor(
        0.20286,
        (
            *with_hot_band(Band(2918.11, 2e-19, -0.0018), -10.0, 520.4, 2),
            Band(4101.4, 1.5e-19, -0.0024),
            Band(3095.6, 6e-20, -0.0014),
        ),
    ),
    "HCl": Rotor(10.4398, (Band(2885.98, 5.5e-18, -0.3037),)),
    "HF": Rotor(20.5597, (Band(3961.42, 1.5e-17, -0.7958),)),
    "C2H4": Drawn(
        ((2.12, -21.6, 0.03, 0.04), (2.34, -21.4, 0.04, 0.05), (3.22, -19.9, 0.06, 0.05), (3.347, -19.8, 0.03, 0.06)),
        number=5,
    ),
    "C2H6": Drawn(((2.30, -21.2, 0.05, 0.06), (3.35, -19.4, 0.05, 0.04), (3.46, -19.9, 0.04, 0.06)), number=6),
}


@lru_cache(512)  # one family's molecules are asked for again and again
def cross_section(molecule: Molecule, temperature_k: float = TEMPERATURE_K, width: float = 1.0) -> Array:
    """Cross-section at the 282 AIRS wavelengths, cm^2 per molecule, (282,); not to be changed.

    Args:
        molecule: of `MOLECULES`, `OTHERS`, or a made-up one.
        temperature_k: of the gas; it sets how far the branches of a rotor reach.
        width: factor on the widths of drawn bands.
    """
    if isinstance(molecule, Rotor):
        return _rotor(molecule, temperature_k) + _smooth(molecule.continuum, width) + FLOOR_CM2
    return _smooth(molecule.bands, width) * np.exp(molecule.fine * fine_structure(molecule.number)) + FLOOR_CM2


@lru_cache(512)
def _rotor(molecule: Rotor, temperature_k: float) -> Array:
    wavenumber, response = _responses()
    edges = np.append(wavenumber - _STEP / 2, wavenumber[-1] + _STEP / 2)
    counted = np.zeros(len(wavenumber))
    for band in molecule.bands:
        where, share = _lines(molecule, band, temperature_k)
        population = band.degeneracy * np.exp(-_SECOND_RADIATION * band.lower / temperature_k)
        counted += np.histogram(where, edges, weights=band.strength * population * share)[0]
    reach = np.arange(-20, 20 + _STEP, _STEP)
    # Gaussian cores with 3 % in far wings, so that the gaps between lines are not empty
    profile = 0.97 * np.exp(-0.5 * (reach / _LINE_WIDTH) ** 2) / (_LINE_WIDTH * np.sqrt(2 * np.pi))
    profile += 0.03 * _LINE_WIDTH / np.pi / (reach**2 + _LINE_WIDTH**2)
    sigma = np.convolve(counted, profile, mode="same")
    return np.exp(response @ np.log(sigma + FLOOR_CM2))


@lru_cache(1)
def _responses() -> tuple[Array, Array]:
    """Wavenumbers of the fine grid (G,), cm-1, and the bins' responses over it (282, G): Gaussians of a bin's size."""
    wavelength = wavelengths_um()[1:]
    wavenumber = np.arange(1e4 / wavelength[-1] - 60, 1e4 / wavelength[0] + 60, _STEP)
    spread = _RESOLUTION_BINS * np.gradient(wavelength)
    response = np.exp(-0.5 * ((1e4 / wavenumber - wavelength[:, None]) / spread[:, None]) ** 2)
    return wavenumber, response / response.sum(axis=1, keepdims=True)


def _lines(molecule: Rotor, band: Band, temperature_k: float) -> tuple[Array, Array]:
    """Places (cm-1) and shares of the band's strength of its lines; shares sum to 1."""
    b, c = molecule.b, molecule.c
    linear = c is None
    if band.kind == "spherical":
        return _spherical(molecule, band, temperature_k)
    j, k = np.meshgrid(*(np.arange(_MOST_J if linear else _MOST_J_TOP + 1.0),) * 2, indexing="ij")
    keep = (k == 0) if linear else (k <= j)
    j, k = j[keep], k[keep]
    axis = 0.0 if linear else float(c) - b  # type: ignore[arg-type]
    energy = b * j * (j + 1) + axis * k**2
    weight = np.exp(-_SECOND_RADIATION * energy / temperature_k)
    weight *= np.where(j % 2 == 1, molecule.odd_weight, 1.0) * np.where(k % 3 == 0, molecule.third_weight, 1.0)
    weight *= np.where(k == 0, 1.0, 2.0)
    upper = b + band.change
    where, share = [], []
    for turn in (0,) if band.kind == "parallel" else (1,) if linear else (1, -1):
        k_up = k + turn
        for step in (-1, 0, 1):
            j_up = j + step
            top = upper * j_up * (j_up + 1) + axis * k_up**2
            top -= 0.0 if linear else 2 * turn * float(c) * band.zeta * k_up  # type: ignore[arg-type]
            strength = _hoenl_london(j, k, step, turn)
            strength[(j_up < np.abs(k_up)) | (j_up < 0) | ((turn == -1) & (k == 0))] = 0
            where.append(band.origin + top - energy)
            share.append(weight * strength)
    total = np.concatenate(share)
    return np.concatenate(where), total / total.sum()


def _hoenl_london(j: Array, k: Array, step: int, turn: int) -> Array:
    """Strength of J -> J + step, K -> K + turn of a symmetric top, up to a factor (Herzberg 1945, p. 422 and 426)."""
    safe = np.maximum(j, 1)
    if turn == 0:
        return (
            np.where(j > 0, (j**2 - k**2) / safe, 0.0),
            np.where(j > 0, (2 * j + 1) * k**2 / (safe * (j + 1)), 0.0),
            ((j + 1) ** 2 - k**2) / (j + 1),
        )[step + 1]
    k = turn * k
    return (
        np.where(j > 0, (j - 1 - k) * (j - k) / safe, 0.0),
        np.where(j > 0, (j + 1 + k) * (j - k) * (2 * j + 1) / (safe * (j + 1)), 0.0),
        (j + 2 + k) * (j + 1 + k) / (j + 1),
    )[step + 1] / 2


def _spherical(molecule: Rotor, band: Band, temperature_k: float) -> tuple[Array, Array]:
    """Lines of a threefold band of a spherical top; the splitting of each by centrifugal forces grows as J^2."""
    b, j = molecule.b, np.arange(_MOST_J_TOP + 1.0)
    weight = (2 * j + 1) * np.exp(-_SECOND_RADIATION * b * j * (j + 1) / temperature_k)
    spacing = 2 * b + band.change - 2 * (b + band.change) * band.zeta
    split = 0.012 * j**2 * np.linspace(-1, 1, 5)[:, None]
    where = [band.origin - spacing * j, band.origin + 0 * j, band.origin + spacing * (j + 1)]
    moved = [band.change * j**2, band.change * j * (j + 1), band.change * (j + 1) ** 2]
    strength = [weight * np.maximum(2 * j - 1, 0), weight * (2 * j + 1), weight * (2 * j + 3)]
    places = np.concatenate([(w + m + split).ravel() for w, m in zip(where, moved, strict=True)])
    share = np.concatenate([np.broadcast_to(s, split.shape).ravel() for s in strength])
    return places, share / share.sum()


def _smooth(bands: tuple[Envelope, ...], width: float) -> Array:
    wavelength = wavelengths_um()[1:]
    total = np.zeros(len(wavelength))
    for centre, strength, below, above in bands:
        x = wavelength - centre
        # The half-widths change smoothly across the centre, so that no band has a kink.
        scale = width * (below + (above - below) / (1 + np.exp(-x / (0.5 * min(below, above)))))
        total += 10.0**strength / np.cosh(np.minimum(np.abs(x / scale), 300))
    return total


def fine_structure(number: int) -> Array:
    """A Gaussian process of unit variance over the 282 bins, the same for ever, (282,): lines that bins blend."""
    rng = np.random.default_rng([number, 20251127])
    reach = np.arange(-12, 13)
    kernel = np.exp(-0.5 * (reach / FINE_BINS) ** 2)
    noise = np.convolve(rng.standard_normal(282 + 24), kernel, mode="valid")
    return noise / np.sqrt((kernel**2).sum())


@lru_cache(1)
def hydrogen() -> Array:
    """What hydrogen molecules absorb when they collide at some .1 bar, cm^2 per molecule, (282,): the clearest air.

    One smooth band around the fundamental's red half at 2.1-2.4 um, in round figures (Borysow 2002, A&A 390, 779).
    """
    return _smooth(((2.2, -27.0, 0.15, 0.20),), 1.0) + 10**-27.7

"""Cross-sections of molecules on AIRS' 282 wavelengths, computed from the constants of `molecules`.

Three ways, from exact to drawn:

- a linear molecule or symmetric top is a rigid rotor: lines of P, Q and R branches from its rotational constants, with
  Hoenl-London factors and Boltzmann populations (Herzberg, *Infrared and Raman Spectra*, 1945, chapter IV);
- methane is a spherical top whose branches are narrowed by the Coriolis force (same book);
- an asymmetric molecule has no such formula: smooth bands at published places, times a fine structure that is drawn
  once, with the size and the correlation that measured cross-sections of water and hydrogen sulphide have.
"""

from functools import lru_cache

import numpy as np

from ..base.products import Array
from .molecules import Band, Envelope, Molecule, Rotor
from .optics import wavelengths_um

TEMPERATURE_K = 1000.0
FLOOR_CM2 = 1e-27  # cross-section between the bands
_SECOND_RADIATION = 1.4388  # h c / k, K cm
_STEP = 0.5  # cm-1, of the grid that lines are counted on
_LINE_WIDTH = 2.0  # cm-1, standard deviation: pressure, and the many weaker lines beside each strong one
_RESOLUTION_BINS = 1.1  # standard deviation of the response of a bin to its neighbours
FINE_BINS = 1.4  # standard deviation of the kernel that correlates a drawn fine structure
_MOST_J, _MOST_J_TOP = 120, 45


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
    """What hydrogen molecules absorb when they collide at some 0.1 bar, cm^2 per molecule, (282,): the clearest air.

    One smooth band around the fundamental's red half at 2.1-2.4 um, in round figures (Borysow 2002, A&A 390, 779).
    """
    return _smooth(((2.2, -27.0, 0.15, 0.20),), 1.0) + 10**-27.7

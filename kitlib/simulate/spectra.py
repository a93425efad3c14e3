"""Transmission spectra of isothermal atmospheres: the transit radius rises by one scale height per e-fold of opacity.

    depth(lambda) = level + 2 k H / Rs (ln kappa(lambda) - <ln kappa>),    kappa = sum_molecules X sigma + haze + cloud
    (Lecavelier des Etangs et al. 2008, A&A 481, L83)

Cross-sections are sums of smooth bands whose centres, strengths (cm^2 per molecule near 1,000 K and R ~ 100) and widths
follow the published band systems of HITRAN and ExoMol in round figures. The spectra are held to the statistics of real
targets: spread inside a spectrum, correlation over wavelength, dimension, a mean shape that peaks at 3.3 um and is
lowest near 2.1 um.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..base.instruments import N_BINS
from ..base.products import Array
from .optics import wavelengths_um
from .systems import Systems

# Bands: (centre um, log10 peak cross-section cm^2, half-width below um, half-width above um).
# A band falls as sech(x), i.e. exponentially, as hot bands make it fall.
Band = tuple[float, float, float, float]
OPACITIES: dict[str, tuple[Band, ...]] = {
    "H2O": ((1.88, -20.6, 0.06, 0.050), (2.60, -19.75, 0.055, 0.060), (2.69, -19.6, 0.06, 0.085),
            (2.95, -20.7, 0.10, 0.13), (3.25, -21.4, 0.15, 0.16)),
    "CO2": ((1.960, -21.9, 0.014, 0.014), (2.010, -21.5, 0.016, 0.016), (2.060, -21.8, 0.014, 0.016),
            (2.690, -19.4, 0.022, 0.022), (2.770, -19.35, 0.024, 0.026), (4.26, -17.6, 0.045, 0.08)),
    "CO": ((2.305, -20.9, 0.012, 0.022), (2.355, -20.95, 0.022, 0.040), (4.67, -18.6, 0.10, 0.15)),
    "CH4": ((2.20, -20.8, 0.030, 0.030), (2.320, -20.2, 0.030, 0.030), (2.375, -20.35, 0.028, 0.035),
            (2.60, -21.2, 0.06, 0.06), (3.18, -19.35, 0.050, 0.045), (3.318, -18.75, 0.016, 0.016),
            (3.42, -19.2, 0.05, 0.060), (3.85, -21.0, 0.08, 0.10)),
    "NH3": ((1.990, -20.6, 0.030, 0.035), (2.205, -20.7, 0.025, 0.028), (2.285, -20.9, 0.028, 0.030),
            (2.92, -19.9, 0.045, 0.040), (3.005, -19.8, 0.030, 0.050)),
    "H2S": ((2.65, -21.2, 0.05, 0.06), (3.80, -21.3, 0.10, 0.10)),
    "HCN": ((2.50, -20.9, 0.04, 0.04), (3.02, -19.0, 0.035, 0.045)),
    "C2H2": ((2.44, -20.7, 0.03, 0.03), (3.04, -18.8, 0.035, 0.040)),
}  # fmt: skip
_FLOOR = -26.0  # log10 cross-section between the bands


@dataclass(frozen=True)
class Chemistry:
    """Family of atmospheres: log10 abundance of each molecule is normal (mean, sd), cut to [-12, -1.5]."""

    abundances: dict[str, tuple[float, float]]
    cloud_free: float = 0.10  # share of atmospheres without a cloud deck
    band_width: float = 1.0  # factor on all widths
    invented: dict[str, tuple[Band, ...]] = field(default_factory=dict)  # bands of molecules beside `OPACITIES`


TRAINING = Chemistry(
    {"H2O": (-4.2, 0.7), "CO2": (-5.4, 0.8), "CO": (-4.6, 0.8), "CH4": (-3.8, 0.8), "NH3": (-6.0, 0.8)},
    band_width=1.15,
)
# Other molecules, other abundances, narrower features: spectra that a prior learnt on TRAINING has not seen.
SHIFTED = Chemistry(
    {"H2O": (-4.8, 1.3), "CO2": (-4.0, 1.2), "CO": (-4.8, 1.3), "CH4": (-5.5, 1.3), "H2S": (-4.0, 1.2),
     "HCN": (-4.7, 1.2), "C2H2": (-5.5, 1.2)},
    cloud_free=0.2,
    band_width=0.8,
)  # fmt: skip

_K_OVER_AMU = 8314.46  # J / (kg K), gas constant per kg of hydrogen
_MEAN_WEIGHT = 2.3
_JUPITER_GRAVITY = 24.79  # m/s^2
_SUN_OVER_JUPITER_RADIUS = 9.731
_SUN_RADIUS_M = 6.957e8
_RAYLEIGH_AT_700NM = -27.3  # log10 cm^2 per H2 molecule


def scale_height_depth(systems: Systems) -> Array:
    """Change of depth per scale height, 2 k H / Rs, (n,); zero-albedo equilibrium temperature, hydrogen-helium gas."""
    k = np.sqrt(systems.depth_level)
    radius_jupiter = k * systems.stellar_radius_rsun * _SUN_OVER_JUPITER_RADIUS
    gravity = _JUPITER_GRAVITY * systems.planet_mass_mjup / radius_jupiter**2
    temperature = systems.stellar_temperature_k * np.sqrt(0.5 / systems.semi_major_axis_rs)
    height = _K_OVER_AMU * temperature / (_MEAN_WEIGHT * gravity)
    return 2 * k * height / (systems.stellar_radius_rsun * _SUN_RADIUS_M)


@lru_cache(128)  # one family's molecules are asked for again and again
def cross_sections(bands: tuple[Band, ...], width: float = 1.0) -> Array:
    """Cross-section of a molecule with these bands at the 282 AIRS wavelengths, cm^2, (282,); not to be changed."""
    wavelength = wavelengths_um()[1:]
    total = np.full(len(wavelength), 10.0**_FLOOR)
    for centre, strength, below, above in bands:
        x = wavelength - centre
        # The half-widths change smoothly across the centre, so that no band has a kink.
        scale = width * (below + (above - below) / (1 + np.exp(-x / (0.5 * min(below, above)))))
        total += 10.0**strength / np.cosh(x / scale)
    return total


def random_chemistry(rng: np.random.Generator) -> Chemistry:
    """A family for domain randomisation: the molecules of `TRAINING` in any amount, beside invented ones.

    An invented molecule has a few bands anywhere, so that what is trained on such spectra learns to tell when a
    spectrum is unlike those it knows. `SHIFTED` is not among them: it stays a test.
    """
    abundances = {name: (mean + rng.normal(0, 1), 1.0) for name, (mean, _) in TRAINING.abundances.items()}
    invented = {}
    for number in range(int(rng.integers(0, 4))):
        invented[f"invented {number}"] = tuple(
            (rng.uniform(1.9, 4.0), rng.uniform(-20.5, -18.5), *rng.uniform(0.015, 0.12, 2))
            for _ in range(int(rng.integers(1, 5)))
        )
        abundances[f"invented {number}"] = (rng.normal(-4.5, 1), 1.0)
    return Chemistry(abundances, rng.uniform(0.05, 0.4), rng.uniform(0.7, 1.5), invented)


def draw_spectra(systems: Systems, rng: np.random.Generator, chemistry: Chemistry = TRAINING) -> Array:
    """Depth (Rp/Rs)^2 of every system in all 283 bins, (n, 283).

    Args:
        systems: their `depth_level` is the mean of the AIRS bins of the result.
        rng: source of abundances, clouds and hazes.
        chemistry: `TRAINING`, `SHIFTED`, or one of `random_chemistry`.
    """
    n = len(systems)
    names = list(chemistry.abundances)
    mean, sd = np.array([chemistry.abundances[name] for name in names]).T
    abundance = np.clip(mean + sd * rng.standard_normal((n, len(names))), -12, -1.5)
    bands = OPACITIES | chemistry.invented
    gas = 10**abundance @ np.stack([cross_sections(bands[name], chemistry.band_width) for name in names])
    wavelength = wavelengths_um()
    # Haze: enhanced Rayleigh scattering of a slope between 2 and 5; a grey cloud deck drawn relative to the gas itself,
    # so that it mutes any part of the features.
    enhancement = rng.uniform(0, 4.0, n)
    slope = rng.uniform(2, 5, n)
    haze = 10 ** (_RAYLEIGH_AT_700NM + enhancement[:, None]) * (wavelength / wavelength[0]) ** -slope[:, None]
    ln_gas = np.log(gas)
    cloud = np.exp(np.percentile(ln_gas, 50, axis=1) + rng.normal(-0.4, 2.3, n)) * (
        rng.random(n) > chemistry.cloud_free
    )
    shape = np.log(gas + haze[:, 1:] + cloud[:, None])
    visible = np.log(haze[:, 0] + cloud + np.exp(_visible_gas(ln_gas, rng)))
    middle = shape.mean(axis=1)
    # Very light, hot planets would exceed any atmosphere's reach: half the depth is the limit of the whole range.
    height = np.minimum(scale_height_depth(systems), 0.5 * systems.depth_level / np.ptp(shape, axis=1).clip(1))
    out = np.empty((n, N_BINS))
    out[:, 1:] = systems.depth_level[:, None] + height[:, None] * (shape - middle[:, None])
    # Unocculted spots and faculae move the visible depth against the infrared one in proportion to it.
    spots = 0.004 * systems.depth_level * rng.standard_normal(n)
    out[:, 0] = systems.depth_level + height * np.clip(visible - middle, -4, 4) + spots
    return out


def _visible_gas(ln_gas: Array, rng: np.random.Generator) -> Array:
    """Ln opacity of gas at .7 um, (n,): wings of the sodium and potassium lines, which no infrared band predicts."""
    return ln_gas.min(axis=1) + rng.normal(2.4, 1.5, len(ln_gas))

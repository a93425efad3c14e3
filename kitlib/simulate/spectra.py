"""Transmission spectra of isothermal atmospheres: the transit radius rises by one scale height per e-fold of opacity.

    depth(lambda) = level + 2 k H / Rs (ln kappa(lambda) - <ln kappa>),    kappa = sum_molecules X sigma + haze + cloud
    (Lecavelier des Etangs et al. 2008, A&A 481, L83)

The cross-sections are those of `opacities`. Half of the atmospheres show one molecule, the others a mixture. The
spectra are held to the statistics of real targets: spread, roughness, correlation over wavelength, number of principal
components, offset of FGS1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..base.instruments import N_BINS
from ..base.products import Array
from .molecules import MOLECULES, OTHERS, Band, Drawn, Molecule, Rotor
from .opacities import cross_section, hydrogen
from .optics import wavelengths_um
from .systems import Systems


@dataclass(frozen=True)
class Abundance:
    """How often a molecule is there, and how much of it: log10 is normal, cut to [-12, -1.5]."""

    share: float  # of the mixtures that have it; among atmospheres of one molecule, its share relative to the others'
    mean: float
    sd: float


@dataclass(frozen=True)
class Chemistry:
    """Family of atmospheres."""

    molecules: Mapping[str, Molecule]
    abundances: Mapping[str, Abundance]
    temperatures_k: tuple[float, ...] = (700.0, 1000.0, 1400.0)  # one of these is an atmosphere's
    one_molecule: float = 0.5  # share of atmospheres that show one
    cloud_free: float = 0.10  # share of atmospheres without a cloud deck
    band_width: float = 1.0  # factor on the widths of drawn bands


_COMMON = {
    "H2O": Abundance(0.6, -4.2, 1.0),
    "CO2": Abundance(0.5, -4.8, 1.0),
    "CO": Abundance(0.4, -3.8, 1.0),
    "CH4": Abundance(0.6, -4.2, 1.0),
    "NH3": Abundance(0.4, -4.8, 1.0),
}
TRAINING = Chemistry(
    MOLECULES,
    _COMMON
    | {
        "HCN": Abundance(0.3, -5.2, 1.0),
        "C2H2": Abundance(0.2, -5.5, 1.0),
        "H2S": Abundance(0.2, -4.0, 1.0),
        "H2CO": Abundance(0.2, -5.5, 1.0),
        "PH3": Abundance(0.2, -4.8, 1.0),
        "SO2": Abundance(0.2, -3.5, 1.0),
    },
)


def other_draws(molecules: Mapping[str, Molecule], rng: np.random.Generator) -> dict[str, Molecule]:
    """The same molecules with another draw of what is drawn: the lines of those that no formula gives."""
    redrawn = {
        n: replace(m, number=int(rng.integers(100, 2**31))) for n, m in molecules.items() if isinstance(m, Drawn)
    }
    return dict(molecules) | redrawn


# Other molecules, other temperatures, abundances and lines: spectra that a prior learnt on TRAINING has not seen.
SHIFTED = Chemistry(
    other_draws(MOLECULES, np.random.default_rng(20251128)) | OTHERS,
    {name: replace(one, mean=one.mean - 0.3, sd=1.3) for name, one in _COMMON.items()}
    | {
        "HCN": Abundance(0.3, -5.0, 1.3),
        "H2S": Abundance(0.3, -3.8, 1.3),
        "N2O": Abundance(0.3, -4.8, 1.3),
        "OCS": Abundance(0.2, -4.5, 1.3),
        "HCl": Abundance(0.3, -5.0, 1.3),
        "HF": Abundance(0.2, -5.5, 1.3),
        "C2H4": Abundance(0.3, -4.5, 1.3),
        "C2H6": Abundance(0.3, -4.5, 1.3),
    },
    temperatures_k=(550.0, 850.0, 1200.0),
    cloud_free=0.2,
    band_width=0.85,
)

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


def random_chemistry(rng: np.random.Generator) -> Chemistry:
    """A family for domain randomisation: the molecules of `TRAINING` with lines of their own, beside invented ones.

    An invented molecule has a few bands anywhere, of rotors of any size or drawn. What is trained on such spectra
    learns to tell when a spectrum is unlike those it knows. `SHIFTED` is not among them: it stays a test.
    """
    molecules = other_draws(MOLECULES, rng)
    abundances = {name: replace(one, mean=one.mean + rng.normal(0, 0.7)) for name, one in TRAINING.abundances.items()}
    for number in range(int(rng.integers(0, 4))):
        molecules[f"invented {number}"] = _invented(rng)
        abundances[f"invented {number}"] = Abundance(0.5, rng.normal(-4.5, 1), 1.0)
    temperature = float(rng.choice([500.0, 700.0, 900.0, 1150.0, 1500.0]))
    return Chemistry(
        molecules, abundances, (temperature,), cloud_free=rng.uniform(0.05, 0.4), band_width=rng.uniform(0.8, 1.25)
    )


def _invented(rng: np.random.Generator) -> Molecule:
    count, number = int(rng.integers(1, 5)), int(rng.integers(100, 2**31))
    if rng.random() < 0.5:
        bands = ((rng.uniform(1.9, 4.0), rng.uniform(-21.5, -19), *rng.uniform(0.015, 0.12, 2)) for _ in range(count))
        return Drawn(tuple(bands), rng.uniform(0.1, 0.5), number)
    b = float(np.exp(rng.uniform(np.log(0.2), np.log(12))))
    kinds = ("parallel", "perpendicular", "spherical")
    made = (
        Band(
            1e4 / rng.uniform(1.9, 4.0),
            10 ** rng.uniform(-20, -17.5),
            -b * rng.uniform(0, 0.02),
            str(rng.choice(kinds)),
        )
        for _ in range(count)
    )
    return Rotor(b, tuple(made))


def draw_spectra(systems: Systems, rng: np.random.Generator, chemistry: Chemistry = TRAINING) -> Array:
    """Depth (Rp/Rs)^2 of every system in all 283 bins, (n, 283).

    Args:
        systems: their `depth_level` is the mean of the AIRS bins of the result.
        rng: source of abundances, temperatures, clouds and hazes.
        chemistry: `TRAINING`, `SHIFTED`, or one of `random_chemistry`.
    """
    n = len(systems)
    gas = hydrogen() + _gas(n, rng, chemistry)
    wavelength = wavelengths_um()
    # Haze: enhanced Rayleigh scattering of a slope between 2 and 5; a grey cloud deck drawn relative to the gas itself,
    # so that it mutes any part of the features.
    enhancement = rng.uniform(-1, 3, n)
    slope = rng.uniform(2, 5, n)
    haze = 10 ** (_RAYLEIGH_AT_700NM + enhancement[:, None]) * (wavelength / wavelength[0]) ** -slope[:, None]
    ln_gas = np.log(gas)
    deck = np.percentile(ln_gas, 75, axis=1) + rng.normal(*CLOUD_DECK, n)
    cloud = np.exp(deck) * (rng.random(n) > chemistry.cloud_free)
    shape = np.log(gas + haze[:, 1:] + cloud[:, None])
    visible = np.log(haze[:, 0] + cloud + np.exp(_visible_gas(ln_gas, rng)))
    middle = shape.mean(axis=1)
    # Very light, hot planets would exceed any atmosphere's reach: half the depth is the limit of the whole range.
    height = np.minimum(scale_height_depth(systems), 0.5 * systems.depth_level / np.ptp(shape, axis=1).clip(1))
    out = np.empty((n, N_BINS))
    out[:, 1:] = systems.depth_level[:, None] + height[:, None] * (shape - middle[:, None])
    # Unocculted spots and faculae move the visible depth against the infrared one in proportion to it.
    spots = 0.002 * systems.depth_level * rng.standard_normal(n)
    out[:, 0] = systems.depth_level + height * np.clip(visible - middle, -4, 5) + spots
    return out


CLOUD_DECK = (-0.2, 2.2)  # mean and sd of ln cloud over the upper quarter of the gas
TRACES = (-4.0, -1.5)  # log10 of what is there of the other molecules where one stands out, over what else would be


def _gas(n: int, rng: np.random.Generator, chemistry: Chemistry) -> Array:
    """Opacity of the molecules at the AIRS wavelengths, (n, 282)."""
    names = list(chemistry.abundances)
    share, mean, sd = np.array([(a.share, a.mean, a.sd) for a in chemistry.abundances.values()]).T
    abundance = 10 ** np.clip(mean + sd * rng.standard_normal((n, len(names))), -12, -1.5)
    single, mixed = rng.random(n) < chemistry.one_molecule, rng.random((n, len(names))) < share
    chosen = np.arange(len(names)) == rng.choice(len(names), n, p=share / share.sum())[:, None]
    traces = 10 ** rng.uniform(*TRACES, (n, 1))
    abundance *= np.where(single[:, None], np.where(chosen, 1.0, traces), mixed | chosen)
    kept = [chemistry.molecules[name] for name in names]
    table = np.array([[cross_section(m, t, chemistry.band_width) for m in kept] for t in chemistry.temperatures_k])
    return np.einsum("nm,nmw->nw", abundance, table[rng.integers(0, len(table), n)])


def _visible_gas(ln_gas: Array, rng: np.random.Generator) -> Array:
    """Ln opacity of gas at 0.7 um, (n,): wings of the sodium and potassium lines, which no infrared band predicts."""
    return ln_gas.mean(axis=1) + rng.normal(0.2, 1.4, len(ln_gas))

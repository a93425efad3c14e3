"""Stars and planets with the statistics of the competition's catalogue, and the noisy catalogue that a solver is given.

Masses, radii, temperatures, periods, inclinations and the scatter of sma around Kepler's third law are distributed as
in the 1,100 systems of the competition's `train_star_info.csv`. Depths and limb darkening are as competitors' fits say.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..base.instruments import N_BINS
from ..base.products import Array, Catalogue
from .optics import wavelengths_um

# a/Rs = KEPLER * P[d]^(2/3) * M[Msun]^(1/3) / R[Rsun], from (G Msun d^2 / (4 pi^2 Rsun^3))^(1/3)
KEPLER = 4.2083
DEPTH_MU, DEPTH_SIGMA, DEPTH_RANGE = -4.44, 0.653, (0.0037, 0.080)  # lognormal, truncated
SUN_TEMPERATURE_K = 5840.0  # the catalogue's mean, where the limb-darkening relations are anchored
AIRS_LD_WAVELENGTH_UM = 2.9  # where the AIRS limb-darkening coefficients are quoted
# Departures from the quadratic law, along the two shapes of `_steep_shapes`: uniform along the first
FGS1_STEEP, FGS1_CURVED_SD = (0.05, 0.25), 0.1
AIRS_STEEP, AIRS_CURVED_SD = (0.02, 0.15), 0.05
CATALOGUE_LN_SMA_SD = 0.064  # ln(sma / Kepler's) in the real catalogue
MAX_TILT_DEG, MAX_IMPACT = 3.1, 0.85
CATALOGUE_INCLINATION_SD_DEG = 0.58  # moves b by about 0.1


@dataclass(frozen=True)
class Systems:
    """True values of n systems; arrays are (n,) unless said otherwise."""

    planet_id: NDArray[np.int64]
    stellar_radius_rsun: Array
    stellar_mass_msun: Array
    stellar_temperature_k: Array
    planet_mass_mjup: Array
    period_days: Array
    semi_major_axis_rs: Array
    impact: Array  # a/Rs cos i, in stellar radii
    depth_level: Array  # mean AIRS depth (Rp/Rs)^2
    brightness: Array  # AIRS electrons over the reference star's
    ld_fgs1: Array  # (n, 2) quadratic u1, u2 at 0.7 um
    ld_airs: Array  # (n, 6) u1, u2 at 2.9 um, their slopes and their curvatures (per um, per um^2)
    ld_steep: Array  # (n, 4) departures from the quadratic law: two shapes in FGS1, two in AIRS

    def __len__(self) -> int:
        return len(self.planet_id)

    def take(self, index: NDArray[np.integer] | slice) -> "Systems":
        """The same systems for a subset of planets, in the order of `index`."""
        return Systems(*(getattr(self, item.name)[index] for item in fields(self)))

    @property
    def inclination_deg(self) -> Array:
        """True inclination, degrees, (n,)."""
        return np.degrees(np.arccos(self.impact / self.semi_major_axis_rs))

    @property
    def duration_h(self) -> Array:
        """First to fourth contact T14 at the mean AIRS depth, hours, (n,) (Winn 2010, eq. 14)."""
        chord = np.sqrt((1 + np.sqrt(self.depth_level)) ** 2 - self.impact**2)
        inclination = np.radians(self.inclination_deg)
        return 24 * self.period_days / np.pi * np.arcsin(chord / self.semi_major_axis_rs / np.sin(inclination))


def draw_systems(n: int, rng: np.random.Generator) -> Systems:
    """Draw n systems that all transit, with unique planet ids."""
    mass = _truncated(rng, n, 1.089, 0.23, 0.60, 1.82)
    ln_mass = np.log(mass)
    # The catalogue's own scatter in ln R at given mass is 0.140; its error (see `observed_catalogue`) is part of that.
    radius = np.exp(0.0967 + 1.1395 * ln_mass + 0.4042 * ln_mass**2 + 0.125 * rng.standard_normal(n)).clip(0.68, 2.7)
    temperature = (5717 + 2166 * ln_mass - 472 * ln_mass**2 + 275 * rng.standard_normal(n)).clip(4230, 6980)
    planet_mass = np.exp(-0.08 + 0.60 * ln_mass + 0.96 * rng.standard_normal(n)).clip(0.05, 25)
    period = rng.uniform(2.78, 7.62, n)
    sma = (KEPLER * period ** (2 / 3) * mass ** (1 / 3) / radius).clip(4.2, 21)
    return Systems(
        planet_id=np.sort(_unique_ids(n, rng)),
        stellar_radius_rsun=radius,
        stellar_mass_msun=mass,
        stellar_temperature_k=temperature,
        planet_mass_mjup=planet_mass,
        period_days=period,
        semi_major_axis_rs=sma,
        impact=sma * np.sin(np.radians(_draw_tilt(sma, rng))),
        depth_level=np.exp(_truncated(rng, n, DEPTH_MU, DEPTH_SIGMA, *np.log(DEPTH_RANGE))),
        brightness=(0.77 - 1.8e-4 * (temperature - SUN_TEMPERATURE_K) + 0.09 * rng.standard_normal(n)).clip(0.56, 1.06),
        **_draw_limb_darkening(temperature, rng),
    )


def observed_catalogue(systems: Systems, rng: np.random.Generator, factors: Array | None = None) -> Catalogue:
    """What `star_info.csv` would say: noisy values of the true ones.

    sma and the radius (hence Kepler's a/Rs) err by 6.4 % each with correlation one half. They then differ from each
    other by 6.4 % too, as in the real catalogue, and neither is the truth. Inclinations that would exceed 90 degrees
    are written as 90, which makes the real catalogue's 7.6 % of them. `factors` (n, 2) are for gross errors: period and
    sma are multiplied by them (`worlds.catalogue_factors`).
    """
    n = len(systems)
    common, e_sma, e_radius = CATALOGUE_LN_SMA_SD * np.sqrt(0.5) * rng.standard_normal((3, n))
    sma = systems.semi_major_axis_rs * np.exp(common + e_sma)
    inclination = systems.inclination_deg + CATALOGUE_INCLINATION_SD_DEG * rng.standard_normal(n)
    gross = np.ones((n, 2)) if factors is None else factors
    return Catalogue(
        planet_id=systems.planet_id,
        stellar_radius_rsun=systems.stellar_radius_rsun * np.exp(-common - e_radius),
        stellar_mass_msun=systems.stellar_mass_msun,
        stellar_temperature_k=systems.stellar_temperature_k + 50 * rng.standard_normal(n),
        planet_mass_mjup=systems.planet_mass_mjup * np.exp(0.1 * rng.standard_normal(n)),
        period_days=systems.period_days * gross[:, 0],
        semi_major_axis_rs=sma * gross[:, 1],
        inclination_deg=np.minimum(inclination, 90.0),
    )


def quadratic_limb_darkening(systems: Systems) -> Array:
    """The quadratic law nearest to each star's, (n, 283, 2): u1, u2 of I = 1 - u1 (1 - mu) - u2 (1 - mu)^2."""
    x = wavelengths_um()[1:] - AIRS_LD_WAVELENGTH_UM
    out = np.empty((len(systems), N_BINS, 2))
    out[:, 0] = systems.ld_fgs1
    out[:, 1:] = (
        systems.ld_airs[:, None, 0:2]
        + x[:, None] * systems.ld_airs[:, None, 2:4]
        + x[:, None] ** 2 * systems.ld_airs[:, None, 4:6]
    )
    return out


def limb_darkening(systems: Systems) -> Array:
    """Non-linear limb darkening, (n, 283, 4): c of I = 1 - sum_m c_m (1 - mu^(m/2)), m = 1..4 (Claret 2000).

    The quadratic law is c = (0, u1 + 2 u2, 0, -u2). What is added to it is orthogonal to any quadratic law over the
    disc. It darkens the extreme limb by a few per cent, as model atmospheres do.
    """
    u = quadratic_limb_darkening(systems)
    c = np.zeros((*u.shape[:2], 4))
    c[..., 1] = u[..., 0] + 2 * u[..., 1]
    c[..., 3] = -u[..., 1]
    steep = np.repeat(systems.ld_steep.reshape(-1, 2, 2), [1, N_BINS - 1], axis=1)  # (n, 283, 2)
    return c + steep @ _STEEP_SHAPES


def _steep_shapes() -> Array:
    """Two limb-darkening vectors c, (2, 4), led by c1 and c3, whose profiles are orthogonal to the quadratic laws."""
    mu = np.linspace(0, 1, 20_001)
    powers = np.stack([1 - mu ** (m / 2) for m in range(1, 5)], axis=1)
    weight = np.sqrt(mu)[:, None]  # area element of the disc: mu dmu
    shapes = np.zeros((2, 4))
    for row, odd in enumerate((0, 2)):
        projection = np.linalg.lstsq(weight * powers[:, [1, 3]], weight[:, 0] * powers[:, odd], rcond=None)[0]
        shapes[row, odd] = 1.0
        shapes[row, [1, 3]] = -projection
    return shapes


_STEEP_SHAPES = _steep_shapes()


def limb_darkening_fields(temperature: Array, deviates: Array, steep: Array) -> dict[str, Array]:
    """Fields `ld_fgs1`, `ld_airs` and `ld_steep` of `Systems`, of n stars.

    From Jeroen Cottaar's fits to the real data (docs/method/references.md); ranges are taken as +-2 sigma. FGS1:
    u1 = 0.41 - 1e-4 (Ts - 5840), which explains 83 % of its variance, and u2 = 0.155 (0.06 to 0.23). AIRS: u1 = 0.125
    (0.08 to 0.17) and u2 = 0.10 (0.03 to 0.17), which slope by -0.05 and -0.02 per um.

    Args:
        temperature: (n,) kelvin.
        deviates: (8, n) standard normal; a star's scatter is its own, hence coherent over wavelength.
        steep: (n, 4) departures from the quadratic law.
    """
    warm, z = temperature - SUN_TEMPERATURE_K, deviates
    ld_fgs1 = np.stack(
        [0.41 - 1e-4 * warm + 0.022 * z[0], (0.155 - 0.01 * z[0] + 0.035 * z[1]).clip(0.03, 0.27)], axis=1
    )
    airs_u1 = (0.125 - 2e-5 * warm + 0.008 * z[0] + 0.016 * z[2]).clip(0.06, 0.20)
    airs_u2 = (0.10 + 0.015 * z[1] + 0.028 * z[3]).clip(0.02, 0.20)
    slopes = np.stack([-0.05 + 0.010 * z[4], -0.02 + 0.008 * z[5]])
    curvatures = np.stack([0.006 * z[6], 0.005 * z[7]])
    airs = np.stack([airs_u1, airs_u2, *slopes, *curvatures], axis=1)
    return {"ld_fgs1": ld_fgs1, "ld_airs": airs, "ld_steep": steep}


def _draw_limb_darkening(temperature: Array, rng: np.random.Generator) -> dict[str, Array]:
    n = len(temperature)
    deviates = rng.standard_normal((8, n))
    steep = [rng.uniform(*FGS1_STEEP, n), rng.normal(0, FGS1_CURVED_SD, n)]
    steep += [rng.uniform(*AIRS_STEEP, n), rng.normal(0, AIRS_CURVED_SD, n)]
    return limb_darkening_fields(temperature, deviates, np.stack(steep, axis=1))


def _draw_tilt(sma: Array, rng: np.random.Generator) -> Array:
    """90 degrees minus the inclination: uniform to 3.1 degrees, as the catalogue's quartiles say, and never grazing."""
    tilt = rng.uniform(0, MAX_TILT_DEG, len(sma))
    while (grazing := sma * np.sin(np.radians(tilt)) > MAX_IMPACT).any():
        tilt[grazing] = rng.uniform(0, MAX_TILT_DEG, int(grazing.sum()))
    return tilt


def _truncated(rng: np.random.Generator, n: int, mean: float, sd: float, low: float, high: float) -> Array:
    """Normal deviates redrawn until they lie inside [low, high]."""
    values = rng.normal(mean, sd, n)
    while (outside := (values < low) | (values > high)).any():
        values[outside] = rng.normal(mean, sd, int(outside.sum()))
    return values


def _unique_ids(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n different ids over the range of the competition's (up to 2^32)."""
    ids = np.unique(rng.integers(10_000, 2**32, n))
    while len(ids) < n:
        ids = np.unique(np.concatenate([ids, rng.integers(10_000, 2**32, n - len(ids))]))
    return ids

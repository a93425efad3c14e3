"""Published constants of molecules, and the three ways in which `opacities` makes cross-sections of them.

Band origins, strengths (cm per molecule, round figures near 296 K), rotational constants and Coriolis constants: HITRAN
(Gordon et al. 2022, JQSRT 277, 107949) and Herzberg (*Infrared and Raman Spectra*, 1945); diatomic molecules: Huber and
Herzberg 1979 (NIST webbook). Water, hydrogen sulphide, formaldehyde, sulphur dioxide, ethylene, ethane and all
`continuum`: origins of HITRAN, peaks in round figures of ExoMol (Tennyson et al. 2016, J. Mol. Spectrosc. 327, 73) at
1,000 K.
"""

from dataclasses import dataclass, replace

# (centre um, log10 peak cross-section cm^2, half-width below um, half-width above um); falls off as sech
Envelope = tuple[float, float, float, float]


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
    continuum: tuple[Envelope, ...] = ()  # hot bands too many to be listed, as one smooth band each


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
        continuum=(
            (2.06, -22.1, 0.05, 0.025),
            (2.64, -22.6, 0.04, 0.04),
            (2.82, -20.35, 0.02, 0.048),
            (3.2, -24.1, 0.1, 0.15),
        ),
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

"""Worlds for benchmarks: each part of `simulate.world` alone at its extreme, and all of them together."""

from kitlib.base.config import compose
from kitlib.base.schema import WorldConfig

EXTREMES: dict[str, WorldConfig] = {
    "own": WorldConfig(),
    "wings x 2, flat": WorldConfig(
        airs_wings=[2.0, 2.0], fgs1_wings=[2.0, 2.0], airs_wing_power=[1.5, 1.5], fgs1_wing_power=[2.5, 2.5]
    ),
    "wings x 0.5, steep": WorldConfig(
        airs_wings=[0.5, 0.5], fgs1_wings=[0.5, 0.5], airs_wing_power=[3.0, 3.0], fgs1_wing_power=[4.0, 4.0]
    ),
    "sky x 10": WorldConfig(airs_sky=[10.0, 10.0], fgs1_sky=[10.0, 10.0]),
    "sky x 10, star-like": WorldConfig(airs_sky=[10.0, 10.0], fgs1_sky=[10.0, 10.0], sky_colours=["star"]),
    "no sky": WorldConfig(airs_sky=[0.0, 0.0], fgs1_sky=[0.0, 0.0]),
    "second drift": WorldConfig(second_drift=[0.3, 0.3]),
    "level error": WorldConfig(level_error=[0.003, 0.003]),
    "excursions": WorldConfig(excursions=1.0, excursion_loss=[0.001, 0.001]),
    "within pixels": WorldConfig(intrapixel=[0.01, 0.01]),
    "wander": WorldConfig(wander=[0.1, 0.1]),
    "neighbours": WorldConfig(neighbours=1.0, neighbour_flux=[1.0, 1.0]),
    "dark gaps": WorldConfig(gaps=1.0, gap_share=[0.05, 0.05], gap_kinds=["dark"]),
    "half-lit gaps": WorldConfig(gaps=1.0, gap_share=[0.05, 0.05], gap_kinds=["half"]),
    "frozen gaps": WorldConfig(gaps=1.0, gap_share=[0.05, 0.05], gap_kinds=["frozen"]),
    "catalogue": WorldConfig(catalogue_errors=1.0),
    "grazing": WorldConfig(grazing=1.0),
    "full well": WorldConfig(full_well_e=80_000.0),
}


def all_together() -> WorldConfig:
    """What `data=worlds` draws."""
    return compose("simulate", ["data=worlds"]).simulate.world

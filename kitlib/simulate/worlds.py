"""Worlds: what each planet draws of all that nobody knows of the observatory; `OWN` is the simulator's tuned opinion.

    config = WorldConfig(airs_sky=[0.0, 10.0], neighbours=0.5)         # kitlib.base.schema, keys `simulate.world`
    worlds = draw_worlds(config, rng, n)                               # one WorldDraw a planet
    systems = with_grazing(draw_systems(n, rng), worlds)
    curves = simulate_lightcurves(systems, depth, rng, worlds=worlds)
    catalogue = observed_catalogue(systems, rng, catalogue_factors(worlds))

Whole sets in one call: `draw_planets(count, 0.0, rng, world=config)` in kitlib/run/pretraining.py, and for frames
`simulate_campaign`, which reads `config.world`.

Worlds take no number from the simulator's generators: the same seed gives the same stars, visits and noise in each
world. A feature is drawn whether or not it is used: what a planet draws of one does not depend on the others' ranges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..base.instruments import AIRS, FGS1, INSTRUMENTS, VISIT_HOURS
from ..base.products import Array
from ..base.schema import WorldConfig
from .optics import BACKGROUND_FGS1_E, SKY_COLOURS, airs_psf, fgs1_psf, sky_columns
from .systems import MAX_IMPACT, Systems
from .visits import GAP_KINDS, Drift, Excursion, Gap, Visit, Wander, draw_excursion, draw_second_drift, draw_wander

VISITS = 2  # that a planet has at most
DEEPEST_GRAZE = 0.97  # of the way to 1 + k, where no transit is left


@dataclass(frozen=True)
class Neighbour:
    """A star of constant light that happens to lie next to the target."""

    flux: float  # relative to the target's
    offset_px: tuple[float, float]  # (row, column) in FGS1; its row offset also shifts its AIRS trace


@dataclass(frozen=True)
class VisitWorld:
    """What one visit of a planet draws."""

    level_error: dict[str, float]  # instrument name -> relative error of the depth
    second_drift: Drift | None  # its amplitude is relative to the first term's
    excursion: Excursion | None
    gaps: tuple[Gap, ...]
    phase: tuple[float, float]  # where in a pixel the star lies
    wander: Wander | None


@dataclass(frozen=True)
class WorldDraw:
    """What one planet draws."""

    airs_wings: float
    airs_wing_power: float
    fgs1_wings: float
    fgs1_wing_power: float
    airs_sky: float
    fgs1_sky: float
    sky_colour: str
    level_error_sd: float  # of which each visit's errors are a draw
    level_error_common: float  # share of its variance common to visits and instruments
    intrapixel: float
    neighbour: Neighbour | None
    period_factor: float  # catalogue over truth
    sma_factor: float
    graze: float | None  # impact parameter: 0 the steepest orbit that does not graze, 1: one that misses the star
    full_well_e: float
    visits: tuple[VisitWorld, ...]

    def visit(self, visit: Visit, number: int) -> Visit:
        """The planet's visit of that number, with what this world adds to it."""
        if number >= len(self.visits):
            raise ValueError(f"a world is drawn for {len(self.visits)} visits of a planet, this is number {number + 1}")
        own = self.visits[number]
        drift = dict(visit.drift)
        if own.second_drift is not None:
            first = drift[AIRS.name]
            second = replace(own.second_drift, amplitude=own.second_drift.amplitude * first.amplitude)
            drift[AIRS.name] = replace(first, second=second)
        return replace(
            visit,
            drift=drift,
            excursion=own.excursion or visit.excursion,
            level_error=own.level_error,
            gaps=own.gaps,
            intrapixel=self.intrapixel,
            phase=own.phase,
            wander=own.wander,
        )

    def airs_psf(self, offset_px: float = 0.0) -> Array:
        """As `optics.airs_psf`."""
        return airs_psf(offset_px, self.airs_wings, self.airs_wing_power)

    def fgs1_psf(self, offset_px: Array | tuple[float, float] = (0.0, 0.0)) -> Array:
        """As `optics.fgs1_psf`."""
        return fgs1_psf(offset_px, self.fgs1_wings, self.fgs1_wing_power)

    def airs_sky_e(self, star: Array) -> Array:
        """Sky in each AIRS column, electrons per pixel and CDS pair, (356,), beside this star's columns (356,)."""
        return sky_columns(self.airs_sky, self.sky_colour, star)

    @property
    def fgs1_sky_e(self) -> float:
        """Sky in FGS1, electrons per pixel and CDS pair."""
        return self.fgs1_sky * BACKGROUND_FGS1_E


def draw_world(config: WorldConfig, rng: np.random.Generator) -> WorldDraw:
    """What one planet draws.

    Raises ValueError for a range that is none, or an unknown choice.
    """

    def pick(name: str, given: Sequence[float]) -> float:
        return _between(name, given, rng)

    colour = _choice("sky_colours", config.sky_colours, SKY_COLOURS, rng)
    near, angle = rng.random() < config.neighbours, rng.uniform(0, 2 * np.pi)
    flux, distance = pick("neighbour_flux", config.neighbour_flux), pick("neighbour_px", config.neighbour_px)
    wrong, which, upwards = rng.random() < config.catalogue_errors, rng.random(), rng.random() < 0.5
    off = pick("catalogue_factor", config.catalogue_factor)
    factor = (off if upwards else 1 / off) if wrong else 1.0
    grazing, graze = rng.random() < config.grazing, rng.uniform(0, DEEPEST_GRAZE)
    sd, common = pick("level_error", config.level_error), pick("level_error_common", config.level_error_common)
    shared = sd * np.sqrt(common) * rng.standard_normal()
    intrapixel = pick("intrapixel", config.intrapixel)
    second = pick("second_drift", config.second_drift)
    return WorldDraw(
        airs_wings=pick("airs_wings", config.airs_wings),
        airs_wing_power=pick("airs_wing_power", config.airs_wing_power),
        fgs1_wings=pick("fgs1_wings", config.fgs1_wings),
        fgs1_wing_power=pick("fgs1_wing_power", config.fgs1_wing_power),
        airs_sky=pick("airs_sky", config.airs_sky),
        fgs1_sky=pick("fgs1_sky", config.fgs1_sky),
        sky_colour=colour,
        level_error_sd=sd,
        level_error_common=common,
        intrapixel=intrapixel,
        neighbour=Neighbour(flux, (distance * np.sin(angle), distance * np.cos(angle))) if near and flux else None,
        period_factor=factor if which < 0.5 else 1.0,
        sma_factor=factor if which >= 0.5 else 1.0,
        graze=graze if grazing else None,
        full_well_e=config.full_well_e or np.inf,
        visits=tuple(
            _draw_visit(config, shared, sd * np.sqrt(1 - common), second, intrapixel, own) for own in rng.spawn(VISITS)
        ),
    )


def draw_worlds(config: WorldConfig, rng: np.random.Generator, count: int) -> list[WorldDraw]:
    """What each of `count` planets draws, each from a child of the generator, whose own numbers are not touched."""
    return [draw_world(config, own) for own in rng.spawn(count)]


def _draw_visit(
    config: WorldConfig, shared: float, own_sd: float, second: float, intrapixel: float, rng: np.random.Generator
) -> VisitWorld:
    level = {one.name: float(shared + own_sd * rng.standard_normal()) for one in INSTRUMENTS}
    phase = tuple(float(turn) for turn in rng.random(2))
    drift = draw_second_drift(rng.spawn(1)[0], second)  # of a child: its polynomials take any count of numbers
    slips, loss = rng.random() < config.excursions, _between("excursion_loss", config.excursion_loss, rng)
    excursion = draw_excursion(rng, loss)
    broken = rng.random() < config.gaps
    length = VISIT_HOURS * _between("gap_share", config.gap_share, rng)
    start = rng.uniform(0, VISIT_HOURS - length)
    kind = _choice("gap_kinds", config.gap_kinds, GAP_KINDS, rng)
    struck = ((FGS1.name,), (AIRS.name,), (FGS1.name, AIRS.name))[rng.integers(3)]
    rms_px = _between("wander", config.wander, rng)
    return VisitWorld(
        level_error=level,
        second_drift=drift if second else None,
        excursion=excursion if slips else None,
        gaps=(Gap(start, start + length, kind, struck),) if broken else (),
        phase=(phase[0], phase[1]) if intrapixel else (0.0, 0.0),
        wander=draw_wander(rng.spawn(1)[0], rms_px) if rms_px else None,
    )


def _between(name: str, given: Sequence[float], rng: np.random.Generator) -> float:
    share = rng.random()
    if len(given) != 2 or not given[0] <= given[1]:
        raise ValueError(f"simulate.world.{name}: {list(given)} is no range [low, high]")
    return float(given[0] + share * (given[1] - given[0]))


def _choice(name: str, given: Sequence[str], known: Sequence[str], rng: np.random.Generator) -> str:
    share = rng.random()
    if not given or not set(given) <= set(known):
        raise ValueError(f"simulate.world.{name}: {list(given)} must be some of {', '.join(known)}")
    return given[int(share * len(given))]


OWN = draw_world(WorldConfig(), np.random.default_rng(0))


def with_grazing(systems: Systems, worlds: Sequence[WorldDraw]) -> Systems:
    """The systems, those on grazing orbits as their worlds say: impact parameters from 0.85 towards 1 + k."""
    impact = systems.impact.copy()
    for i, world in enumerate(worlds):
        if world.graze is not None:
            impact[i] = MAX_IMPACT + world.graze * (1 + np.sqrt(systems.depth_level[i]) - MAX_IMPACT)
    return replace(systems, impact=impact)


def catalogue_factors(worlds: Sequence[WorldDraw]) -> Array:
    """Factors on period and a/Rs in the catalogue, (n, 2), for `observed_catalogue`."""
    return np.array([(world.period_factor, world.sma_factor) for world in worlds]).reshape(-1, 2)

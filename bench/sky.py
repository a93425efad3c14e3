"""How far depths depend on the sky: four extractions on frames without noise, under skies and wings of every kind.

    python bench/sky.py [--pairs 64] [--draws 24]

Bias of the depth over the depth, per cent, in six parts of the AIRS band (blue to red) and FGS1; then what each
extraction costs in noise. The frames are those of `tests/sky_frames.py`: half out of transit, half in it, 10 % deep.
A steady sky's bias does not depend on the depth; what a sky that brightens in transit leaves (the files of flat and
linearity are wrong by 0.7 % a pixel) grows as one over the depth. Extractions:

today    the first version: weights without constraint; sky from the mean image, beneath wings ~ distance^-2
column   weights of each column without response to uniform light (FGS1: all pixels of the stamp)
share    as `today`, sky from the transit of the outer rows: as far as they dip with the star, they are wings
kit      what `kitlib` does: sky of all columns together, smooth along the spectrum or like the star's
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import sky_frames as sf  # noqa: E402
from small_visit import signal_of  # noqa: E402

from kitlib.base.instruments import AIRS, FGS1, INSTRUMENTS, Instrument  # noqa: E402
from kitlib.base.products import Array  # noqa: E402
from kitlib.base.schema import LightCurveConfig  # noqa: E402
from kitlib.detector.calibrate import calibrate_cds, image_statistics, kernel_parameters  # noqa: E402
from kitlib.detector.extraction import BLOCKS, extract, needed_pixels  # noqa: E402
from kitlib.detector.profile import (  # noqa: E402
    Extraction,
    _constrained_weights,
    _jitter_modes,
    airs_profile,
    fgs1_profile,
    good_pixels,
    pixel_variance,
    plan_extraction,
)
from kitlib.detector.tables import Adc  # noqa: E402

SEED = 20251127
PARTS = 6
DEPTH = 0.01  # of the planet whose outer rows tell the share of the wings
PRECISE_E2 = 1e12  # variance of a sky that nothing is known of
WORLDS = {
    "no sky": sf.World(sky=0),
    "own": sf.World(),
    "sky x 3": sf.World(sky=3),
    "sky x 10": sf.World(sky=10),
    "sky x 10, flat": sf.World(sky=10, colour="flat"),
    "sky x 10, like a star": sf.World(sky=10, colour="star"),
    "sky x 10, red": sf.World(sky=10, colour="red"),
    "sky x 3, a tenth brighter in transit": sf.World(sky=3, in_transit=1.1),
    "sky x 10 red, a third brighter in transit": sf.World(sky=10, colour="red", in_transit=1.3),
    "half the wings, power 3": sf.World(wings=0.5, power=3.0),
    "twice the wings, power 1.5": sf.World(wings=2.0, power=1.5, fgs1_power=1.5),
    "both of these, sky x 10 like a star": sf.World(sky=10, colour="star", wings=2.0, power=1.5, fgs1_power=1.5),
}


@dataclass(frozen=True)
class Seen:
    """Frames of one instrument in one world, as far as an extraction looks at them."""

    instrument: Instrument
    before: Array  # (W, n) mean calibrated pixels of each light curve out of transit, electrons per pair; bad ones 0
    inside: Array  # (W, n) in transit
    good: Array  # (W, n)
    star: Array  # (W, n) pixels that the first version took for the star's
    outer: Array  # (W, n) pixels that it took for background and wings
    profile: Array  # (W, n)
    flux: Array  # (W,)
    sky: Array  # (W,) as the mean image has it
    variance: Array  # (W, n)
    modes: Array  # (W, k, n)
    kit: Array  # (2 * pairs, W) the kit's light curves in the order of W
    plan: Extraction  # the kit's


def observe(instrument: Instrument, world: sf.World, pairs: int, seed: int) -> Seen:
    """Simulate, calibrate, and give each extraction what it needs."""
    detector, maps = sf.detector_of(instrument, seed)
    adu = sf.frames(instrument, sf.expected(instrument, world, pairs), detector)
    axis = sf.axis_of(instrument, 2 * pairs)
    images = calibrate_cds(adu.reshape(-1, 2, instrument.rows, instrument.cols), maps, axis, Adc())
    parameters = kernel_parameters(maps, axis, Adc())
    mean, noise, saturated = image_statistics(signal_of(instrument, adu), parameters, BLOCKS[instrument.name])
    good = good_pixels(maps, mean, noise, saturated)
    single = instrument is FGS1
    profile, flux, sky = (fgs1_profile if single else airs_profile)(mean, good, instrument)
    row, col = np.mgrid[: instrument.rows, : instrument.cols]
    distance = np.hypot(row - instrument.centre[0], col - instrument.centre[1]) if single else np.abs(row - 15.5)
    crop = slice(*instrument.crop)

    def series(image: Array) -> Array:
        """(..., rows, cols) to (W, ..., n)."""
        return image.reshape(1, *image.shape[:-2], -1) if single else np.moveaxis(image[..., crop], -1, 0)

    before, inside = (series(np.where(good, half.mean(axis=0), 0.0)) for half in np.split(images, 2))
    needed = signal_of(instrument, adu, needed_pixels(instrument))
    curve = extract(needed, maps, axis, Adc(), LightCurveConfig(samples=2 * pairs))
    unread = np.ones(instrument.n_pixels, bool)
    unread[needed_pixels(instrument)] = False
    unread = unread.reshape(mean.shape)
    return Seen(
        instrument,
        *(before, inside, series(good)),
        series(good & (distance < (9.5 if single else 8))),
        series(good & (distance > (12 if single else 8))),
        series(profile),
        flux if single else flux[crop],
        np.broadcast_to(sky, flux.shape) if single else sky[crop],
        series(pixel_variance(profile * flux + np.maximum(sky, 0.0), maps)),
        series(_jitter_modes(profile, instrument)),
        curve.flux_e if single else curve.flux_e[:, ::-1],
        plan_extraction(maps, np.where(unread, np.nan, mean), good & ~unread),
    )


def free_weights(seen: Seen) -> Array:
    """Weights of the first version, (W, n)."""
    nothing = np.zeros(len(seen.flux))
    return _constrained_weights(seen.flux, seen.profile, seen.variance, seen.star, seen.modes, nothing)


def blind_weights(seen: Seen) -> Array:
    """Weights (W, n) over all pixels without response to uniform light in each light curve for itself."""
    unknown = np.full(len(seen.flux), PRECISE_E2)
    weights = _constrained_weights(seen.flux, seen.profile, seen.variance, seen.good, seen.modes, unknown)
    far = seen.good & seen.outer
    return weights - far * (weights.sum(axis=1) / far.sum(axis=1))[:, None]  # what dropped small weights have left


def _depth(seen: Seen, weights: Array, sky: Array) -> Array:
    """Depth (W,) after a constant sky (W,) e- per pixel."""
    light = [np.sum(weights * image, axis=1) - sky * weights.sum(axis=1) for image in (seen.before, seen.inside)]
    return 1 - light[1] / light[0]


def today(seen: Seen) -> Array:
    """Depths (W,)."""
    return _depth(seen, free_weights(seen), seen.sky)


def column(seen: Seen) -> Array:
    """Depths (W,)."""
    return _depth(seen, blind_weights(seen), np.zeros(len(seen.flux)))


def share(seen: Seen) -> Array:
    """Depths (W,): in each part of the band the outer pixels are wings as far as they dip with the star."""
    weights = free_weights(seen)
    star = _depth(seen, weights, seen.sky)
    sky = np.empty(len(star))
    for part in np.array_split(np.arange(len(star)), PARTS if len(star) > 1 else 1):
        light = [np.sum((seen.outer * image)[part]) for image in (seen.before, seen.inside)]
        wings = np.clip((1 - light[1] / light[0]) / np.average(star[part], weights=seen.flux[part]), 0, 1)
        level = np.sum((seen.outer * seen.before)[part], axis=1) / seen.outer[part].sum(axis=1)
        sky[part] = (1 - wings) * level
    return _depth(seen, weights, sky)


def kit(seen: Seen) -> Array:
    """Depths (W,) from the kit's own light curves."""
    before, inside = np.nanmean(np.split(seen.kit.astype(np.float64), 2), axis=1)
    return 1 - inside / before


METHODS: dict[str, Callable[[Seen], Array]] = {"today": today, "column": column, "share": share, "kit": kit}


def parts(values: Array) -> Array:
    """Means over six parts of the AIRS band, blue to red; a single value stays one."""
    ordered = values[::-1] if len(values) > 1 else values
    return np.array([np.nanmean(part) for part in np.array_split(ordered, PARTS if len(values) > 1 else 1)])


def biases(world: sf.World, pairs: int, seed: int) -> dict[str, Array]:
    """Bias of each method, per cent: six parts of AIRS, then FGS1."""
    found: dict[str, list[Array]] = {name: [] for name in METHODS}
    for instrument in (AIRS, FGS1):
        seen = observe(instrument, world, pairs, seed)
        truth = sf.depths(instrument)[slice(*instrument.crop)]
        for name, method in METHODS.items():
            found[name].append(100 * parts(method(seen) / truth - 1))
    return {name: np.concatenate(values) for name, values in found.items()}


def noise_costs(pairs: int) -> list[str]:
    """Lines of the table of noise, in the kit's own world, over that of the first version.

    Noise is in units of what the transit takes away, which is the star's light alone.
    """
    lines = []
    for instrument in INSTRUMENTS:
        seen = observe(instrument, sf.World(), pairs, SEED)
        plan, fit, dip = seen.plan, seen.plan.sky_fit, seen.before - seen.inside
        placed = [np.where(plan.sky == far, plan.weights, 0.0) for far in (False, True)]
        star, sky = (part.reshape(1, -1) if instrument is FGS1 else part[:, slice(*AIRS.crop)].T for part in placed)
        sums = [np.sum(part * dip, axis=1, keepdims=True) for part in (star, sky)]
        found = {"kit": (plan.variance_e2, plan.light_curves(*sums)[:, 0])}
        for name, weights in (("today, share", free_weights(seen)), ("column", blind_weights(seen))):
            found[name] = np.sum(weights**2 * seen.variance, axis=1), np.sum(weights * dip, axis=1)
        variance = {name: own / response**2 for name, (own, response) in found.items()}
        reference = variance["today, share"]
        # one error of the sky for all bins: its covariance from that of the mean far light
        shared = (plan.aperture_px / found["kit"][1])[:, None] * (fit.courses @ fit.solve)
        common = shared * np.sum(sky**2 * seen.variance, axis=1) @ shared.T
        np.fill_diagonal(common, 0.0)
        for name in ("today, share", "column", "kit"):
            cost = 100 * (np.sqrt(variance[name] / reference) - 1)
            best = 1 / variance[name]
            level = best @ (np.diag(variance[name]) + (common if name == "kit" else 0.0)) @ best / best.sum() ** 2
            white = 100 * (np.sqrt(level * np.sum(1 / reference)) - 1)
            cells = [f"{value:.1f}" for value in (np.median(cost), np.mean(cost[:10]), np.max(cost), white)]
            lines.append(f"| {instrument.name} | {name} | {' | '.join(cells)} |")
        error = np.sqrt(4 * np.sum(seen.outer * seen.variance) / instrument.pairs_per_visit)
        outer = error / np.sum(seen.outer * seen.before) / DEPTH
        lines.append(
            f"  {instrument.name}, `share`: a full visit tells the wings' share of the outer light +- {outer:.3f}"
        )
    return lines


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=64, help="out of transit, and as many in it")
    parser.add_argument("--draws", type=int, default=24, help="random worlds, of which the worst is shown")
    given = parser.parse_args()
    print("Bias of the depth, % of it: AIRS in six parts, blue to red; FGS1\n")
    print("| world | method | 1 | 2 | 3 | 4 | 5 | 6 | FGS1 |\n|---|---|---|---|---|---|---|---|---|")

    def show(title: str, values: dict[str, Array]) -> None:
        for name, value in values.items():
            print(f"| {title} | {name} | {' | '.join(f'{one:+.3f}' for one in value)} |", flush=True)

    for number, (title, world) in enumerate(WORLDS.items()):
        show(title, biases(world, given.pairs, SEED + number))
    rng = np.random.default_rng(SEED)
    drawn = []
    for number in range(given.draws):
        world = sf.World(
            *(float(rng.uniform(0, 10)), str(rng.choice(["own", "flat", "star", "red"])), 1.0),
            *(float(rng.uniform(0.5, 2)), float(rng.uniform(1.5, 3)), float(rng.uniform(1.5, 3.2))),
        )
        drawn.append(biases(world, given.pairs, SEED + 1000 + number))
    if drawn:
        worst = {name: np.max(np.abs([one[name] for one in drawn]), axis=0) for name in METHODS}
        show(f"worst of {given.draws} random worlds, steady sky", worst)
    print("\nNoise over today's, %: median bin, mean of the ten reddest, worst bin, white light with all covariances\n")
    print("| instrument | method | median | red end | worst | white |\n|---|---|---|---|---|---|")
    print("\n".join(noise_costs(given.pairs)))


if __name__ == "__main__":
    main()

"""Another star in the field, told from time: its light does not dip when the target's does.

No image alone tells a neighbour from the target's own structure: a real FGS1 image has spikes on one side that hold a
tenth of its peak. But in transit each pixel dims as far as its light is the target's. Divided by the white light
curve, a pixel of the target alone stays as it is, and what does not belong to the target rises. Its rise over the
transit's depth is the light in it that is none of the target's. The sky is there too, and uniform. What
remains is searched for one more image of the star, elsewhere. The target's own image is the template, so that no shape
is assumed.

Pointing that happens to follow the transit would do the same to single pixels: each pixel's response to the centroid,
to third order, and what is slow, is fitted along, in time and then in place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize

from ..base.instruments import Instrument
from ..base.products import Array
from .cleaning import bridged, median, robust_sigma

BLOCKS_IN_TIME = 60  # in which each pixel's light is followed
_FEWEST = 6  # blocks in transit, and out of it
_NEAREST_PX, _FARTHEST_PX = 2.5, 12.0
_SIGNIFICANCE = 7.0  # standard deviations: hundreds of places are tried
_FAINTEST = 0.005  # light over the target's: what bad detectors make of a star alone reaches half of it
_DEPTH_SIGMA = 5.0  # of a block's noise, below which no transit tells anything
_CORE_PX = 1.2
_GROUPS = 6  # of AIRS columns
_ROUNDS = 2
_STARTS, _BRIGHTEST = (0.25, 0.5, 1.0), 3.0  # light over the target's
_TRIED = 3
_AWAY = (1.0, 1.25, 1.5)  # a bright neighbour, in the template at first, draws the place towards the target
_TEMPLATE_ERROR = 0.03  # of a neighbour's light in a pixel: else a bright one's place is sought where none is
_FLOOR = 0.003  # of a pixel's light: what its response is known to, the files of flat and linearity being as they are


@dataclass(frozen=True)
class Neighbour:
    """A second source: light over the target's, its error, where it is, and its image."""

    flux: float
    flux_sd: float
    offset_px: tuple[float, float]  # (row, column) from the target; AIRS: column 0, whatever it is

    def image_e(self, both_e: Array, pixels: NDArray[np.int64]) -> Array:
        """Its own image, of the light of the target and itself (rows, cols), without sky; `pixels` were read."""
        read = np.zeros(both_e.shape, bool)
        read.ravel()[pixels] = True
        return separated(both_e, self.flux, self.offset_px, np.logical_not(read.any(axis=1)))[1]


@dataclass(frozen=True)
class Still:
    """What does not dip, pixel by pixel (k,) of an image: electrons per pair, error, and the pointing's pattern."""

    light_e: Array
    sd_e: Array
    patterns: Array  # (j, k)


@dataclass(frozen=True)
class Followed:
    """Pixels through the visit: sums of electrons (k, B) over pairs edges[b] to edges[b + 1], of flat `pixels` (k,)."""

    pixels: NDArray[np.int64]
    edges: NDArray[np.int64]
    sums: Array


def neighbour_of(
    followed: Followed, star_e: Array, sums: Array, lost: NDArray[np.bool_], variance: Array, instrument: Instrument
) -> Neighbour | None:
    """The neighbour in a visit's frames, or None.

    Args:
        followed: the pixels that the extraction uses.
        star_e: (rows, cols) light of target and neighbour, electrons per pair.
        sums: (3, n) moments of the target's core, pair by pair.
        lost: (n,) pairs that do not show the star; blocks with one are not used.
        variance: (rows, cols) electrons^2 of a pair.
        instrument: whose.
    """
    starts, sizes = followed.edges[:-1], np.diff(followed.edges)
    if (sizes < 1).any():
        return None
    sound = np.add.reduceat(lost.astype(int), starts) == 0
    core = np.add.reduceat(sums, starts, axis=1)[:, sound]
    moves = core[: 1 if instrument.centre[1] is None else 2] / np.maximum(core[2], 1.0)
    courses = followed.sums[:, sound].astype(np.float64) / sizes[sound]
    noise = np.sqrt(np.maximum(variance.ravel()[followed.pixels], 0) / sizes.mean())
    seen = np.zeros(star_e.shape, bool)
    seen.ravel()[followed.pixels] = True
    order = np.argsort(followed.pixels)  # as `seen` has them
    courses, noise, image = courses[order], noise[order], star_e
    if instrument.centre[1] is None:
        courses, noise, seen, image = _grouped(courses, noise, seen, star_e, instrument)
    white = courses.sum(axis=0)
    course = transit_course(white)
    if course is None or len(white) < 2 * len(moves) + 4 * _FEWEST:
        return None
    return find_neighbour(image, still_light(courses, white, course, moves, noise), seen, instrument)


def _grouped(
    courses: Array, noise: Array, seen: NDArray[np.bool_], image: Array, instrument: Instrument
) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """AIRS in `_GROUPS` groups of columns: courses and noise of pixels `seen`, their mask, the image, all as given.

    Where pixels of a group are missing in a row, the others stand for them as the star's image says.
    """
    place = np.linspace(*instrument.crop, _GROUPS + 1).astype(int)
    group = np.searchsorted(place, np.arange(image.shape[1]), side="right") - 1
    inside = (group >= 0) & (group < _GROUPS)
    matrix = (group[:, None] == np.arange(_GROUPS)) & inside[:, None]
    whole, known = image @ matrix, np.where(seen, image, 0.0) @ matrix
    chosen = known > np.maximum(0.5 * whole, 1.0)
    key = np.full(image.shape, -1)
    key[:, inside] = np.arange(len(image))[:, None] * _GROUPS + group[inside]
    key = key[seen]
    scale = np.where(chosen, whole / np.where(chosen, known, 1.0), 0.0).ravel()
    sums, squares = np.zeros((whole.size, courses.shape[1])), np.zeros(whole.size)
    np.add.at(sums, key[key >= 0], courses[key >= 0])
    np.add.at(squares, key[key >= 0], noise[key >= 0] ** 2)
    kept = chosen.ravel()
    return sums[kept] * scale[kept, None], np.sqrt(squares[kept]) * scale[kept], chosen, whole


def transit_course(white: Array) -> Array | None:
    """Relative depth (B,) of a white light curve (B,) at each time; None where no transit stands out."""
    low, high = np.quantile(white, [0.1, 0.9])
    time = np.linspace(-1, 1, len(white))
    noise = float(robust_sigma(np.diff(white, 2))) / np.sqrt(6)
    outside = white > 0.75 * high + 0.25 * low
    for _ in range(3):
        if outside.sum() < _FEWEST or (~outside).sum() < _FEWEST:
            return None
        level = np.polyval(np.polyfit(time[outside], white[outside], 2 if outside.sum() > 3 * _FEWEST else 1), time)
        course = 1 - white / level
        outside = course < 0.25 * np.quantile(course, 0.9)
    deep = float(median(course[course > 0.75 * np.quantile(course, 0.9)]))
    return course if deep > _DEPTH_SIGMA * noise / float(median(white)) and deep > 0 else None


def still_light(courses: Array, white: Array, course: Array, centroid: Array, noise_e: Array) -> Still:
    """What of each pixel's light does not dip with the white light curve.

    Args:
        courses: (k, B) electrons per pair of the pixels.
        white: (B,) light of all of them that the target lights.
        course: (B,) by `transit_course`.
        centroid: (m, B) of the target, pixels.
        noise_e: (k,) electrons of one block's mean.
    """
    relative = white / white.mean()
    moves = centroid - centroid.mean(axis=1, keepdims=True)
    powers = [np.prod(one, axis=0) for order in (2, 3) for one in combinations_with_replacement(moves, order)]
    time = np.linspace(-1, 1, len(white))
    terms = np.stack([*moves, *powers, time, time**2])
    terms = terms / np.maximum(np.abs(terms).max(axis=1, keepdims=True), 1e-12)
    design = np.stack([np.ones_like(time), course, *terms], axis=1)
    values = (courses / relative).T
    solution, *_ = np.linalg.lstsq(design, values, rcond=None)
    covariance = np.linalg.pinv(design.T @ design)
    residual = values - design @ solution
    freedom = max(len(time) - design.shape[1], 1)
    scatter = np.maximum(np.sqrt((residual**2).sum(axis=0) / freedom), noise_e)
    return Still(solution[1], scatter * np.sqrt(covariance[1, 1]), solution[2 : 2 + len(moves)])


def find_neighbour(image: Array, still: Still, seen: NDArray[np.bool_], instrument: Instrument) -> Neighbour | None:
    """The neighbour in an image (rows, cols) of the target and itself, without sky; None where there is none.

    AIRS: the image's columns are `_GROUPS` groups of the detector's, and a neighbour is at another row.

    Args:
        image: (rows, cols) electrons per pair, everywhere.
        still: of the pixels `seen`, in their order.
        seen: (rows, cols).
        instrument: whose.
    """
    spectral = instrument.centre[1] is None
    sd = np.hypot(still.sd_e, _FLOOR * np.maximum(image[seen], 0))
    unread: NDArray[np.bool_] = np.logical_not(seen.any(axis=1))
    target = _across(_dipping(image, still.light_e, sd, seen, instrument), unread)
    place = (0.0, 0.0)
    flux = error = 0.0
    for number in range(_ROUNDS):
        search = _Search(still, sd, seen, target, spectral)
        place = search.refined(place if number else search.on_the_grid(spectral), spectral)
        flux, error = search.fit(place)
        distance = np.hypot(*place)
        if not (flux > max(_SIGNIFICANCE * error, _FAINTEST) and _NEAREST_PX - 1 < distance < _FARTHEST_PX + 1):
            return None
        target = separated(image, flux, place, unread)[0]

    def misfit(values: Array) -> float:
        """chi2 of flux and place, with the target's image that they leave."""
        if not 0 < values[0] < _BRIGHTEST:
            return np.inf
        where = (float(values[1]), 0.0 if spectral else float(values[2]))
        alone, other = separated(image, float(values[0]), where, unread)
        wrong = np.hypot(sd, _TEMPLATE_ERROR * other[seen])
        return _Search(still, wrong, seen, alone, spectral).misfit(other) + 2 * float(np.log(wrong / sd).sum())

    near = np.array(place[: 1 if spectral else 2])
    starts = [np.append(one, away * near) for one in (flux, *_STARTS) for away in _AWAY]
    found = [_lowest(misfit, start) for start in sorted(starts, key=misfit)[:_TRIED]]
    best = min(found, key=misfit)
    if best[0] < _FAINTEST:
        return None
    return Neighbour(float(best[0]), float(error), (float(best[1]), 0.0 if spectral else float(best[2])))


def _lowest(misfit: Callable[[Array], float], start: Array) -> Array:
    """Where a misfit is lowest, from flux and place (2,) or (3,) on."""
    simplex = np.stack([start, *(start + np.diag([0.2 * start[0], *(0.4 for _ in start[1:])]))])
    options = {"initial_simplex": simplex, "maxfev": 150}
    found: Array = minimize(misfit, start, method="Nelder-Mead", options=options).x
    return found


def _dipping(image: Array, still_e: Array, sd_e: Array, seen: NDArray[np.bool_], instrument: Instrument) -> Array:
    """A first image of the target: the image without what does not dip, where that is beyond doubt.

    Still light is counted from the white light's depth, which a neighbour dilutes. In the target's core there is nearly
    none: what is negative there is the dilution.
    """
    row, col = np.mgrid[: image.shape[0], : image.shape[1]]
    away = np.abs(row - instrument.centre[0])
    if instrument.centre[1] is not None:
        away = np.hypot(away, col - instrument.centre[1])
    core = away[seen] < _CORE_PX
    light = image[seen]
    over = 1 - still_e[core].sum() / max(light[core].sum(), 1.0)  # depth of the target's own light over the white's
    over = max(over, 1.0)
    other = (still_e + (over - 1) * light) / over
    target = image.astype(float)
    target[seen] = light - np.where(other > 4 * sd_e / over, other, 0.0)
    return np.maximum(target, 1e-3 * np.abs(image))


def shifted(image: Array, offset_px: tuple[float, float]) -> Array:
    """The image (rows, cols) moved by (rows, columns), interpolated in its logarithm; it goes on flat at its edges."""
    row, col = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    places = [row - offset_px[0], col - offset_px[1]]
    moved: Array = np.exp(map_coordinates(np.log(np.maximum(image, 1e-2)), places, order=3, mode="nearest"))
    return moved


def separated(
    image: Array, flux: float, offset_px: tuple[float, float], unread: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Target and neighbour (rows, cols) in an image that is the target's and, `flux` times as bright, the same again.

    Each round removes what is left of the target's image further away, one offset after the other. Rows `unread`
    (rows,) tell nothing of their own: the target's light there lies between what it is in the rows beside them.
    """
    target = image
    for _ in range(6):
        target = _across(np.maximum(image - flux * shifted(target, offset_px), 1e-3 * np.abs(image)), unread)
    return target, flux * shifted(target, offset_px)


def _across(image: Array, unread: NDArray[np.bool_]) -> Array:
    """The image with its unread rows between those beside them, in the logarithm."""
    if not unread.any():
        return image
    return np.exp(bridged(np.log(np.maximum(image, 1e-2)).T, unread).T)


class _Search:
    """Least squares of still light: target, its pointing's pattern, sky, and a neighbour at a place."""

    def __init__(self, still: Still, sd: Array, seen: NDArray[np.bool_], target: Array, spectral: bool) -> None:
        self.seen, self.target, self.inverse = seen, target, 1 / sd
        one = np.ones_like(target)
        groups = np.eye(target.shape[1])[:, None, :] * one if spectral else one[None]  # each with a depth of its own
        common = [target[seen], *still.patterns, one[seen]]
        own = [term * group[seen] for group in groups for term in common]
        basis, singular, _ = np.linalg.svd((np.stack(own) * self.inverse).T, full_matrices=False)
        self.basis = basis[:, singular > 1e-9 * singular[0]]
        self.light = self._free(still.light_e * self.inverse)

    def _free(self, values: Array) -> Array:
        return values - self.basis @ (self.basis.T @ values)

    def misfit(self, other_e: Array) -> float:
        """chi2 with a neighbour's image (rows, cols) taken away."""
        return float(np.sum((self.light - self._free(other_e[self.seen] * self.inverse)) ** 2))

    def fit(self, place: tuple[float, float]) -> tuple[float, float]:
        """Light over the target's, and its error, of a neighbour at (row, column) from the target."""
        template = self._free(shifted(self.target, place)[self.seen] * self.inverse)
        norm = max(float(template @ template), 1e-30)
        flux = float(template @ self.light) / norm
        residual = self.light - flux * template
        return flux, max(1.0, float(robust_sigma(residual))) / np.sqrt(norm)

    def gain(self, place: tuple[float, float]) -> float:
        """By how much a neighbour there lowers chi2; negative ones raise it."""
        template = self._free(shifted(self.target, place)[self.seen] * self.inverse)
        found = float(template @ self.light)
        return float(np.sign(found) * found**2 / max(float(template @ template), 1e-30))

    def on_the_grid(self, spectral: bool) -> tuple[float, float]:
        """The best place at whole pixels."""
        reach = int(_FARTHEST_PX)
        steps = range(-reach, reach + 1)
        places = [(r, c) for r in steps for c in ((0,) if spectral else steps)]
        places = [one for one in places if _NEAREST_PX <= np.hypot(*one) <= _FARTHEST_PX]
        rows, cols = self.target.shape
        padded = np.pad(self.target, reach, mode="edge")
        templates = np.stack(
            [padded[reach - r : reach - r + rows, reach - c : reach - c + cols][self.seen] for r, c in places]
        )
        templates = templates * self.inverse
        templates = templates - (templates @ self.basis) @ self.basis.T
        found, norm = templates @ self.light, (templates**2).sum(axis=1)
        best = int(np.argmax(np.sign(found) * found**2 / np.maximum(norm, 1e-30)))
        return float(places[best][0]), float(places[best][1])

    def refined(self, place: tuple[float, float], spectral: bool) -> tuple[float, float]:
        """The best place near one."""

        def cost(moved: Array) -> float:
            return -self.gain((moved[0], 0.0 if spectral else moved[1]))

        start = np.array(place[:1] if spectral else place)
        simplex = np.concatenate([start[None], start + 0.5 * np.eye(len(start))])
        found = minimize(
            cost, start, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 0.01, "maxfev": 60}
        ).x
        return float(found[0]), 0.0 if spectral else float(found[1])

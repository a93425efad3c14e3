"""Other priors over spectra beside the shipped one: other spectra, kinds, widths and remainders, an atlas.

    python bench/priors.py [--priors NAME ...] [--planets 60] [--draws 8]

Each is judged as in bench/spectra.py: spectra recovered from depths with the noise of real stars while nothing else is
unknown; real spectra with several draws of it. A row: for both simulated families, any chemistry, 2024 and 2025, error
of the AIRS shape (mean over planets of the rms, ppm), its z, and the mean over bins of ln p of the true shape under the
answer (a nat a bin is 0.16 to 0.18 of the competition's score).

`atlas` is a prior made of the molecules' spectra themselves: each training spectrum is a component of its own, with its
own features scaled, and a small remainder. `real 2024` is learnt from three quarters of the real spectra of 2024 and
judged on the last quarter and on 2025: what no prior can have that has to be shipped. It is never saved.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from population import SHIPPED_PRIOR, any_chemistry, shipped_training  # noqa: E402
from spectra import FAMILIES, SEEDS, Known, family, real_2024, real_2025, recovered, rms  # noqa: E402

from kitlib.base.instruments import N_BINS  # noqa: E402
from kitlib.base.products import Array, Catalogue  # noqa: E402
from kitlib.base.schema import PriorConfig  # noqa: E402
from kitlib.spectra import prior as prior_module  # noqa: E402
from kitlib.spectra.combination import Component  # noqa: E402
from kitlib.spectra.kinds import Kinds  # noqa: E402
from kitlib.spectra.prior import SpectralPrior, learn_prior, ln_scale_height_depth, stationary  # noqa: E402
from kitlib.transit import shipped_priors  # noqa: E402

HALF = 10_000  # spectra of the own family, and as many of any chemistry, that all priors here are learnt from
SEED = 0  # of their order
EVERY = 4  # of 2024's spectra one judges
REAL = ("2024", "2025")
SMALL = PriorConfig()  # what `train` learns with
LARGE = PriorConfig(components=40, kinds=40, factors=20)
REST_LENGTH, UNFAMILIAR = prior_module.REST_LENGTH, prior_module.UNFAMILIAR_WEIGHT


@dataclass(frozen=True)
class Atlas:
    """The shipped prior with each of some spectra as a component in place of the kinds."""

    shipped: SpectralPrior
    shapes: Array  # (N, 283), rms over AIRS 1
    excess: Array  # (N,) of ln amplitude
    rest: float  # of a shape, sd of what may differ
    length: float  # its correlation, bins

    @property
    def learnt_components(self) -> int:
        """As `SpectralPrior.learnt_components`."""
        return len(self.shapes)

    def components(self, ln_scale_height: float, level: float) -> list[Component]:
        """As `SpectralPrior.components`."""
        opened = self.shipped.components(ln_scale_height, level)[self.shipped.learnt_components :]
        left = (1 - sum(one.weight for one in opened)) / len(self.shapes)
        alpha, beta = self.shipped.amplitude_fit
        moves = np.zeros((N_BINS, 2))
        moves[:, 0] = self.shipped.level_sd
        found, fgs1 = [], np.eye(N_BINS)[0]
        for shape, excess in zip(self.shapes, self.excess, strict=True):
            s = float(np.exp(alpha + beta * ln_scale_height + excess))
            columns = np.column_stack([moves, 0.5 * s * shape, 0.7 * s * fgs1])
            mean = self.shipped.level_mean + s * shape
            found.append(Component(left, mean, s * self.rest, stationary(self.length), columns))
        return found + opened


def training(count: int) -> tuple[Array, Catalogue]:
    """Some of 20,000 spectra, drawn as those of the shipped prior are, with their catalogue rows."""
    depth, catalogue = shipped_training(HALF)
    order = np.random.default_rng(SEED).permutation(len(depth))[:count]
    return depth[order], catalogue.take(order)


def learnt(count: int, config: PriorConfig, rest_length: float = REST_LENGTH) -> SpectralPrior:
    """A prior of `count` spectra; its remainder holds until the next."""
    prior_module.REST_LENGTH = rest_length
    return _with_open_part(learn_prior(*training(count), config))


def mixed(own: int, wild: int) -> SpectralPrior:
    """A prior of so many spectra of the own family and of any chemistry."""
    depth, catalogue = shipped_training(HALF)
    used = np.r_[:own, HALF : HALF + wild]
    return _with_open_part(learn_prior(depth[used], catalogue.take(used), SHIPPED_PRIOR))


def split(loadings: tuple[float, float], rest: tuple[float, float], first: float) -> SpectralPrior:
    """The shipped prior with each kind there twice: loadings and remainder's sd times these; the first's share."""
    shipped = shipped_priors().spectrum
    kinds = [
        replace(k, weight=w * k.weight, loadings=a * k.loadings, rest=b**2 * k.rest)
        for k, w, a, b in zip((shipped.kinds,) * 2, (first, 1 - first), loadings, rest, strict=True)
    ]
    both = {f.name: np.concatenate([getattr(one, f.name) for one in kinds]) for f in fields(Kinds)}
    return replace(shipped, kinds=Kinds(**both))


def _with_open_part(prior: SpectralPrior) -> SpectralPrior:
    """With the shipped shapes of other atmospheres."""
    return replace(prior, unfamiliar=shipped_priors().spectrum.unfamiliar)


def opened(weight: float) -> SpectralPrior:
    """The shipped prior with another weight of the shapes of other atmospheres; it holds until the next."""
    prior_module.UNFAMILIAR_WEIGHT = weight
    return shipped_priors().spectrum


def atlas(count: int, rest: float, length: float) -> Atlas:
    """`count` spectra as they are."""
    depth, catalogue = training(count)
    level = depth[:, 1:].mean(axis=1)
    shape = depth - level[:, None]
    amplitude = np.maximum(rms(shape[:, 1:], axis=1), 1e-7)
    shipped = shipped_priors().spectrum
    alpha, beta = shipped.amplitude_fit
    excess = np.log(amplitude) - alpha - beta * ln_scale_height_depth(catalogue, level)
    return Atlas(shipped, shape / amplitude[:, None], excess, rest, length)


def of_real() -> SpectralPrior | None:
    """Learnt from real spectra; None where they do not lie here."""
    known = real_2024(10**6)
    if known is None:
        return None
    used = np.flatnonzero(np.arange(len(known.depth)) % EVERY != 0)
    return learn_prior(known.depth[used], known.catalogue.take(used), PriorConfig(kinds=4))


PRIORS: dict[str, Callable[[], SpectralPrior | Atlas | None]] = {
    "shipped": lambda: shipped_priors().spectrum,
    "200 spectra": lambda: learnt(200, SMALL),
    "1,100 spectra": lambda: learnt(1_100, SMALL),
    "6,000, 12 kinds": lambda: learnt(6_000, replace(SHIPPED_PRIOR, kinds=12)),
    "6,000, 25 kinds": lambda: learnt(6_000, SHIPPED_PRIOR),
    "6,000, 40 kinds, 20 factors": lambda: learnt(6_000, LARGE),
    "20,000, 25 kinds": lambda: learnt(20_000, SHIPPED_PRIOR),
    "20,000, 40 kinds, 20 factors": lambda: learnt(20_000, LARGE),
    "any chemistry alone": lambda: mixed(0, 6_000),
    "own to any chemistry 1:3": lambda: mixed(2_000, 6_000),
    "remainder 0.7 and 2 times": lambda: split((1.0, 1.0), (0.7, 2.0), 0.5),
    "kinds 1 and 1.7 times as wide": lambda: split((1.0, 1.7), (1.0, 1.7), 0.6),
    "remainder of 2 bins": lambda: learnt(6_000, SHIPPED_PRIOR, 2.0),
    "remainder of 6 bins": lambda: learnt(6_000, SHIPPED_PRIOR, 6.0),
    "remainder of 12 bins": lambda: learnt(6_000, SHIPPED_PRIOR, 12.0),
    "open parts of 0.56": lambda: opened(0.40),
    "atlas, 15 % of 4 bins": lambda: atlas(1_000, 0.15, 4.0),
    "atlas, 30 % of 6 bins": lambda: atlas(1_000, 0.3, 6.0),
    "real 2024": of_real,
}


def judged(prior: SpectralPrior | Atlas, known: Known, draws: int) -> tuple[float, float, float]:
    """Mean rms of the shape's errors (ppm), their z, and the mean of ln p of the true shape's bins."""
    error, pull, _ = recovered(prior, known, draws)
    ln_p = -0.5 * pull**2 - np.log(error / pull / 1e6)
    return float(rms(error, axis=1).mean()), float(rms(pull)), float(ln_p.mean())


def main() -> None:
    """Print a row for each prior."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--priors", nargs="*", choices=PRIORS, default=list(PRIORS))
    parser.add_argument("--planets", type=int, default=60, help="of each set but those of real spectra")
    parser.add_argument("--draws", type=int, default=8, help="of the noise of each real spectrum")
    given = parser.parse_args()
    sets = {name: family(given.planets, SEEDS[name], one) for name, one in FAMILIES.items()}
    sets["any chemistry"] = Known(*any_chemistry(given.planets, SEEDS["any chemistry"]))
    real, six = real_2024(10**6), real_2025()
    if real is not None:
        sets["2024"] = Known(real.depth[::EVERY], real.catalogue.take(slice(None, None, EVERY)))
    if six is not None:
        sets["2025"] = six
    print(f"{'ppm, z, ln p':<30}" + "".join(f"{name:>24}" for name in sets))
    for name in given.priors:
        prior_module.REST_LENGTH, prior_module.UNFAMILIAR_WEIGHT = REST_LENGTH, UNFAMILIAR
        prior = PRIORS[name]()
        if prior is None:
            print(f"{name}: its spectra do not lie here", flush=True)
            continue
        cells = []
        for which, known in sets.items():
            error, pull, ln_p = judged(prior, known, given.draws if which in REAL else 1)
            cells.append(f"{error:>10.1f}{pull:>6.2f}{ln_p:>8.3f}")
        print(f"{name:<30}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()

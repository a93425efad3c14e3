"""Are the spectra like real ones, and does the prior know them: families, six real spectra of 2025, those of 2024.

    python bench/spectra.py [--planets 100] [--prior FILE ...] [--ship]

First table: statistics of both simulated families and of real spectra where they lie (ARIEL_SPECTRA2024_DIR,
ARIEL_REAL_DIR, or ../shared). Second: for each prior (the shipped one, and any file of priors), the spectra recovered
from depths with the noise of real stars while nothing else is unknown: error of the AIRS shape and its z, share of the
prior's open part, ln p of the true spectra. Third: each of the six real spectra, with the percentile of its ln p among
shifted simulated spectra of the same spread. Real spectra are a benchmark alone: nothing is learnt from them.

--ship first learns the shipped spectral prior anew from simulated spectra (`shipped_spectra`, bench/population.py);
limb darkening stays as it is in the file. bench/calibrators.py --ship has to follow.
"""

import argparse
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from population import any_chemistry, shipped_spectra  # noqa: E402

from kitlib.base.instruments import INSTRUMENTS, N_BINS, VISIT_HOURS  # noqa: E402
from kitlib.base.products import Array, Catalogue  # noqa: E402
from kitlib.simulate.lightcurves import EXCESS_NOISE, pair_variance  # noqa: E402
from kitlib.simulate.optics import star_flux  # noqa: E402
from kitlib.simulate.residue import light_shares  # noqa: E402
from kitlib.simulate.spectra import SHIFTED, TRAINING, Chemistry, draw_spectra  # noqa: E402
from kitlib.simulate.systems import draw_systems, observed_catalogue  # noqa: E402
from kitlib.simulate.worlds import OWN  # noqa: E402
from kitlib.spectra.combination import Component, Hypothesis, Likelihood, combine, sound  # noqa: E402
from kitlib.spectra.prior import SpectralPrior, ln_scale_height_depth  # noqa: E402
from kitlib.transit.priors import Priors  # noqa: E402

SHIPPED = ROOT / "kitlib" / "data" / "prior.safetensors"
SEEDS = {"training": 9901, "shifted": 9902, "any chemistry": 9903, "2024": 9904, "noise": 9905, "like spread": 9906}
STATISTICS_OF = 2000  # spectra of a family
LIKE = 40  # shifted spectra of a real one's spread
BRIGHTNESS = 0.77  # of a star that no catalogue tells, over the reference star's: the mean of the simulator
LAGS_UM = 0.16


@dataclass(frozen=True)
class Known:
    """Spectra (P, 283) with their catalogue."""

    depth: Array
    catalogue: Catalogue

    def first(self, count: int) -> "Known":
        """Fewer of them."""
        return Known(self.depth[:count], self.catalogue.take(slice(0, count)))


def family(count: int, seed: int, chemistry: Chemistry) -> Known:
    """Simulated spectra."""
    rng = np.random.default_rng(seed)
    systems = draw_systems(count, rng)
    systems = systems.take(rng.permutation(count))
    return Known(draw_spectra(systems, rng, chemistry), observed_catalogue(systems, rng))


def shared(variable: str, name: str, file: str) -> Path | None:
    """A file of reference data; None where it does not lie."""
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / name)) / file
    return path if path.is_file() else None


def real_2025() -> Known | None:
    """The six published true spectra, with the real catalogue's rows."""
    spectra = shared("ARIEL_REAL_DIR", "real", "spectra/truth2025.csv")
    stars = shared("ARIEL_REAL_DIR", "real", "competition/train_star_info.csv")
    if spectra is None or stars is None:
        return None
    truth = pl.read_csv(spectra)
    rows = truth.select("planet_id").join(pl.read_csv(stars), on="planet_id", how="left", maintain_order="left")
    columns = [rows[name].to_numpy().astype(float) for name in ("Rs", "Ms", "Ts", "Mp", "P", "sma", "i")]
    return Known(truth.drop("planet_id").to_numpy(), Catalogue(truth["planet_id"].to_numpy(), *columns))


def real_2024(count: int) -> Known | None:
    """Real spectra of 2024 around simulated stars: their own are not known here."""
    path = shared("ARIEL_SPECTRA2024_DIR", "spectra2024", "spectra.npy")
    if path is None:
        return None
    depth = np.load(path).astype(float)
    depth = depth[:: max(len(depth) // count, 1)][:count]
    return Known(depth, family(len(depth), SEEDS["2024"], TRAINING).catalogue)


def statistics(known: Known) -> dict[str, str]:
    """Figures of the issue's list, by name."""
    airs = known.depth[:, 1:]
    shape = airs - airs.mean(axis=1, keepdims=True)
    spread = shape.std(axis=1)
    rough = np.median(np.abs(np.diff(airs, n=2, axis=1)), axis=1) / spread
    offset = (known.depth[:, 0] - airs.mean(axis=1)) / spread
    row = {
        "sd, ppm, 5 / 50 / 95 %": _three(spread * 1e6, "{:.0f}"),
        "roughness / sd": _three(rough, "{:.4f}"),
        "FGS1 offset / sd": _three(offset, "{:.1f}"),
    }
    if len(airs) > 20:
        values = np.linalg.svd(shape - shape.mean(axis=0), compute_uv=False) ** 2
        left = 1 - np.cumsum(values) / values.sum()
        correlation = np.corrcoef((shape / spread[:, None]).T)
        lag = round(LAGS_UM / 0.0069)
        row["variance left by 5 / 10 components"] = f"{left[4]:.3f} / {left[9]:.3f}"
        row["correlation over 0.16 um"] = f"{np.diagonal(correlation, lag).mean():.2f}"
    return row


def _three(values: Array, form: str) -> str:
    return " / ".join(form.format(v) for v in np.percentile(values, [5, 50, 95]))


def noise(known: Known) -> Array:
    """Sigma of every depth, (P, 283): photons and detectors in and out of one transit, nothing else unknown."""
    rows, level = known.catalogue, known.depth[:, 1:].mean(axis=1)
    impact = np.minimum(rows.semi_major_axis_rs * np.cos(np.radians(rows.inclination_deg)), 0.9)
    chord = np.sqrt((1 + np.sqrt(level)) ** 2 - impact**2) / rows.semi_major_axis_rs
    share = 24 * rows.period_days / np.pi * np.arcsin(np.minimum(chord, 1)) / VISIT_HOURS
    system = draw_systems(1, np.random.default_rng(0))
    sigma = np.empty_like(known.depth)
    for i, (temperature, inside) in enumerate(zip(rows.stellar_temperature_k, share.clip(0.1, 0.8), strict=True)):
        flux = star_flux(float(temperature), BRIGHTNESS)
        for instrument, bins in zip(INSTRUMENTS, _bins_of(), strict=True):
            held, _, sky = light_shares(instrument, OWN, system)
            variance = pair_variance(instrument, flux[bins], held, sky) * EXCESS_NOISE[instrument.name] ** 2
            pairs = instrument.pairs_per_visit * inside * (1 - inside)
            sigma[i, bins] = np.sqrt(variance / pairs) / flux[bins]
    return sigma


def _bins_of() -> list[slice]:
    return [slice(0, 1) if instrument.name == "FGS1" else slice(1, N_BINS) for instrument in INSTRUMENTS]


def mixtures(prior: SpectralPrior, known: Known) -> list[list[Component]]:
    """The prior's mixture for each planet."""
    level = known.depth[:, 1:].mean(axis=1)
    height = ln_scale_height_depth(known.catalogue, level)
    return [prior.components(float(h), float(one)) for h, one in zip(height, level, strict=True)]


def ln_density(components: list[Component], depth: Array) -> float:
    """ln p of a spectrum (283,) under a mixture."""
    kernels = {id(one.kernel): one.kernel for one in components}
    roots = {key: np.linalg.cholesky(sound(kernel)) for key, kernel in kernels.items()}
    whitening = {key: np.linalg.inv(root) for key, root in roots.items()}
    found = []
    for one in components:
        root = roots[id(one.kernel)]
        both = whitening[id(one.kernel)] @ np.column_stack([depth - one.mean, one.loadings]) / one.scale
        away, loadings = both[:, 0], both[:, 1:]
        inner = np.eye(loadings.shape[1]) + loadings.T @ loadings
        towards = loadings.T @ away
        distance = away @ away - towards @ np.linalg.solve(inner, towards)
        ln_size = 2 * np.log(np.diag(root) * one.scale).sum() + np.linalg.slogdet(inner)[1]
        found.append(np.log(one.weight) - 0.5 * (distance + ln_size + len(depth) * np.log(2 * np.pi)))
    return float(np.logaddexp.reduce(found))


def recovered(prior: SpectralPrior, known: Known, draws: int = 1) -> tuple[Array, Array, Array]:
    """Shape errors in ppm and their z (draws x P, 282), and the open part's share after the data (draws x P,)."""
    rng, sigma = np.random.default_rng(SEEDS["noise"]), noise(known)
    nothing = Hypothesis(0.0, np.zeros(0, bool), np.zeros((0, 0)), np.zeros(0))
    away = np.eye(N_BINS)
    away[1:, 1:] -= 1 / (N_BINS - 1)
    errors, pulls, opened = [], [], []
    for _ in range(draws):
        for truth, sd, parts in zip(known.depth, sigma, mixtures(prior, known), strict=True):
            data = truth + sd * rng.standard_normal(N_BINS)
            seen = Likelihood(data, sd**-2, np.zeros((N_BINS, 0)), np.zeros(N_BINS), (nothing,))
            mean, cov, weight = combine(seen, parts)
            error = (away @ (mean - truth))[1:]
            errors.append(error * 1e6)
            pulls.append(error / np.sqrt(np.diag(away @ cov @ away.T))[1:])
            opened.append(weight[prior.learnt_components :].sum())
    return np.array(errors), np.array(pulls), np.array(opened)


def rms(values: Array, axis: int | None = None) -> Array:
    """Root mean square."""
    return np.sqrt((values**2).mean(axis=axis))


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=100, help="of each simulated set and of 2024")
    parser.add_argument("--draws", type=int, default=8, help="of the noise of each of the six real spectra")
    parser.add_argument("--prior", type=Path, nargs="*", default=[], help="files of priors beside the shipped one")
    parser.add_argument("--ship", action="store_true", help="learn the spectral prior in kitlib/data anew")
    given = parser.parse_args()
    if given.ship:
        replace(Priors.load(SHIPPED), spectrum=shipped_spectra()).save(SHIPPED)
    whole = {name: family(STATISTICS_OF, SEEDS[name], one) for name, one in FAMILIES.items()}
    real = {"real, 2024": real_2024(10**6), "real, 2025": real_2025()}
    for name, known in (whole | real).items():
        print(f"\n{name}" + (": does not lie here" if known is None else f", {len(known.depth)} spectra"))
        for figure, value in {}.items() if known is None else statistics(known).items():
            print(f"  {figure:<38}{value}")
    sets = {name: known.first(given.planets) for name, known in whole.items()}
    sets["any chemistry"] = Known(*any_chemistry(given.planets, SEEDS["any chemistry"]))
    sets |= {name: known for name, known in (("real, 2024", real_2024(given.planets)),) if known is not None}
    priors = {path.name: Priors.load(path).spectrum for path in [SHIPPED, *given.prior]}
    for name, prior in priors.items():
        print(f"\n{name}: {prior.learnt_components} components and the open part")
        print(f"  shape errors, ppm: median{'rms':>8}{'z':>7}{'open':>7}{'ln p, 5 / 50 / 95 %':>24}")
        for which, known in sets.items():
            _row(which, known, prior, 1)
        if real["real, 2025"] is not None:
            _row("real, 2025", real["real, 2025"], prior, given.draws)
            _each(real["real, 2025"], whole["shifted"], prior, given.draws)


FAMILIES = {"training": TRAINING, "shifted": SHIFTED}


def _row(name: str, known: Known, prior: SpectralPrior, draws: int) -> None:
    error, pull, opened = recovered(prior, known, draws)
    density = [ln_density(parts, one) for parts, one in zip(mixtures(prior, known), known.depth, strict=True)]
    figures = f"{np.median(np.abs(error)):>8.1f}{rms(error):>8.1f}{rms(pull):>7.2f}{opened.mean():>7.2f}"
    print(f"  {name:<16}{figures}{_three(np.array(density), '{:.0f}'):>24}", flush=True)


def _each(known: Known, shifted: Known, prior: SpectralPrior, draws: int) -> None:
    """One line a real spectrum."""
    error, pull, _ = (part.reshape(draws, len(known.depth), -1) for part in recovered(prior, known, draws))
    spread = [np.log(one.depth[:, 1:].std(axis=1)) for one in (known, shifted)]
    parts = mixtures(prior, known)
    print("  planet          sd ppm   shape error, rms      z      ln p   percentile among shifted of this spread")
    for i, planet in enumerate(known.catalogue.planet_id):
        density = ln_density(parts[i], known.depth[i])
        like = np.argsort(np.abs(spread[1] - spread[0][i]))[:LIKE]
        others = Known(shifted.depth[like], shifted.catalogue.take(like))
        theirs = [ln_density(m, one) for m, one in zip(mixtures(prior, others), others.depth, strict=True)]
        place = 100 * np.mean(np.array(theirs) < density)
        figures = f"{np.exp(spread[0][i]) * 1e6:>10.0f}{rms(error[:, i]):>15.1f}{rms(pull[:, i]):>12.2f}"
        print(f"  {planet:<14}{figures}{density:>10.0f}{place:>8.0f} %", flush=True)


if __name__ == "__main__":
    main()

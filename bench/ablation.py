"""What each part of the fusion model is worth: one training a row, same planets, same seed, judged on the same planets.

    python bench/ablation.py [--planets 2500] [--held-out 100] [--small 500] [--steps 1200] [--out FOLDER]

Rows that change the network alone train on --planets simulated planets, as `spectramind pretrain` does. Two rows
need planets of their own, --small of them: a fit without the spectral prior, and training without pre-training on as
many planets as a competition gives. Held-out planets have seeds of their own and are not those of bench/score.py. Each
row is the score as it is, then calibrated out of fold on the held-out planets themselves. Finished parts are kept in
FOLDER: a run that was cut off goes on.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from population import draw, first  # noqa: E402

from kitlib.base.config import compose  # noqa: E402
from kitlib.base.instruments import N_BINS  # noqa: E402
from kitlib.base.products import Catalogue, Posterior, Spectra  # noqa: E402
from kitlib.base.provenance import write_atomic  # noqa: E402
from kitlib.base.schema import PhysfitConfig  # noqa: E402
from kitlib.fusion.ensemble import matched  # noqa: E402
from kitlib.fusion.features import features_of, joined, read_set, read_shards, write_set  # noqa: E402
from kitlib.fusion.losses import Loss  # noqa: E402
from kitlib.fusion.model import load_model, predict  # noqa: E402
from kitlib.fusion.train import train_folds, train_one  # noqa: E402
from kitlib.rules import constraints as rules  # noqa: E402
from kitlib.run.fits import fit_planets  # noqa: E402
from kitlib.run.pretraining import make_pretraining_set  # noqa: E402
from kitlib.sigma.fit import cross_calibrate  # noqa: E402
from kitlib.sigma.metric import gll_score, naive_statistics  # noqa: E402
from kitlib.simulate.optics import wavelengths_um  # noqa: E402
from kitlib.spectra.combination import Component  # noqa: E402
from kitlib.spectra.prior import SpectralPrior  # noqa: E402
from kitlib.transit.priors import Priors, shipped_priors  # noqa: E402

SEEDS = {"training": 1001, "held-out": 8606, "shifted": 8303}
FLAT_DEPTH = 3e-3  # scatter of each bin where there is no spectral prior: a fifth of a typical depth
NETWORK = {
    "v50": [],
    "without Mamba encoder": ["model.fgs1_encoder=false"],
    "without CNN": ["model.airs_encoder=false"],
    "without graph": ["model.graph=false"],
    "without rules": [
        *("loss.smoothness.enabled=false", "loss.bands.enabled=false"),
        *("loss.rules.nonneg_mu=null", "loss.rules.bounded_sigma=null"),
    ],
    "one sigma factor": ["model.sigma_factors=1"],
    "direct regression": ["model.base=population"],
}


@dataclass(frozen=True)
class FlatPrior(SpectralPrior):
    """No knowledge of spectra: each bin alone."""

    def components(self, ln_scale_height: float, level: float) -> list[Component]:
        """The learnt part alone, which is as wide as can be."""
        return self._learnt(ln_scale_height, level)

    def _learnt(self, ln_scale_height: float, level: float) -> list[Component]:
        mean = np.full(N_BINS, float(self.level_mean))
        return [Component(1.0, mean, FLAT_DEPTH, self.shape_cov, self._loadings(level))]


def flat_prior() -> Priors:
    """The shipped prior's level and stars, and spectra of any shape."""
    known = {name: getattr(shipped_priors().spectrum, name) for name in SpectralPrior.__dataclass_fields__}
    flat = FlatPrior(**known | {"shape_cov": np.eye(N_BINS), "unfamiliar": None})
    return replace(shipped_priors(), spectrum=flat)


@dataclass(frozen=True)
class HeldOut:
    """Planets that judge: their fits, catalogue rows and true spectra."""

    posterior: Posterior
    catalogue: Catalogue
    truth: Spectra


def held_out(count: int, priors: Priors, workers: int) -> dict[str, HeldOut]:
    """Fits of both held-out populations with a prior."""
    found = {}
    for name in ("held-out", "shifted"):
        population = draw(count, count, SEEDS[name], workers, name == "shifted")
        _, catalogue, truth = first(population, count)
        posterior, _ = fit_planets(population.curves, catalogue, priors, PhysfitConfig(), workers=workers)
        found[name] = HeldOut(posterior, catalogue, truth)
    return found


def row_of(answer: Posterior, one: HeldOut, naive: tuple[float, float]) -> dict[str, float]:
    """Score of an answer as it is, and calibrated out of fold."""
    plain = gll_score(np.maximum(answer.mean, 1e-6), answer.sigma, one.truth.depth, *naive)
    better = cross_calibrate(answer, one.truth, naive=naive)
    calibrated = gll_score(better.mu, better.sigma, one.truth.depth, *naive)
    return {"plain": plain.total, "calibrated": calibrated.total}


def judged(models: list[Path], judges: dict[str, HeldOut], naive: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Rows of an ensemble of models on both populations; without models those of the fit itself."""
    rows = {}
    for name, one in judges.items():
        features = features_of(one.posterior, one.catalogue, one.posterior.inputs)
        answers = [predict(load_model(path)[0], one.posterior, features) for path in models]
        rows[name] = row_of(matched(answers) if answers else one.posterior, one, naive)
    return rows


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown, one line a row."""
    lines = ["| | held-out | calibrated | shifted | calibrated |", "|---|---|---|---|---|"]
    for name, row in results.items():
        cells = (f"{row[p][kind]:.4f}" for p in ("held-out", "shifted") for kind in ("plain", "calibrated"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train and judge every row; print the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=2500, help="planets of pre-training")
    parser.add_argument("--held-out", type=int, default=100, help="planets of each population that judges")
    parser.add_argument("--small", type=int, default=500, help="planets of the rows that need their own")
    parser.add_argument("--steps", type=int, default=1200, help="of each training, at most")
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--out", type=Path, default=Path("artifacts/ablation"))
    given = parser.parse_args()
    words = [f"run.seed={SEEDS['training']}", f"pretrain.planets={given.planets}", f"train.steps={given.steps}"]
    words.append("run.progress=false")
    small = [*words, f"pretrain.planets={given.small}"]
    results: dict[str, dict[str, dict[str, float]]] = {}

    def note(name: str, row: dict[str, dict[str, float]]) -> None:
        results[name] = row
        write_atomic(given.out / "results.json", json.dumps(results, indent=1) + "\n")
        print(f"\n{table(results)}", flush=True)

    def shards(name: str, overrides: list[str], priors: Priors) -> list[Path]:
        return make_pretraining_set(compose("pretrain", overrides), priors, given.out / "shards" / name, given.workers)

    def trained(name: str, data: list[Path], overrides: list[str], initial: Path | None = None) -> Path:
        config = compose("pretrain", overrides)
        loss = Loss(*naive, wavelengths_um(), rules.from_config(config.loss))
        return train_one(data, config, loss, given.out / "models" / name.replace(" ", "_"), initial)

    data = shards("pretraining", words, shipped_priors())
    naive = naive_statistics(read_shards(data)[1].numpy())
    judges = held_out(given.held_out, shipped_priors(), given.workers)
    note("physics", judged([], judges, naive))
    for name, overrides in NETWORK.items():
        note(name, judged([trained(name, data, words + overrides)], judges, naive))
    competition = shards("competition", [*small, "pretrain.randomised=0", "run.seed=1002"], shipped_priors())
    scratch = trained("without pre-training", competition, small)
    note("without pre-training", judged([scratch], judges, naive))
    tuned = trained("fine-tuned", competition, small, given.out / "models" / "v50" / "model.safetensors")
    note("pre-trained, then fine-tuned", judged([tuned], judges, naive))
    whole = given.out / "shards" / "whole.safetensors"
    parts = [read_set(path) for path in data]
    if not whole.is_file():
        import torch

        write_set(whole, joined([features for features, _ in parts]), torch.cat([truth for _, truth in parts]))
    config = compose("pretrain", words)
    loss = Loss(*naive, wavelengths_um(), rules.from_config(config.loss))
    note("ensemble of 5", judged(train_folds(whole, config, loss, given.out / "models" / "folds"), judges, naive))
    flat = held_out(given.held_out, flat_prior(), given.workers)
    note("physics without prior", judged([], flat, naive))
    bare = trained("without prior", shards("flat", small, flat_prior()), small)
    note("v50 without prior", judged([bare], flat, naive))


if __name__ == "__main__":
    main()

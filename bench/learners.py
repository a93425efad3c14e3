"""What a competitor would try instead of the fusion model: boosted trees and a plain network on the fit's diagnostics.

    python -m pip install scikit-learn
    python -m kitlib pretrain run.seed=1001 pretrain.planets=1600 run.out=OUT
    python bench/learners.py OUT/pretrain/shards [--planets 200] [--worlds NAME ...] [--fits FOLDER] [--model FILE]

All learn from the same planets: those that the fusion model is pre-trained on. Trees (histogram boosting, scikit-learn)
and network see `Features.meta` and how far residuals lie off zero before, in and after the transit; they predict the
mean error of FGS1 and level and the size of the errors of FGS1, level and shape, in units of the fit's sigma. The
fusion model sees more: whole residual maps, bin by bin. Each kind's sigma is calibrated on the planets of the shipped
calibrators and judged on the worlds of bench/worlds.py.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from joblib import cpu_count
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import cross_val_predict

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from calibrators import calibrated_on  # noqa: E402
from rows import Row, calibration_rows, fitted, kept, worlds  # noqa: E402

from kitlib.base.instruments import N_AIRS_BINS, N_BINS  # noqa: E402
from kitlib.base.products import Array, Posterior  # noqa: E402
from kitlib.fusion import Features, features_of, load_model, predict, read_shards  # noqa: E402
from kitlib.fusion.features import AIRS_PHASES, FGS1_PHASES, PHASE_LIMIT, shape_variance  # noqa: E402
from kitlib.fusion.model import Answer, corrected  # noqa: E402
from kitlib.run.inputs import SHIPPED_MODEL  # noqa: E402
from kitlib.sigma import apply  # noqa: E402
from kitlib.sigma.calibrator import calibrated_covariance  # noqa: E402
from kitlib.sigma.metric import gll_score, naive_statistics  # noqa: E402
from kitlib.sigma.reliability import reliability_by_part  # noqa: E402

WINDOWS = np.array([-PHASE_LIMIT, -0.75, -0.55, -0.35, 0.0, 0.35, 0.55, 0.75, PHASE_LIMIT])  # in T14 from mid-transit
MOST = 4.0  # sigma: an error beyond it counts as one of this size where a mean is learnt
INPUT_LIMIT = 6.0  # standard deviations
HIDDEN, STEPS, BATCH, PATIENCE = 64, 6_000, 128, 10
Correction = Callable[[Features], tuple[Array, Array]]  # -> shifts (P, 2), factors (P, 3)


def columns(features: Features) -> Array:
    """(P, C): metadata, which visits are there, and residuals of both instruments by window, in sigma."""
    parts = [features.meta.double().numpy(), features.present.flatten(1).double().numpy()]
    fgs1, airs = features.fgs1.double().numpy(), features.airs.double().numpy()
    for residual, information in ((fgs1[:, :, 2], fgs1[:, :, 3]), _white(airs[:, :, 0], airs[:, :, 1])):
        phases = FGS1_PHASES if residual.shape[-1] == FGS1_PHASES else AIRS_PHASES
        phase = PHASE_LIMIT * (2 * (np.arange(phases) + 0.5) / phases - 1)
        weight = np.expm1(information)
        for low, high in zip(WINDOWS, WINDOWS[1:], strict=False):
            inside = (phase >= low) & (phase < high)
            total = np.sqrt((weight[..., inside] ** 2).sum((1, 2)))
            parts.append(((weight * residual)[..., inside].sum((1, 2)) / np.maximum(total, 1e-9))[:, None])
    return np.hstack(parts)


def _white(residual: Array, information: Array) -> tuple[Array, Array]:
    """Residual and information of AIRS, (P, V, F, K), added up over wavelength."""
    weight = np.expm1(information)
    total = np.sqrt((weight**2).sum(-1))
    return (weight * residual).sum(-1) / np.maximum(total, 1e-9), np.log1p(total)


def errors(features: Features, truth: Array) -> tuple[Array, Array]:
    """Errors of FGS1 and level (P, 2) and the mean square of the shape's (P,), in units of the fit's sigma."""
    error = truth - features.mean.numpy()
    level = error[:, 1:].mean(1)
    first = error[:, 0] / features.variance[:, 0].sqrt().numpy()
    shape = (error[:, 1:] - level[:, None]) ** 2
    variance = shape_variance(features.variance, features.level_variance, features.cross).numpy()
    return np.stack([first, level / features.level_variance.sqrt().numpy()], 1), (shape / variance).mean(1)


def trees(features: Features, truth: Array) -> Correction:
    """Boosted trees: two for the means, three for the logarithms of the sizes (a Gaussian's likelihood)."""
    seen, (error, shape) = columns(features), errors(features, truth)
    settings = {"max_depth": 3, "learning_rate": 0.05, "min_samples_leaf": 40, "l2_regularization": 5.0}
    settings |= {"early_stopping": True, "n_iter_no_change": 15, "random_state": 0}
    clipped = np.clip(error, -MOST, MOST)
    means = [HistGradientBoostingRegressor(**settings) for _ in range(2)]
    left = [one - cross_val_predict(model, seen, one) for model, one in zip(means, clipped.T, strict=True)]
    squares = [error[:, i] ** 2 - clipped[:, i] ** 2 + left[i] ** 2 for i in range(2)] + [shape]
    means = [model.fit(seen, one) for model, one in zip(means, clipped.T, strict=True)]
    sizes = [
        HistGradientBoostingRegressor(loss="gamma", **settings).fit(seen, np.maximum(one, 1e-6)) for one in squares
    ]

    def correction(given: Features) -> tuple[Array, Array]:
        table = columns(given)
        shifts = np.stack([model.predict(table) for model in means], 1)
        return shifts, np.sqrt(np.stack([model.predict(table) for model in sizes], 1))

    return correction


def network(features: Features, truth: Array) -> Correction:
    """A network of two hidden layers, stopped by the likelihood of a tenth of the planets."""
    torch.manual_seed(0)
    seen, (error, shape) = columns(features), errors(features, truth)
    mean, sd = np.nanmean(seen, 0), np.nanstd(seen, 0)

    def scaled(table: Array) -> torch.Tensor:
        values = np.nan_to_num((table - mean) / np.where(sd > 1e-6, sd, 1.0))
        return torch.as_tensor(np.clip(values, -INPUT_LIMIT, INPUT_LIMIT), dtype=torch.float32)

    layers = [torch.nn.Linear(seen.shape[1], HIDDEN), torch.nn.SiLU(), torch.nn.Dropout(0.2)]
    layers += [torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.SiLU(), torch.nn.Dropout(0.2), torch.nn.Linear(HIDDEN, 5)]
    model = torch.nn.Sequential(*layers)
    torch.nn.init.zeros_(layers[-1].weight)
    torch.nn.init.zeros_(layers[-1].bias)
    inputs = scaled(seen)
    targets = torch.as_tensor(np.column_stack([error, shape]), dtype=torch.float32)

    def loss(index: torch.Tensor) -> torch.Tensor:
        out, known = model(inputs[index]), targets[index]
        squares = torch.cat([(known[:, :2] - out[:, :2]).square(), known[:, 2:]], 1)
        return (0.5 * squares * torch.exp(-2 * out[:, 2:]) + out[:, 2:]).sum(1).mean()

    order = torch.randperm(len(inputs))
    held, rest = order[: len(order) // 10], order[len(order) // 10 :]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    best, kept_state, worse = np.inf, model.state_dict(), 0
    for step in range(STEPS):
        if step % 50 == 0:
            model.eval()
            with torch.no_grad():
                value = float(loss(held))
            if value < best:
                best, worse = value, 0
                kept_state = {name: one.clone() for name, one in model.state_dict().items()}
            else:
                worse += 1
            if worse == PATIENCE:
                break
            model.train()
        value = loss(rest[torch.randint(len(rest), (BATCH,))])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    model.load_state_dict(kept_state)
    model.eval()

    def correction(given: Features) -> tuple[Array, Array]:
        with torch.no_grad():
            out = model(scaled(columns(given))).double().numpy()
        return out[:, :2], np.exp(out[:, 2:])

    return correction


def moved(found: Posterior, features: Features, correction: Correction) -> Posterior:
    """The posterior with shifts and factors; a planet without a fit keeps its own."""
    shifts, factors = (np.where(features.fitted.numpy()[:, None], v, i) for i, v in enumerate(correction(features)))
    sd = np.sqrt(np.column_stack([features.variance[:, 0].numpy(), features.level_variance.numpy()]))
    mu = features.mean.numpy() + np.hstack(
        [shifts[:, :1] * sd[:, :1], np.repeat(shifts[:, 1:] * sd[:, 1:], N_AIRS_BINS, axis=1)]
    )
    count, tensor = len(mu), torch.as_tensor
    smooth, coupling = torch.ones((count, N_AIRS_BINS)).double(), torch.zeros((count, N_BINS)).double()
    return corrected(found, Answer(tensor(mu), features.variance.sqrt(), tensor(factors), smooth, coupling))


def main() -> None:
    """Learn, calibrate, judge; print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="folder of `pretrain`'s training set")
    parser.add_argument("--planets", type=int, default=200, help="that judge, a row")
    parser.add_argument("--worlds", nargs="*", help="names of rows; all by default")
    parser.add_argument("--fits", type=Path, help="keep fits there, as bench/worlds.py does")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="the fusion model's file")
    parser.add_argument("--workers", type=int, default=cpu_count())
    given = parser.parse_args()
    learnt, truth = read_shards(sorted(given.shards.glob("shard_*.safetensors")))
    usable = learnt.fitted
    learnt, truth = learnt.take(usable), truth[usable].numpy()
    model, _ = load_model(given.model)
    corrections = {"trees": trees(learnt, truth), "network": network(learnt, truth)}

    def answers(row: Row) -> dict[str, Posterior]:
        features = features_of(row.found, row.catalogue, row.found.inputs)
        own = {name: moved(row.found, features, one) for name, one in corrections.items()}
        return {"physics": row.found, "v50": predict(model, row.found, features)} | own

    known = kept(given.fits, calibration_rows)(given.workers)
    each = [answers(row) for row in known]
    calibrators = {name: calibrated_on(known, [one[name] for one in each]) for name in each[0]}
    print(f"{len(truth)} planets learnt from\n{'':<22}" + "".join(f"{name:>34}" for name in calibrators))
    scores = []
    for name in given.worlds or worlds():
        row = kept(given.fits, fitted)(name, given.planets, "judged", given.workers)
        if row is None:
            continue
        naive, line = naive_statistics(row.truth.depth), f"{name:<22}"
        scores.append([])
        for kind, posterior in answers(row).items():
            answer = apply(calibrators[kind], posterior)
            score = gll_score(answer.mu, answer.sigma, row.truth.depth, *naive)
            scores[-1].append(score.total)
            parts = reliability_by_part(answer.mu, calibrated_covariance(calibrators[kind], posterior), row.truth.depth)
            spread = "/".join(f"{part['rms']:.2f}" for part in parts.values())
            line += f"{score.total:>18.4f}{spread:>16}"
        print(line, flush=True)
    print(f"{'mean':<22}" + "".join(f"{value:>18.4f}{'':>16}" for value in np.mean(scores, axis=0)))


if __name__ == "__main__":
    main()

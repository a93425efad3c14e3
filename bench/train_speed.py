"""Training of the fusion model against its data loading: planets a second, and how long a step waits for Python.

    python bench/train_speed.py [--planets 1000] [--rounds 5] [--steps 10] [--threads N] [--out FILE.json]

Rows, measured in turn: simulating the light curves of planets for pre-training (on one core), reading the training
set's file (once in a run), taking every batch of an epoch from it (what an epoch would take if the model cost nothing:
the floor), and steps of the optimiser in the shipped configuration of `train`. Time outside of torch's operations is
what torch's own profiler does not attribute to any of them, its own cost included: an upper bound of what is spent in
Python. Sixteen planets are simulated and fitted, then repeated.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from joblib import cpu_count  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

from kitlib.base.config import compose  # noqa: E402
from kitlib.base.schema import Config  # noqa: E402
from kitlib.fusion.features import read_set, write_set  # noqa: E402
from kitlib.fusion.losses import Loss  # noqa: E402
from kitlib.fusion.train import Run, TrainingSet  # noqa: E402
from kitlib.run.pretraining import draw_planets, fitted_shard  # noqa: E402
from kitlib.sigma.metric import naive_statistics  # noqa: E402
from kitlib.simulate.optics import wavelengths_um  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

DISTINCT = 16
SIMULATED = 32  # planets, a round


def training_set(config: Config, planets: int, path: Path) -> TrainingSet:
    """Write a set of so many planets, of which sixteen differ, and read it back."""
    found = TrainingSet(*fitted_shard(config, shipped_priors(), 0))
    chosen = found.take(torch.arange(planets) % DISTINCT)
    write_set(path, chosen.features, chosen.truth)
    return TrainingSet(*read_set(path))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def outside_operations(step: Callable[[], object], steps: int) -> float:
    """Share of the time of `steps` steps that torch's profiler finds in no operation."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        whole = seconds(lambda: [step() for _ in range(steps)])
    return 1 - sum(event.self_cpu_time_total for event in found.key_averages()) / 1e6 / whole


def main() -> None:
    """Measure, print a block for EXPERIMENTS.md, and write the figures as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planets", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="of the optimiser, a round")
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "set.safetensors"
        config = compose("train", ["env=ci", f"pretrain.shard={DISTINCT}", f"run.out={scratch}"])
        data = training_set(config, given.planets, path)
        torch.set_num_threads(given.threads)
        naive = naive_statistics(data.truth[:DISTINCT].numpy())
        run = Run(config, Loss(*naive, wavelengths_um()), Path(scratch), "cpu", None)
        run.model.scale_inputs(data.features)
        batch, order = config.train.batch, torch.randperm(given.planets)
        rng = np.random.default_rng(1)
        works = {
            "simulating light curves, one core": (
                lambda: draw_planets(SIMULATED, config.pretrain.randomised, rng),
                SIMULATED,
            ),
            "reading the set's file, once": (lambda: read_set(path), given.planets),
            "taking an epoch's batches: the floor": (lambda: [data.take(i) for i in order.split(batch)], given.planets),
            "training": (lambda: [run._step(data) for _ in range(given.steps)], given.steps * batch),
        }
        rates: dict[str, list[float]] = {name: [] for name in works}
        run._step(data)  # warm
        for _ in range(given.rounds):
            for name, (work, planets) in works.items():
                rates[name].append(planets / seconds(work))
        share = outside_operations(lambda: run._step(data), given.steps)
    loading = statistics.median(rates["training"]) / statistics.median(rates["taking an epoch's batches: the floor"])
    print(f"Batches of {batch}, {given.threads} threads, {given.rounds} rounds in turn.\n")
    print("| what | planets/s, median (range) |\n|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {statistics.median(found):,.0f} ({min(found):,.0f}-{max(found):,.0f}) |")
    print(
        f"\nData loading takes {loading:.2%} of an epoch. At most {share:.0%} of a step is outside torch's operations."
    )
    if given.out:
        found = {"threads": given.threads, "planets_per_s": rates, "outside_operations": share}
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

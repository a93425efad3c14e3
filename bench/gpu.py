"""What only a GPU shows: the fused Mamba-2 against ours, half precision, training and its resumption on CUDA.

    pip install --no-deps wheels/mamba_ssm-*.whl    # where torch sees a GPU, and einops and transformers are there
    python bench/gpu.py [--sets FILE.safetensors ...] [--steps 160] [--only PART ...] [--out FILE.json]

Parts: `trial`, what the kit itself would choose, and the seconds of asking. `blocks`: relative L2 difference from our
block in float32, output and worst gradient, over five batches and lengths, in each precision. `speed`: milliseconds of
a forward and a backward pass. `answers`: the shipped model on GPU and CPU. `training`: steps a second and score of the
same run on the CPU and on the GPU, and how far its weights are from those of the same run again, and of one that is
killed half-way. `--sets`: files of `features.write_set`, e.g. shards of `spectramind pretrain`; without them 256
planets are simulated and fitted. The fused kernels compile at each new size or precision, for minutes where
MAMBA_DETERMINISTIC=0.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import torch  # noqa: E402
from ssm_speed import BATCH, D_MODEL, D_STATE, LENGTH  # noqa: E402
from torch import nn  # noqa: E402

from kitlib.base.config import compose  # noqa: E402
from kitlib.base.folds import split  # noqa: E402
from kitlib.base.schema import Config, ModelConfig  # noqa: E402
from kitlib.fusion import fused  # noqa: E402
from kitlib.fusion.encoders import HEADDIM  # noqa: E402
from kitlib.fusion.features import read_shards  # noqa: E402
from kitlib.fusion.losses import Loss  # noqa: E402
from kitlib.fusion.model import load_model  # noqa: E402
from kitlib.fusion.ssm import Mamba2, ssd_recurrent  # noqa: E402
from kitlib.fusion.train import Run, TrainingSet, score_of  # noqa: E402
from kitlib.run.inputs import SHIPPED_MODEL  # noqa: E402
from kitlib.run.pretraining import fitted_shard  # noqa: E402
from kitlib.sigma.metric import naive_statistics  # noqa: E402
from kitlib.simulate.optics import wavelengths_um  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

CUDA = "cuda:0"
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
SIZES = {  # d_model and the others
    "the model's": (ModelConfig().width, {"d_state": ModelConfig().state, "headdim": HEADDIM}),
    "ssm_speed.py's": (D_MODEL, {"d_state": D_STATE, "headdim": 64}),
}
SHAPES = [(1, 1), (2, 60), (1, 101), (BATCH, LENGTH), (2, 513)]  # batch, length; the fused kernels' chunk is 256 long


def trial() -> dict[str, Any]:
    """What `kitlib/fusion/fused.py` learns of the block for the model."""
    d_model, sizes = SIZES["the model's"]
    begun = time.perf_counter()
    found = fused.trial_apart(CUDA, d_model, sizes)
    print(f"{found}, asked for {time.perf_counter() - begun:.1f} s")
    return asdict(found)


def block_errors(name: str, precision: str) -> dict[str, float]:
    """Largest relative difference of either block from ours in float32, over all shapes: output and worst gradient."""
    d_model, sizes = SIZES[name]
    worst = {}
    for block, build in (("fused", fused.import_fused()), ("ours", Mamba2)):
        found = [fused.differences(build, CUDA, d_model, PRECISIONS[precision], shape, **sizes) for shape in SHAPES]
        worst[f"{block}: output"] = max(one.pop("output") for one in found)
        worst[f"{block}: gradient"] = max(max(one.values()) for one in found)
    return worst


def blocks() -> dict[str, Any]:
    """`block_errors` of all sizes and precisions, in processes side by side: most of it is compiling."""
    cases = [(name, precision) for name in SIZES for precision in PRECISIONS]
    print("\n| sizes | precision | fused: output | gradient | ours: output | gradient |\n|---|---|---|---|---|---|")
    out = {}
    with ProcessPoolExecutor(len(cases), get_context("spawn")) as pool:
        jobs = {case: pool.submit(block_errors, *case) for case in cases}
        for case, job in jobs.items():
            found = out[", ".join(case)] = job.result()
            print(
                f"| {' | '.join(case)} | " + " | ".join(f"{value:.1e}" for value in found.values()) + " |", flush=True
            )
    return out


def milliseconds(block: nn.Module, u: torch.Tensor, precision: str) -> tuple[float, float]:
    """Median time of a forward and of a backward pass, by CUDA's events."""
    kind, times = PRECISIONS[precision], []
    for _ in range(30):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
        marks[0].record()
        with torch.autocast("cuda", dtype=kind, enabled=kind is not None):
            loss = block(u).float().square().sum()
        marks[1].record()
        loss.backward()
        marks[2].record()
        torch.cuda.synchronize()
        times.append((marks[0].elapsed_time(marks[1]), marks[1].elapsed_time(marks[2])))
    forward, backward = (statistics.median(column) for column in zip(*times[10:], strict=True))
    return forward, backward


def speed() -> dict[str, Any]:
    """Fused block, ours and the recurrence."""
    print("\n| batch, length, sizes | precision | block | forward ms | backward ms |\n|---|---|---|---|---|")
    builds = {"fused": fused.import_fused(), "ours": Mamba2}
    builds["recurrence"] = lambda d_model, **sizes: Mamba2(d_model, scan=ssd_recurrent, **sizes)
    out = {}
    for shape, name in (((BATCH, LENGTH), "ssm_speed.py's"), (fused.TIMED, "the model's"), ((1024, 60), "the model's")):
        d_model, sizes = SIZES[name]
        u = torch.randn(*shape, d_model, device=CUDA, requires_grad=True)
        for precision in ("float32", "bfloat16"):
            for block, build in builds.items():
                found = milliseconds(build(d_model, **sizes).to(CUDA), u, precision)
                out[f"{shape}, {precision}, {block}"] = found
                print(f"| {shape}, {name} | {precision} | {block} | {found[0]:.2f} | {found[1]:.2f} |", flush=True)
    return out


@contextmanager
def implementation(name: str) -> Iterator[None]:
    """Models that are built within have this block: fused or ours."""
    block = fused.import_fused() if name == "fused" else Mamba2
    chosen = fused.Implementation(name, "asked for", block)
    with mock.patch.object(fused, "_select_once", lambda *_, **__: chosen):
        yield


def answers(whole: TrainingSet, naive: tuple[float, float]) -> dict[str, Any]:
    """The shipped model on CPU and GPU: score, differences of mu in sigmas and of ln sigma."""
    print("\n| shipped model | score | mu, sigmas: largest | rms | ln sigma: largest |\n|---|---|---|---|---|")
    out: dict[str, Any] = {}
    for name, device in (("CPU", "cpu"), ("ours", CUDA), ("fused", CUDA)):
        with implementation(name):
            model, _ = load_model(SHIPPED_MODEL, device)
        held = TrainingSet(whole.features.to(device), whole.truth.to(device))
        with torch.no_grad():
            answer = model(held.features)
        mu, sigma = answer.mu.cpu(), answer.sigma.cpu()
        if name == "CPU":
            expected, unit = mu, sigma
        off = (mu - expected) / unit
        found = [float(off.abs().max()), float(off.square().mean().sqrt()), float((sigma / unit).log().abs().max())]
        out[name] = [score_of(model, held, naive), *found]
        print(f"| {name} | {out[name][0]:.6f} | " + " | ".join(f"{value:.3e}" for value in found) + " |", flush=True)
    return out


class Killed(BaseException):
    """As a signal would end a run."""


def trained(
    config: Config, parts: list[TrainingSet], naive: tuple[float, float], folder: Path, device: str, kill: int = 0
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """One run: steps a second after its first tenth, scores, weights. `kill`: the step where it is killed, once."""
    marks: list[float] = []
    killed = not kill
    original = Run._step

    def step(self: Run, train: TrainingSet) -> float:
        nonlocal killed
        if not killed and self.progress.step == kill:
            killed = True
            raise Killed
        marks.append(time.perf_counter())
        return original(self, train)

    loss = Loss(*naive, wavelengths_um())
    with mock.patch.object(Run, "_step", step):
        with suppress(Killed):
            Run(config, loss, folder, device, None).fit(*parts)
        if kill:
            Run(config, loss, folder, device, None).fit(*parts)
    first = len(marks) // 10
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    scores = [line["score"] for line in log if line["event"] == "validation"]
    rate = (len(marks) - 1 - first) / (marks[-1] - marks[first])
    weights = load_model(folder / "model.safetensors")[0].state_dict()
    return {"steps_per_s": rate, "start": scores[0], "best": max(scores), "last": scores[-1]}, weights


def training(whole: TrainingSet, naive: tuple[float, float], steps: int) -> dict[str, Any]:
    """The same training on the CPU and on the GPU with each block and precision."""
    words = [f"train.steps={steps}", "train.patience=1000", "run.progress=false", "train.ema=0.99"]
    words += [f"train.{key}={max(steps // 8, 1)}" for key in ("validate_every", "checkpoint_every", "warmup")]
    base = compose("train", words)
    parts = [whole.take(part) for part in split(len(whole.truth), 0.2, 1)]
    cases = [("CPU", "cpu", "float32", {})]
    cases += [(block, CUDA, kind, {}) for block in ("ours", "fused") for kind in ("float32", "half")]
    wide = {"width": 128, "state": 64, "airs_channels": 64, "fgs1_layers": 4, "graph_layers": 4}
    cases += [(block, CUDA, kind, wide) for block in ("ours", "fused") for kind in ("float32", "half")]
    print(f"\n{len(parts[0].truth)} planets, {len(parts[1].truth)} to judge by, {steps} steps of {base.train.batch}")
    print("\n| block | precision | parameters | steps/s | score: start | best | last | weights: again | killed |")
    print("|---|---|---|---|---|---|---|---|---|")
    out: dict[str, Any] = {}
    for name, device, precision, sizes in cases:
        config = replace(base, model=replace(base.model, **sizes), train=replace(base.train, precision=precision))
        with tempfile.TemporaryDirectory() as scratch, implementation(name):
            found, weights = trained(config, parts, naive, Path(scratch) / "first", device)
            apart = []
            for kill in () if sizes else (0, steps // 2):
                _, again = trained(config, parts, naive, Path(scratch) / str(kill), device, kill)
                apart.append(max(float((weights[key] - again[key]).abs().max()) for key in weights))
        count = sum(value.numel() for value in weights.values())
        out[f"{name}, {precision}, {count}"] = found | {"apart": apart}
        cells = [
            f"{count:,}",
            f"{found['steps_per_s']:.1f}",
            *(f"{found[key]:.4f}" for key in ("start", "best", "last")),
        ]
        cells += [f"{value:.1e}" for value in apart] or ["", ""]
        print(f"| {name} | {precision} | {' | '.join(cells)} |", flush=True)
    return out


def main() -> None:
    """Run what is asked for; the file holds the parts that are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=160)
    names = ["trial", "blocks", "speed", "answers", "training"]
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("this needs a GPU and a torch built for it; on a CPU: bench/ssm_speed.py, bench/train_speed.py")
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name(0)}", flush=True)
    if given.sets:
        whole = TrainingSet(*read_shards(given.sets))
    else:
        whole = TrainingSet(*fitted_shard(compose("train", ["pretrain.shard=256"]), shipped_priors(), 0))
    naive = naive_statistics(whole.truth.numpy())
    works: dict[str, Callable[[], Any]] = {
        "trial": trial,
        "blocks": blocks,
        "speed": speed,
        "answers": lambda: answers(whole, naive),
        "training": lambda: training(whole, naive, given.steps),
    }
    found = {}
    for name in given.only:
        found[name] = works[name]()
        if given.out:
            given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

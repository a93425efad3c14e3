"""Speed of the Mamba-2 block on a CPU: ours, its reference recurrence and the `mambapy` package, in one run.

    python bench/ssm_speed.py [--threads 2] [--repeats 7] [--chunks]

Prints the median seconds of one forward and one backward pass at (batch 32, length 282, d_model 64, d_state 64), the
three taking turns so that other work on the machine hurts them alike. Exit code 1 where ours is not the fastest.

`mambapy` is no dependency of the project. To have it in the comparison without touching the environment:
    pip install --no-deps --target build/mambapy mambapy==1.2.0
    PYTHONPATH=build/mambapy python bench/ssm_speed.py
Its Mamba-2 needs CUDA, so what runs here is its pure-torch block, Mamba-1 with the parallel scan, at the same sizes.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from kitlib.fusion import ssm  # noqa: E402  (the repository need not be installed)

BATCH, LENGTH, D_MODEL, D_STATE = 32, 282, 64, 64


def mambapy_block() -> torch.nn.Module:
    """The competitor at the same sizes; raises ModuleNotFoundError that says how to get it."""
    try:
        from mambapy.mamba import MambaBlock, MambaConfig
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}. For the comparison: pip install --no-deps --target build/mambapy mambapy==1.2.0, then run with "
            "PYTHONPATH=build/mambapy, or leave it out with --without-mambapy"
        ) from error
    return MambaBlock(MambaConfig(d_model=D_MODEL, n_layers=1, d_state=D_STATE, expand_factor=2))


Block = Callable[[torch.Tensor], torch.Tensor]


def interleaved(blocks: dict[str, Block], repeats: int) -> dict[str, tuple[float, float]]:
    """Median (forward, backward) seconds of each block, which take turns; one untimed turn first."""
    u = torch.randn(BATCH, LENGTH, D_MODEL, requires_grad=True)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in blocks}
    for turn in range(repeats + 1):
        for name, block in blocks.items():
            start = time.perf_counter()
            loss = block(u).square().sum()
            middle = time.perf_counter()
            loss.backward()
            end = time.perf_counter()
            if turn:
                seconds[name].append((middle - start, end - middle))
    return {name: tuple(map(statistics.median, zip(*rows, strict=True))) for name, rows in seconds.items()}


def main() -> int:
    """Run, print, and say by the exit code whether ours is the fastest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--chunks", action="store_true", help="time our block at several chunk lengths instead")
    parser.add_argument("--without-mambapy", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    build = functools.partial(ssm.Mamba2, D_MODEL, d_state=D_STATE)
    if options.chunks:
        scans = {q: functools.partial(ssm.ssd_chunked, chunk=q) for q in (16, 32, 48, 64, 96, 128)}
        blocks = {f"chunk {q}": build(scan=scan) for q, scan in scans.items()}
    else:
        blocks = {"ours, chunked": build(), "ours, recurrence": build(scan=ssm.ssd_recurrent)}
        if not options.without_mambapy:
            try:
                blocks["mambapy 1.2.0"] = mambapy_block()
            except ModuleNotFoundError as error:
                parser.error(str(error))
    medians = interleaved(blocks, options.repeats)
    print(f"batch {BATCH}, length {LENGTH}, d_model {D_MODEL}, d_state {D_STATE}; torch {torch.__version__}, ", end="")
    print(f"{options.threads} threads, median of {options.repeats}")
    print(f"{'block':20s} {'forward s':>10s} {'backward s':>11s}")
    for name, (forward, backward) in medians.items():
        print(f"{name:20s} {forward:10.3f} {backward:11.3f}")
    ours, *others = medians.values()
    return int(not options.chunks and any(ours[i] >= other[i] for other in others for i in (0, 1)))


if __name__ == "__main__":
    sys.exit(main())

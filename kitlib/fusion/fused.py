"""Which Mamba-2 block runs on a device: ours, or the fused kernels of `mamba_ssm` where they are right and faster.

On a GPU `mamba_ssm` is tried in a process of its own: its numbers are compared with ours, forward and backward, and
both are timed. A compiler that aborts on a GPU that it does not know takes that process along, not this one.
"""

import importlib
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..base.guarded import end_with_parent
from .ssm import Mamba2

# Relative L2 difference allowed between the fused block and ours in float32: output, gradients. The fused kernels
# multiply float32 in TF32 (10 mantissa bits, 5e-4 a product) on newer GPUs: 3e-5 and 2e-3 on an H100, where its half
# precision has 6e-3 and 2e-2 (ours, as much). A wrong order, sign or epsilon shows as 1e-1 and more.
TOLERANCES = {"single": (5e-3, 2e-2), "half": (3e-2, 1e-1)}
TIMED = (64, 60)  # batch and length of the race: FGS1 light curves in training
CHECKED = ((2, 101), TIMED)  # of the comparisons; the first is odd, two chunks of ours and one of theirs
TURNS = 10  # of the race, each block in turn
FASTER = 0.9  # share of our time that the fused block may take to be worth it: less is noise
TRIAL_LIMIT_S = 600.0  # the first one compiles for a minute; Triton keeps what it compiled on disk


@dataclass(frozen=True)
class Implementation:
    """Which Mamba-2 runs on a device, and why."""

    name: str  # "torch" or "mamba_ssm"
    reason: str
    block: Callable[..., nn.Module]  # (d_model, d_state=, d_conv=, expand=, headdim=, ngroups=) -> module


@dataclass(frozen=True)
class Trial:
    """What became of a fused block beside ours."""

    difference: str  # what is not equal; "": nothing
    fused_ms: float  # median of a forward and backward pass
    own_ms: float


def import_fused() -> Callable[..., nn.Module]:
    """The real `mamba_ssm.Mamba2`, with its fused convolution only where `causal_conv1d` is there too.

    Raises whatever the import raises (no triton, no package). `mamba_ssm` imports the compiled `selective_scan_cuda`
    of Mamba-1 unasked; Mamba-2 never calls it, so an empty module of that name stands in where it was not built.
    Unless the environment says otherwise its deterministic mode is on: sums in a fixed order, and one configuration a
    kernel to compile instead of up to twelve (on one core for a T4 20 instead of 244 s in single precision).
    """
    os.environ.setdefault("MAMBA_DETERMINISTIC", "1")
    name = "selective_scan_cuda"
    stand_in = name not in sys.modules and importlib.util.find_spec(name) is None
    if stand_in:
        sys.modules[name] = types.ModuleType(name)
    try:
        fused = importlib.import_module("mamba_ssm.modules.mamba2").Mamba2
    except BaseException:
        if stand_in:
            del sys.modules[name]
        raise
    with_convolution = importlib.util.find_spec("causal_conv1d") is not None

    def build(d_model: int, **sizes: Any) -> nn.Module:
        return fused(d_model, use_mem_eff_path=with_convolution, **sizes)

    return build


def differences(
    fused: Callable[..., nn.Module],
    device: torch.device | str,
    d_model: int,
    precision: torch.dtype | None = None,
    shape: tuple[int, int] = CHECKED[0],
    **sizes: Any,
) -> dict[str, float]:
    """How far a fused block is from ours, same weights and random input: relative L2 of output and every gradient.

    `precision`: autocast of the fused block; ours stays in float32. `shape`: batch and length. `sizes` as in `Mamba2`.
    Leaves the random state as it was.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(20251123)  # blocks are made on the CPU; the GPU's state is not touched
        ours, theirs = (build(d_model, **sizes).to(device) for build in (Mamba2, fused))
        u, weight = torch.randn(2, *shape, d_model).to(device).unbind(0)
    u = u.clone().requires_grad_()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    expected = _output_and_gradients(ours, u, weight)
    with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
        found = _output_and_gradients(theirs, u, weight)
    names = ["output", "gradient of the input", *(f"gradient of {name}" for name, _ in ours.named_parameters())]
    pairs = zip(names, expected, found, strict=True)
    return {name: float((got.float() - want).norm() / want.norm()) for name, want, got in pairs}


def _output_and_gradients(block: nn.Module, u: Tensor, weight: Tensor) -> list[Tensor]:
    y = block(u)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), [u, *block.parameters()])]


def half_type(device: torch.device) -> torch.dtype:
    """The half precision of a device: bfloat16, but float16 on GPUs before 8.0, which emulate bfloat16 slowly."""
    old = device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0)
    return torch.float16 if old else torch.bfloat16


def trial(fused: Callable[..., nn.Module], device: torch.device | str, d_model: int, **sizes: Any) -> Trial:
    """Compare a fused block with ours in single and half precision, then time both in single."""
    device = torch.device(device)
    for (kind, precision), shape in product((("single", None), ("half", half_type(device))), CHECKED):
        allowed = TOLERANCES[kind]
        for name, error in differences(fused, device, d_model, precision, shape, **sizes).items():
            if not error <= allowed[name != "output"]:  # NaN fails too
                return Trial(f"in {kind} precision, {name} differs by {error:.1e} (relative)", math.nan, math.nan)
    blocks = [build(d_model, **sizes).to(device) for build in (fused, Mamba2)]
    return Trial("", *_race(blocks, torch.randn(*TIMED, d_model, device=device)))


def _race(blocks: list[nn.Module], u: Tensor) -> list[float]:
    """Median milliseconds of a forward and backward pass of each block, which take turns; two untimed turns first."""
    times: list[list[float]] = [[] for _ in blocks]
    for _ in range(TURNS + 2):
        for block, own in zip(blocks, times, strict=True):
            begun = time.perf_counter()
            block(u).square().sum().backward()
            if u.device.type == "cuda":
                torch.cuda.synchronize(u.device)
            own.append(1e3 * (time.perf_counter() - begun))
    return [statistics.median(own[2:]) for own in times]


def trial_apart(device: str, d_model: int, sizes: dict[str, Any]) -> Trial:
    """`trial` of `mamba_ssm` in a process of its own.

    Raises RuntimeError with what ended that process, subprocess.TimeoutExpired after TRIAL_LIMIT_S.
    """
    # -P: what lies in the current folder is not imported instead of the kit and the packages that run here
    command = [sys.executable, "-P", "-c", "from kitlib.fusion.fused import serve_trial; serve_trial()"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command.append(json.dumps([device, d_model, sizes]))
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TRIAL_LIMIT_S)
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [""]
        reason = next((line for line in reversed(lines) if "rror" in line), lines[-1])  # hints and stacks may follow it
        raise RuntimeError(f"its process ended with {ended.returncode}: {reason}")
    return Trial(**json.loads(ended.stdout.splitlines()[-1]))


def serve_trial() -> None:
    """What runs in the process of `trial_apart`: the answer is the last line of its output."""
    end_with_parent()
    device, d_model, sizes = json.loads(sys.argv[1])
    found = trial(import_fused(), device, d_model, **sizes)
    sys.stdout.write("\n" + json.dumps(asdict(found)) + "\n")


@dataclass(frozen=True)
class Runtime:
    """What the probe asks of the machine; every answer can be replaced in a test."""

    cuda_available: Callable[[], bool] = torch.cuda.is_available
    capability: Callable[[Any], tuple[int, int]] = torch.cuda.get_device_capability
    compiled_for: Callable[[], list[str]] = torch.cuda.get_arch_list
    one_element: Callable[[Any], Any] = lambda device: (torch.ones(1, device=device) + 1).item()
    installed: Callable[[], bool] = lambda: importlib.util.find_spec("mamba_ssm") is not None
    trial: Callable[[str, int, dict[str, Any]], Trial] = trial_apart
    import_fused: Callable[[], Callable[..., nn.Module]] = import_fused


def usable_cuda(device: torch.device, runtime: Runtime) -> str | None:
    """None where torch can really compute on this CUDA device, else the reason.

    `is_available()` alone is not enough: a P100 says yes to a torch that has no kernels for it and fails at the first
    operation.
    """
    if not runtime.cuda_available():
        return "CUDA is not available"
    major, minor = runtime.capability(device)
    # a GPU also runs the code of lower minor versions of its own major one (an L4, sm_89, runs sm_86)
    if not {f"sm_{major}{lower}" for lower in range(minor + 1)} & set(runtime.compiled_for()):
        return f"this torch has no kernels for sm_{major}{minor} (only {', '.join(runtime.compiled_for())})"
    try:
        runtime.one_element(device)
    except Exception as error:  # CUDA reports broken devices by many types
        return f"a one-element operation failed: {error}"
    return None


def devices() -> list[str]:
    """Every GPU that this torch can compute on, else the CPU."""
    found = [f"cuda:{i}" for i in range(torch.cuda.device_count()) if torch.cuda.is_available()]
    return [name for name in found if usable_cuda(torch.device(name), Runtime()) is None] or ["cpu"]


def select_implementation(device: torch.device | str, d_model: int, **sizes: Any) -> Implementation:
    """The fastest Mamba-2 that is right on a device at these sizes (as in `Mamba2`), and why; asked once each."""
    return _select_once(str(device), d_model, **sizes)


@lru_cache
def _select_once(device: str, d_model: int, **sizes: Any) -> Implementation:
    return select(torch.device(device), d_model, sizes, Runtime())


def select(device: torch.device, d_model: int, sizes: dict[str, Any], runtime: Runtime) -> Implementation:
    """The same with the answers of `runtime`."""

    def own(reason: str) -> Implementation:
        return Implementation("torch", reason, Mamba2)

    if device.type != "cuda":
        return own(f"the fused kernels need CUDA, the device is {device.type}")
    if reason := usable_cuda(device, runtime):
        return own(reason)
    if not runtime.installed():
        return own("mamba_ssm is not installed")
    try:
        found = runtime.trial(str(device), d_model, sizes)
        if found.difference:
            return own(f"mamba_ssm gives other numbers than our block: {found.difference}")
        times = f"{found.fused_ms:.2f} against {found.own_ms:.2f} ms a pass"
        if not found.fused_ms < FASTER * found.own_ms:
            return own(f"mamba_ssm equals our block and is not faster: {times}")
        return Implementation("mamba_ssm", f"equals our block and is faster: {times}", runtime.import_fused())
    except Exception as error:  # no triton, a kernel that does not compile on this GPU, a process that died
        return own(f"mamba_ssm does not run here: {type(error).__name__}: {error}")

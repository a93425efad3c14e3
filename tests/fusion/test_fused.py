"""The choice between our Mamba-2 and mamba_ssm: it has to work, to be right and to be faster."""

import os
import sys
import time
import types

import pytest
import torch

from kitlib.fusion import fused
from kitlib.fusion.ssm import Mamba2

SIZES = {"d_state": 8, "headdim": 8}


class _Slow(Mamba2):
    def forward(self, u):
        time.sleep(0.05)
        return super().forward(u)


class _Skewed(Mamba2):
    """Right names, wrong numbers."""

    def forward(self, u):
        return super().forward(u) * 1.02


class _WrongInHalf(Mamba2):
    """Right in float32, and wrong where autocast is on."""

    def forward(self, u):
        return super().forward(u) * (1.3 if torch.is_autocast_enabled("cpu") else 1.0)


class _WrongGradient(Mamba2):
    """Right output, but the gradient does not reach A_log fully."""

    def forward(self, u):
        halved = self.A_log * 0.5 + self.A_log.detach() * 0.5
        return torch.func.functional_call(_Plain(self), {"block.A_log": halved}, (u,))


class _Plain(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, u):
        return Mamba2.forward(self.block, u)


class _NotANumber(Mamba2):
    def forward(self, u):
        return super().forward(u) * float("nan")


def _raise(error):
    raise error


def _runtime(**answers):
    """A machine with a sound T4 whose mamba_ssm is right and twice as fast as ours."""
    sound = {
        "cuda_available": lambda: True,
        "capability": lambda device: (7, 5),
        "compiled_for": lambda: ["sm_75", "sm_80", "sm_86"],
        "one_element": lambda device: 2.0,
        "installed": lambda: True,
        "trial": lambda *_: fused.Trial("", 1.0, 2.0),
        "import_fused": lambda: Mamba2,
    }
    return fused.Runtime(**(sound | answers))


def _selected(**answers):
    return fused.select(torch.device("cuda:0"), 16, SIZES, _runtime(**answers))


def test_a_sound_and_faster_mamba_ssm_is_taken():
    chosen = _selected()
    assert chosen.name == "mamba_ssm" and chosen.block is Mamba2
    assert chosen.reason == "equals our block and is faster: 1.00 against 2.00 ms a pass"


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"cuda_available": lambda: False}, "not available"),
        ({"capability": lambda device: (6, 0)}, "no kernels for sm_60"),
        ({"one_element": lambda device: _raise(RuntimeError("no kernel image"))}, "no kernel image"),
        ({"installed": lambda: False}, "not installed"),
        ({"trial": lambda *_: _raise(RuntimeError("PTX assembly aborted"))}, "PTX assembly aborted"),
        ({"trial": lambda *_: fused.Trial("output differs", 1.0, 2.0)}, "other numbers than our block: output differs"),
        ({"trial": lambda *_: fused.Trial("", 0.95, 1.0)}, "not faster: 0.95 against 1.00 ms"),
        ({"import_fused": lambda: _raise(ModuleNotFoundError("No module named 'triton'"))}, "triton"),
    ],
)
def test_our_block_runs_where_mamba_ssm_has_nothing_to_give(answers, reason):
    chosen = _selected(**answers)
    assert chosen.name == "torch" and chosen.block is Mamba2
    assert reason in chosen.reason


def test_the_trial_is_asked_for_the_sizes_that_will_run():
    asked = []
    _selected(trial=lambda *given: asked.append(given) or fused.Trial("", 1.0, 2.0))
    assert asked == [("cuda:0", 16, SIZES)]


@pytest.mark.parametrize(
    ("block", "difference"),
    [
        (_Skewed, "in single precision, output differs by 2.0e-02 (relative)"),
        (_NotANumber, "in single precision, output differs by nan (relative)"),
        (_WrongGradient, "in single precision, gradient of A_log differs by 5.0e-01 (relative)"),
        (_WrongInHalf, "in half precision, output differs by 3.0e-01 (relative)"),
    ],
)
def test_a_trial_says_what_differs(block, difference):
    assert fused.trial(block, "cpu", 16, **SIZES).difference == difference


def test_a_trial_times_both_blocks():
    found = fused.trial(_Slow, "cpu", 16, **SIZES)
    assert found.difference == "" and found.fused_ms > found.own_ms + 25


def test_a_trial_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert max(fused.differences(Mamba2, "cpu", 16, **SIZES).values()) == 0
    assert torch.equal(torch.rand(1), expected)


def test_a_gpu_runs_code_of_its_major_version():
    assert fused.usable_cuda(torch.device("cuda"), _runtime(capability=lambda device: (8, 9))) is None
    assert "sm_90" in fused.usable_cuda(torch.device("cuda"), _runtime(capability=lambda device: (9, 0)))


def test_cpu_takes_our_block_without_asking_for_cuda():
    runtime = _runtime(cuda_available=lambda: _raise(AssertionError("asked")))
    chosen = fused.select(torch.device("cpu"), 16, SIZES, runtime)
    assert chosen.name == "torch" and "cpu" in chosen.reason
    assert fused.select_implementation("cpu", 16, **SIZES).block is Mamba2


def _fake_mamba_ssm(monkeypatch, tmp_path, body):
    package = tmp_path / "mamba_ssm"
    (package / "modules").mkdir(parents=True)
    (package / "__init__.py").write_text("import selective_scan_cuda\n")
    (package / "modules" / "__init__.py").write_text("")
    (package / "modules" / "mamba2.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mamba_ssm"]:
        monkeypatch.delitem(sys.modules, name)


EQUAL = """
from kitlib.fusion import ssm
class Mamba2(ssm.Mamba2):
    def __init__(self, d_model, use_mem_eff_path, **sizes):
        super().__init__(d_model, **sizes)
"""


def test_a_trial_in_its_own_process(monkeypatch, tmp_path):
    """Whatever else it says, and whatever lies in the current folder."""
    _fake_mamba_ssm(monkeypatch, tmp_path, EQUAL + "print('deterministic mode', end='')\n")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "kitlib.py").write_text("raise SystemExit('another kitlib')\n")
    monkeypatch.chdir(tmp_path / "here")
    found = fused.trial_apart("cpu", 16, SIZES)
    assert found.difference == "" and found.fused_ms > 0 and found.own_ms > 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import os\nos.abort()\n", "ended with -6"),
        ("import a_module_that_is_not_there\n", "No module named 'a_module_that_is_not_there'"),
        ("import sys\nsys.exit('SomeError: why\\n\\nCompile with SOMETHING to see more.')\n", "SomeError: why"),
    ],
)
def test_what_kills_a_trial_leaves_this_process_alive(monkeypatch, tmp_path, body, reason):
    _fake_mamba_ssm(monkeypatch, tmp_path, body)
    chosen = _selected(trial=lambda device, *rest: fused.trial_apart("cpu", *rest))
    assert chosen.name == "torch" and reason in chosen.reason


def test_a_trial_that_hangs_is_given_up(monkeypatch, tmp_path):
    _fake_mamba_ssm(monkeypatch, tmp_path, "import time\ntime.sleep(60)\n")
    monkeypatch.setattr(fused, "TRIAL_LIMIT_S", 0.5)
    chosen = _selected(trial=lambda device, *rest: fused.trial_apart("cpu", *rest))
    assert chosen.name == "torch" and "TimeoutExpired" in chosen.reason


def test_import_stands_in_for_the_compiled_module_of_mamba_1(monkeypatch, tmp_path):
    monkeypatch.setitem(os.environ, "MAMBA_DETERMINISTIC", "")
    monkeypatch.delitem(os.environ, "MAMBA_DETERMINISTIC")
    body = "class Mamba2:\n    def __init__(self, d_model, **sizes):\n        self.sizes = (d_model, sizes)\n"
    _fake_mamba_ssm(monkeypatch, tmp_path, body)
    try:
        build = fused.import_fused()
        assert isinstance(sys.modules["selective_scan_cuda"], types.ModuleType)
        # without causal_conv1d the fused path of Mamba2.forward cannot run: it must be switched off
        assert build(64, d_state=32).sizes == (64, {"use_mem_eff_path": False, "d_state": 32})
        assert os.environ["MAMBA_DETERMINISTIC"] == "1"
    finally:
        for name in [name for name in sys.modules if name.startswith(("mamba_ssm", "selective_scan_cuda"))]:
            del sys.modules[name]


def test_failed_import_takes_its_stand_in_back(monkeypatch, tmp_path):
    _fake_mamba_ssm(monkeypatch, tmp_path, "import a_module_that_is_not_there\n")
    try:
        with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
            fused.import_fused()
        assert "selective_scan_cuda" not in sys.modules
    finally:
        for name in [name for name in sys.modules if name.startswith("mamba_ssm")]:
            del sys.modules[name]

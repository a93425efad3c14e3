"""Training: learns what there is to learn, stops in time, survives a kill at any step with the same weights."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from here import Here
from spectra import NAIVE, WL
from test_features import toy_features

from kitlib.base.config import compose
from kitlib.base.paths import find_configs
from kitlib.base.schema import Config, ModelConfig, RunConfig, TrainConfig
from kitlib.fusion import fused, losses, train
from kitlib.fusion.features import read_set, write_set
from kitlib.fusion.model import ModelError, load_model
from kitlib.fusion.ssm import Mamba2
from kitlib.fusion.train import Run, TrainError, TrainingSet, rate_at, score_of, train_folds, train_one
from kitlib.rules.constraints import smoothness
from kitlib.sigma.metric import gll_score

LOSS = losses.Loss(*NAIVE, WL)
TINY = {"width": 8, "fgs1_layers": 1, "state": 4, "airs_channels": 4, "graph": False, "graph_layers": 1, "dropout": 0.1}
QUICK = {"steps": 12, "batch": 4, "warmup": 2, "ema": 0.8, "validate_every": 4, "checkpoint_every": 3, "patience": 99}


def settings(model=None, seed=3, **changes):
    return Config(
        run=RunConfig(seed=seed, progress=False),
        model=ModelConfig(**(TINY | (model or {}))),
        train=TrainConfig(**(QUICK | changes)),
    )


def planets(count=12, seed=0):
    _, features, truth = toy_features(count, seed)
    return TrainingSet(features, truth)


def fitted(folder, config=None, initial=None, seed=0):
    return Run(config or settings(), LOSS, folder, "cpu", initial).fit(planets(12, seed), planets(6, seed + 1))


def weights(path):
    return load_model(path / "model.safetensors")[0].state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    """As a signal would end a run: no handler catches it."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    fitted(folder)
    return folder


@pytest.mark.parametrize("_", range(4))
@pytest.mark.parametrize("place", ["_step", "_save", "_validate"])
def test_a_run_killed_anywhere_ends_with_the_same_weights_and_log(tmp_path, undisturbed, monkeypatch, place, _):
    step = int(np.random.default_rng().integers(1, 12))  # another one in every run of the test
    original = getattr(Run, place)

    def dying(self, *given):
        if self.progress.step >= step:
            raise Killed
        return original(self, *given)

    monkeypatch.setattr(Run, place, dying)
    with pytest.raises(Killed):
        fitted(tmp_path)
    monkeypatch.undo()
    torch.manual_seed(999)  # another process: the global state is another
    fitted(tmp_path)
    assert same(weights(tmp_path), weights(undisturbed)), f"killed in {place} at step {step}"
    without_time = [
        [
            {k: v for k, v in line.items() if k != "time"}
            for line in map(json.loads, (f / "log.jsonl").open())
            if line["event"] != "device"  # said at every start
        ]
        for f in (tmp_path, undisturbed)
    ]
    assert without_time[0] == without_time[1]


def test_a_run_killed_by_the_system_goes_on(tmp_path, undisturbed):
    code = """
        import os, signal, sys
        sys.path[:0] = sys.argv[1:3]
        from pathlib import Path
        from kitlib.fusion.train import Run
        import test_train as t
        original = Run._step
        def dying(self, train):
            if self.progress.step == 8:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, train)
        Run._step = dying
        t.fitted(Path(sys.argv[3]))
    """
    here = Path(__file__).parent
    command = [sys.executable, "-c", textwrap.dedent(code), str(here), str(here.parent), str(tmp_path)]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120
    )
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "model.safetensors").exists() and (tmp_path / "checkpoint.safetensors").exists()
    fitted(tmp_path)
    assert same(weights(tmp_path), weights(undisturbed))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, undisturbed):
    torch.manual_seed(1)
    fitted(tmp_path / "a")
    assert same(weights(tmp_path / "a"), weights(undisturbed))
    fitted(tmp_path / "b", settings(seed=4))
    assert not same(weights(tmp_path / "b"), weights(undisturbed))


def test_a_finished_run_is_not_trained_again(undisturbed, monkeypatch):
    before = weights(undisturbed)
    monkeypatch.setattr(Run, "_step", lambda *_: pytest.fail("another step"))
    fitted(undisturbed)
    assert same(before, weights(undisturbed))


def test_a_checkpoint_of_another_recipe_or_a_broken_one_is_refused(tmp_path):
    fitted(tmp_path)
    with pytest.raises(TrainError, match="another recipe"):
        fitted(tmp_path, settings(learning_rate=0.5))
    with pytest.raises(TrainError, match="another recipe"):
        fitted(tmp_path, seed=5)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TrainError, match=r"checkpoint\.safetensors is not a checkpoint"):
        fitted(tmp_path)


def biased(count, seed):
    """Planets whose FGS1 depth errs by 2 sigma with the sign of a metadatum, and whose level's sigma is twice as large
    as it need be: both can be learnt."""
    one = planets(count, seed)
    sign = torch.where(one.features.meta[:, 0] > one.features.meta[:, 0].median(), 1.0, -1.0).double()
    truth = one.truth.clone()
    level = (truth - one.features.mean)[:, 1:].mean(1)
    truth[:, 1:] -= 0.5 * level[:, None]
    truth[:, 0] += 2 * sign * one.features.variance[:, 0].sqrt()
    return TrainingSet(one.features, truth)


def test_training_learns_a_bias_and_a_wrong_sigma_of_unseen_planets(tmp_path):
    config = settings(
        steps=240, batch=64, learning_rate=1e-2, warmup=10, ema=0.9, validate_every=40, checkpoint_every=240
    )
    train_set, held, unseen = biased(512, 0), biased(64, 1), biased(64, 2)
    model = Run(config, LOSS, tmp_path, "cpu", None).fit(train_set, held)
    features = unseen.features
    physics = float(losses.gll_score(features.mean, features.variance.sqrt(), unseen.truth, *NAIVE).mean())
    assert score_of(model, unseen, NAIVE) > physics + 0.01
    with torch.no_grad():
        answer = model(features)
    before = ((unseen.truth - features.mean) / features.variance.sqrt())[:, 0].square().mean()
    after = ((unseen.truth - answer.mu) / features.variance.sqrt())[:, 0].square().mean()
    assert before > 4 and after < 2.5
    level = answer.factors[:, 1].mean()
    assert level < 0.8


def test_score_is_the_official_one():
    held = planets(9)
    config = settings()
    model = train.build(config.model, WL).eval()
    official = gll_score(held.features.mean.numpy(), held.features.variance.sqrt().numpy(), held.truth.numpy(), *NAIVE)
    assert 0 < official.total < 1
    assert score_of(model, held, NAIVE, batch=4) == pytest.approx(official.total, abs=1e-9)


def test_a_model_that_only_gets_worse_is_stopped_and_physics_kept(tmp_path):
    """Training truths mirrored: what is learnt hurts on the held planets."""
    good = biased(64, 0)
    mirrored = TrainingSet(good.features, 2 * good.features.mean - good.truth)
    config = settings(steps=500, batch=16, learning_rate=1e-2, patience=3, validate_every=5, ema=0.5)
    model = Run(config, LOSS, tmp_path, "cpu", None).fit(mirrored, biased(32, 1))
    _, about = load_model(tmp_path / "model.safetensors")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    scores = [line["score"] for line in lines if line["event"] == "validation"]
    assert about["score"] == max(scores) == scores[about["step"] // 5]
    assert max(line.get("step", 0) for line in lines) == about["step"] + 5 * 3 < 500
    assert score_of(model, biased(32, 1), NAIVE) == pytest.approx(max(scores), abs=1e-9)


def test_rules_are_part_of_what_is_minimised(tmp_path):
    rough = losses.Loss(*NAIVE, WL, 1e-3 * smoothness(1.0, 1e-7, 1e-3))
    rules = Run(settings(steps=1), rough, tmp_path / "a", "cpu", None)
    bare = Run(settings(steps=1), LOSS, tmp_path / "b", "cpu", None)
    for run in (rules, bare):
        run.fit(planets(8), planets(4))
    values = [json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[2])["loss"] for name in "ab"]
    assert values[0] > values[1]


def test_fine_tuning_starts_from_the_given_weights(tmp_path, undisturbed):
    initial = undisturbed / "model.safetensors"
    fitted(tmp_path / "none", settings(steps=0), initial=initial)
    assert same(weights(tmp_path / "none"), weights(undisturbed))
    with pytest.raises(TrainError, match="another model configuration"):
        fitted(tmp_path / "other", settings(model={"width": 16}), initial=initial)
    with pytest.raises(ModelError, match="nowhere"):
        fitted(tmp_path / "absent", initial=tmp_path / "nowhere.safetensors")


def test_one_model_and_folds_from_a_file_never_see_their_held_planets(tmp_path, monkeypatch):
    everything = planets(12)
    data = write_set(tmp_path / "set.safetensors", everything.features, everything.truth)
    seen = []
    original = Run.fit

    def spying(self, own, held):
        seen.append((set(own.features.planet_id.tolist()), set(held.features.planet_id.tolist())))
        return original(self, own, held)

    monkeypatch.setattr(Run, "fit", spying)
    paths = train_folds(data, settings(steps=2, folds=3), LOSS, tmp_path / "folds")
    assert [p.parent.name for p in paths] == ["fold_0", "fold_1", "fold_2"]
    ids = set(read_set(data)[0].planet_id.tolist())
    assert all(own | held == ids and not own & held for own, held in seen)
    assert set.union(*(held for _, held in seen)) == ids and sum(len(held) for _, held in seen) == 12
    assert load_model(paths[1])[1]["planets"] == 8
    train_one([data], settings(steps=2, validation=0.25), LOSS, tmp_path / "one")
    assert len(seen[-1][1]) == 3 and load_model(tmp_path / "one" / "model.safetensors")[1]["seed"] == 3


def test_two_devices_train_two_folds_at_a_time_in_processes(tmp_path, monkeypatch):
    """Two `cpu` devices stand for two GPUs; weights are those of one device."""
    everything = planets(12)
    data = write_set(tmp_path / "set.safetensors", everything.features, everything.truth)
    config = settings(steps=2, folds=2)
    torch.set_num_threads(1)
    alone = train_folds(data, config, LOSS, tmp_path / "alone")
    monkeypatch.setattr(train, "devices", lambda: ["cpu", "cpu"])
    together = train_folds(data, config, LOSS, tmp_path / "together")
    for a, b in zip(alone, together, strict=True):
        assert same(weights(a.parent), weights(b.parent))


def test_every_fold_that_fails_on_its_device_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "devices", lambda: ["cpu", "cpu"])
    monkeypatch.setattr(train, "Workers", partial(Here, clock=time.monotonic))
    with pytest.raises(TrainError, match=r"fold 0: .*absent.*fold 1: .*absent"):
        train_folds(tmp_path / "absent", settings(folds=2), LOSS, tmp_path / "failed")


class _Fused(Mamba2):
    """Stands for mamba_ssm's block: another class with the same names."""


def test_a_run_with_a_fused_block_goes_on_and_leaves_a_model_for_every_machine(tmp_path, monkeypatch):
    original = Run._step

    def dying(self, *given):
        if self.progress.step == 4:
            raise Killed
        return original(self, *given)

    chosen = fused.Implementation("mamba_ssm", "equals our block", _Fused)
    with monkeypatch.context() as patch:
        patch.setattr(fused, "_select_once", lambda *_, **__: chosen)
        patch.setattr(Run, "_step", dying)
        with pytest.raises(Killed):
            fitted(tmp_path)
        patch.setattr(Run, "_step", original)
        assert isinstance(Run(settings(), LOSS, tmp_path / "other", "cpu", None).average.fgs1.blocks[0], _Fused)
        fitted(tmp_path)
    assert type(load_model(tmp_path / "model.safetensors")[0].fgs1.blocks[0]) is Mamba2
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert [line["mamba"] for line in lines if line["event"] == "device"] == ["mamba_ssm", "mamba_ssm"]


@pytest.mark.parametrize(("capability", "half"), [((7, 5), torch.float16), ((9, 0), torch.bfloat16)])
def test_half_precision_is_what_the_gpu_computes_fast(monkeypatch, capability, half):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert train._precision(torch.device("cuda"), "half") is half
    assert train._precision(torch.device("cuda"), "float32") is None
    assert train._precision(torch.device("cpu"), "half") is None


def test_direct_regression_trains(tmp_path):
    fitted(tmp_path, settings(model={"base": "population"}))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert abs(lines[1]["score"]) < 0.05  # an untrained direct regression is the naive answer


def test_learning_rate_rises_then_falls_to_zero():
    one = TrainConfig(steps=1000, warmup=100)
    values = [rate_at(step, one) for step in range(1001)]
    assert values[0] == pytest.approx(0.01) and 98 <= int(np.argmax(values)) <= 101 and max(values) > 0.97
    assert values[-1] == pytest.approx(0, abs=1e-12) and np.all(np.diff(values[100:]) < 0)


def test_every_epoch_sees_each_planet_once_in_another_order():
    epochs = [[train._batch(12, 4, step, 7) for step in range(start, start + 3)] for start in (0, 3)]
    for epoch in epochs:
        assert sorted(torch.cat(epoch).tolist()) == list(range(12))
    assert torch.cat(epochs[0]).tolist() != torch.cat(epochs[1]).tolist()
    assert train._batch(3, 64, 5, 7).shape == (3,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: fitted(f, settings(model={"kind": "physics"})), "model=v50"),
        (lambda f: fitted(f, settings(precision="double")), "train.precision"),
        (lambda f: Run(settings(), LOSS, f, "cpu", None).fit(planets(4).take(np.arange(0)), planets(3)), "add some"),
    ],
)
def test_trainings_that_cannot_start_say_why(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    broken = planets(8)
    broken.truth[:] = float("nan")
    with pytest.raises(TrainError, match="learning_rate"):
        Run(settings(), LOSS, tmp_path, "cpu", None).fit(broken, planets(4))


def test_a_run_leaves_a_log_and_a_plot(undisturbed):
    assert (undisturbed / "history.png").read_bytes()[:4] == b"\x89PNG"
    lines = [json.loads(line) for line in (undisturbed / "log.jsonl").open()]
    events = [line["event"] for line in lines]
    assert events[0] == "device"
    assert events.count("validation") == 4 and events.count("step") == 3
    assert (lines[0]["device"], lines[0]["precision"], lines[0]["mamba"]) == ("cpu", "float32", "torch")
    assert "need CUDA" in lines[0]["reason"]


@pytest.mark.parametrize("path", sorted((find_configs() / "train").glob("*.yaml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("model", sorted((find_configs() / "model").glob("*.yaml")), ids=lambda p: p.stem)
def test_options_of_the_groups_compose(tmp_path, path, model):
    for one in (path, model):
        (tmp_path / one.parent.name).mkdir(exist_ok=True)
        (tmp_path / one.parent.name / one.name).write_text(one.read_text())
    (tmp_path / "train.yaml").write_text(f"defaults: [schema, model: {model.stem}, train: {path.stem}, _self_]\n")
    config = compose("train", ["train.steps=7"], tmp_path)
    written = yaml.safe_load(path.read_text())["train"]
    assert vars(config.train) == vars(TrainConfig()) | written | {"steps": 7}
    assert config.model.kind == model.stem

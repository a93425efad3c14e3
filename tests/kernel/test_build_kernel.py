"""Dataset and kernels: complete, reproducible, strictly described; the first cell finds, checks and installs."""

import ast
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest

import build_kernel
from kernelkit import KernelError, bundle, kernels
from kernelkit.metadata import DATASET, MAX_CODE_BYTES, load, of_kernel, problems
from kitlib.base.config import compose
from kitlib.base.paths import COMPETITION, KAGGLE_WORKING

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged") / "dataset"
    bundle.stage(folder, "jane-doe")
    return folder


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the build reads."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("kitlib", "configs", "wheels", "kernelkit", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("LICENSE", "requirements-kaggle.txt", "kernel-metadata.json"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def tree(folder: Path) -> dict[str, tuple]:
    """Path -> bytes, mode and time of every file: all that the client's zip archives take over."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime) for path in files
    }


def test_two_builds_give_the_same_bytes(dataset, checkout, tmp_path):
    """From another place, with other file times, over a former build, and with droppings that do not belong in."""
    (checkout / "kitlib" / "__pycache__").mkdir()
    (checkout / "kitlib" / "__pycache__" / "x.py").write_text("junk")
    (checkout / "kitlib" / "notes.swp").write_text("junk")
    for path in checkout.rglob("*.py"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    out = tmp_path / "out"
    out.mkdir()
    (out / "left-over.py").write_text("from an older build")
    bundle.stage(out, "jane-doe", checkout)
    assert tree(out) == tree(dataset)
    content = bundle.read_manifest(out)
    texts = [kernels.render(root / "notebooks" / "03_infer.ipynb", content["bundle"]) for root in (ROOT, checkout)]
    assert texts[0] == texts[1]


def test_manifest_holds_size_and_hash_of_every_mounted_file(dataset):
    content = bundle.read_manifest(dataset)
    on_disk = {str(path.relative_to(dataset)) for path in dataset.rglob("*") if path.is_file()}
    assert on_disk == {*content["files"], bundle.MANIFEST, bundle.METADATA}
    for name, entry in content["files"].items():
        data = (dataset / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert {"kitlib/pipeline.py", "configs/predict.yaml", "kitlib/report/page.html.j2"} <= set(content["files"])
    assert sum(entry["bytes"] for entry in content["files"].values()) < 20e6


def test_the_bundle_hash_follows_every_byte_and_not_the_user(dataset, checkout, tmp_path):
    before = bundle.read_manifest(dataset)["bundle"]
    assert bundle.stage(tmp_path / "other", "someone", checkout)["bundle"] == before
    with open(checkout / "configs" / "predict.yaml", "a") as stream:
        stream.write("#\n")
    assert bundle.stage(tmp_path / "other", "someone", checkout)["bundle"] != before


def test_nothing_in_the_bundle_is_unpacked_by_kaggle(dataset, checkout):
    assert not [name for name in bundle.read_manifest(dataset)["files"] if Path(name).suffix in bundle.UNPACKED]
    (checkout / "kitlib" / "data" / "weights.npz").write_bytes(b"x")
    with pytest.raises(KernelError, match=r"weights\.npz.*unpacks"):
        bundle.sources(checkout)


def test_missing_wheels_are_an_error(checkout, tmp_path):
    next((checkout / "wheels").glob("hydra*.whl")).unlink()
    with pytest.raises(KernelError, match=r"hydra_core.*build_kernel\.py wheels"):
        bundle.stage(tmp_path / "out", "jane-doe", checkout)


@pytest.mark.parametrize(
    "name", ["prior.safetensors", "fusion.safetensors", "calibrator_v50.json", "calibrator_physics.json"]
)
def test_everything_that_predict_reads_is_in_the_bundle(dataset, checkout, name):
    assert f"kitlib/data/{name}" in bundle.read_manifest(dataset)["files"]
    (checkout / "kitlib" / "data" / name).unlink()
    with pytest.raises(KernelError, match=f"{name}: no such file"):
        bundle.sources(checkout)


def test_a_bundle_over_the_limit_names_the_largest_file(checkout, tmp_path):
    (checkout / "kitlib" / "data" / "huge.safetensors").write_bytes(bytes(bundle.MAX_BYTES))
    with pytest.raises(KernelError, match=r"Largest: kitlib/data/huge\.safetensors"):
        bundle.stage(tmp_path / "out", "jane-doe", checkout)


# kernels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", kernels.KINDS)
def test_a_kernel_is_the_notebook_behind_one_first_cell(kind, tmp_path):
    metadata = kernels.build(kind, tmp_path / kind, "jane-doe", "b" * 64)
    code = tmp_path / kind / metadata["code_file"]
    notebook = nbformat.read(code, as_version=4)
    nbformat.validate(notebook)
    source = nbformat.read(ROOT / "notebooks" / metadata["code_file"], as_version=4)
    assert [cell.source for cell in notebook.cells[2:]] == [cell.source for cell in source.cells]
    assert "b" * 64 in notebook.cells[1].source and "BUNDLE_HASH" not in notebook.cells[1].source
    ast.parse(notebook.cells[1].source)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert json.loads((tmp_path / kind / "kernel-metadata.json").read_text()) == metadata
    assert metadata["id"] == f"jane-doe/spectramind-v50-{kind}"
    assert metadata["enable_internet"] is False and metadata["dataset_sources"] == [f"jane-doe/{DATASET}"]
    assert "USER" not in json.dumps(metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"enable_internet": None}, "enable_internet is missing: Kaggle would turn it on"),
        ({"enable_internet": True}, "enable_internet is True, must be False"),
        ({"enable_internet": "false"}, "not of type bool"),
        ({"enable_gpus": True}, "unknown key 'enable_gpus'"),
        ({"dataset_sources": ["USER/another-kit"]}, "dataset_sources"),
        ({"dataset_sources": []}, "dataset_sources"),
        ({"competition_sources": ["ariel-data-challenge-2024"]}, "competition_sources"),
        ({"machine_shape": "NvidiaTeslaP100"}, "machine_shape"),
        ({"machine_shape": "NvidiaTeslaT4"}, "enable_gpu is False, must be True"),
        ({"enable_gpu": True}, "enable_gpu is True, must be False"),
        ({"machine_shape": None}, "machine_shape is missing"),
        ({"title": "Another title"}, "stands for 'another-title'"),
        ({"id": "jane/spectramind-v50-infer"}, "must begin with USER/"),
        ({"code_file": "../secrets.ipynb"}, "code_file"),
        ({"kernel_sources": ["USER/x"]}, "must be [] or ['USER/spectramind-v50-train']"),
        ({"kernel_sources": ["someone/spectramind-v50-train"]}, "kernel_sources"),
        ({"kernel_sources": ["USER/spectramind-v50-train", "USER/x"]}, "kernel_sources"),
        ({"kernel_sources": ["USER/spectramind-v50-infer"]}, "kernel_sources"),
    ],
)
def test_metadata_that_kaggle_would_misread_are_refused(tmp_path, change, message):
    metadata = {**json.loads((ROOT / "kernel-metadata.json").read_text()), **change}
    path = tmp_path / "kernel-metadata.json"
    path.write_text(json.dumps({key: value for key, value in metadata.items() if value is not None}))
    with pytest.raises(KernelError, match=re.escape(message)):
        load(path)


def test_the_top_level_metadata_are_the_source_of_truth(checkout):
    assert problems(json.loads((ROOT / "kernel-metadata.json").read_text())) == []
    top = json.loads((checkout / "kernel-metadata.json").read_text())
    top |= {"enable_gpu": True, "machine_shape": "NvidiaTeslaT4", "is_private": False}
    (checkout / "kernel-metadata.json").write_text(json.dumps(top))
    for kind in kernels.KINDS:
        derived = of_kernel(kind, "jane-doe", checkout / "kernel-metadata.json")
        assert (derived["machine_shape"], derived["is_private"]) == ("NvidiaTeslaT4", False)
        assert problems(derived, "jane-doe") == []


def test_gpu_quota_is_spent_on_training_alone():
    """`predict` loads its models on the CPU, and its fits are numba's and numpy's."""
    found = {kind: of_kernel(kind, "jane-doe") for kind in kernels.KINDS}
    machines = {kind: (metadata["machine_shape"], metadata["enable_gpu"]) for kind, metadata in found.items()}
    assert machines == {"train": ("NvidiaTeslaT4", True), "infer": ("None", False), "diagnose": ("None", False)}


def test_infer_may_mount_what_train_has_learnt_diagnose_what_infer_has_made_and_train_mounts_nothing(
    checkout, tmp_path
):
    train, infer = "jane-doe/spectramind-v50-train", "jane-doe/spectramind-v50-infer"
    alone = {kind: of_kernel(kind, "jane-doe")["kernel_sources"] for kind in kernels.KINDS}
    assert alone == {"train": [], "infer": [], "diagnose": [infer]}
    expected = {"train": [], "infer": [train], "diagnose": [infer, train]}
    folders = {kind: tmp_path / "out" / kind for kind in kernels.KINDS}
    built = {kind: kernels.build(kind, folders[kind], "jane-doe", "b" * 64, trained=True) for kind in kernels.KINDS}
    assert {kind: metadata["kernel_sources"] for kind, metadata in built.items()} == expected
    assert problems({**built["train"], "kernel_sources": [train]}, "jane-doe") == [
        f"kernel_sources is ['{train}'], must be []"
    ]
    assert problems({**built["diagnose"], "kernel_sources": []}, "jane-doe") == [
        f"kernel_sources is [], must be ['{infer}'] or ['{infer}', '{train}']"
    ]
    top = json.loads((checkout / "kernel-metadata.json").read_text())
    top["kernel_sources"] = ["USER/spectramind-v50-train"]  # for good
    (checkout / "kernel-metadata.json").write_text(json.dumps(top))
    built = {kind: of_kernel(kind, "jane-doe", checkout / "kernel-metadata.json") for kind in kernels.KINDS}
    assert {kind: metadata["kernel_sources"] for kind, metadata in built.items()} == expected


def test_train_leaves_its_results_where_kaggle_keeps_a_kernels_output():
    assert compose("train", ["env=kaggle"]).run.out == str(KAGGLE_WORKING)
    assert (
        'compose("train", [f"env={environment()}", *words_of(overrides)])'
        in (ROOT / "notebooks/02_train.py").read_text()
    )


def test_a_notebook_over_kaggles_size_is_refused(checkout, tmp_path):
    path = checkout / "notebooks" / "03_infer.ipynb"
    content = json.loads(path.read_text())
    content["cells"][0]["source"] = ["x" * MAX_CODE_BYTES]
    path.write_text(json.dumps(content))
    with pytest.raises(KernelError, match=r"03_infer\.ipynb.*1,000,000"):
        kernels.build("infer", tmp_path / "out", "jane-doe", "b" * 64, checkout)


# command line -------------------------------------------------------------------------------------------------------


def test_help_names_every_step_and_every_step_has_its_own(capsys):
    with pytest.raises(SystemExit) as ended:
        build_kernel.main(["--help"])
    text = capsys.readouterr().out
    steps = ["wheels", "dataset", "kernel", "twin", "push", "status", "submit", "fetch", "all"]
    assert ended.value.code == 0 and all(re.search(rf"^ +{step} ", text, re.M) for step in steps)
    for step in steps:
        with pytest.raises(SystemExit) as ended:
            build_kernel.main([step, "--help"])
        assert ended.value.code == 0 and ("--user" in capsys.readouterr().out) == (step != "wheels")


def test_steps_build_a_dataset_and_kernels_that_belong_together(tmp_path, capsys):
    words = ["--user", "jane-doe", "--build", str(tmp_path)]
    assert build_kernel.main(["kernel", *words]) == 1
    assert "build_kernel.py dataset" in capsys.readouterr().err
    assert (
        build_kernel.main(["wheels"])
        == build_kernel.main(["dataset", *words])
        == build_kernel.main(["kernel", *words])
        == 0
    )
    hashed = bundle.read_manifest(tmp_path / "dataset")["bundle"]
    for notebook in ("train/02_train.ipynb", "infer/03_infer.ipynb", "diagnose/04_diagnose.ipynb"):
        assert hashed in (tmp_path / "kernels" / notebook).read_text()
    assert json.loads((tmp_path / "dataset" / "dataset-metadata.json").read_text())["id"] == f"jane-doe/{DATASET}"
    described = tmp_path / "kernels" / "infer" / "kernel-metadata.json"
    assert json.loads(described.read_text())["kernel_sources"] == []
    assert build_kernel.main(["kernel", *words, "--trained"]) == 0
    assert json.loads(described.read_text())["kernel_sources"] == ["jane-doe/spectramind-v50-train"]


@pytest.mark.parametrize("user", ["jane doe", "../x", "", "kaggle.com/jane"])
def test_a_user_that_is_no_user_name_is_refused(user, tmp_path, capsys):
    assert build_kernel.main(["dataset", "--user", user, "--build", str(tmp_path / "b")]) == 1
    assert "kaggle.com/NAME" in capsys.readouterr().err and not (tmp_path / "b").exists()


def test_the_competition_is_the_one_of_the_kit():
    assert json.loads((ROOT / "kernel-metadata.json").read_text())["competition_sources"] == [COMPETITION]

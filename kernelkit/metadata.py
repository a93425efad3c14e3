"""What may stand in a kernel-metadata.json. Kaggle ignores unknown keys, and turns the internet on where none is said.

The file at the top of the repository describes the `infer` kernel, which computes on the CPU alone. The others differ
in id, title and notebook, and `train` in its machine: it trains on GPUs. The owner is written `USER` there, and filled
in by `--user`. Only outputs of the user's own kernels may be mounted. `infer` mounts what `train` has
learnt, and `diagnose` what `infer` has made.
"""

import json
import re
from pathlib import Path
from typing import Any

from kitlib.base.paths import COMPETITION

from . import ROOT, KernelError

DATASET = "spectramind-v50-kit"
NOTEBOOKS = {"train": "02_train.ipynb", "infer": "03_infer.ipynb", "diagnose": "04_diagnose.ipynb"}
MACHINES = ("NvidiaTeslaT4", "None")  # two T4, from the weekly GPU quota; CPU only
TRAIN_MACHINE = "NvidiaTeslaT4"
MAX_CODE_BYTES = 1_000_000  # Kaggle: "The kernel source must be less than 1 megabytes in size"
_TYPES: dict[str, type] = {
    "id": str,
    "title": str,
    "code_file": str,
    "language": str,
    "kernel_type": str,
    "is_private": bool,
    "enable_gpu": bool,
    "enable_tpu": bool,
    "enable_internet": bool,
    "machine_shape": str,
    "dataset_sources": list,
    "competition_sources": list,
    "kernel_sources": list,
    "model_sources": list,
}


def checked_user(user: str) -> str:
    """A Kaggle user name as it stands in web addresses. Raises KernelError for anything else."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{2,49}", user):
        raise KernelError(f"--user {user!r}: give your Kaggle user name as in kaggle.com/NAME (letters, digits, -)")
    return user


def problems(metadata: Any, user: str = "USER") -> list[str]:
    """Everything that is wrong with the metadata of a kernel of `user`; empty for metadata that may be pushed."""
    if not isinstance(metadata, dict):
        return ["not a JSON object"]
    found = [f"unknown key {key!r}" for key in metadata if key not in _TYPES]
    for key, kind in _TYPES.items():
        if key not in metadata:
            found.append(f"{key} is missing" + (": Kaggle would turn it on" if key == "enable_internet" else ""))
        elif not isinstance(metadata[key], kind):
            found.append(f"{key} is {metadata[key]!r}, not of type {kind.__name__}")
    if found:
        return found
    fixed = {
        "language": "python",
        "kernel_type": "notebook",
        "enable_internet": False,
        "enable_tpu": False,
        "dataset_sources": [f"{user}/{DATASET}"],
        "competition_sources": [COMPETITION],
        "model_sources": [],
        "enable_gpu": metadata["machine_shape"] != "None",
    }
    found += [
        f"{key} is {metadata[key]!r}, must be {value!r}" for key, value in fixed.items() if metadata[key] != value
    ]
    which = next((name for name, notebook in NOTEBOOKS.items() if notebook == metadata["code_file"]), "")
    sources = [_mounted(which, metadata["id"].removesuffix(which), trained) for trained in (False, True)]
    if metadata["kernel_sources"] not in sources:
        allowed = " or ".join(dict.fromkeys(map(repr, sources)))
        found.append(f"kernel_sources is {metadata['kernel_sources']!r}, must be {allowed}")
    if metadata["machine_shape"] not in MACHINES:
        found.append(f"machine_shape is {metadata['machine_shape']!r}, must be one of {', '.join(MACHINES)}")
    owner, _, slug = metadata["id"].partition("/")
    if owner != user:
        found.append(f"id is {metadata['id']!r}, must begin with {user}/")
    if (as_slug := re.sub(r"[^a-z0-9]+", "-", metadata["title"].lower()).strip("-")) != slug:
        found.append(f"title {metadata['title']!r} stands for {as_slug!r}, the id for {slug!r}")
    if not 5 <= len(slug) <= 50:
        found.append(f"{slug!r} must have 5 to 50 characters")
    if metadata["code_file"] not in NOTEBOOKS.values():
        found.append(f"code_file is {metadata['code_file']!r}, must be one of {', '.join(NOTEBOOKS.values())}")
    return found


def load(path: Path, user: str = "USER") -> dict[str, Any]:
    """Read and check a kernel-metadata.json. Raises KernelError that lists every problem."""
    try:
        metadata = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise KernelError(f"{path}: {error}") from error
    if found := problems(metadata, user):
        raise KernelError(f"{path}: {'; '.join(found)}")
    return metadata


def of_kernel(
    kind: str, user: str, source: Path = ROOT / "kernel-metadata.json", trained: bool = False
) -> dict[str, Any]:
    """Metadata of the `train`, `infer` or `diagnose` kernel of `user`, derived from the file at the top.

    Args:
        trained: whether `infer` and `diagnose` mount the output of `train`, also where the file does not say so.
    """
    top = load(source)
    if not top["id"].endswith("-infer") or not top["title"].endswith(" infer"):
        raise KernelError(f"{source}: id and title must end in 'infer', from which the other kernel's are derived")
    stem = f"{user}/{top['id'].partition('/')[2].removesuffix('infer')}"
    machine = TRAIN_MACHINE if kind == "train" else top["machine_shape"]
    return {
        **top,
        "id": f"{stem}{kind}",
        "title": top["title"].removesuffix("infer") + kind,
        "code_file": NOTEBOOKS[kind],
        "enable_gpu": machine != "None",
        "machine_shape": machine,
        "dataset_sources": [name.replace("USER/", f"{user}/", 1) for name in top["dataset_sources"]],
        "kernel_sources": _mounted(kind, stem, bool(trained or top["kernel_sources"])),
    }


def _mounted(kind: str, stem: str, trained: bool) -> list[str]:
    """Which kernels' outputs one of this kind mounts; `stem` and a kind make an id."""
    learnt = [f"{stem}train"] if trained else []
    return {"infer": learnt, "diagnose": [f"{stem}infer", *learnt]}.get(kind, [])

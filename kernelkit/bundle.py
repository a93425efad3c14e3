"""The Kaggle dataset: kitlib, configs, wheels and weights, staged so that two builds give the same bytes.

Kaggle unpacks archives when they are uploaded, and some containers of weights as well: none may be in the bundle.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from kitlib.base.provenance import sha256_file, sha256_json
from kitlib.base.version import __version__

from . import MIB, ROOT, KernelError
from .metadata import DATASET
from .wheels import missing

MANIFEST = "KIT_MANIFEST.json"
METADATA = "dataset-metadata.json"  # read by the client, not mounted: it is no part of the manifest
MAX_BYTES = 20 * MIB
WEIGHTS = tuple(
    f"kitlib/data/{name}"
    for name in ("prior.safetensors", "fusion.safetensors", "calibrator_v50.json", "calibrator_physics.json")
)
UNPACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".pt", ".pth", ".npz")
_FOLDERS = {
    "kitlib": (".py", ".json", ".safetensors", ".html", ".j2", ".css", ".js"),
    "configs": (".yaml",),
    "wheels": (".whl", ".lock", ".txt", ".md"),
}
_FILES = ("LICENSE", "requirements-kaggle.txt", "kernelkit/__init__.py", "kernelkit/start.py")
_MTIME = 315_532_800  # 1980-01-01: the client zips folders, and a zip holds its files' times


def sources(root: Path = ROOT) -> dict[str, Path]:
    """Path in the bundle -> file of the checkout, sorted.

    Raises:
        KernelError: weights or another file are absent, or a folder holds a file that Kaggle would unpack.
    """
    found = {name: root / name for name in _FILES}
    for folder, suffixes in _FOLDERS.items():
        for path in (root / folder).rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_file() and path.suffix.lower() in UNPACKED:
                raise KernelError(f"{path}: Kaggle unpacks {path.suffix} files. Move it out of {folder}/.")
            if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts:
                found[name] = path
    for name in (*_FILES, *WEIGHTS):
        if name not in found or not found[name].is_file():
            raise KernelError(f"{root / name}: no such file. Restore it from the repository.")
    return dict(sorted(found.items()))


def manifest(files: dict[str, Path]) -> dict[str, Any]:
    """Content of KIT_MANIFEST.json: size and sha256 of every file, kit version, and `bundle`, the hash of them all."""
    entries = {name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for name, path in files.items()}
    return {"kit": __version__, "bundle": sha256_json({n: e["sha256"] for n, e in entries.items()}), "files": entries}


def dataset_metadata(user: str) -> dict[str, Any]:
    """Content of dataset-metadata.json; the wheels have licences of their own: wheels/LICENCES.md."""
    return {"title": "SpectraMind V50 kit", "id": f"{user}/{DATASET}", "licenses": [{"name": "other"}]}


def stage(out: Path, user: str, root: Path = ROOT) -> dict[str, Any]:
    """Write the dataset to `out`, which is emptied first; returns the manifest.

    Raises:
        KernelError: a wheel or another file is missing, differs or must not be in, or the whole is too big.
    """
    if absent := missing(root / "wheels"):
        names = ", ".join(pin.wheel for pin in absent)
        raise KernelError(f"{root / 'wheels'} lacks {names}. Run `python build_kernel.py wheels`.")
    files = sources(root)
    content = manifest(files)
    total = sum(entry["bytes"] for entry in content["files"].values())
    if total > MAX_BYTES:
        largest = max(content["files"], key=lambda name: content["files"][name]["bytes"])
        raise KernelError(f"the bundle has {total / MIB:.1f} MiB, more than {MAX_BYTES // MIB}. Largest: {largest}")
    shutil.rmtree(out, ignore_errors=True)
    for name, source in files.items():
        _write(out / name, source.read_bytes())
    _write(out / MANIFEST, _json(content))
    _write(out / METADATA, _json(dataset_metadata(user)))
    return content


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a staged or mounted kit. Raises KernelError where there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        raise KernelError(f"{path}: no such file. Run `python build_kernel.py dataset` first.")
    return json.loads(path.read_text())


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)
    os.utime(path, (_MTIME, _MTIME))

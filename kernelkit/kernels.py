"""The kernels: each a notebook whose first cell starts the kit, and its metadata."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from . import ROOT, KernelError
from .metadata import DATASET, MAX_CODE_BYTES, NOTEBOOKS, of_kernel, problems

KINDS = tuple(NOTEBOOKS)
TITLE = """# The kit, checked and installed
Finds the mounted dataset `{dataset}`, compares its hash with the one that this kernel was built with, installs what the
image lacks from its `wheels/`, and prints what this machine is. Rendered by `python build_kernel.py kernel`."""
FIRST_CELL = (Path(__file__).parent / "firstcell.py").read_text()


def first_cell(bundle: str) -> str:
    """Source of the first code cell of a kernel that belongs to the dataset with this bundle hash."""
    code = FIRST_CELL.partition("# %%\n")[2].rstrip("\n")
    return code.replace("BUNDLE_HASH", bundle).replace("DATASET_SLUG", DATASET)


def render(notebook: Path, bundle: str) -> bytes:
    """The notebook with title and first cell put before its own cells. Cell ids come from content: same bytes again."""
    content = json.loads(notebook.read_text())
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "metadata": {}, "source": TITLE.format(dataset=DATASET)},
        {"cell_type": "code", "metadata": {}, "source": first_cell(bundle), "outputs": [], "execution_count": None},
    ]
    for cell in cells:
        cell["id"] = hashlib.sha256(f"{cell['cell_type']}\n{cell['source']}".encode()).hexdigest()[:12]
        cell["source"] = cell["source"].splitlines(keepends=True)
    content["cells"] = [*cells, *content["cells"]]
    return (json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def build(kind: str, out: Path, user: str, bundle: str, root: Path = ROOT, trained: bool = False) -> dict[str, Any]:
    """Write one kernel's folder, of a kind of `KINDS`, which is emptied first; returns its metadata.

    With `trained`, `infer` and `diagnose` mount the output of the user's `train` kernel.

    Raises:
        KernelError: metadata that Kaggle would misread, or a notebook over Kaggle's size.
    """
    metadata = of_kernel(kind, user, root / "kernel-metadata.json", trained)
    if found := problems(metadata, user):
        raise KernelError(f"{root / 'kernel-metadata.json'}, {kind} kernel: {'; '.join(found)}")
    source = root / "notebooks" / metadata["code_file"]
    if not source.is_file():
        raise KernelError(f"{source}: no such file. Run `make notebooks`.")
    code = render(source, bundle)
    if len(code) >= MAX_CODE_BYTES:
        raise KernelError(f"{source}: {len(code):,} bytes, Kaggle takes less than {MAX_CODE_BYTES:,}. Shorten it.")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / metadata["code_file"]).write_bytes(code)
    (out / "kernel-metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    return metadata

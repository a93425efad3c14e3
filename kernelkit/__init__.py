"""From a checkout to Kaggle: wheelhouse, dataset, kernels, offline twin, official client. Used by build_kernel.py."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20


class KernelError(ValueError):
    """Something that must not go to Kaggle, or did not get there; the message names the file and the remedy."""

"""What is known of a planet before its light curves: a prior over its spectrum, and one over its star's limb darkening.

Both are learnt from training planets, and one file holds both.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from safetensors.numpy import load, save

from ..base.products import Array
from ..base.provenance import write_atomic
from ..spectra import PriorError, SpectralPrior
from .limbdarkening import PUBLISHED, LimbDarkening


@dataclass(frozen=True)
class Priors:
    """Frozen; what every fit starts from."""

    spectrum: SpectralPrior
    limb: LimbDarkening = PUBLISHED  # published, until it is learnt from planets with known spectra

    def save(self, path: Path) -> Path:
        """Write both as one safetensors file, atomically."""
        return write_atomic(path, save(self.arrays()))

    def arrays(self) -> dict[str, Array]:
        """Name -> array of both."""
        return self.spectrum.arrays() | self.limb.arrays()

    @staticmethod
    def load(path: Path) -> "Priors":
        """Read back what `save` wrote; PriorError names the file."""
        try:
            return _from_bytes(Path(path).read_bytes())
        except Exception as error:
            raise PriorError(f"{path} is no file of priors ({error}). Make one with `spectramind train`.") from error


def _from_bytes(data: bytes) -> Priors:
    arrays = load(data)
    return Priors(SpectralPrior.of(arrays), LimbDarkening.of(arrays))


@cache
def shipped_priors() -> Priors:
    """The priors inside the package, learnt from simulated training planets (EXPERIMENTS.md says how)."""
    return _from_bytes((resources.files("kitlib") / "data" / "prior.safetensors").read_bytes())

"""SpectraMind V50: exoplanet transmission spectra with calibrated error bars from Ariel's raw frames.

At a prompt:

    import kitlib
    answer = kitlib.predict("DIR", out="OUT")                     # frames of DIR/test -> mu and sigma, and OUT/
    kitlib.plot_spectrum(answer, answer.planet_id[0], "DIR/wavelengths.csv")
    curves = kitlib.read_lightcurves("OUT/products/lightcurves/test/1103775.safetensors")
    kitlib.plot_lightcurves(curves)
    kitlib.score("solution.csv", "OUT/submission.csv", "DIR/train.csv").total

Everything else is in the rooms: detector -> transit -> spectra -> fusion -> sigma -> submission -> report. `pipeline`
knows their order.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from .base.version import __version__

if TYPE_CHECKING:  # the functions import what they need when they are called: `import kitlib` stays light
    import numpy as np
    from numpy.typing import NDArray
    from plotly.graph_objects import Figure

    from .base.products import PlanetLightCurves, Prediction
    from .sigma import Score

__all__ = ["__version__", "plot_lightcurves", "plot_spectrum", "predict", "read_lightcurves", "score"]


def predict(root: str | Path, out: str | Path = "artifacts/run", *overrides: str) -> "Prediction":
    """Answer all planets of a data root's test split; the run's files are left in `out`.

    Args:
        root: folder in the competition's layout.
        out: the run's folder; light curves that are there already are not made again.
        overrides: further words, as on the command line: "model=physics", "run.workers=2".

    Returns:
        (P, 283) transit depths and their standard deviations, in the order of the submission.
    """
    from . import pipeline
    from .base.config import compose
    from .submission import read_submission

    words = ["data=kaggle", f"data.root={_quoted(root)}", f"run.out={_quoted(out)}", *overrides]
    return read_submission(pipeline.predict(compose("predict", words)))


def read_lightcurves(path: str | Path) -> "PlanetLightCurves":
    """One planet's light curves from its product file, `OUT/products/lightcurves/SPLIT/PLANET.safetensors`."""
    from .detector import read_lightcurves as read

    return read(Path(path))


def score(solution: str | Path, submission: str | Path, train: str | Path) -> "Score":
    """The competition's score of a submission file: `total`, `fgs1`, `airs`.

    `solution`: true spectra; `train`: train.csv, which gives the naive mean and sigma.
    """
    from .submission import score_files

    return score_files(Path(solution), Path(submission), Path(train))


def plot_lightcurves(curves: "PlanetLightCurves") -> "Figure":
    """Light curves as they were extracted, a row a visit: FGS1, AIRS white, AIRS by time and wavelength."""
    from .report.figures import measured_figure

    return measured_figure(curves)


def plot_spectrum(
    answer: "Prediction", planet_id: int, wavelengths: str | Path, solution: str | Path | None = None
) -> "Figure":
    """One planet's spectrum with error bars, and the true one where there is a solution file.

    `wavelengths`: wavelengths.csv of the data root. Raises KeyError for a planet that is not there.
    """
    from .detector import read_spectra_csv, read_wavelengths
    from .report.figures import answer_figure

    def row_of(ids: "NDArray[np.int64]") -> int:
        if int(planet_id) not in ids.tolist():
            raise KeyError(f"planet {planet_id} is not among the {len(ids)} that are there")
        return ids.tolist().index(int(planet_id))

    truth = None
    if solution is not None:
        spectra = read_spectra_csv(Path(solution))
        truth = spectra.depth[row_of(spectra.planet_id)]
    row = row_of(answer.planet_id)
    um = read_wavelengths(Path(wavelengths))
    return answer_figure(f"Planet {planet_id}", um, answer.mu[row], answer.sigma[row], truth)


def _quoted(path: str | Path) -> str:
    """A path as hydra takes it, whatever signs it holds."""
    return "'" + str(Path(path).absolute()).replace("\\", "\\\\").replace("'", "\\'") + "'"

"""Figures of README, docs and EXPERIMENTS.md, most from planets that this script simulates: docs/figures/*.png.

python bench/figures.py            all of them, about two minutes of a core
python bench/figures.py score gate  only these

One planet has full-size raw frames (0.2 GB in artifacts/figures); the others are light curves. Spectra shown are
physical posteriors with the shipped priors: nothing here needs a calibrator. The same seed draws the same pictures.

`hero`, `instruments` and `posterior` are the report's own figures, `report` is a picture of the report that `make run`
has left. These four need Chromium, and are left as they are where there is none. `experiments` draws the tables of
EXPERIMENTS.md. What only the docs show is drawn by matplotlib.
"""

import argparse
import io
import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from fitpictures import drift, fusion, gate, score  # noqa: E402
from measured import experiments  # noqa: E402
from pictures import dataflow, extraction, transit  # noqa: E402
from reportpictures import hero, instruments, posterior  # noqa: E402
from screenshot import Unavailable  # noqa: E402
from screenshot import report as report_of  # noqa: E402
from subjects import Subject  # noqa: E402

OUT = ROOT / "docs" / "figures"
LARGEST_BYTES = 150_000
DPI = 110
DRAWN = (hero, dataflow, instruments, extraction, transit, drift, posterior, gate, fusion, score, experiments)
FIGURES = {one.__name__: one for one in DRAWN}
REPORT = "report"


def main() -> None:
    """Draw the figures that were asked for. Raises SystemExit for an unknown name or a file that is too big."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*FIGURES, REPORT])}; all where none is given")
    parser.add_argument("--work", type=Path, default=ROOT / "artifacts" / "figures", help="folder of the raw frames")
    parser.add_argument("--run", type=Path, default=ROOT / "artifacts" / "run", help="the run whose report is shown")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the pictures")
    given = parser.parse_args()
    known = [*FIGURES, REPORT]
    if unknown := [name for name in given.names if name not in known]:
        raise SystemExit(f"no such figure: {', '.join(unknown)}. Choose from {', '.join(known)}.")
    given.out.mkdir(parents=True, exist_ok=True)
    subject = Subject(given.work)
    for name in given.names or known:
        path = given.out / f"{name}.png"
        try:
            saved(report_of(given.run) if name == REPORT else drawn(FIGURES[name](subject)), path)
        except Unavailable as problem:
            if given.names:
                raise SystemExit(f"{name}: {problem}") from problem
            print(f"{name}: left as it is, {problem}")
            continue
        size = path.stat().st_size
        print(f"{path}  {size / 1000:.0f} kB")
        if size > LARGEST_BYTES:
            raise SystemExit(f"{path} has {size} bytes, more than {LARGEST_BYTES}: draw less, or lower the resolution")


def drawn(figure: Figure | Image.Image) -> Image.Image:
    """A figure as a picture, if it is not one."""
    if isinstance(figure, Image.Image):
        return figure
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, facecolor="white")
    return Image.open(buffer).convert("RGB")


def saved(picture: Image.Image, path: Path) -> None:
    """Write a PNG of 256 colours: a third of the bytes, and none of them say which version drew it."""
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()

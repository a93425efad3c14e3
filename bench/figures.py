"""Figures of README, docs and EXPERIMENTS.md, most from planets that this script simulates: docs/figures/*.png.

Each is written twice, for who reads on a light and on a dark ground: NAME.png and NAME-dark.png.

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

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from fitpictures import drift, fusion, gate, score  # noqa: E402
from measured import experiments  # noqa: E402
from pictures import darkened, dataflow, extraction, transit  # noqa: E402
from reportpictures import hero, instruments, posterior  # noqa: E402
from screenshot import Sheet, Unavailable, picture  # noqa: E402
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
        try:
            figure = None if name == REPORT else FIGURES[name](subject)
            for dark in (False, True):
                path = given.out / f"{name}{'-dark' if dark else ''}.png"
                whole = drawn(figure, dark) if figure else report_of(given.run, dark)
                saved(whole, path, clear=dark and name != REPORT)
        except Unavailable as problem:
            if given.names:
                raise SystemExit(f"{name}: {problem}") from problem
            print(f"{name}: left as it is, {problem}")


def drawn(figure: Figure | Sheet, dark: bool) -> Image.Image:
    """A figure as a picture for a light or a dark ground."""
    if isinstance(figure, Sheet):
        return picture(figure, dark)
    buffer = io.BytesIO()
    (darkened(figure) if dark else figure).savefig(buffer, dpi=DPI)
    return Image.open(buffer).convert("RGB")


def saved(whole: Image.Image, path: Path, clear: bool) -> None:
    """Write a PNG of 256 colours: a third of the bytes, and none of them say which version drew it.

    `clear`: the ground of the picture is left out, so that the page's own dark shows.
    Raises SystemExit for a file that is too big.
    """
    if clear:  # Chromium's ground is not the same to the last bit everywhere
        pixels, ground = np.array(whole), whole.getpixel((0, 0))
        pixels[(abs(pixels.astype(int) - ground) <= 2).all(2)] = ground
        whole = Image.fromarray(pixels)
    few = whole.quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True, **({"transparency": few.getpixel((0, 0))} if clear else {}))
    size = path.stat().st_size
    print(f"{path}  {size / 1000:.0f} kB")
    if size > LARGEST_BYTES:
        raise SystemExit(f"{path} has {size} bytes, more than {LARGEST_BYTES}: draw less, or lower the resolution")


if __name__ == "__main__":
    main()

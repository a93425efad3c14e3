"""Figures of README and docs/method, drawn from planets that this script simulates: docs/figures/*.png.

python bench/figures.py            all of them, about two minutes of a core
python bench/figures.py score gate  only these

One planet has full-size raw frames (0.2 GB in artifacts/figures); the others are light curves. Spectra shown are
physical posteriors with the shipped priors: nothing here needs a calibrator. The same seed draws the same pictures.
"""

import argparse
import io
import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from fitpictures import drift, fusion, gate, posterior, score  # noqa: E402
from pictures import dataflow, extraction, hero, instruments, transit  # noqa: E402
from subjects import Subject  # noqa: E402

OUT = ROOT / "docs" / "figures"
LARGEST_BYTES = 150_000
DPI = 110
DRAWN = (hero, dataflow, instruments, extraction, transit, drift, posterior, gate, fusion, score)
FIGURES = {one.__name__: one for one in DRAWN}


def main() -> None:
    """Draw the figures that were asked for. Raises SystemExit for an unknown name or a file that is too big."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FIGURES)}; all where none is given")
    parser.add_argument("--work", type=Path, default=ROOT / "artifacts" / "figures", help="folder of the raw frames")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the pictures")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in FIGURES]:
        raise SystemExit(f"no such figure: {', '.join(unknown)}. Choose from {', '.join(FIGURES)}.")
    given.out.mkdir(parents=True, exist_ok=True)
    subject = Subject(given.work)
    for name in given.names or FIGURES:
        path = given.out / f"{name}.png"
        saved(FIGURES[name](subject), path)
        size = path.stat().st_size
        print(f"{path}  {size / 1000:.0f} kB")
        if size > LARGEST_BYTES:
            raise SystemExit(f"{path} has {size} bytes, more than {LARGEST_BYTES}: draw less, or lower the resolution")


def saved(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of 256 colours: a third of the bytes, and none of them say which version drew it."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI, facecolor="white")
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()

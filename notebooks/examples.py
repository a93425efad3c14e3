"""Pages of a run's executed notebooks for the docs, small enough to be kept: docs/examples/*.html.

    python notebooks/examples.py [RUN]        RUN: the folder of `make run`, artifacts/run where none is given

Pictures get 256 colours, which takes two thirds of their bytes. The script that draws plotly's figures, 1.5 MB, is
taken out: the site has it once (docs/hooks.py), and the policy that allows the script within the page goes with it.
"""

import base64
import io
import re
import sys
from pathlib import Path

from build import sources
from PIL import Image

from kitlib.report.page import PLOTLY

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "examples"
LARGEST_BYTES = 500_000


def small(page: str) -> str:
    """The page with its pictures in 256 colours, and with plotly's script beside it."""
    script = f"<script>{PLOTLY.read_text(encoding='utf-8')}</script>"
    if script in page:
        page = page.replace(script, f'<script src="{PLOTLY.name}"></script>')
        page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n', "", page)

    def fewer(found: re.Match[str]) -> str:
        picture, written = Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB"), io.BytesIO()
        picture.quantize(256, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"

    return re.sub(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", fewer, page)


def main(run: Path) -> None:
    """Write the pages. Raises SystemExit for a run without them, a page that is too big or names this machine."""
    OUT.mkdir(parents=True, exist_ok=True)
    for source in sources():
        page = run / "notebooks" / f"{source.stem}.html"
        if not page.is_file():
            raise SystemExit(f"{page}: no such file. `make run` writes it.")
        text = small(page.read_text(encoding="utf-8"))
        if str(ROOT) in text or str(Path.home()) in text:
            raise SystemExit(f"{page} names a folder of this machine: `make run` with relative paths")
        if len(text) > LARGEST_BYTES:
            raise SystemExit(f"{page} takes {len(text):,} bytes, more than {LARGEST_BYTES:,}")
        (OUT / page.name).write_text(text, encoding="utf-8")
        print(f"{OUT / page.name}  {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "artifacts" / "run")

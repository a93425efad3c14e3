"""A picture of a run's report page, taken by a Chromium without a window."""

import io
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

SIZE = (1280, 980)
_WAIT_MS = 15_000  # of the page's own clock, for its charts
_SHOWN = 0.75  # of the size in which the page is drawn


class Unavailable(ValueError):
    """There is no browser, or no page to take a picture of; the message says what to do."""


def report(run: Path) -> Image.Image:
    """The upper part of RUN/report.html.

    Raises:
        Unavailable: no Chromium on this machine, no report in the folder, or no picture came.
    """
    page = Path(run) / "report.html"
    if not page.is_file():
        raise Unavailable(f"{page}: no such file. `make run` writes it.")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise Unavailable("no chromium on this machine (apt install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "report.png"
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        asked = [f"--user-data-dir={folder}/profile", f"--virtual-time-budget={_WAIT_MS}", f"--screenshot={picture}"]
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        line = [chromium, *flags, *asked, size, page.resolve().as_uri()]
        ended = subprocess.run(line, capture_output=True, text=True, timeout=120)
        if not picture.is_file():
            raise Unavailable(f"{chromium} took no picture: {ended.stderr[-300:]}")
        whole = Image.open(io.BytesIO(picture.read_bytes())).convert("RGB")
    return whole.resize((int(SIZE[0] * _SHOWN), int(SIZE[1] * _SHOWN)), Image.Resampling.LANCZOS)

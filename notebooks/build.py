"""Generate the .ipynb of every notebook from its percent-format .py, which is the source.

    python notebooks/build.py            write them
    python notebooks/build.py --check    exit 1 when one on disk differs

Cell ids are a hash of position and content, so that the same source always gives the same bytes.
"""

import hashlib
import sys
from pathlib import Path

import jupytext
import nbformat

FOLDER = Path(__file__).resolve().parent


def sources() -> list[Path]:
    """The notebooks' sources, in order."""
    return sorted(FOLDER.glob("0*.py"))


def build(source: Path) -> str:
    """Text of the output-free .ipynb that belongs to a percent-format source."""
    notebook = jupytext.read(source, fmt="py:percent")
    for position, cell in enumerate(notebook.cells):
        cell["id"] = hashlib.sha256(f"{position}\n{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def main() -> int:
    """Write the notebooks, or with --check compare them; returns the exit status."""
    stale = []
    for source in sources():
        target, text = source.with_suffix(".ipynb"), build(source)
        if target.is_file() and target.read_text() == text:
            continue
        stale.append(target.name)
        if "--check" not in sys.argv:
            target.write_text(text)
    if stale:
        print(("differ from their .py: " if "--check" in sys.argv else "written: ") + ", ".join(stale))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())

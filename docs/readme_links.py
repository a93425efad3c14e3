"""The README is the site's first page too: there its links into docs/ start one folder lower (mkdocs.yml, `hooks`)."""

from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parent.parent / "README.md"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Text of a page; of the first one, the README with its links as the site has them."""
    if page.file.src_uri != "index.md":
        return markdown
    return README.read_text().replace("](docs/", "](")

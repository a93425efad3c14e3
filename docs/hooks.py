"""What mkdocs cannot do by itself (mkdocs.yml, `hooks`): the README as first page, and formulae without a network.

Formulae are written `$$ ... $$` or `$ ... $`, which GitHub draws too. Here each becomes MathML while the site is built:
browsers draw that themselves, so no script and no font has to come from elsewhere.
"""

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

README = Path(__file__).resolve().parent.parent / "README.md"
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Text of a page; of the first one, the README with its links as the site has them."""
    if page.file.src_uri != "index.md":
        return markdown
    return README.read_text().replace("](docs/", "](").replace('src="docs/', 'src="')


def on_page_content(text: str, **_: Any) -> str:
    """A page's HTML with what `pymdownx.arithmatex` has marked as formula drawn as MathML."""

    def drawn(found: re.Match[str]) -> str:
        block = found[1] == "div"
        return str(convert(html.unescape(found[2]).strip(), display="block" if block else "inline"))

    return _FORMULA.sub(drawn, text)

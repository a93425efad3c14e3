"""What mkdocs cannot do by itself (mkdocs.yml, `hooks`): README and logs as pages, and formulae without a network.

Formulae are written `$$ ... $$` or `$ ... $`, which GitHub draws too. Here each becomes MathML while the site is built:
browsers draw that themselves, so no script and no font has to come from elsewhere. Figures stand in `<picture>`, so
that GitHub shows the one for a light or for a dark ground. The site has a switch of its own and gets both.
"""

import html
import re
import shutil
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parent.parent
ABOVE = {
    "index.md": "README.md",
    "experiments.md": "EXPERIMENTS.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "model-card.md": "MODEL_CARD.md",
    "data-card.md": "DATA_CARD.md",
}
INSTEAD = {"pyproject.toml": "layout.md", "LICENSE": "layout.md", "CITATION.cff": "method/references.md"}
_PICTURE = re.compile(
    r'<picture>\n  <source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">\n'
    r'  <img alt="([^"]+)" src="([^"]+)">\n</picture>'
)
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Text of a page; of those in `ABOVE` the file's at the top, with its links as the site has them."""
    above = ABOVE.get(page.file.src_uri)
    text = (ROOT / above).read_text() if above else markdown
    text = _PICTURE.sub(r"![\2](\3#only-light)![\2](\1#only-dark)", text)
    if above is None:
        return text
    for page_name, file in ABOVE.items():
        text = re.sub(rf"\]\({re.escape(file)}(?=[)#])", f"]({page_name}", text)
    for file, page_name in INSTEAD.items():
        text = text.replace(f"]({file})", f"]({page_name})")
    return text.replace("](docs/", "](")


def on_page_content(text: str, **_: Any) -> str:
    """A page's HTML with what `pymdownx.arithmatex` has marked as formula drawn as MathML."""

    def drawn(found: re.Match[str]) -> str:
        block = found[1] == "div"
        return str(convert(html.unescape(found[2]).strip(), display="block" if block else "inline"))

    return _FORMULA.sub(drawn, text)


def on_post_build(config: Any, **_: Any) -> None:
    """Put the script that draws figures beside the executed examples, where one of them asks for it."""
    folder, script = Path(config["site_dir"]) / "examples", ROOT / "kitlib" / "report" / "plotly-cartesian.min.js"
    if any(f'src="{script.name}"' in page.read_text(encoding="utf-8") for page in folder.glob("*.html")):
        shutil.copyfile(script, folder / script.name)

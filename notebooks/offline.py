"""Executed notebooks as HTML that asks no network for anything; nbconvert's own pages do (MathJax, require.js).

    python notebooks/offline.py NOTEBOOK.ipynb ...      writes NOTEBOOK.html beside each

Only options that nbconvert 6.4.5 (Kaggle's image) and 7 both have are used: the template `basic` gives the cells alone,
and the page around them is this file's, with a policy that forbids every request.
"""

import html
import sys
from pathlib import Path

from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; background: #fbfbf9; color: #1b1d22; }
body { font: 1rem/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
pre { overflow-x: auto; padding: .5rem .75rem; margin: .5rem 0; font-size: .875rem; border-radius: .4rem; }
.highlight pre { border: 1px solid #d9dbe0; background: #f1f2f0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: .4rem; }
table { border-collapse: collapse; } th, td { border: 1px solid #d9dbe0; padding: .25rem .6rem; text-align: left; }
.prompt { color: #5a606b; font-size: .75rem; }
@media (prefers-color-scheme: dark) {
body { background: #14161a; color: #e8e9ec; }
.highlight pre { background: #1c1f25; border-color: #363b45; }
.prompt { color: #a3a9b5; }
a { color: #7db9f2; }
}
"""


def offline_html(notebook: Path) -> Path:
    """Write NOTEBOOK.html beside an executed notebook and return its path."""
    body, _ = HTMLExporter(template_name="basic", exclude_anchor_links=True).from_filename(str(notebook))
    dark = HtmlFormatter(style="monokai").get_style_defs(".highlight")
    colours = f"{HtmlFormatter().get_style_defs('.highlight')}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
    target = notebook.with_suffix(".html")
    title = html.escape(notebook.stem.replace("_", " "))
    target.write_text(_PAGE.format(title=title, style=colours + _STYLE, body=body), encoding="utf-8")
    return target


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(offline_html(Path(name)))

"""Executed notebooks as HTML that asks no network for anything; nbconvert's own pages do (MathJax, require.js).

Figures of plotly are drawn by the script that draws the report's, which is put into pages that have any.

    python notebooks/offline.py NOTEBOOK.ipynb ...      writes NOTEBOOK.html beside each

Only options that nbconvert 6.4.5 (Kaggle's image) and 7 both have are used: the template `basic` gives the cells alone,
and the page around them is this file's, with a policy that forbids every request. Formulae become MathML, which
browsers draw themselves.
"""

import html
import re
import sys
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from kitlib.report.drawing import DARK, LIGHT
from kitlib.report.page import PLOTLY, csp_hash, script_safe

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
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
{scripts}</body>
</html>
"""
_STYLE = """
:root { color-scheme: light dark; }
:root { --line: #d9dbe0; --paper: #fbfbf9; --ink: #1b1d22; --code: #f1f2f0; --quiet: #5a606b; }
body { margin: 0; background: var(--paper); color: var(--ink); }
body { font: 1rem/1.6 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.25; } h2 { margin-top: 2.2rem; }
pre { overflow-x: auto; padding: .5rem .75rem; margin: .5rem 0; font-size: .8125rem; border-radius: .4rem; }
.highlight pre { border: 1px solid var(--line); background: var(--code); }
img { max-width: 100%; height: auto; background: #fff; border-radius: .4rem; }
.output_png, .jp-RenderedImage { margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }
th { background: var(--code); }
math[display=block] { overflow-x: auto; overflow-y: hidden; padding: .25rem 0; font-size: 1.1rem; }
.prompt { color: var(--quiet); font-size: .75rem; }
@media (prefers-color-scheme: dark) {
:root { --line: #363b45; --paper: #14161a; --ink: #e8e9ec; --code: #1c1f25; --quiet: #a3a9b5; }
a { color: #7db9f2; }
}
"""


_FIGURE = "application/vnd.plotly.v1+json"
# colours of the figures are exchanged in the dark, as in the report
_DRAW = """
(() => {
  const { figures, colours } = JSON.parse(document.getElementById("figures").textContent), fellow = new Map(colours);
  const night = matchMedia("(prefers-color-scheme: dark)"), touch = matchMedia("(pointer: coarse)").matches;
  const worn = (part) => (part && typeof part === "object" ? (Array.isArray(part) ? part.map(worn)
    : Object.fromEntries(Object.entries(part).map(([key, one]) => [key, worn(one)]))) : fellow.get(part) || part);
  const draw = () => figures.forEach(({ data, layout }, i) => {
    const figure = structuredClone({ data, layout });
    const { data: traces, layout: whole } = night.matches ? worn(figure) : figure;
    if (touch) whole.dragmode = false;
    Plotly.react(`figure-${i}`, traces, whole, { displayModeBar: false, responsive: true });
  });
  draw();
  night.addEventListener("change", draw);
})();
"""


def offline_html(notebook: Path) -> Path:
    """Write NOTEBOOK.html beside an executed notebook and return its path."""
    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = _formulae(cell.source)
        for output in cell.get("outputs", []):
            if output.output_type == "stream":  # of a progress bar its last state
                output.text = re.sub(r"[^\n]*\r(?!\n)", "", output.text)
    figures = _taken_out(book)
    body, _ = HTMLExporter(template_name="basic", exclude_anchor_links=True).from_notebook_node(book)
    allowed, scripts = _scripts(figures) if figures else ("", "")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:{allowed}"
    dark = HtmlFormatter(style="monokai").get_style_defs(".highlight")
    colours = f"{HtmlFormatter().get_style_defs('.highlight')}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
    target = notebook.with_suffix(".html")
    title = html.escape(notebook.stem.replace("_", " "))
    target.write_text(
        _PAGE.format(title=title, style=colours + _STYLE, body=body, policy=policy, scripts=scripts),
        encoding="utf-8",
    )
    return target


def _formulae(text: str) -> str:
    """Markdown with its `$$ $$` and `$ $` as MathML."""
    text = re.sub(r"\$\$(.+?)\$\$", lambda found: convert(found[1].strip(), display="block"), text, flags=re.S)
    return re.sub(r"\$([^$\n]+)\$", lambda found: convert(found[1]), text)


def _taken_out(book: nbformat.NotebookNode) -> list[dict]:
    """Plotly's figures of a notebook, in whose places empty holders are left."""
    figures = []
    for output in (one for cell in book.cells for one in cell.get("outputs", [])):
        if _FIGURE in output.get("data", {}):
            figures.append({key: output["data"][_FIGURE][key] for key in ("data", "layout")})
            layout = figures[-1]["layout"]
            height = int(layout.get("height", 420))
            # figures side by side are not squeezed into a phone's width: they scroll
            wide = any(axis.get("domain", [0])[0] > 0.4 for name, axis in layout.items() if name.startswith("xaxis"))
            style = f"height: {height}px" + ("; min-width: 46rem" if wide else "")
            drawn = f'<div id="figure-{len(figures) - 1}" role="img" aria-label="Figure" style="{style}"></div>'
            holder = f'<div style="overflow-x: auto">{drawn}</div>'
            output["data"] = nbformat.NotebookNode({"text/html": holder})
    return figures


def _scripts(figures: list[dict]) -> tuple[str, str]:
    """What the policy has to allow for the figures, and the page's scripts that draw them."""
    content = script_safe({"figures": figures, "colours": [[LIGHT[name], DARK[name]] for name in LIGHT]})
    run = [PLOTLY.read_text(encoding="utf-8"), _DRAW]
    scripts = "".join(f"<script>{script}</script>\n" for script in run)
    allowed = f" blob:; script-src {' '.join(map(csp_hash, run))}"
    return allowed, f'<script type="application/json" id="figures">{content}</script>\n{scripts}'


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(offline_html(Path(name)))

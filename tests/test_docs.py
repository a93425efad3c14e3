"""The site: tutorials run as printed, every page is reachable, every module is in the API, the build is strict."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_does_what_it_prints(path, tmp_path, monkeypatch, capsys):
    """Python blocks share one namespace; a text block after one is what it prints."""
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": path.stem}
    blocks = re.findall(r"^```(python|text)\n(.*?)^```$", path.read_text(), re.M | re.S)
    assert sum(kind == "python" for kind, _ in blocks) >= 3
    for (kind, text), (following, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "python":
            exec(compile(text, str(path), "exec"), names)
            printed = capsys.readouterr().out
            if printed or following == "text":
                assert printed.rstrip() == expected.rstrip()
    assert not list(tmp_path.iterdir())


def test_the_api_page_names_every_module():
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "kitlib").rglob("*.py")}
    listed = set(re.findall(r"^::: (\S+)", (DOCS / "api.md").read_text(), re.M))
    assert listed == {module.removesuffix(".__init__") for module in modules} - {"kitlib.__main__"}


def test_every_page_is_in_the_navigation():
    def pages(entry) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for value in (entry.values() if isinstance(entry, dict) else entry) for page in pages(value)]

    nav = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(nav) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_the_site_builds_strictly_and_asks_for_nothing_outside(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    pages = {path.name: path.read_text() for path in (tmp_path / "site").rglob("*.html")}
    assert "283 wavelength bins" in pages["index.html"]  # the README itself
    assert "(P, 283)" in pages["conventions.html"]
    assert 'id="kitlib.pipeline.predict"' in pages["api.html"]
    loaded = r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?:[^\"]+)\"[^>]*>"
    fetched = {url for page in pages.values() for url in re.findall(loaded, page)}
    assert not {url for url in fetched if "canonical" not in url}

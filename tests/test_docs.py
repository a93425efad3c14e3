"""The site: tutorials run as printed, every page is reachable, every module is in the API, the build is strict."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from kitlib.base.schema import Config

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
METHOD = sorted((DOCS / "method").glob("0*.md"))
FIGURES = sorted((DOCS / "figures").iterdir())


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_does_what_it_prints(path, tmp_path, monkeypatch, capsys):
    assert blocks_that_print(path, tmp_path, monkeypatch, capsys) >= 3


@pytest.mark.parametrize(
    "path", [path for path in METHOD if "```python" in path.read_text()], ids=lambda path: path.stem
)
def test_a_page_of_the_method_does_what_it_prints(path, tmp_path, monkeypatch, capsys):
    assert blocks_that_print(path, tmp_path, monkeypatch, capsys) >= 1


def blocks_that_print(path, tmp_path, monkeypatch, capsys) -> int:
    """Python blocks share one namespace; a text block after one is what it prints. How many there are."""
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": path.stem}
    blocks = re.findall(r"^```(python|text)\n(.*?)^```$", path.read_text(), re.M | re.S)
    for (kind, text), (following, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "python":
            exec(compile(text, str(path), "exec"), names)
            printed = capsys.readouterr().out
            if printed or following == "text":
                assert printed.rstrip() == expected.rstrip()
    assert not list(tmp_path.iterdir())
    return sum(kind == "python" for kind, _ in blocks)


@pytest.mark.parametrize("path", METHOD, ids=lambda path: path.stem)
def test_a_page_of_the_method_ends_with_files_and_keys_that_exist(path):
    table = path.read_text().partition("## Files and keys")[2]
    *files, keys = [line for line in table.splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"`((?:kitlib|bench|tests)/[\w./]+)`", "".join(files))
    assert named and all((ROOT / name).is_file() for name in named)
    for file, names in re.findall(r"`((?:kitlib)/[\w./]+\.py)` \(([^)]*)\)", table):
        assert all(
            re.search(rf"(def|class) {name}\b", (ROOT / file).read_text()) for name in re.findall(r"`(\w+)`", names)
        )
    found = re.findall(r"`([a-z_0-9]+(?:\.[a-z_0-9]+)+)`", keys)
    assert keys.startswith("| keys |") and found
    for key in found:
        assert OmegaConf.select(OmegaConf.structured(Config), key, throw_on_missing=True) is not None, key


def test_figures_are_small_used_and_drawn_by_a_script():
    texts = "".join(path.read_text() for path in (ROOT / "README.md", *(DOCS / "method").glob("*.md")))
    shown = set(re.findall(r"!\[[^\]]+\]\((?:docs|\.\.)/figures/(\w+)\.png\)", texts))
    assert shown == {path.stem for path in FIGURES} and all(path.suffix == ".png" for path in FIGURES)
    assert all(path.stat().st_size < 150_000 for path in FIGURES)
    command = [sys.executable, str(ROOT / "bench" / "figures.py"), "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown <= set(re.findall(r"\w+", printed))


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
    site = tmp_path / "site"
    pages = {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}
    assert "283 wavelength bins" in pages["index.html"]  # the README itself
    assert "(P, 283)" in pages["conventions.html"]
    assert 'id="kitlib.pipeline.predict"' in pages["api.html"]
    loaded = r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?:[^\"]+)\"[^>]*>"
    fetched = {url for page in pages.values() for url in re.findall(loaded, page)}
    assert not {url for url in fetched if "canonical" not in url}

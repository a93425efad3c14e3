"""The site: tutorials run as printed, every page is reachable, every module is in the API, the build is strict."""

import ast
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from safetensors import safe_open

from kitlib.base.schema import Config
from kitlib.report.page import PLOTLY

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


PICTURE = re.compile(
    r'<picture>\n  <source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)-dark\.png">\n'
    r'  <img alt="[^"]+" src="([^"]+)\.png">\n</picture>\n'
)


def test_figures_are_small_used_and_drawn_by_a_script():
    pages = (*(DOCS / "method").glob("*.md"), *TUTORIALS)
    named = (ROOT / "README.md", ROOT / "EXPERIMENTS.md", DOCS / "gallery.md", *pages)
    shown = {path: PICTURE.findall(path.read_text()) for path in named}
    for path, pairs in shown.items():
        assert path.read_text().count("figures/") == 2 * len(pairs)  # each for a light and for a dark ground
        assert all(dark == light and (path.parent / f"{light}.png").is_file() for dark, light in pairs)
    gallery = {Path(light).name for _, light in shown.pop(DOCS / "gallery.md")}
    assert gallery == {Path(light).name for pairs in shown.values() for _, light in pairs}
    assert {path.name for path in FIGURES} == {f"{name}{ground}.png" for name in gallery for ground in ("", "-dark")}
    assert all(path.stat().st_size < 150_000 for path in FIGURES)
    command = [sys.executable, str(ROOT / "bench" / "figures.py"), "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert gallery <= set(re.findall(r"\w+", printed))


def test_the_api_has_a_page_a_room_that_names_its_modules():
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "kitlib").rglob("*.py")}
    listed = {page.stem: re.findall(r"^::: (\S+)", page.read_text(), re.M) for page in (DOCS / "api").glob("*.md")}
    every = {module.removesuffix(".__init__") for module in modules} - {"kitlib.__main__"}
    assert sorted(name for names in listed.values() for name in names) == sorted(every)
    assert listed.pop("index") == ["kitlib", "kitlib.pipeline"]
    for room, names in listed.items():
        assert {name.split(".")[1] for name in names} == {room}


PROSE = [
    ROOT / name
    for name in ("README.md", "EXPERIMENTS.md", "CONTRIBUTING.md", "CHANGELOG.md", "MODEL_CARD.md", "DATA_CARD.md")
]


@pytest.mark.parametrize("path", [*PROSE, *sorted(DOCS.rglob("*.md"))], ids=lambda path: str(path.relative_to(ROOT)))
def test_numbers_have_a_digit_before_their_point(path):
    """0.744, not `.744`; code is left alone."""
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.M | re.S)
    assert not re.findall(r".*(?<![\w.)\]/])\.\d.*", prose)


@pytest.mark.parametrize("room", ["kitlib", "kernelkit", "bench", "notebooks", "tests", "configs"])
def test_numbers_of_comments_and_docstrings_too(room):
    found = {
        f"{path.relative_to(ROOT)}: {words}"
        for path in (ROOT / room).rglob("*")
        for words in _words_of(path)
        if re.search(r"(?<![\w.)\]/%'\"`])\.\d", words)
    }
    assert not found


def _words_of(path: Path) -> list[str]:
    """Comments and docstrings of a Python file, comments of a YAML file."""
    if path.suffix == ".yaml":
        return re.findall(r"(?:^|\s)#.*", path.read_text())
    if path.suffix != ".py":
        return []
    text = path.read_text()
    own = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, own)]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return docstrings + [token.string for token in tokens if token.type == tokenize.COMMENT]


def test_the_check_of_numbers_sees_them():
    assert re.findall(r"(?<![\w.)\]/])\.\d+", "a score of .744, -.9 (.5) in v1.2, 3.11 and 10.5") == [
        ".744",
        ".9",
        ".5",
    ]


def test_whoever_is_named_in_the_code_is_among_the_references():
    """Of `Dao & Gu 2024`, `Horne's (1986`, `Morris et al. 2019` the last name and the year."""
    references = (DOCS / "method" / "references.md").read_text()
    texts = [*(ROOT / "kitlib").rglob("*.py"), *METHOD, ROOT / "MODEL_CARD.md", ROOT / "DATA_CARD.md"]
    pattern = r"\b([A-Z][a-zé]{3,})(?:'s| et al\.)?,? \(?((?:19|20)\d\d)\b(?!-)"
    named = {found for path in texts for found in re.findall(pattern, path.read_text())}
    people = {(name, year) for name, year in named if name not in ("Challenge", "November", "Toronto")}
    assert len(people) > 20
    entries = re.sub(r"\s+", " ", references).split(" - ")
    assert not {one for one in people if not any(one[0] in entry and f"({one[1]})" in entry for entry in entries)}


def test_badges_say_what_is_so():
    """Drawn here: a badge from elsewhere would be asked for each time that the page is opened."""
    badges = {path.stem.removeprefix("badge-"): path.read_text() for path in (DOCS / "assets").glob("badge-*.svg")}
    said = {name: re.search(r"<title>(.*)</title>", text)[1] for name, text in badges.items()}
    readme = (ROOT / "README.md").read_text()
    assert all(f"docs/assets/badge-{name}.svg" in readme for name in said) and "shields" not in readme
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert said["python"] == f"python: {project['requires-python'].removeprefix('>=')}+"
    assert said["licence"] == "licence: MIT" and (ROOT / "LICENSE").read_text().startswith("MIT")


def test_what_is_not_ours_is_the_file_that_its_licence_names():
    found = hashlib.sha256((DOCS / "assets" / "iframe-worker.js").read_bytes()).hexdigest()
    assert found in (ROOT / "wheels" / "LICENCES.md").read_text()


def test_the_examples_are_those_of_the_four_notebooks():
    pages = {path.stem: path.read_text() for path in (DOCS / "examples").glob("*.html")}
    assert sorted(pages) == sorted(path.stem for path in (ROOT / "notebooks").glob("0*.py"))
    for page in pages.values():
        assert len(page) < 500_000 and "cannot be shown" not in page
        assert set(re.findall(r'(?:src|href)="((?!data:|#)[^"]*)"', page)) <= {PLOTLY.name}
        assert "data:image/png" in page or PLOTLY.name in page


def test_the_model_card_names_every_shipped_file_and_what_it_was_learnt_from(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "bench")
    import population

    card = (ROOT / "MODEL_CARD.md").read_text()
    files = {path.name for path in (ROOT / "kitlib" / "data").iterdir() if path.is_file()}
    table = card.partition("| file in `kitlib/data` |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `")]
    assert files == {name for row in rows for name in re.findall(r"`([\w]+\.\w+)`", row[0])}
    scripts = re.findall(r"`python (bench/\w+\.py) --ship`", table)
    assert len(scripts) == 3 and all('"--ship"' in (ROOT / script).read_text() for script in scripts)
    told = {int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", rows[0][2])}
    assert told == {population.SHIPPED_SPECTRA, population.UNFAMILIAR_SPECTRA, *population.SHIPPED_SEEDS.values()}
    with safe_open(ROOT / "kitlib" / "data" / "fusion.safetensors", "np") as file:
        about = json.loads(file.metadata()["about"])
    learnt = round(about["planets"] / 0.9)  # a tenth of all is for validation
    assert f"`spectramind pretrain run.seed={about['seed']} pretrain.planets={learnt}`" in table
    assert f"{population.SHIPPED_PRIOR.kinds} kinds" in card and f"{population.SHIPPED_PRIOR.factors} factors" in card


def test_the_cards_have_every_part_of_their_form():
    """Mitchell et al. 2019 and Gebru et al. 2021; what the data card says is measured names files that are there."""
    heads = {
        name: re.findall(r"^## (.*)", (ROOT / name).read_text(), re.M) for name in ("MODEL_CARD.md", "DATA_CARD.md")
    }
    model = ("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
             "Quantitative analyses", "Ethical considerations", "Caveats and recommendations")  # fmt: skip
    assert [head for head in heads["MODEL_CARD.md"] if head != "Where it fails"] == list(model)
    data = ("Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution")
    assert all(any(head.startswith(part) for head in heads["DATA_CARD.md"]) for part in data)
    named = set(re.findall(r"`(\w+\.py)`", (ROOT / "DATA_CARD.md").read_text()))
    simulate = ROOT / "kitlib" / "simulate"
    assert named and all((simulate / name).is_file() for name in named)
    marked = {path.name for path in simulate.glob("*.py") if "[M]" in path.read_text()}
    assert marked <= named
    for name in heads:  # and parts of the log that the cards lead to
        text = (ROOT / name).read_text()
        parts = re.findall(r'"([A-Z][^"]+)"', text)
        lead = {*re.findall(r"^## (.*?)(?: \(.*)?$", (ROOT / "EXPERIMENTS.md").read_text(), re.M), "What it reaches"}
        assert parts and set(parts) <= lead


def test_every_page_is_in_the_navigation():
    def pages(entry) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for value in (entry.values() if isinstance(entry, dict) else entry) for page in pages(value)]

    nav = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(nav) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_the_site_asks_for_nothing_outside_and_draws_formulae(site):
    pages = {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}
    assert "283 wavelength bins" in pages["index.html"]  # the README itself
    assert "(P, 283)" in pages["conventions.html"]
    assert 'id="kitlib.pipeline.predict"' in pages["api/index.html"]
    assert 'id="kitlib.sigma.metric.gll_per_bin"' in pages["api/sigma.html"]
    for page in pages.values():
        assert "arithmatex" not in page and not re.search(
            r"\$\$|\\\(", re.sub(r"<(pre|code).*?</\1>", "", page, flags=re.S)
        )
    assert all(pages[f"method/{path.stem}.html"].count("<math") for path in METHOD if "$$" in path.read_text())
    loaded = r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?:[^\"]+)\"[^>]*>"
    fetched = {url for page in pages.values() for url in re.findall(loaded, page)}
    assert not {url for url in fetched if "canonical" not in url}


def test_the_site_works_from_disk_in_light_and_dark_and_on_a_phone(browser, site):
    browser.screen(1280, 900)
    browser.open(site / "method" / "08-score.html")
    browser.wait("document.readyState === 'complete' && document.querySelector('math')")
    light = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert browser.run("return document.querySelector('math[display=block]').getBoundingClientRect().height") > 30
    browser.run("document.querySelector('.md-search__input').focus()")
    browser.press(*"impact parameter")
    browser.wait("document.querySelectorAll('.md-search-result__item a').length > 2")
    found = browser.run("return [...document.querySelectorAll('.md-search-result__item a')].map(a => a.href)")
    assert any("glossary.html" in link for link in found) and all(link.startswith("file://") for link in found)
    browser.screen(390, 800, dark=True)
    browser.open(site / "index.html")
    browser.wait("document.readyState === 'complete'")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") != light
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    seen = "[...document.querySelectorAll('article img')].filter((i) => getComputedStyle(i).display !== 'none')"
    shown = browser.run(f"return {seen}.map((i) => i.src)")
    assert {Path(url.split("#")[0]).name for url in shown if "/figures/" in url} == {
        "hero-dark.png", "report-dark.png", "dataflow-dark.png"}  # fmt: skip
    assert not [url for url in browser.requests() if not url.startswith(("file://", "data:", "about:", "blob:"))]

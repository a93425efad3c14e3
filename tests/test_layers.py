"""The architecture, held by tests: imports go down, simulator and solver stay strangers, files are short and import."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kitlib"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}

VOCABULARY = (
    *("instruments", "products", "provenance", "config", "configfiles", "schema", "paths"),
    *("compiled", "parallel"),
)
LEARNING = ("ssm", "fused", "encoders", "fusion", "losses", "train")
ASSEMBLY = (
    *("pipeline", "stage", "inputs", "planets", "training", "pretraining", "sweep"),
    *("diagnosis", "__main__", "report", "inject", "budget"),
)
# what runs both, and knows nothing of either
MAY_SIMULATE = {
    "kitlib.pipeline": {"kitlib.simulate.observatory", "kitlib.simulate.optics"},
    "kitlib.pretraining": {f"kitlib.simulate.{name}" for name in ("lightcurves", "spectra", "systems", "visits")},
}
SHARED_WITH_SIMULATOR = {"kitlib", *(f"kitlib.{name}" for name in VOCABULARY)}


def layer(module: str) -> int:
    """0 vocabulary, 1 stages (the default), 2 learning, 3 assembly."""
    part = module.split(".")[1] if "." in module else ""
    if part in VOCABULARY or not part:
        return 0
    return 2 if part in LEARNING else 3 if part in ASSEMBLY else 1


def imports(module: str) -> set[str]:
    """Modules of kitlib that a module imports, at the top or inside a function."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "kitlib"}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, base] if base else parent)
            if base.split(".")[0] == "kitlib":
                names = {f"{base}.{alias.name}" for alias in node.names}
                submodules = names & set(MODULES)
                # `from . import figures` imports the submodule; `from .page import render` the module
                found |= submodules or {base}
    return found


def test_the_reader_of_imports_sees_them():
    assert "kitlib.products" in imports("kitlib.pipeline")
    assert "kitlib.simulate.observatory" in imports("kitlib.pipeline")
    assert "kitlib.pipeline" in imports("kitlib.__main__")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_only(module):
    above = {other for other in imports(module) if layer(other) > layer(module)}
    assert not above, f"{module} (layer {layer(module)}) imports {above}"


def test_there_is_no_import_cycle():
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module in done or module not in MODULES:
            return
        for other in imports(module) - {module}:
            if other != "kitlib":
                visit(other, (*trail, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.startswith("kitlib.simulate")))
def test_the_simulator_shares_only_the_vocabulary(module):
    other = {name for name in imports(module) if not name.startswith("kitlib.simulate")}
    assert other <= SHARED_WITH_SIMULATOR, f"{module} imports {other - SHARED_WITH_SIMULATOR}"


@pytest.mark.parametrize("module", sorted(m for m in MODULES if not m.startswith("kitlib.simulate")))
def test_the_solver_never_imports_the_simulator(module):
    simulator = {name for name in imports(module) if name.startswith("kitlib.simulate")}
    assert simulator <= MAY_SIMULATE.get(module, set())


def test_stages_have_only_the_solver_in_memory():
    """Importing what `predict` needs brings neither the simulator nor its transit code along."""
    import subprocess
    import sys

    code = "import sys, kitlib.pipeline; print([m for m in sys.modules if 'simulate' in m or m.startswith('batman')])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_file_imports(module):
    importlib.import_module(module)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_long(path):
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_library_code_does_not_print(path):
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert "print" not in names or path.name == "__main__.py"


def test_no_machine_path_is_written_into_the_project():
    """Neither the checkout's place nor a temporary folder; Kaggle's own /kaggle paths are facts of the platform."""
    patterns = ("*.*", "Makefile", "configs/**/*.yaml", "notebooks/*.*", "tests/**/*.py", "bench/*.py")
    files = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()} | set(FILES)
    machine = re.compile(r"(?<![\w/])/(work|tmp|root|home)/[a-z]")
    found = [path for path in sorted(files) if machine.search(path.read_text(errors="replace"))]
    assert not found

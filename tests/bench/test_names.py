"""What the benchmarks take from the package is there: most of them are too long for the tests."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.mark.parametrize("path", sorted(BENCH.glob("*.py")), ids=lambda path: path.stem)
def test_every_name_that_a_script_imports_from_the_package_exists(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kitlib")):
            continue
        module = import_module(node.module)
        for name in node.names:
            if not hasattr(module, name.name):
                import_module(f"{node.module}.{name.name}")  # raises, naming it

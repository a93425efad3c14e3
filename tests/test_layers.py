"""The architecture, held by tests: imports go down, simulator and solver stay strangers, files are short and import."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kitlib"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}

# Rooms from top to bottom: a room imports only rooms of floors below its own. No exception.
FLOORS = (
    ("inject",),  # an experiment runs stages' parts on planets: it stands on `run`
    ("run",),
    ("report",),
    ("fusion", "submission"),
    ("sigma",),
    ("transit",),
    ("spectra",),
    ("detector", "rules", "simulate"),
    ("base",),
)
FLOOR = {room: len(FLOORS) - i for i, rooms in enumerate(FLOORS) for room in rooms}
# A room for each file, in the order in which they are read.
ROOMS = {
    "detector": "frames axes parquet tables csvtable calibrate sky glitches profile neighbour cleaning extraction "
    "lightcurves",
    "transit": "flux limbdarkening priors series parameters channelmodel visitmodel gaussnewton gate dilution "
    "transients whitefit grazing jointfit driftorder measured parts record fit",
    "spectra": "kinds prior combination posterior",
    "fusion": "features ssm fused encoders model losses train ensemble",
    "sigma": "metric calibrator fit reliability decomposition",
    "rules": "grammar expression constraints",
    "submission": "writer validation",
    "inject": "signals frameinject recovery experiment",
    "run": "root stage inputs fits planets budget training pretraining diagnosis sweep verify notebook summaries",
    "report": "data bands diagnostics calibrationtable groups gatetable heavy comparison injection injectiontable "
    "drawing planetcharts runcharts stagecharts figures packing payload page",
    "simulate": "systems optics molecules opacities spectra visits worlds detector exposure observatory residue "
    "lightcurves",
    "base": "instruments products schema values keytable helptext config configfiles paths provenance "
    "execution guarded cluster folds compiled version",
}
TOP = {"kitlib", "kitlib.__main__", "kitlib.pipeline"}
# what runs both, and knows nothing of either
MAY_SIMULATE = {"kitlib.pipeline", "kitlib.run.pretraining"}


def room(module: str) -> str:
    """The room that a module lies in; "" for the few at the top."""
    return "" if module in TOP else module.split(".")[1]


@cache
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
    assert "kitlib.base.products" in imports("kitlib.pipeline")
    assert "kitlib.simulate.observatory" in imports("kitlib.pipeline")
    assert "kitlib.detector" in imports("kitlib.run.planets")
    assert "kitlib.pipeline" in imports("kitlib.__main__")


def test_every_file_has_its_room():
    listed = {f"kitlib.{name}.{file}" for name, files in ROOMS.items() for file in files.split()}
    assert listed == {module for module in MODULES if module not in TOP and module.count(".") == 2}
    assert set(ROOMS) == set(FLOOR) == {module.split(".")[1] for module in MODULES if module.count(".") == 2}


@pytest.mark.parametrize("module", sorted(set(MODULES) - TOP))
def test_imports_go_down_only(module):
    above = {other for other in imports(module) if other in TOP or room(other) not in FLOOR}
    assert not above, f"{module} imports {above}"
    own = room(module)
    wrong = {other for other in imports(module) if room(other) != own and FLOOR[room(other)] >= FLOOR[own]}
    assert not wrong, f"{module} (room {own}) imports {wrong}"


@pytest.mark.parametrize("module", sorted(set(MODULES) - TOP))
def test_a_room_is_entered_by_its_door(module):
    """Other rooms are imported as a whole; what they offer stands in their __init__. `base` is vocabulary: by file."""
    past = {m for m in imports(module) if m.count(".") > 1 and room(m) not in (room(module), "base")}
    assert not past, f"{module} imports {past}: take it from the room"


@pytest.mark.parametrize("name", sorted(ROOMS))
def test_the_door_says_what_goes_in_and_out_and_in_which_order_to_read(name):
    door = importlib.import_module(f"kitlib.{name}").__doc__
    words = re.findall(r"\w+", door)
    missing = [file for file in ROOMS[name].split() if file not in words]
    assert not missing, f"kitlib/{name}/__init__.py does not mention {missing}"


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


@pytest.mark.parametrize("module", sorted(m for m in MODULES if not m.startswith("kitlib.simulate")))
def test_the_solver_never_imports_the_simulator(module):
    simulator = {name for name in imports(module) if name.startswith("kitlib.simulate")}
    assert not simulator or module in MAY_SIMULATE


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
    files -= {ROOT / ".git"}  # a file in a worktree, which git writes
    machine = re.compile(r"(?<![\w/])/(work|tmp|root|home)/[a-z]")
    found = [path for path in sorted(files) if machine.search(path.read_text(errors="replace"))]
    assert not found

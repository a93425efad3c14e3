"""What a function leads to: functions and classes of the package that it names, and what those name in turn."""

import ast
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

Place = tuple[Path, str]  # file, name of a function, class or value at its top


class Definitions:
    """The package's files, and what each name in them stands for."""

    def __init__(self, package: Path):
        self.package = package
        self.trees = {path: ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
        self.nodes: dict[Place, ast.stmt] = {}
        self.methods: dict[Place, tuple[Place, str]] = {}  # Class.method -> class, method
        self.imported: dict[Place, Place] = {}  # name in a file -> where it comes from
        for path, tree in self.trees.items():
            for part in tree.body:
                for name in _defined(part):
                    self.nodes[path, name] = part
                for method in part.body if isinstance(part, ast.ClassDef) else []:
                    if isinstance(method, ast.FunctionDef):
                        self.nodes[path, f"{part.name}.{method.name}"] = method
                        self.methods[path, f"{part.name}.{method.name}"] = (path, part.name), method.name
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom):
                    self._import(path, node)

    def reachable(self, start: Place, without: Iterable[str] = ()) -> set[Place]:
        """Everything that `start` leads to, itself included; names in `without` are not followed.

        A method counts where its class does and code that is reached speaks of an attribute of its name; `forward`
        always, which torch calls. Annotations lead nowhere.
        """
        left_out, found, waiting, attributes = set(without), set(), [start], set()
        while waiting:
            place = waiting.pop()
            if place in found:
                continue
            found.add(place)
            for node in _inside(self.nodes[place]):
                if isinstance(node, ast.Attribute):
                    attributes.add(node.attr)
                target = self._target(place[0], node)
                if target and target[1] not in left_out:
                    waiting.append(target)
            waiting += [method for method in self._methods(found, attributes) if method not in found]
        return found

    def resolve(self, place: Place) -> Place | None:
        """Where a name of a file is defined, through imports; None where it is none of the package's."""
        seen = set()
        while place not in self.nodes:
            if place in seen or place not in self.imported:
                return None
            seen.add(place)
            place = self.imported[place]
        return place

    def _target(self, path: Path, node: ast.AST) -> Place | None:
        if isinstance(node, ast.Name):
            return self.resolve((path, node.id))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):  # `rules.from_config`
            module = self.imported.get((path, node.value.id))
            return self.resolve((module[0], node.attr)) if module and not module[1] else None
        return None

    def _methods(self, found: set[Place], attributes: set[str]) -> list[Place]:
        return [
            place
            for place, (owner, name) in self.methods.items()
            if owner in found and (name in attributes or name == "forward" or name.startswith("__"))
        ]

    def _import(self, path: Path, node: ast.ImportFrom) -> None:
        folder = path.parent
        if node.level:
            for _ in range(node.level - 1):
                folder = folder.parent
        elif node.module and node.module.split(".")[0] == self.package.name:
            folder = self.package.parent
        else:
            return
        base = folder.joinpath(*(node.module or "").split(".")) if node.module else folder
        for alias in node.names:
            name = alias.asname or alias.name
            module = self._file(base / alias.name)
            self.imported[path, name] = (module, "") if module else (self._file(base) or base, alias.name)

    def _file(self, base: Path) -> Path | None:
        return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p in self.trees), None)


def _defined(part: ast.stmt) -> list[str]:
    if isinstance(part, ast.FunctionDef | ast.ClassDef):
        return [part.name]
    targets = part.targets if isinstance(part, ast.Assign) else [part.target] if isinstance(part, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _inside(part: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a definition but its annotations; of a class without its methods, which count by themselves."""
    waiting = deque([part])
    while waiting:
        node = waiting.popleft()
        yield node
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns"):
                values = value if isinstance(value, list) else [value]
                waiting += [v for v in values if isinstance(v, ast.AST) and not (_is_method(node, v))]


def _is_method(owner: ast.AST, node: ast.AST) -> bool:
    return isinstance(owner, ast.ClassDef) and isinstance(node, ast.FunctionDef)

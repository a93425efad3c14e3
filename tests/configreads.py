"""Who reads which configuration key: attribute accesses on objects whose type, by annotation, is a schema class."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


class Reads:
    """Accesses found in source files.

    `found`: (schema class, field) -> files that read it. `places`: the same -> (file, function, class or Class.method).
    `unknown`: accesses to what a schema class does not have.
    Types come from annotations of parameters, returns and class fields, and follow assignments and loops.
    """

    def __init__(self, schema: ModuleType, files: Iterable[Path]):
        self.fields = _schema_fields(schema)
        trees = {path: ast.parse(path.read_text()) for path in files}
        self.attributes: dict[str, dict[str, str]] = defaultdict(dict)  # class -> attribute -> type
        self.returns: dict[str, str] = {}  # function -> type
        self.found: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.places: dict[tuple[str, str], set[tuple[Path, str]]] = defaultdict(set)
        self.unknown: list[str] = []
        for tree in trees.values():
            self._declared(tree)
        for path, tree in trees.items():
            _Walk(self, path).visit(tree)

    def leaves(self) -> set[tuple[str, str]]:
        """Every (schema class, field) that holds a value rather than a section."""
        return {(n, f) for n, fields in self.fields.items() for f, kinds in fields.items() if not self._known(kinds)}

    def type_of(self, annotation: ast.expr | None) -> str:
        """The class that an annotation speaks of, "" where it is none that leads to a configuration."""
        return self._known(_names(annotation)) if annotation is not None else ""

    def _known(self, names: list[str]) -> str:
        return next((name for name in names if name in self.fields or name in self.attributes), "")

    def _declared(self, tree: ast.Module) -> None:
        """Classes that carry a configuration, and functions that return one."""
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                self.returns.setdefault(node.name, next((n for n in _names(node.returns) if n in self.fields), ""))
            elif isinstance(node, ast.ClassDef):
                for part in ast.walk(node):
                    if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                        kind = next((n for n in _names(part.annotation) if n in self.fields), "")
                        if kind:
                            self.attributes[node.name][part.target.id] = kind


class _Walk(ast.NodeVisitor):
    """One file: types of names, scope by scope, in the order of the text."""

    def __init__(self, reads: Reads, path: Path):
        self.reads, self.path, self.scopes, self.owner, self.top = reads, path, [{}], "", ""

    def visit_Module(self, node: ast.Module) -> None:
        for part in node.body:
            self.top = getattr(part, "name", "")
            self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.owner, outside = node.name, self.owner
        for part in ast.iter_child_nodes(node):
            self.top = f"{node.name}.{part.name}" if isinstance(part, ast.FunctionDef) else node.name
            self.visit(part)
        self.owner = outside

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.scopes.append({argument.arg: self.reads.type_of(argument.annotation) for argument in arguments})
        if self.owner and arguments and arguments[0].arg == "self":
            self.scopes[-1]["self"] = self.owner
        self.generic_visit(node)
        self.scopes.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._assign(target, node.value)

    def visit_For(self, node: ast.For) -> None:
        self._assign(node.target, node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._assign(node.target, node.iter)
        self.generic_visit(node)

    def _visit_generators_first(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        for generator in node.generators:
            self.visit(generator)
        self.generic_visit(node)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _visit_generators_first

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = self._type(node.value)
        if owner in self.reads.fields and isinstance(node.ctx, ast.Load):
            if node.attr in self.reads.fields[owner]:
                self.reads.found[owner, node.attr].add(self.path.name)
                self.reads.places[owner, node.attr].add((self.path, self.top))
            elif not node.attr.startswith("__"):
                self.reads.unknown.append(f"{self.path.name}:{node.lineno}: {ast.unparse(node)} ({owner})")
        self.generic_visit(node)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, its in zip(target.elts, value.elts, strict=True):
                self._assign(one, its)
        elif isinstance(target, ast.Name):
            self.scopes[-1][target.id] = self._type(value)
        elif isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self" and self._type(value):
            self.reads.attributes[self.owner][target.attr] = self._type(value)

    def _type(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(self.scopes) if node.id in scope), "")
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if called == "replace" and node.args:
                return self._type(node.args[0])
            return self.reads.returns.get(called, "")
        if isinstance(node, ast.Attribute):
            owner = self._type(node.value)
            if owner in self.reads.fields:
                return self.reads._known(self.reads.fields[owner].get(node.attr, []))
            return self.reads.attributes.get(owner, {}).get(node.attr, "")
        return ""


def _names(annotation: ast.expr) -> list[str]:
    """Names in an annotation, quoted ones as well: `list[StepConfig]` -> ["list", "StepConfig"]; none of a mapping."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("dict", "Mapping"):
        return []
    return [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)]


def _schema_fields(schema: ModuleType) -> dict[str, dict[str, list[str]]]:
    """Schema class -> its fields -> names in the field's type."""
    classes = [node for node in ast.parse(Path(schema.__file__).read_text()).body if isinstance(node, ast.ClassDef)]
    return {
        node.name: {part.target.id: _names(part.annotation) for part in node.body if isinstance(part, ast.AnnAssign)}
        for node in classes
    }

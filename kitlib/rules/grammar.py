"""The language that rules are written in, and the parser that turns its text into nodes.

Text is read with Python's grammar (`ast`), and only what the tables below name becomes a node; everything else is a
`RuleError` that points at its column. Nothing is ever executed: no `eval`, no attribute, no call by name.

    mu, sigma           predicted depth and its standard deviation, one number a planet and bin
    wl                  wavelength of each bin, um
    ppm                 1e-6
    x[2.6:2.9]          the bins from 2.6 to 2.9 um, both ends included; a missing end is open
    x[band("H2O")]      the bins of a molecule's bands; band("H2O") alone is mu[band("H2O")]
    + - * / **          element by element, on the bins that both sides have; an exponent is a whole number -8..8
    mean sum std min max (x)     over bins: one number a planet;   min(x, y), max(x, y) element by element
    abs sqrt log exp (x)         element by element
    diff(x), diff(x, 2)          first / second difference of neighbouring AIRS bins, kept at the later / middle bin
"""

import ast
import math
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..base.instruments import MOLECULAR_BANDS_UM, PPM
from .expression import (
    SHOWN,
    Difference,
    Elementwise,
    Kind,
    Node,
    Number,
    Place,
    Ranges,
    Reduction,
    RuleError,
    Slice,
    Variable,
    spread,
)

MAX_LENGTH = 2_000  # characters of one rule
MAX_DEPTH = 64  # nested operations
MAX_NUMBER = 1e12
MAX_EXPONENT = 8

Bands = Mapping[str, Ranges]

OPERATORS: dict[type[ast.operator], Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: torch.add,
    ast.Sub: torch.sub,
    ast.Mult: torch.mul,
    ast.Div: torch.div,
}
REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(1, keepdim=True),
    "sum": lambda x: x.sum(1, keepdim=True),
    "std": spread,
    "min": lambda x: x.amin(1, keepdim=True),
    "max": lambda x: x.amax(1, keepdim=True),
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "log": torch.log,
    "exp": torch.exp,
}
PAIRWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"min": torch.minimum, "max": torch.maximum}
VARIABLES = ("mu", "sigma", "wl")
CONSTANTS = {"ppm": PPM}
CALLS = sorted({*REDUCTIONS, *FUNCTIONS, *PAIRWISE, "diff", "band"})


def read(text: str) -> tuple[str, ast.expr]:
    """The text on one line and its Python syntax tree, not yet checked. Raises RuleError for what is no expression."""
    if not isinstance(text, str):
        raise RuleError(f"a rule is text such as 'mu >= 0', not {type(text).__name__}", str(text)[:SHOWN], 1)
    if len(text) > MAX_LENGTH:
        raise RuleError(f"a rule has at most {MAX_LENGTH} characters, not {len(text)}", text, MAX_LENGTH + 1)
    line = "".join(" " if c.isspace() else c for c in text)
    blank = len(line) - len(line.lstrip())
    if blank == len(line):
        raise RuleError("the rule is empty", line, 1)
    depth = 0
    for column, character in enumerate(line, 1):
        if character == "\0" or "\ud800" <= character <= "\udfff":  # Python's own errors for these have no column
            raise RuleError("this character cannot be part of a text", line, column)
        depth += (character in "([{") - (character in ")]}")
        if depth > MAX_DEPTH:  # before Python's parser, whose own stack may overflow
            raise RuleError(f"more than {MAX_DEPTH} nested brackets", line, column)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's remarks on odd code, e.g. `1 is 2`: refused below anyway
            # blanks in front would count as indentation
            return line, ast.parse(line[blank:], mode="eval").body
    except SyntaxError as error:
        # Python says 0 where the text ends too early
        column = min(blank + error.offset, len(line) + 1) if error.offset else len(line) + 1
        raise RuleError(f"not an expression: {error.msg}", line, column) from None
    except (ValueError, RecursionError, MemoryError) as error:  # the parser's own limits
        raise RuleError(f"not an expression: {error or type(error).__name__}", line, blank + 1) from None


class Parser:
    """Turns the syntax trees of one text into nodes, refusing whatever the tables do not name."""

    def __init__(self, text: str, bands: Bands = MOLECULAR_BANDS_UM):
        self.text, self.bands = text, bands
        self.blank = len(text) - len(text.lstrip())

    def place(self, tree: ast.expr) -> Place:
        """Where a tree begins; Python counts UTF-8 bytes, we count characters."""
        line = self.text[self.blank :].encode()
        return Place(self.text, self.blank + len(line[: tree.col_offset].decode(errors="ignore")) + 1)

    def node(self, tree: ast.expr, depth: int = 0) -> Node:
        """One tree as a node. Raises RuleError."""
        place = self.place(tree)
        if depth > MAX_DEPTH:
            raise place.error(f"more than {MAX_DEPTH} nested operations")
        match tree:
            case ast.Constant():
                return Number(place, Kind.NUMBER, self.number(tree))
            case ast.Name(id=name) if name in VARIABLES:
                return Variable(place, Kind.BINS, name)
            case ast.Name(id=name) if name in CONSTANTS:
                return Number(place, Kind.NUMBER, CONSTANTS[name])
            case ast.Name(id=name):
                known = ", ".join((*VARIABLES, *CONSTANTS))
                raise place.error(f"unknown name {name[:40]!r} (known: {known}; functions: {', '.join(CALLS)})")
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                of = self.node(operand, depth + 1)
                return Elementwise(place, of.kind, torch.neg, (of,)) if isinstance(tree.op, ast.USub) else of
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return self.power(place, self.node(left, depth + 1), right)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                sides = (self.node(left, depth + 1), self.node(right, depth + 1))
                return Elementwise(place, max(sides[0].kind, sides[1].kind), OPERATORS[type(op)], sides)
            case ast.Subscript(value=value, slice=index):
                return self.slice(place, self.node(value, depth + 1), index)
            case ast.Call():
                return self.call(place, tree, depth)
        raise place.error(f"{_spoken(tree)} is not part of the rules language")

    def number(self, tree: ast.expr) -> float:
        """A literal number, with or without a minus."""
        match tree:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
                sign = -1.0
            case ast.Constant(value=value):
                sign = 1.0
            case _:
                value = None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.place(tree).error("expected a plain number")
        if not abs(value) <= MAX_NUMBER:
            raise self.place(tree).error(f"numbers beyond {MAX_NUMBER:g} are refused")
        return sign * float(value)

    def power(self, place: Place, base: Node, exponent: ast.expr) -> Node:
        """base ** whole number."""
        value = self.number(exponent)
        if value != math.floor(value) or abs(value) > MAX_EXPONENT:
            reason = f"an exponent is a whole number from -{MAX_EXPONENT} to {MAX_EXPONENT}"
            raise self.place(exponent).error(reason)
        return Elementwise(place, base.kind, lambda x: x ** int(value), (base,))

    def slice(self, place: Place, of: Node, index: ast.expr) -> Node:
        """of[low:high] in um, or of[band("H2O")]."""
        if of.kind is not Kind.BINS:
            raise place.error("only a value with one number a bin can be sliced")
        if isinstance(index, ast.Call):
            return Slice(place, Kind.BINS, of, self.band(index))
        if not isinstance(index, ast.Slice) or index.step is not None:
            raise self.place(index).error('a slice is [low:high] in um, or [band("H2O")]')
        low = self.number(index.lower) if index.lower else 0.0
        high = self.number(index.upper) if index.upper else math.inf
        if not 0 <= low < high:
            raise self.place(index).error(f"a slice goes up in wavelength, not from {low:g} to {high:g} um")
        return Slice(place, Kind.BINS, of, ((low, high),))

    def band(self, tree: ast.Call) -> Ranges:
        """The ranges of band("MOLECULE")."""
        match tree:
            case ast.Call(func=ast.Name(id="band"), args=[ast.Constant(value=str(name))], keywords=[]):
                if name not in self.bands:
                    known = ", ".join(sorted(self.bands))
                    raise self.place(tree.args[0]).error(f"unknown molecule {name[:40]!r} (known: {known})")
                for low, high in self.bands[name]:
                    if not 0 <= low < high:
                        raise self.place(tree).error(
                            f"the band of {name} goes up in wavelength, not {low} to {high} um"
                        )
                return tuple(self.bands[name])
        raise self.place(tree).error('expected band("MOLECULE")')

    def call(self, place: Place, tree: ast.Call, depth: int) -> Node:
        """A function of the white list."""
        name = tree.func.id if isinstance(tree.func, ast.Name) else None
        if name not in CALLS:
            spoken = repr(name[:40]) if name else _spoken(tree.func)
            raise place.error(f"{spoken} cannot be called; functions: {', '.join(CALLS)}")
        if name == "band":
            return Slice(place, Kind.BINS, Variable(place, Kind.BINS, "mu"), self.band(tree))
        if tree.keywords:
            raise self.place(tree.keywords[0].value).error(f"{name} takes no named arguments")
        if name == "diff" and len(tree.args) == 2:
            order = self.number(tree.args[1])
            if order not in (1, 2):
                raise self.place(tree.args[1]).error("the order of diff is 1 or 2")
            return self.over_bins(place, name, self.node(tree.args[0], depth + 1), int(order))
        of = tuple(self.node(argument, depth + 1) for argument in tree.args)
        if len(of) == 2 and name in PAIRWISE:
            return Elementwise(place, max(of[0].kind, of[1].kind), PAIRWISE[name], of)
        if len(of) != 1:
            raise place.error(f"{name} takes one argument{' or two' if name in (*PAIRWISE, 'diff') else ''}")
        if name in FUNCTIONS:
            return Elementwise(place, of[0].kind, FUNCTIONS[name], of)
        return self.over_bins(place, name, of[0], 1)

    def over_bins(self, place: Place, name: str, of: Node, order: int) -> Node:
        """diff and the reductions."""
        if of.kind is not Kind.BINS:
            raise place.error(f"{name} needs one number a bin, such as mu or sigma[2.6:2.9]")
        if name == "diff":
            return Difference(place, Kind.BINS, order, of)
        return Reduction(place, Kind.PLANET, REDUCTIONS[name], of)


def _spoken(tree: ast.AST) -> str:
    """What a refused piece of syntax is called."""
    names = {
        "Attribute": "attribute access",
        "JoinedStr": "an f-string",
        "NamedExpr": "an assignment",
        "Compare": "a comparison inside arithmetic",
        "BoolOp": "'and' / 'or' inside arithmetic",
        "IfExp": "if / else",
    }
    kind = type(tree.op if isinstance(tree, (ast.UnaryOp, ast.BinOp)) else tree).__name__
    return names.get(kind, f"this ({kind})")

"""Derived inputs: a small arithmetic over other inputs, parsed once and written into the model's graph."""

from __future__ import annotations

import ast
from dataclasses import dataclass

_BINARY = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Div: "Div"}
_FUNCTIONS = {"log": ("Log", 1), "exp": ("Exp", 1), "sqrt": ("Sqrt", 1), "abs": ("Abs", 1)}
_FUNCTIONS |= {"min": ("Min", 2), "max": ("Max", 2)}
_LONGEST = 500


@dataclass(frozen=True)
class Term:
    """A node of an expression: an ONNX operator over parts, a name (`op` empty), or a number."""

    op: str = ""
    parts: tuple[Term, ...] = ()
    name: str = ""
    number: float | None = None

    @property
    def names(self) -> frozenset[str]:
        """The inputs that it reads."""
        inner = frozenset(name for part in self.parts for name in part.names)
        return inner | {self.name} if self.name else inner


def parse_expression(text: str) -> Term:
    """Read `log(valor / (renda * 12))`: + - * /, numbers, names, log exp sqrt abs min max. ValueError otherwise."""
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    try:
        return _term(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"'{text}' is not an expression") from error


def _term(node: ast.expr) -> Term:
    match node:
        case ast.Name():
            return Term(name=node.id)
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float()):
            return Term(number=float(node.value))  # type: ignore[arg-type] # the pattern says it is a number
        case ast.UnaryOp(op=ast.USub()):
            return Term("Neg", (_term(node.operand),))
        case ast.BinOp() if type(node.op) in _BINARY:
            return Term(_BINARY[type(node.op)], (_term(node.left), _term(node.right)))
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            op, count = _FUNCTIONS[name]
            if len(node.args) == count:
                return Term(op, tuple(_term(part) for part in node.args))
    known = "+ - * /, numbers, inputs, " + ", ".join(_FUNCTIONS)
    raise ValueError(f"'{ast.unparse(node)}' is not allowed; known are {known}")

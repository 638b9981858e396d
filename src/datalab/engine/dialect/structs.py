"""Structs written out where rows are compared by them: in Spark NULL comes first inside, in DuckDB last."""

from __future__ import annotations

from sqlglot import exp

_KEYED = (exp.ArgMax, exp.ArgMin)


def order_structs(root: exp.Expr) -> None:
    """max(struct(a, b)), max_by(x, struct(a, b)) and ORDER BY struct(a, b), in a Spark tree that stays one.

    Before each field stands whether it is there, which decides first.
    """
    for node in list(root.find_all(exp.Ordered, exp.Max, exp.Min, *_KEYED)):
        place = "expression" if isinstance(node, _KEYED) else "this"
        struct = node.args[place]
        if not isinstance(struct, exp.Struct) or struct.find(exp.Star):
            continue
        node.set(place, _with_presence([value for _, value in _fields(struct)]))
        if isinstance(node, exp.Max | exp.Min):
            _restore(node, [name for name, _ in _fields(struct)])


def _fields(struct: exp.Struct) -> list[tuple[str, exp.Expr]]:
    """Names as Spark gives them, and values."""
    return [_field(number, each) for number, each in enumerate(struct.expressions, 1)]


def _field(number: int, each: exp.Expr) -> tuple[str, exp.Expr]:
    if isinstance(each, exp.PropertyEQ | exp.Alias):
        named, value = (
            (each.this, each.expression) if isinstance(each, exp.PropertyEQ) else (each.args["alias"], each.this)
        )
        return named.name, value
    return (each.name if isinstance(each, exp.Column | exp.Dot) else f"col{number}"), each


def _with_presence(values: list[exp.Expr]) -> exp.Struct:
    fields = []
    for number, value in enumerate(values):
        present = exp.paren(exp.Not(this=exp.paren(exp.Is(this=value.copy(), expression=exp.Null()))))
        fields += [_named(f"p{number}", present), _named(f"f{number}", value.copy())]
    return exp.Struct(expressions=fields)


def _restore(node: exp.Max | exp.Min, names: list[str]) -> None:
    """Put the struct that was asked for around an aggregate of the longer one."""
    whole = node.parent if isinstance(node.parent, exp.Filter | exp.Window) else node
    if isinstance(whole, exp.Filter) and isinstance(whole.parent, exp.Window):
        whole = whole.parent
    found = whole.copy()
    taken = [
        _named(name, exp.Dot(this=exp.paren(found.copy()), expression=exp.to_identifier(f"f{number}")))
        for number, name in enumerate(names)
    ]
    missing = exp.Is(this=exp.paren(found.copy()), expression=exp.Null())
    made = exp.Case().when(missing, exp.Null()).else_(exp.Struct(expressions=taken))
    whole.replace(exp.paren(made))


def _named(name: str, value: exp.Expr) -> exp.PropertyEQ:
    return exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=value)

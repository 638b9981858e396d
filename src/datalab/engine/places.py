"""Where in a file a node of a parsed query stands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

_ORIGIN = re.compile(r"(?P<file>.+?):(?P<line>\d+)(?::\d+)?\Z")


def line_in_query(node: exp.Expr) -> int | None:
    """The line of the query's text that `node` stands on, from 1, as the parser noted it on the node or inside."""
    lines = (inner.meta.get("line") for inner in node.walk())
    return next((line for line in lines if line), None)


def place(origin: str, node: exp.Expr | None = None) -> str:
    """`file:line:column` of a node that knows its file; else `file:line`, counted on from the origin's line.

    Where the parser noted no line on a node, as on literals, it is that of what the node is part of; the origin itself
    where no line is known.
    """
    while node is not None and node.parent is not None and line_in_query(node) is None:
        node = node.parent
    known = next((inner.meta for inner in node.walk() if "file" in inner.meta), None) if node is not None else None
    if known is not None:
        return f"{known['file']}:{known['line']}:{known['col']}"
    line = line_in_query(node) if node is not None else None
    match = _ORIGIN.match(origin)
    if line is None:
        return origin
    if match is None:
        return f"{origin}:{line}" if origin else f"line {line}"
    return f"{match['file']}:{int(match['line']) + line - 1}"

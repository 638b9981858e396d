"""Trees as lines of text, for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """One line, and what is below it."""

    text: str
    below: tuple[Node, ...] = ()


def lines(root: Node) -> Iterator[str]:
    """The tree, a line per node, each drawn under the one that it belongs to."""
    yield root.text
    for number, node in enumerate(root.below):
        last = number == len(root.below) - 1
        first, *rest = lines(node)
        yield f"{'└─' if last else '├─'} {first}"
        yield from (f"{'  ' if last else '│ '} {line}" for line in rest)

"""Keys that stand twice in an object: JSON allows them, and programs differ about which of the two values counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from datalab.serving.limits import outside_texts


def has_keys(body: bytes, count: int) -> bool:
    """Whether sound JSON has so many keys in all: each is followed by a colon, and others stand in texts only."""
    return body.count(b":") == count or outside_texts(body).count(b":") == count


def repeated_keys(body: bytes) -> list[str]:
    """The paths of keys that stand more than once in their object, in order; numbers are places in a list."""
    return [".".join(path) for path in _repeated(json.loads(body, object_pairs_hook=_Pairs), ())]


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written."""


def _repeated(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    inside: list[tuple[str, Any]] = []
    if isinstance(node, _Pairs):
        counts = Counter(name for name, _ in node)
        yield from ((*path, name) for name, count in counts.items() if count > 1)
        inside = node
    elif isinstance(node, list):
        inside = [(str(place), each) for place, each in enumerate(node)]
    for name, each in inside:
        yield from _repeated(each, (*path, name))

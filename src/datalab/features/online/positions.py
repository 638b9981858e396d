"""How a view in the store moves from version to version; the same rules for every store.

A writer announces its version before the first row. Whoever begins while another version is announced (its writer is
at work, or was killed) knows of it, and also writes what that one may have written: see features/materialize.py.
"""

from __future__ import annotations

from dataclasses import replace

from datalab.features.online.base import Layout, Position, Superseded, Version


def begun(position: Position, version: Version) -> Position:
    """The position with a version announced. Superseded where a newer one is whole or announced."""
    known = [*position.pending, *([position.done] if position.done else [])]
    if any(other.order > version.order for other in known):
        raise Superseded
    return replace(position, pending=tuple(dict.fromkeys((*position.pending, version))))


def require_current(position: Position, version: Version) -> None:
    """Superseded where a newer version is whole."""
    if position.done is not None and position.done.order > version.order:
        raise Superseded


def finished(position: Position, version: Version, layout: Layout) -> Position:
    """The position once a version is whole: older announcements are void. Superseded where a newer one is whole."""
    require_current(position, version)
    later = tuple(other for other in position.pending if other.order > version.order)
    return Position(version, later, layout)

"""A part of a file: units (Avro blocks, lines of text, row groups) from `start` up to `stop`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Units `start` to `stop`.

    `alone` says that the one unit is to be decoded record by record, and `head`, with it, that only its first so many
    records are to be decoded.
    """

    start: int
    stop: int
    alone: bool = False
    head: int | None = None

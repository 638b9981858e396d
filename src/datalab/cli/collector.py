"""Python's search for circles of values, in a process that runs one command: libraries are not searched."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_LOADING = 250_000  # values; a command that finds nothing to do makes fewer, and never searches
_USUAL = gc.get_threshold()


@contextmanager
def seldom() -> Iterator[None]:
    """Search no earlier than when libraries are loaded, and leave out from then on what there is; not at the end."""
    gc.set_threshold(_LOADING, *_USUAL[1:])
    gc.callbacks.append(_settle)
    try:
        yield
    finally:
        _stop_waiting()
        gc.freeze()  # the interpreter searches once more when it ends, though all goes with it


def _settle(phase: str, _: dict[str, Any]) -> None:
    if phase == "stop":
        _stop_waiting()
        gc.freeze()


def _stop_waiting() -> None:
    with suppress(ValueError):
        gc.callbacks.remove(_settle)
        gc.set_threshold(*_USUAL)

"""Python's search for circles of values, in a process that runs one command: libraries are not searched."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_LOADING = 250_000  # values; a command that finds nothing to do makes fewer, and never searches


@contextmanager
def seldom() -> Iterator[None]:
    """Search no earlier than when libraries are loaded, and leave out from then on what there is; not at the end.

    A command that sets thresholds of its own meanwhile, as a server does, keeps them.
    """
    usual = gc.get_threshold()

    def stop_waiting() -> None:
        with suppress(ValueError):
            gc.callbacks.remove(settle)
            if gc.get_threshold()[0] == _LOADING:
                gc.set_threshold(*usual)

    def settle(phase: str, _: dict[str, Any]) -> None:
        if phase == "stop":
            stop_waiting()
            gc.freeze()

    gc.set_threshold(_LOADING, *usual[1:])
    gc.callbacks.append(settle)
    try:
        yield
    finally:
        stop_waiting()
        gc.freeze()  # the interpreter searches once more when it ends, though all goes with it

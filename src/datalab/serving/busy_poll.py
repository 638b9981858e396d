"""Busy polling: after an answer the thread looks for the next request for a moment before it sleeps.

A core that sleeps has to be woken, and finds its caches cold: with one client that costs more than HTTP does.
"""

from __future__ import annotations

import asyncio
import time


class BusyPoll:
    """Keeps the event loop of this thread awake until so many seconds have passed since the last answer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0.0
        self._awake = False

    def answered(self, loop: asyncio.AbstractEventLoop) -> None:
        """An answer is out."""
        if self._seconds <= 0:
            return
        self._until = time.perf_counter() + self._seconds
        if not self._awake:
            self._awake = True
            loop.call_soon(self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if time.perf_counter() < self._until:
            loop.call_soon(self._look, loop)  # the loop asks for what came in between without waiting for it
        else:
            self._awake = False

"""Waiting for a broker or a registry that is silent: no longer than the command itself is to go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from datalab.errors import SourceUnavailable

T = TypeVar("T")
TICK = 0.2  # seconds after which it is looked whether to go on


def answered(future: Future[T], stop: threading.Event | None, who: str) -> T:
    """What comes of a request under way. SourceUnavailable where `stop` is set before."""
    while True:
        try:
            return future.result(None if stop is None else TICK)
        except TimeoutError:
            if future.done():
                raise
        require_going_on(stop, who)


def awaited(call: Callable[[], T], stop: threading.Event | None, who: str) -> T:
    """What a call answers that may take long and cannot be ended: with `stop` set it is left to itself."""
    if stop is None:
        return call()
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=run, name=f"asks {who}", daemon=True).start()
    return answered(future, stop, who)


def require_going_on(stop: threading.Event | None, who: str) -> None:
    """SourceUnavailable where the command has to end."""
    if stop is not None and stop.is_set():
        raise SourceUnavailable(f"ended while {who} was asked", "nothing was read")

"""What a caller may ask of the server: sizes, depth, time, rate."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_MOST_BUCKETS = 10_000


@dataclass(frozen=True)
class Limits:
    """Bytes, levels, seconds and requests per second. `request_seconds` bounds a whole request, answer included."""

    body_bytes: int = 64 * 1024
    batch_bytes: int = 8 * 1024 * 1024
    batch_rows: int = 10_000
    depth: int = 8
    header_bytes: int = 16 * 1024
    header_seconds: float = 10
    receive_seconds: float = 10
    request_seconds: float = 60
    idle_seconds: float = 30
    connections: int = 1000
    rate: float = 1000
    burst: float = 2000


def too_deep(body: bytes, depth: int) -> bool:
    """Whether JSON nests more than so many levels; what is inside texts does not count."""
    if body.count(b"{") + body.count(b"[") <= depth:
        return False
    level = 0
    for mark in _brackets(body):
        if mark in b"[{":
            level += 1
            if level > depth:
                return True
        else:
            level -= 1
    return False


def outside_texts(body: bytes) -> bytes:
    """JSON without its texts. Where there is no backslash no text holds a quote, and the quick way is right."""
    return _TEXT.sub(b"", body) if b"\\" in body else b"".join(body.split(b'"')[::2])


def _brackets(body: bytes) -> bytes:
    """What opens and closes levels, in order."""
    return outside_texts(body).translate(None, _NO_BRACKETS)


class Rate:
    """A token bucket per caller: so many requests a second in the long run, so many at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, caller: str) -> float:
        """Take one request of the caller's; 0 where it may pass, else the seconds until one may."""
        now = self._clock()
        tokens, since = self._buckets.get(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        if tokens < 1:
            return (1 - tokens) / self._rate
        if len(self._buckets) >= _MOST_BUCKETS:
            self._buckets.clear()
        self._buckets[caller] = (tokens - 1, now)
        return 0.0

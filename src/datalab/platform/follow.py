"""Ingest without end: each source in a thread of its own, a commit per interval, a pause where nobody answers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from datalab.errors import DataLabError, Fenced
from datalab.events import Bus, SourceLooked, SourcePaused, SourceResumed
from datalab.names import TableName
from datalab.pipelines.context import Context
from datalab.platform.feeds import SourceFeed

_LONGEST_PAUSE = 30.0


@dataclass
class Followed:
    """What came of one source: looks that found something, and records."""

    source: str
    table: TableName
    commits: int = 0
    read: int = 0
    written: int = 0
    quarantined: int = 0
    paused: float = 0.0


@dataclass(frozen=True)
class Following:
    """How long to go on: until `stop`, or with `until_none` until a look finds nothing; a look every `seconds`.

    `after` is called when a look found something.
    """

    stop: threading.Event
    seconds: float
    until_none: bool = False
    after: Callable[[Context], None] = lambda _: None


def follow(feeds: Sequence[SourceFeed], context: Callable[[], Context], way: Following, bus: Bus) -> list[Followed]:
    """Take in what comes. What may pass is waited for; any other error ends all, and is raised."""
    with ThreadPoolExecutor(max(len(feeds), 1), "ingest") as pool:
        loops = [pool.submit(_loop, feed, context, way, bus) for feed in feeds]
    return [loop.result() for loop in loops]


class _Pause:
    """A source that cannot be used for now: said once, waited for at growing intervals, and said when it is over."""

    def __init__(self, source: str, stop: threading.Event, bus: Bus) -> None:
        self._source, self._stop, self._bus = source, stop, bus
        self._since: float | None = None
        self._seconds = 0.0
        self.total = 0.0

    def wait(self, error: DataLabError) -> None:
        """Some time, longer from call to call."""
        if self._since is None:
            self._since = time.monotonic()
            self._bus.emit(SourcePaused(self._source, str(error)))
        self._seconds = min(max(self._seconds * 2, 0.5), _LONGEST_PAUSE)
        self._stop.wait(self._seconds)

    def over(self) -> None:
        """It can be used."""
        if self._since is not None:
            lasted = time.monotonic() - self._since
            self.total += lasted
            self._since, self._seconds = None, 0.0
            self._bus.emit(SourceResumed(self._source, lasted))


def _loop(feed: SourceFeed, context: Callable[[], Context], way: Following, bus: Bus) -> Followed:
    total, pause = Followed(feed.name, feed.target), _Pause(feed.name, way.stop, bus)
    try:
        if not way.until_none:
            feed.join()
        while not way.stop.is_set() and _turn(feed, context, way, (total, pause, bus)):
            pass
    except BaseException:
        way.stop.set()
        raise
    total.paused = pause.total
    return total


def _turn(
    feed: SourceFeed, context: Callable[[], Context], way: Following, course: tuple[Followed, _Pause, Bus]
) -> bool:
    """One look and the wait after it; whether to go on. An error that does not pass is raised."""
    total, pause, bus = course
    began = time.monotonic()
    try:
        look = context()
        found = _look(feed, look, total, bus)
        if found:
            way.after(look)
    except Fenced:  # another process was first: its rows are there, and what is left is read from there on
        way.stop.wait(random.uniform(0.05, 0.25))  # noqa: S311 - jitter is no secret
        return True
    except DataLabError as error:
        if not error.retryable:
            raise
        if not way.stop.is_set():
            pause.wait(error)
        return True
    pause.over()
    if way.until_none and not found:
        return False
    way.stop.wait(0 if way.until_none else max(0.0, way.seconds - (time.monotonic() - began)))
    return True


def _look(feed: SourceFeed, context: Context, total: Followed, bus: Bus) -> bool:
    """One look at a source, and all that was new; whether there was anything."""
    new = feed.pending(context).new
    bus.emit(SourceLooked(feed.name, new))
    if not new:
        return False
    outcome = feed.consume(context)
    total.commits += 1 if outcome.read else 0
    total.read += outcome.read
    total.written += outcome.written
    total.quarantined += outcome.quarantined
    return outcome.read > 0

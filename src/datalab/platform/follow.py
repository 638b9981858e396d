"""Ingest without end: each source in a thread of its own, a commit per interval, a pause where nobody answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from datalab.errors import DataLabError
from datalab.events import Bus, SourcePaused, SourceResumed
from datalab.names import TableName
from datalab.pipelines.execute import Context
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


def _loop(feed: SourceFeed, context: Callable[[], Context], way: Following, bus: Bus) -> Followed:
    total, pause, since = Followed(feed.name, feed.target), 0.0, 0.0
    while not way.stop.is_set():
        began = time.monotonic()
        try:
            look = context()
            found = _look(feed, look, total)
            if found:
                way.after(look)
        except DataLabError as error:
            if not error.retryable:
                way.stop.set()
                raise
            if not since:
                since = began
                bus.emit(SourcePaused(feed.name, str(error)))
            pause = min(max(pause * 2, 0.5), _LONGEST_PAUSE)
            way.stop.wait(pause)
            continue
        except BaseException:
            way.stop.set()
            raise
        if since:
            total.paused += time.monotonic() - since
            bus.emit(SourceResumed(feed.name, time.monotonic() - since))
            pause = since = 0.0
        if way.until_none and not found:
            break
        way.stop.wait(0 if way.until_none else max(0.0, way.seconds - (time.monotonic() - began)))
    return total


def _look(feed: SourceFeed, context: Context, total: Followed) -> bool:
    """One look at a source, and all that was new; whether there was anything."""
    if not feed.pending(context).new:
        return False
    outcome = feed.consume(context)
    total.commits += 1 if outcome.read else 0
    total.read += outcome.read
    total.written += outcome.written
    total.quarantined += outcome.quarantined
    return outcome.read > 0

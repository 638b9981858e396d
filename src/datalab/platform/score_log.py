"""The score log of a project on its way to the lake: once, or for as long as a server runs."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress

from datalab.errors import DataLabError
from datalab.platform.lab import Lab
from datalab.platform.state import log_folders
from datalab.serving.flush import REVIEWS, SCORES, Flushed, flush_log

_LONGEST_WAIT = 60.0
_LOOK_SECONDS = 0.5
_YIELDING = 10


def flush_logs(lab: Lab) -> tuple[Flushed, ...]:
    """Take what is logged to `ops.scores` and `ops.reviews`."""
    scores, reviews = log_folders(lab.configuration)
    context = lab.context()
    return (flush_log(context, SCORES, scores, lab.bus), flush_log(context, REVIEWS, reviews, lab.bus))


def follow_logs(lab: Lab, *, until_eof: bool) -> None:
    """Take the logs to the lake again and again, until told to end, or standard input ends; then a last time.

    An error is waited out, longer each time: what is logged stays there.
    """
    os.nice(_YIELDING)  # answers come first
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    pause = interval = float(lab.configuration.settings.serving.flush_seconds)
    while not _waited(ended, pause, until_eof):
        try:
            flush_logs(lab)
            pause = interval
        except DataLabError:
            pause = min(max(_LONGEST_WAIT, interval), pause * 2)
    with suppress(DataLabError):
        flush_logs(lab)


def _waited(ended: threading.Event, seconds: float, until_eof: bool) -> bool:
    """Wait, and answer whether it is time to end."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if ended.wait(_LOOK_SECONDS) or (until_eof and _input_ended()):
            return True
    return False


def _input_ended() -> bool:
    """Whoever holds the other end of standard input is gone, or has closed it; what is written there says nothing."""
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)

"""The score log of a project on its way to the lake: once, or for as long as a server runs."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

from datalab.errors import DataLabError
from datalab.platform.lab import Lab
from datalab.platform.state import log_folders
from datalab.serving.flush import REVIEWS, SCORES, Flushed, flush_log

_LONGEST_WAIT = 60.0
_LOOK_SECONDS = 0.5


def flush_logs(lab: Lab) -> tuple[Flushed, ...]:
    """Take what is logged to `ops.scores` and `ops.reviews`."""
    scores, reviews = log_folders(lab.configuration)
    context = lab.context()
    return (flush_log(context, SCORES, scores, lab.bus), flush_log(context, REVIEWS, reviews, lab.bus))


def follow_logs(lab: Lab, parent: int | None) -> None:
    """Take the logs to the lake again and again, until told to end or the parent process is gone; then a last time.

    An error is waited out, longer each time: what is logged stays there.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    pause = interval = float(lab.configuration.settings.serving.flush_seconds)
    while not _waited(ended, pause, parent):
        try:
            flush_logs(lab)
            pause = interval
        except DataLabError:
            pause = min(max(_LONGEST_WAIT, interval), pause * 2)
    with suppress(DataLabError):
        flush_logs(lab)


def _waited(ended: threading.Event, seconds: float, parent: int | None) -> bool:
    """Wait, and answer whether it is time to end."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if ended.wait(_LOOK_SECONDS) or (parent is not None and os.getppid() != parent):
            return True
    return False

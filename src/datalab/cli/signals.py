"""Signals that end a command: none is lost, wherever in the work it arrives."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

_AGAIN_SECONDS = 0.02
_received: list[int] = []


def listen() -> None:
    """SIGTERM ends the command as Ctrl-C does. What arrives where Python ignores exceptions arrives once more."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _send_again


def received() -> int | None:
    """The signal that the command was sent. A library may have made another error of what was raised then."""
    return _received[-1] if _received else None


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise SystemExit(128 + number)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt


def _send_again(lost: Any) -> None:
    """Finalisers and the collector's callbacks drop what is raised in them, the answer to a signal too."""
    if isinstance(lost.exc_value, SystemExit | KeyboardInterrupt):
        number = signal.SIGINT if isinstance(lost.exc_value, KeyboardInterrupt) else signal.SIGTERM
        timer = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()
    else:
        sys.__unraisablehook__(lost)

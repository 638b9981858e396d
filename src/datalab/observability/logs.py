"""A listener that writes each event as one line of JSON, for log collectors."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TextIO

from datalab.events import Event


def record(event: Event) -> dict[str, Any]:
    """The event as JSON values: its name, its time, its fields."""
    fields = {key: _plain(value) for key, value in vars(event).items() if key != "at"}
    return {"at": event.at.isoformat(), "event": type(event).__name__, **fields}


class JsonLog:
    """Writes events to a text stream, a line each, whole lines only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write one event."""
        line = json.dumps(record(event), ensure_ascii=False) + "\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)

"""A request that is answered without ASGI, standing where uvicorn keeps the request that it is answering."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from datalab.serving.guard import ALWAYS
from datalab.serving.problems import Answer

CLOSE = (b"connection", b"close")


class Turn:
    """What uvicorn asks of its own requests, and `reply`, which writes the answer in one piece."""

    __slots__ = ("_answered", "_protocol", "disconnected", "keep_alive", "response_complete")
    message_event = asyncio.Event()  # uvicorn sets it where a client leaves; nobody waits for it here

    def __init__(self, protocol: Any, answered: Callable[[], None], *, keep_alive: bool) -> None:
        self._protocol = protocol
        self._answered = answered
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    def reply(self, answer: Answer) -> None:
        """Send the answer; nothing where the client has left."""
        transport = self._protocol.transport
        self.response_complete = True
        if self.disconnected or transport.is_closing():
            return
        lines = [_head(answer.status, answer.content_type)]
        for name, value in (*self._protocol.server_state.default_headers, *answer.headers):
            lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive and CLOSE not in answer.headers:
            lines.append(b"connection: close\r\n")
        lines += (b"content-length: %d\r\n\r\n" % len(answer.body), answer.body)
        transport.write(b"".join(lines))
        if not self.keep_alive or CLOSE in answer.headers:
            transport.close()
        self._answered()


@lru_cache(64)
def _head(status: int, content_type: bytes) -> bytes:
    fixed = ((b"content-type", content_type), *ALWAYS)
    return STATUS_LINE[status] + b"".join(b"%s: %s\r\n" % header for header in fixed)

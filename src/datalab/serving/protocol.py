"""Connections that take too long or send too much are ended: what uvicorn's protocol leaves open is closed here."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from datalab.serving.limits import Limits
from datalab.serving.problems import CONTENT_TYPE

_SWEEP_SECONDS = 0.25
_MOST_UNREAD = 1 << 20
_HEAD, _WORK, _IDLE = "head", "work", "idle"


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds on the head's size and time, on a request's whole time, and on connections.

    Nothing is timed per request: a sweep over the connections, a few times a second, ends those that are overdue.
    """

    limits = Limits()
    sweeping: bool = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected: it has so many seconds for the head of its first request."""
        super().connection_made(transport)
        self._phase, self._since = _HEAD, self.loop.time()
        self._head_bytes = self._unread = 0
        self._whole, self._ended = True, False
        if len(self.connections) > self.limits.connections:
            transport.abort()
        elif not type(self).sweeping:
            type(self).sweeping = True
            self._sweep()

    def data_received(self, data: bytes) -> None:
        """Bytes came: those of an unfinished head, and those of a body that nobody reads, are counted."""
        if self._has_ended():
            return
        super().data_received(data)
        if self._has_ended():
            return
        if self._phase == _HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes:
                self._end(431, "The head of the request is too large")
        elif self._answered() and not self._whole:
            self._unread += len(data)
            if self._unread > _MOST_UNREAD:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._phase, self._since = _HEAD, self.loop.time()
        self._head_bytes = self._unread = 0
        self._whole = False

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._phase = _WORK
        if sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url) > self.limits.header_bytes:
            self._end(431, "The head of the request is too large")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._ended:
            return
        super().on_message_complete()
        self._whole = True
        if self._answered():
            self._phase = _IDLE

    def on_response_complete(self) -> None:
        """The answer is out; uvicorn's own timer ends a connection that stays idle."""
        super().on_response_complete()
        if self._whole:
            self._phase = _IDLE

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets a problem document."""
        self._end(400, msg)

    def _end(self, status: int, title: str) -> None:
        body = b'{"type":"/docs#http","title":"%s","status":%d}' % (title.encode("ascii"), status)
        head = [STATUS_LINE[status], b"content-type: ", CONTENT_TYPE, b"\r\ncontent-length: %d\r\n" % len(body)]
        self._ended = True
        self.transport.write(b"".join([*head, b"connection: close\r\n\r\n", body]))
        self.transport.close()

    def _has_ended(self) -> bool:
        return self._ended

    def _answered(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and cycle.response_complete

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in list(self.connections):
            if isinstance(connection, BoundedProtocol):
                connection._end_if_overdue(now)  # noqa: SLF001 - one of ours
        type(self).sweeping = bool(self.connections)
        if self.connections:
            self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _end_if_overdue(self, now: float) -> None:
        seconds = {_HEAD: self.limits.header_seconds, _WORK: self.limits.request_seconds}.get(self._phase)
        if seconds is not None and now - self._since > seconds:
            self.transport.abort()


def bounded_protocol(limits: Limits) -> Any:
    """The protocol class for one server."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits})

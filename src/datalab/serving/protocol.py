"""Connections that take too long or send too much are ended: what uvicorn's protocol leaves open is closed here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from datalab.serving.guard import Straight
from datalab.serving.limits import Limits
from datalab.serving.problems import CONTENT_TYPE
from datalab.serving.turn import Turn

_SWEEP_SECONDS = 0.25
_MOST_UNREAD = 1 << 20
_HEAD, _WORK, _IDLE = "head", "work", "idle"
_SECONDS = {_HEAD: "header_seconds", _WORK: "request_seconds", _IDLE: "idle_seconds"}


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds on the head's size and time, on a request's whole time, and on connections.

    Nothing is timed per request: a sweep over the connections, a few times a second, ends those that are overdue.
    A request for a path of `straight` that has come whole in one piece is answered without ASGI, which would take
    several times as long as the request itself; any other one is uvicorn's.
    """

    limits = Limits()
    straight: Mapping[bytes, Straight] = {}
    sweeping: bool = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected: it has so many seconds for the head of its first request."""
        super().connection_made(transport)
        self._phase, self._since = _HEAD, self.loop.time()
        self._head_bytes = self._unread = 0
        self._whole, self._ended = True, False
        self._held, self._body = False, b""
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
        if self._held:
            self._let_go()
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
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._phase, self._since = _HEAD, self.loop.time()
        self._head_bytes = self._unread = 0
        self._whole = False

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._phase = _WORK
        if sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url) > self.limits.header_bytes:
            self._end(431, "The head of the request is too large")
            return
        self._held = self._may_go_straight()
        if not self._held:
            self._start()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._held:
            self._body += body
        elif not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._ended:
            return
        self._whole = True
        if self._held:
            self._go_straight()
            return
        super().on_message_complete()
        if self._answered():
            self._phase = _IDLE

    def on_response_complete(self) -> None:
        """The answer is out, and the next request that is here already may begin; the sweep ends idle connections."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._whole:
            self._phase, self._since = _IDLE, self.loop.time()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets a problem document."""
        self._end(400, msg)

    def _may_go_straight(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return (
            self.url in self.straight
            and (cycle is None or cycle.response_complete)
            and not (self.expect_100_continue or self.flow.write_paused or self.parser.should_upgrade())
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
        )

    def _go_straight(self) -> None:
        body, self._held, self._body = self._body, False, b""
        turn = Turn(self, self.on_response_complete, keep_alive=self.parser.should_keep_alive())
        self.cycle = turn  # type: ignore[assignment]
        self.straight[self.url](self.headers, body, turn.reply)

    def _let_go(self) -> None:
        """A body that is not whole yet: uvicorn receives the rest."""
        body, self._held, self._body = self._body, False, b""
        self._start()
        if body:
            super().on_body(body)

    def _start(self) -> None:
        """Uvicorn's own beginning of a request, with the head that came."""
        url, headers, expected = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expected
        self.headers.extend(headers)
        super().on_headers_complete()

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
        if now - self._since <= getattr(self.limits, _SECONDS[self._phase]):
            return
        if self._phase == _IDLE:
            self.transport.close()
        else:
            self.transport.abort()


def bounded_protocol(limits: Limits, straight: Mapping[bytes, Straight]) -> Any:
    """The protocol class for one server."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits, "straight": straight})

"""Connections that take too long or send too much are ended: what uvicorn's protocol leaves open is closed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from datalab.serving.guard import Headers, Straight
from datalab.serving.limits import Limits
from datalab.serving.problems import CONTENT_TYPE
from datalab.serving.turn import CLOSE, Turn

_SWEEP_SECONDS = 0.25
_MOST_UNREAD = 1 << 20
_PIECE = 8 << 10  # bytes; of the shortest requests, some hundred
_MOST_FRAMING = 16  # bytes on the line for a byte of a body: chunks of one byte take six
_MOST_OFFERS = 8  # of other protocols, in one piece of the stream
_OFFERS = frozenset({b"upgrade", b"connection", b"http2-settings"})
_ONCE = (b"host", b"authorization", b"content-type", b"content-encoding", b"idempotency-key")
_HEAD, _WORK, _IDLE = "head", "work", "idle"
_SECONDS = {_HEAD: "header_seconds", _WORK: "request_seconds", _IDLE: "idle_seconds"}


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds on the head's size and time, on a request's whole time, and on connections.

    Nothing is timed per request: a sweep over the connections, a few times a second, ends those that are overdue.
    A request for a path of `straight` that has come whole in one piece is answered without ASGI, which would take
    several times as long as the request itself; any other one is uvicorn's. While requests of a connection wait for
    the one before them, what came behind them is kept as it is, and no more is read.
    """

    limits = Limits()
    straight: Mapping[bytes, Straight] = {}
    sweeping: bool = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected: it has so many seconds for the head of its first request."""
        super().connection_made(transport)
        self.flow, self._kept = _Flow(transport, self.is_behind), b""
        self._phase, self._since = _HEAD, self.loop.time()
        self._head_bytes = self._unread = self._framing = self._taken = 0
        self._whole, self._ended, self._last = True, False, b""
        self._held, self._head, self._body = False, self.headers, b""
        self._begun = 0
        if len(self.connections) > self.limits.connections:
            transport.abort()
        elif not type(self).sweeping:
            type(self).sweeping = True
            self._sweep()

    def is_behind(self) -> bool:
        """Whether requests that have come wait for the one that is answered."""
        return bool(self.pipeline or self._kept)

    def data_received(self, data: bytes) -> None:
        """Bytes came: many of them are taken piece by piece, and only as far as nothing waits."""
        if self._kept or len(data) > _PIECE:
            self._kept += data
            self._take_kept()
        else:
            self._take(data)

    def _take_kept(self) -> None:
        data, at = self._kept, 0
        while at < len(data) and not self.pipeline:
            self._take(data[at : at + _PIECE])
            at += _PIECE
        self._kept = b"" if self._ended else data[at:]
        if self._kept:
            self.flow.pause_reading()

    def _go_on(self) -> None:
        """Nothing waits any more: what was kept is taken, and then more is read, unless a body waits for its reader."""
        if self.transport.is_closing() or self.pipeline:
            return
        self._take_kept()
        if len(getattr(self.cycle, "body", b"")) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()

    def _take(self, data: bytes) -> None:
        """Those of an unfinished head, and those of a body that nobody reads, are counted."""
        if self._has_ended():
            return
        begun, whole, phase = self._begun, self._whole, self._phase
        self._feed(data)
        if self._has_ended():
            return
        if self._held:
            self._let_go()
        if self._phase == _HEAD:
            here = self._begun == begun or (whole and self._begun == begun + 1)
            self._head_bytes += len(data) if here else self._head_so_far()  # what is before it is of other requests
            if self._head_bytes > self.limits.header_bytes:
                self._end(431, "The head of the request is too large")
        elif self._answered() and not self._whole:
            self._unread += len(data)
            if self._unread > _MOST_UNREAD:
                self.transport.abort()
        elif phase == _WORK and not whole and begun == self._begun and not self._whole:
            self._framing += len(data)
            if self._framing > self.limits.header_bytes + _MOST_FRAMING * self._taken:
                self.transport.abort()

    def _feed(self, data: bytes, offers: int = 0) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :], offers + 1)
        except httptools.HttpParserError:
            self._end(400, "Invalid HTTP request received.")

    def _decline(self, rest: bytes, offers: int) -> None:
        """Another protocol was offered: the request is taken as if it had not been, its body and what follows, too.

        The parser takes whatever is behind such a head for the other protocol, so that a new one goes on.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT" or offers > _MOST_OFFERS:
            self._end(400, "Only HTTP/1.1 is spoken here, and this is no proxy")
            return
        close = any(name == b"connection" and b"close" in value.lower() for name, value in self.headers)
        kept = [pair for pair in self.headers if pair[0] not in _OFFERS]
        lines = [b"%s: %s" % pair for pair in (*kept, *([CLOSE] if close else []))]
        head = b"\r\n".join([b"%s %s HTTP/%s" % (method, self.url, version.encode("ascii")), *lines, b"", b""])
        self.parser = httptools.HttpRequestParser(self)
        self._feed(head + rest, offers)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun += 1
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._phase, self._since = _HEAD, self.loop.time()
        self._head_bytes = self._unread = self._framing = self._taken = 0
        self._whole = False

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._head_so_far() > self.limits.header_bytes:
            self._end(431, "The head of the request is too large")
            return
        refused = _refusal(self.headers, self.parser.get_http_version())
        if refused:
            self._end(*refused)
            return
        if self.parser.should_upgrade():
            return
        self._phase = _WORK
        self._held = self._may_go_straight()
        self._head, self.headers = self.headers, []  # what stands behind a body is no head
        if not self._held:
            self._start()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._held:
            self._body += body
        elif not self._ended:
            self._taken += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._ended or self.parser.should_upgrade():
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
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last:
            self._say_last()
        elif self._whole:
            self._phase, self._since = _IDLE, self.loop.time()
        if self._kept:
            self.loop.call_soon(self._go_on)
        elif self.flow.read_paused:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets a problem document."""
        self._end(400, msg)

    def _may_go_straight(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return (
            self.url in self.straight
            and (cycle is None or cycle.response_complete)
            and not (self.expect_100_continue or self.flow.write_paused)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
        )

    def _go_straight(self) -> None:
        body, self._held, self._body = self._body, False, b""
        turn = Turn(self, self.on_response_complete, keep_alive=self.parser.should_keep_alive())
        self.cycle = turn  # type: ignore[assignment]
        self.straight[self.url](self._head, body, turn.reply)

    def _let_go(self) -> None:
        """A body that is not whole yet: uvicorn receives the rest."""
        body, self._held, self._body = self._body, False, b""
        self._start()
        if body:
            super().on_body(body)

    def _start(self) -> None:
        """Uvicorn's own beginning of a request, with the head that came."""
        url, expected = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expected
        self.headers.extend(self._head)
        super().on_headers_complete()
        self.headers = []

    def _end(self, status: int, title: str) -> None:
        body = b'{"type":"/docs#http","title":"%s","status":%d}' % (title.encode("ascii"), status)
        head = [STATUS_LINE[status], b"content-type: ", CONTENT_TYPE, b"\r\ncontent-length: %d\r\n" % len(body)]
        started = self._phase == _WORK and not (self._whole or self._held)  # it has come in part, and is worked on
        self._ended, self._phase = True, _WORK
        self._last = b"".join([*head, b"connection: close\r\n\r\n", body])
        cycle: Any = self.cycle  # None before the first request
        if started and self.pipeline:
            self.pipeline.popleft()  # it is the newest, and will not be whole
        elif started or cycle is None or cycle.response_complete:
            self._say_last()
        # else, and after those before it, this is told when they are answered

    def _say_last(self) -> None:
        self.transport.write(self._last)
        self.transport.close()

    def _head_so_far(self) -> int:
        return sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url)

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
        phase = _WORK if self._kept else self._phase  # a head that is not whole is here, and waits
        if now - self._since <= getattr(self.limits, _SECONDS[phase]):
            return
        if self._phase == _IDLE:
            self.transport.close()
        else:
            self.transport.abort()


class _Flow(FlowControl):
    """Reads no further while a connection is behind: who sends requests and takes no answers fills no memory."""

    def __init__(self, transport: asyncio.Transport, is_behind: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._is_behind = is_behind

    def resume_reading(self) -> None:
        """Read on, unless requests wait."""
        if not self._is_behind():
            super().resume_reading()


def bounded_protocol(limits: Limits, straight: Mapping[bytes, Straight]) -> Any:
    """The protocol class for one server."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits, "straight": straight})


def _refusal(headers: Headers, version: str) -> tuple[int, str] | None:
    """Status and title for a head that a proxy in front may have read in another way (RFC 9112, 3.2 and 6.1)."""
    names = [name for name, _ in headers]
    if (b"host" not in names and version == "1.1") or any(names.count(name) > 1 for name in _ONCE):
        return 400, "One host header is needed, and no other that counts may come twice"
    if any(name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in headers):
        return 501, "A body comes whole or in chunks, in no other transfer coding"
    return None

"""The server's front door: every request is matched to a route's policy, or refused, before anything else sees it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datalab.events import Bus, RequestFailed
from datalab.serving.keys import ApiKey, KeyStore
from datalab.serving.limits import Limits, Rate, too_deep
from datalab.serving.metrics import Metrics
from datalab.serving.policy import JSON, Endpoint, Policy
from datalab.serving.problems import Answer, Problem

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
CALL = "datalab.call"
_OTHER = "other"
_REFUSED = "refused"
_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in. `key` is None on open routes only; `body` is whole and within its limits."""

    route: str
    key: ApiKey | None
    body: bytes
    params: Mapping[str, str]
    started: float


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Gate:
    """What the front door decides by. `open_routes`: routes of the policy `open` need no key."""

    policies: Mapping[Endpoint, Policy]
    keys: KeyStore
    limits: Limits
    metrics: Metrics
    bus: Bus
    open_routes: bool = True


class Guard:
    """ASGI: lets a request through to `app`, or straight to its handler in `direct`, or answers a problem."""

    def __init__(self, app: App, gate: Gate, direct: Mapping[Endpoint, Handler]) -> None:
        self._app = app
        self._gate = gate
        self._direct = direct
        self._routes = Routes(gate.policies)
        self._rate = Rate(gate.limits.rate, gate.limits.burst)
        self._refusals = Rate(gate.limits.rate, gate.limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one connection's request. Websockets are refused."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        path, status = _OTHER, 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_ALWAYS]
            await send(message)

        try:
            try:
                method, path, found, params = self._routes.match(scope["method"], scope["path"])
                policy, key = self._admitted(scope, path, found)
                body = await self._body(scope, receive, policy)
                call = Call(path, key, body, params, started)
                handler = self._direct.get((method, path))
                if handler is None:
                    scope[CALL] = call
                    await self._app(scope, receive, watched)
                    return
                answer = await handler(call)
            except Problem as problem:
                answer = problem.answer()
            except Disconnected:
                status = 499
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a problem and no trace
                self._gate.bus.emit(RequestFailed(path, type(error).__name__))
                answer = Problem("internal").answer()
            status = answer.status
            await respond(answer, send)
        finally:
            self._gate.metrics.observe(path, status, time.perf_counter() - started)

    def _admitted(self, scope: Scope, path: str, policy: Policy | None) -> tuple[Policy, ApiKey | None]:
        """The route's policy and the caller's key. Problem: nobody, not allowed, or nothing there."""
        key = self._authenticated(scope, policy)
        if policy is None:
            raise self._routes.missing(path)
        if key is not None and not policy.allows(key.role):
            raise Problem("forbidden", f"this needs a key of the role {policy.access}")
        return policy, key

    def _authenticated(self, scope: Scope, policy: Policy | None) -> ApiKey | None:
        """The caller's key; None on an open route. Problem."""
        if policy is not None and policy.access == "open" and self._gate.open_routes:
            return None
        key = self._gate.keys.verify(_bearer(scope))
        if key is None:
            self._require_pace(self._refusals, _REFUSED)
            raise Problem("not_authenticated", headers=((b"www-authenticate", b"Bearer"),))
        self._require_pace(self._rate, key.id)
        return key

    @staticmethod
    def _require_pace(rate: Rate, caller: str) -> None:
        seconds = rate.wait(caller)
        if seconds:
            raise Problem("too_many_requests", headers=((b"retry-after", b"%d" % (int(seconds) + 1)),))

    async def _body(self, scope: Scope, receive: Receive, policy: Policy) -> bytes:
        if policy.body == "none":
            return b""
        limits = self._gate.limits
        most = limits.body_bytes if policy.body == "small" else limits.batch_bytes
        _require_media(scope, policy.media)
        length = _header(scope, b"content-length")
        if length.isdigit() and int(length) > most:
            raise Problem("too_large", f"at most {most:,} bytes")
        try:
            async with asyncio.timeout(limits.receive_seconds):
                body = await _received(receive, most)
        except TimeoutError:
            raise Problem("body_too_slow", headers=((b"connection", b"close"),)) from None
        if policy.media == (JSON,) and too_deep(body, limits.depth):
            raise Problem("too_deep", f"at most {limits.depth} levels")
        return body


class Disconnected(Exception):
    """The client left before its request was whole."""


class Routes:
    """Finds the policy of a path: literal ones by name, those with {parameters} by form."""

    def __init__(self, policies: Mapping[Endpoint, Policy]) -> None:
        self._methods: dict[str, dict[str, Policy]] = {}
        for (method, path), policy in policies.items():
            self._methods.setdefault(path, {})[method] = policy
        self._forms = [(_form(path), path) for path in self._methods if "{" in path]

    def match(self, method: str, path: str) -> tuple[str, str, Policy | None, Mapping[str, str]]:
        """Method, route, policy and parameters. No policy: there is no such route, or not with that method."""
        methods = self._methods.get(path)
        if methods is not None and "{" not in path:
            return method, path, methods.get(method), {}
        for form, template in self._forms:
            found = form.match(path)
            if found:
                return method, template, self._methods[template].get(method), found.groupdict()
        return method, _OTHER, None, {}

    def missing(self, path: str) -> Problem:
        """Why there is no policy."""
        if path == _OTHER:
            return Problem("not_found")
        allowed = ", ".join(sorted(self._methods[path])).encode("ascii")
        return Problem("method_not_allowed", headers=((b"allow", allowed),))


async def respond(answer: Answer, send: Send) -> None:
    """Send a whole answer."""
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        *_ALWAYS,
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _received(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            raise Problem("too_large", f"at most {most:,} bytes")
        if not message.get("more_body"):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


def _require_media(scope: Scope, known: Sequence[bytes]) -> None:
    media = _header(scope, b"content-type").partition(b";")[0].strip().lower()
    if media not in known:
        raise Problem("media_type", f"one of {', '.join(each.decode() for each in known)}")


def _bearer(scope: Scope) -> str:
    scheme, _, token = _header(scope, b"authorization").partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def _header(scope: Scope, name: bytes) -> bytes:
    for known, value in scope["headers"]:
        if known == name:
            return value  # type: ignore[no-any-return]
    return b""


def _form(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + r"\Z")

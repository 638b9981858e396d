"""The server's front door: every request is matched to a route's policy, or refused, before anything else sees it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

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
_HEAD = "HEAD"
ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Call(NamedTuple):
    """A request that was let in. `key` is None on open routes only; `body` is whole and within its limits."""

    route: str
    key: ApiKey | None
    body: bytes
    params: Mapping[str, str]
    started: float


Handler = Callable[[Call], Awaitable[Answer]]
Outcome = Answer | Exception
Done = Callable[[Outcome], None]
Taker = Callable[[Call, Done], None]
Headers = Sequence[tuple[bytes, bytes]]
Straight = Callable[[Headers, bytes, Callable[[Answer], None]], None]


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
    """ASGI: lets a request through to `app`, or straight to its handler in `direct`, or answers a problem.

    `taken` are the POST routes whose requests need not come by ASGI: a protocol may hand them to `straight`.
    """

    def __init__(
        self, app: App, gate: Gate, direct: Mapping[Endpoint, Handler], taken: Mapping[str, Taker] | None = None
    ) -> None:
        self._app = app
        self._gate = gate
        self._direct = direct
        self._routes = Routes(gate.policies)
        self.straight: Mapping[bytes, Straight] = {
            path.encode("ascii"): partial(self._take, path, gate.policies["POST", path], taker)
            for path, taker in (taken or {}).items()
        }
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
        if scope["method"] == _HEAD:  # answered as GET is; the server, by its own scope, leaves the body out
            scope = {**scope, "method": "GET"}

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *ALWAYS]
            await send(message)

        try:
            try:
                method, path, found, params = self._routes.match(scope["method"], scope["path"])
                policy, key = self._admitted(scope["headers"], path, found)
                body = await self._body(scope, receive, policy)
                call = Call(path, key, body, params, started)
                handler = self._direct.get((method, path))
                if handler is None:
                    scope[CALL] = call
                    await self._app(scope, receive, watched)
                    return
                answer = await handler(call)
            except Disconnected:
                status = 499
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a problem and no trace
                answer = self._told(path, error)
            status = answer.status
            await respond(answer, send)
        finally:
            self._gate.metrics.observe(path, status, time.perf_counter() - started)

    def _take(
        self, path: str, policy: Policy, taker: Taker, headers: Headers, body: bytes, reply: Callable[[Answer], None]
    ) -> None:
        """A request that is whole already, past the same checks."""
        started = time.perf_counter()

        def done(outcome: Outcome) -> None:
            answer = outcome if isinstance(outcome, Answer) else self._told(path, outcome)
            reply(answer)
            self._gate.metrics.observe(path, answer.status, time.perf_counter() - started)

        try:
            _, key = self._admitted(headers, path, policy)
            self._require_sound(headers, body, policy)
            taker(Call(path, key, body, {}, started), done)
        except Exception as error:  # noqa: BLE001 - as above
            done(error)

    def _told(self, path: str, error: Exception) -> Answer:
        """What a client is told of an error."""
        if isinstance(error, Problem):
            return error.answer()
        self._gate.bus.emit(RequestFailed(path, type(error).__name__))
        return Problem("internal").answer()

    def _admitted(self, headers: Headers, path: str, policy: Policy | None) -> tuple[Policy, ApiKey | None]:
        """The route's policy and the caller's key. Problem: nobody, not allowed, or nothing there."""
        key = self._authenticated(headers, policy)
        if policy is None:
            raise self._routes.missing(path)
        if key is not None and not policy.allows(key.role):
            raise Problem("forbidden", f"this needs a key of the role {policy.access}")
        return policy, key

    def _authenticated(self, headers: Headers, policy: Policy | None) -> ApiKey | None:
        """The caller's key; None on an open route. Problem."""
        if policy is not None and policy.access == "open" and self._gate.open_routes:
            return None
        key = self._gate.keys.verify(_bearer(headers))
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
        most = self._most(scope["headers"], policy)
        try:
            async with asyncio.timeout(self._gate.limits.receive_seconds):
                body = await _received(receive, most)
        except TimeoutError:
            raise Problem("body_too_slow", headers=((b"connection", b"close"),)) from None
        if body is None:
            raise self._too_large(policy)
        self._require_shallow(body, policy)
        return body

    def _most(self, headers: Headers, policy: Policy) -> int:
        """The bytes that a body may have. Problem where the head tells already that it is refused."""
        _require_media(headers, policy.media)
        most, length = self._bound(policy), _header(headers, b"content-length")
        if length.isdigit() and int(length) > most:
            raise self._too_large(policy)
        return most

    def _bound(self, policy: Policy) -> int:
        return self._gate.limits.body_bytes if policy.body == "small" else self._gate.limits.batch_bytes

    def _too_large(self, policy: Policy) -> Problem:
        return Problem("too_large", f"at most {self._bound(policy):,} bytes")

    def _require_sound(self, headers: Headers, body: bytes, policy: Policy) -> None:
        if len(body) > self._most(headers, policy):
            raise self._too_large(policy)
        self._require_shallow(body, policy)

    def _require_shallow(self, body: bytes, policy: Policy) -> None:
        depth = self._gate.limits.depth
        if policy.media == (JSON,) and too_deep(body, depth):
            raise Problem("too_deep", f"at most {depth} levels")


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
        methods = self._methods[path]
        allowed = ", ".join(sorted({*methods, *([_HEAD] if "GET" in methods else [])})).encode("ascii")
        return Problem("method_not_allowed", headers=((b"allow", allowed),))


async def respond(answer: Answer, send: Send) -> None:
    """Send a whole answer."""
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        *ALWAYS,
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _received(receive: Receive, most: int) -> bytes | None:
    """The body; None where it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            return None
        if not message.get("more_body"):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


def _require_media(headers: Headers, known: Sequence[bytes]) -> None:
    if _header(headers, b"content-encoding").lower() not in {b"", b"identity"}:
        raise Problem("media_type", "bodies are taken as they are, without a content encoding")
    given = _header(headers, b"content-type")
    if given not in known and given.partition(b";")[0].strip().lower() not in known:
        raise Problem("media_type", f"one of {', '.join(each.decode() for each in known)}")


def _bearer(headers: Headers) -> str:
    scheme, _, token = _header(headers, b"authorization").partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def _header(headers: Headers, name: bytes) -> bytes:
    for known, value in headers:
        if known == name:
            return value
    return b""


def _form(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + r"\Z")

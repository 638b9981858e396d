"""The schema registry (Confluent's API): texts of schemas by id, with their references written out, kept for ever."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from datalab.errors import InvalidSetting, SourceUnavailable
from datalab.ingest.decode.framing import Schemas
from datalab.ingest.sources.waiting import awaited, require_going_on

_NOT_FOUND, _UNAUTHORIZED = 404, 401
_REFUSED = (_UNAUTHORIZED, 403)
_UNKNOWN = range(40400, 40500)  # a registry's own codes for what it does not have; a 404 without is another server's
_HIGHEST_ID = 2**31 - 1
_DEEPEST = 32
_LARGEST = 16 << 20  # bytes of an answer
_PIECE = 1 << 16
_REGISTRY = "the schema registry"
_NAMED = ("record", "enum", "fixed", "error")


@dataclass(frozen=True)
class Access:
    """Who asks, and the file of certificates (PEM) that alone are trusted; without it those of the system are."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None


class Registry:
    """Answers by id never change, so each is asked for once. What is not there may come, and is asked for again."""

    def __init__(self, url: str, seconds: float, access: Access = Access()) -> None:
        """InvalidSetting where the file of certificates cannot be used."""
        self._url, self._headers, self._user = _without_password(url.rstrip("/"), access)
        secured = _OfTheSystem() if access.ca is None else HTTPSHandler(context=_trusting(access.ca))
        self._open = build_opener(secured, _SameHost()).open
        self._seconds = seconds
        self._texts: dict[int, bytes] = {}

    def schemas(self, ids: Iterable[int], stop: Event | None = None) -> Schemas:
        """The texts of schemas, and why there is none of the others.

        SourceUnavailable where nobody answers, or has not yet when it has to `stop`.
        """
        missing: dict[int, str] = {}
        wanted = sorted(set(ids))
        for schema_id in wanted:
            if schema_id not in self._texts:
                require_going_on(stop, _REGISTRY)
                try:
                    self._texts[schema_id] = self._asked(schema_id, stop)
                except LookupError as error:
                    missing[schema_id] = str(error.args[0])
                except (AttributeError, RecursionError, TypeError, ValueError):
                    missing[schema_id] = "it is no Avro schema that can be used"
        return Schemas({each: self._texts[each] for each in wanted if each in self._texts}, missing)

    def _asked(self, schema_id: int, stop: Event | None) -> bytes:
        if schema_id > _HIGHEST_ID:
            raise LookupError("no registry gives such an id")
        schema = self._answer(f"schema {schema_id}", f"schemas/ids/{schema_id}", stop)
        kind = schema.get("schemaType") or "AVRO"
        if kind != "AVRO":
            raise LookupError(f"it is of type {kind}, not Avro")
        found: dict[str, Any] = {}
        self._collect(schema, found, 0, stop)
        return json.dumps(inlined(_document(schema), found)).encode()

    def _collect(self, schema: Mapping[str, Any], found: dict[str, Any], depth: int, stop: Event | None) -> None:
        """Named types of the schemas that a schema refers to, and of those that they do."""
        for each in (schema.get("references") or ()) if depth < _DEEPEST else ():
            if str(each.get("name")) in found:
                continue
            subject, version = str(each.get("subject")), int(each.get("version") or 0)
            path = f"subjects/{quote(subject, safe='')}/versions/{version}"
            used = self._answer(f"version {version} of {subject}", path, stop)
            self._collect(used, found, depth + 1, stop)
            found[str(each.get("name"))] = _document(used)

    def _answer(self, what: str, path: str, stop: Event | None) -> Mapping[str, Any]:
        """LookupError where the registry says that there is none; SourceUnavailable where it says nothing sensible."""
        try:
            found = awaited(lambda: self._got(path), stop, _REGISTRY)
        except HTTPError as error:
            if _is_unknown(error):
                raise LookupError("the registry does not know it") from error
            raise self._refused(error) if error.code in _REFUSED else self._unavailable(what, error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unavailable(what, error) from error
        if not isinstance(found, dict) or not isinstance(found.get("schema"), str):
            raise self._unavailable(what, ValueError("its answer has no schema"))
        return found

    def _got(self, path: str) -> Any:
        with self._open(Request(f"{self._url}/{path}", headers=self._headers), timeout=self._seconds) as answer:  # noqa: S310 - the address is the user's own
            return _document_of(_content(answer, time.monotonic() + self._seconds))

    def _refused(self, error: HTTPError) -> SourceUnavailable:
        """No record is at fault, nor may the registry be: whoever gives rights may be late."""
        if self._user is None:
            why, hint = "asks for a user and a password", "set kafka.registry_user and kafka.registry_password"
        elif error.code == _UNAUTHORIZED:
            why = f"does not take the user {self._user} with that password"
            hint = "see kafka.registry_user and kafka.registry_password"
        else:
            why, hint = f"does not let the user {self._user} read schemas", "give the user the right to read"
        return SourceUnavailable(f"the schema registry at {self._url} {why} (HTTP {error.code})", hint)

    def _unavailable(self, what: str, error: Exception) -> SourceUnavailable:
        words = f"the schema registry at {self._url} does not give {what}: {error}"
        untrusted = isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError)
        trust = "kafka.registry_ca: FILE names the certificates that are trusted"
        return SourceUnavailable(words, trust if untrusted else "is it up? datalab services health registry")


class _SameHost(HTTPRedirectHandler):
    """Follows redirections; a password goes to no other host, and not where everybody can read it."""

    def redirect_request(self, req: Request, *rest: Any) -> Request | None:
        made = super().redirect_request(req, *rest)
        if made is not None and (made.type, made.host) != (req.type, req.host):
            made.remove_header("Authorization")
        return made


class _OfTheSystem(HTTPSHandler):
    """HTTPS by the certificates of the system, which take 30 ms to read: not before the first connection."""

    def __init__(self) -> None:
        super().__init__(context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # it trusts nobody

    def https_open(self, req: Request) -> http.client.HTTPResponse:
        return self._trusting.https_open(req)

    @cached_property
    def _trusting(self) -> HTTPSHandler:
        return HTTPSHandler(context=ssl.create_default_context())


def _trusting(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # SSLError is one
        raise InvalidSetting(
            f"kafka.registry_ca: the certificates in {ca} cannot be read: {error}", "name a file in PEM"
        ) from error


def _is_unknown(error: HTTPError) -> bool:
    """Whether a registry says so. A wrong address, or a proxy before a registry that is away, answers 404 as well."""
    with error, suppress(OSError, http.client.HTTPException, ValueError):
        answer = json.load(error) if error.code == _NOT_FOUND else None
        return isinstance(answer, dict) and answer.get("error_code") in _UNKNOWN
    return False


def _content(answer: http.client.HTTPResponse, end: float) -> bytes:
    """All of an answer. ValueError where it goes on and on: a socket's own timeout bounds the silence alone."""
    parts, size = list[bytes](), 0
    while part := answer.read1(_PIECE):
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise ValueError(f"its answer has more than {_LARGEST:,} bytes")
        if time.monotonic() > end:
            raise ValueError("its answer does not come to an end in time")
    return b"".join(parts)


def _document_of(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("its answer is not JSON") from None


def _without_password(url: str, access: Access) -> tuple[str, dict[str, str], str | None]:
    """An address without the user and the password in it, the headers that carry them, and the user."""
    parts = urlsplit(url)
    headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
    user, password = access.user, access.password
    if user is None and parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
    if user is not None:
        pair = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), headers, user


def _document(schema: Mapping[str, Any]) -> Any:
    try:
        return json.loads(schema.get("schema") or "")
    except ValueError as error:
        raise LookupError("it is not JSON") from error


def inlined(document: Any, named: Mapping[str, Any]) -> Any:
    """A schema with each type of `named` (full names) written out where it is first used."""
    return _Inliner(named).walk(document, "")


class _Inliner:
    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._known: set[str] = set()

    def walk(self, node: Any, namespace: str) -> Any:
        if isinstance(node, list):
            return [self.walk(each, namespace) for each in node]
        if isinstance(node, str):
            within = f"{namespace}.{node}"
            full = within if "." not in node and within in self._named else node
            if full not in self._named or full in self._known:
                return node
            self._known.add(full)
            return self.walk(self._named[full], full.rpartition(".")[0])
        return self._object(node, namespace) if isinstance(node, dict) else node

    def _object(self, node: Mapping[str, Any], namespace: str) -> Any:
        inner = namespace
        if node.get("type") in _NAMED:
            name = str(node.get("name", ""))
            inner = name.rpartition(".")[0] or node.get("namespace", namespace)
            self._known.add(name if "." in name or not inner else f"{inner}.{name}")
        made = dict(node)
        for key in ("type", "items", "values"):
            if key in node and not (key == "type" and node["type"] in _NAMED):
                made[key] = self.walk(node[key], inner)
        if isinstance(node.get("fields"), list):
            made["fields"] = [{**each, "type": self.walk(each["type"], inner)} for each in node["fields"]]
        return made

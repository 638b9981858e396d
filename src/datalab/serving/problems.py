"""What the server answers when it does not answer: RFC 9457 problem documents, each kind with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import to_json

Headers = Sequence[tuple[bytes, bytes]]

# Every kind of problem: its HTTP status and its title. The documentation and the API's schema are made from this.
KINDS: Mapping[str, tuple[int, str]] = {
    "not_json": (400, "The body is not JSON"),
    "too_deep": (400, "The body is nested too deeply"),
    "not_authenticated": (401, "A valid API key is needed"),
    "forbidden": (403, "The API key's role does not allow this"),
    "not_found": (404, "There is nothing here"),
    "method_not_allowed": (405, "This path does not take that method"),
    "body_too_slow": (408, "The body did not come in time"),
    "key_reused": (409, "The idempotency key was used for other records"),
    "not_reviewable": (409, "Only scores that ask for a manual review take one"),
    "too_large": (413, "The body is too large"),
    "media_type": (415, "The body's content type is not one that this path takes"),
    "invalid": (422, "The request does not fit the schema"),
    "too_many_requests": (429, "Too many requests"),
    "internal": (500, "The server failed"),
    "no_model": (503, "No model is live"),
    "not_recorded": (503, "The score could not be recorded, so it is not answered"),
    "not_stored": (507, "The records could not be stored: send them again"),
    "unavailable": (503, "A part that this answer needs is not available"),
}
CONTENT_TYPE = b"application/problem+json"


class Answer(NamedTuple):
    """What goes back to the client."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: Headers = ()


class Problem(Exception):
    """Ends a request with a problem document. `detail` and `errors` never repeat what the client sent as a value."""

    def __init__(
        self, kind: str, detail: str = "", *, errors: Sequence[Mapping[str, Any]] = (), headers: Headers = ()
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = headers

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.kind][0]

    def answer(self) -> Answer:
        """The problem document."""
        status, title = KINDS[self.kind]
        document: dict[str, Any] = {"type": f"/docs#{self.kind}", "title": title, "status": status}
        if self.detail:
            document["detail"] = self.detail
        if self.errors:
            document["errors"] = self.errors
        return Answer(status, to_json(document), CONTENT_TYPE, self.headers)

"""Who may call what: every route has a policy here, or the server does not start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["score", "ingest", "read", "admin"]
ROLES: tuple[Role, ...] = ("score", "ingest", "read", "admin")
Access = Role | Literal["open"]
Body = Literal["none", "small", "batch"]
Endpoint = tuple[str, str]
JSON = b"application/json"


@dataclass(frozen=True)
class Policy:
    """The role that a caller needs (`admin` may do everything), how large a body the route takes, and of which kinds.

    `open`: no key is needed on a loopback server; elsewhere the role `read` is.
    """

    access: Access
    body: Body = "none"
    media: tuple[bytes, ...] = (JSON,)

    def allows(self, role: Role) -> bool:
        """Whether a key of this role may call the route."""
        return role in ("admin", "read" if self.access == "open" else self.access)


def policies(route: str) -> dict[Endpoint, Policy]:
    """The policy of every route of the server itself; `route` is where the model is asked: credit-score."""
    return {
        ("POST", f"/v1/{route}"): Policy("score", "small"),
        ("POST", f"/v1/{route}/batch"): Policy("score", "batch"),
        ("GET", "/v1/model-info"): Policy("read"),
        ("POST", "/v1/scores/{score_id}/review"): Policy("admin", "small"),
        ("GET", "/health"): Policy("open"),
        ("GET", "/ready"): Policy("open"),
        ("GET", "/metrics"): Policy("read"),
        ("GET", "/docs"): Policy("open"),
        ("GET", "/openapi.json"): Policy("open"),
    }


def uncovered(routes: Iterable[Endpoint], known: Mapping[Endpoint, Policy]) -> list[str]:
    """Routes without a policy, and policies without a route, in words; empty where both are the same set."""
    routes = set(routes)
    return [
        *(f"{method} {path} has no policy" for method, path in sorted(routes - set(known))),
        *(f"the policy of {method} {path} has no route" for method, path in sorted(set(known) - routes)),
    ]

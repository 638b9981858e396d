"""Whether a server answers: the question that shows it, not an open port."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

from datalab.errors import ConfigError
from datalab.plugins import Adapter, adapter

TIMEOUT = 2.0
Check = Callable[[str], str]


def unwell(checks: Mapping[str, str]) -> str:
    """What is wrong, in words; empty where every check is answered well."""
    return "; ".join(words for kind, address in checks.items() if (words := _check(kind)(address)))


def _check(kind: str) -> Check:
    if kind in _CHECKS:
        return _CHECKS[kind]
    if kind == "kafka":
        check: Check = adapter("health check", kind, _CLIENTS)
        return check
    raise ConfigError(f"'{kind}' is no health check", f"known: {', '.join((*_CHECKS, *_CLIENTS))}")


def _http(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - an address of our own description
            return "" if answer.status == 200 else f"{url} answers {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}"
    except (OSError, ValueError) as error:
        return f"{url} does not answer: {error}"


def _tcp(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=TIMEOUT):
            return ""
    except OSError as error:
        return f"{address} does not answer: {error}"


_CHECKS: dict[str, Check] = {"http": _http, "tcp": _tcp}
_CLIENTS = {"kafka": Adapter("datalab.platform.services.health_kafka:kafka", "kafka")}

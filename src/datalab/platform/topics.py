"""Topics as sources: wired from settings; the client libraries are loaded only where a source names a topic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from datalab.errors import InvalidSetting
from datalab.ingest.contracts import Contract
from datalab.ingest.limits import Limits
from datalab.ingest.sources.base import Source
from datalab.ingest.workers import Workers
from datalab.platform.secrets import resolve
from datalab.platform.settings import Configuration
from datalab.platform.settings_schema import Settings
from datalab.plugins import Adapter, adapter


@dataclass(frozen=True)
class Decoding:
    """What sources decode with, the event that ends their waiting, and the client's settings, secrets resolved.

    `access` is how the schema registry is entered.
    """

    limits: Limits
    workers: Workers
    stopping: Event
    options: Mapping[str, Any]
    access: Mapping[str, Any]


_EXACTLY_ONCE = "that each message is read once rests on it"
_OURS = {
    "auto.offset.reset": "",
    "bootstrap.servers": "there is kafka.bootstrap",
    "enable.auto.commit": "",
    "enable.auto.offset.store": "",
    "enable.partition.eof": "",
    "group.id": "there is kafka.group",
    "isolation.level": "",
    "metadata.broker.list": "there is kafka.bootstrap",
    "partition.assignment.strategy": "",
    "transactional.id": "",
}
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SOURCES = {"kafka": Adapter("datalab.ingest.sources.kafka:open_topic", "kafka")}


def registry_access(configuration: Configuration, environ: Mapping[str, str]) -> dict[str, Any]:
    """`user`, `password` and `ca` of the schema registry, secrets resolved. InvalidSetting, SecretNotFound."""
    kafka = configuration.settings.kafka
    given = {"user": kafka.registry_user, "password": kafka.registry_password}
    pair = resolve(given, configuration.folder, environ)
    for name, value in pair.items():
        if value is not None and not isinstance(value, str):
            raise InvalidSetting(f"kafka.registry_{name} is not a text", f"write secret:env/REGISTRY_{name.upper()}")
    if (pair["user"] is None) != (pair["password"] is None):
        raise InvalidSetting("kafka.registry_user and kafka.registry_password belong together", "set both, or neither")
    if ":" in (pair["user"] or ""):
        raise InvalidSetting("kafka.registry_user has a colon in it", "HTTP has no way to send such a name")
    return {**pair, "ca": kafka.registry_ca}


def client_options(configuration: Configuration, environ: Mapping[str, str]) -> dict[str, Any]:
    """`kafka.options`, secrets resolved. InvalidSetting for what is not the user's to say, SecretNotFound."""
    kafka = configuration.settings.kafka
    for key in kafka.options:
        if key in _OURS:
            raise InvalidSetting(f"kafka.options.{key} is not to be set: {_OURS[key] or _EXACTLY_ONCE}", "leave it out")
    return dict(resolve(kafka.options, configuration.folder, environ))


def require_topic_name(key: str, topic: str) -> None:
    """InvalidSetting for a name that no topic can have: it would be waited for without end."""
    if not _TOPIC_NAME.fullmatch(topic) or topic in {".", ".."}:
        raise InvalidSetting(f"{key}: '{topic}' is no name of a topic", "1 to 249 letters, digits, '.', '_' or '-'")


def wire_topic(name: str, contract: Contract, topic: str, settings: Settings, decoding: Decoding) -> Source:
    """The source that reads a topic. InvalidSetting without a cluster, MissingExtra without its client."""
    kafka = settings.kafka
    missing = [key for key, value in (("bootstrap", kafka.bootstrap), ("registry", kafka.registry)) if not value]
    if missing:
        raise InvalidSetting(
            f"sources.{name}.topic is set, and kafka.{missing[0]} is not", "say where the cluster is: docs/kafka.md"
        )
    require_topic_name(f"sources.{name}.topic", topic)
    address = urlsplit(kafka.registry or "")
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise InvalidSetting(f"kafka.registry is {kafka.registry}, no address of HTTP", "http://HOST:PORT/PATH")
    cluster = {
        "bootstrap": kafka.bootstrap,
        "registry": kafka.registry,
        "group": kafka.group or f"datalab-{settings.name}",
        "options": decoding.options,
        "access": decoding.access,
        "patience": float(kafka.patience),
    }
    pace = {"messages": kafka.commit_messages, "seconds": float(kafka.commit_seconds)}
    made: Source = adapter("source", "kafka", _SOURCES)(
        name, contract, topic, (cluster, pace), (decoding.limits, decoding.workers, decoding.stopping)
    )
    return made

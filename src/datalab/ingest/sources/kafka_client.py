"""Clients that take messages of partitions, many at once as Arrow: what `Topic` needs of one, and which it gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException

from datalab.errors import InvalidSetting
from datalab.ingest.native.library import is_wanted
from datalab.plugins import load

TICK = 0.2  # seconds that a client waits for as many messages as are wanted
UNREADABLE = "(not UTF-8)"  # stands for the headers of a message that cannot be told
_NATIVE = "datalab.ingest.sources.kafka_native:native_client"
_PYTHON = "datalab.ingest.sources.kafka_python:PythonClient"

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Notice:
    """What came in place of a message: the end of a partition, or trouble."""

    partition: int
    offset: int
    error: KafkaError


class Gate:
    """Lets calls through until it is closed, which waits for those that are under way in other threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def passed(self) -> Iterator[None]:
        """A call is under way. KafkaException once it is closed."""
        with self._changed:
            if self._closed:
                raise KafkaException(KafkaError(KafkaError._STATE, "the client is closed"))  # noqa: SLF001 - so called
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> bool:
        """Whether it was open before."""
        with self._changed:
            was_open, self._closed = not self._closed, True
            self._changed.wait_for(lambda: not self._inside)
            return was_open


Taken = tuple[pa.RecordBatch | None, Sequence[Notice]]


class Client(Protocol):
    """A consumer of partitions that it is told. What the broker or the settings refuse is a KafkaException."""

    def refresh(self, topic: str, patience: float) -> None:
        """Ask the broker for the topic's partitions, so that new ones become known; waits `patience` seconds."""

    def assign(self, topic: str, at: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on, and no others."""

    def consume(self, most: int) -> Taken:
        """The next messages (MESSAGES), if any come: as soon as there are so many, or after a TICK."""

    def commit(self, topic: str, stands: Mapping[int, int]) -> None:
        """Publish the group's offsets."""

    def close(self) -> None:
        """Disconnect, after the calls that are under way in other threads; again is no trouble."""


def client_of(settings: Settings) -> Client:
    """The client in C where it was built, else the one in Python; DATALAB_NATIVE=off takes the latter.

    InvalidSetting where librdkafka refuses the settings.
    """
    made: Client | None = None
    with accepted():
        if is_wanted():
            made = load(_NATIVE)(settings)
        return made or load(_PYTHON)(settings)


@contextmanager
def accepted() -> Iterator[None]:
    """A block that makes a client. InvalidSetting where librdkafka refuses its settings."""
    try:
        yield
    except (KafkaException, TypeError, ValueError) as error:
        words = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise InvalidSetting(f"kafka.options are refused: {words}", "see librdkafka's settings") from error

"""A command that has to end does not wait for a broker, a group or a registry that says nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from datalab.errors import SourceUnavailable
from datalab.ingest.sources.kafka_group import Member
from datalab.ingest.sources.kafka_topic import Topic
from datalab.ingest.sources.registry import Registry
from datalab.ingest.sources.waiting import awaited

pytestmark = pytest.mark.timeout(60)
PATIENCE = 600.0  # beyond what the test may take


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for each in taken:
        each.close()


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Set when the wait has begun."""
    event = threading.Event()
    timer = threading.Timer(1, event.set)
    timer.start()
    yield event
    timer.cancel()


def test_for_a_broker(silent: str, stop: threading.Event) -> None:
    topic = Topic("t", silent, "g", {}, PATIENCE)
    with pytest.raises(SourceUnavailable, match=f"ended while {silent} was asked"):
        topic.look(stop)
    topic.close()


def test_for_a_group(silent: str, stop: threading.Event) -> None:
    member = Member("t", silent, "g", {})
    with pytest.raises(SourceUnavailable, match="ended while the group g was asked"):
        member.owned(PATIENCE, stop)
    member.close()


def test_for_a_registry(silent: str, stop: threading.Event) -> None:
    with pytest.raises(SourceUnavailable, match="ended while the schema registry was asked"):
        Registry(f"http://{silent}", PATIENCE).schemas([1], stop)


def test_what_is_waited_for_comes_as_it_is() -> None:
    stop = threading.Event()
    assert awaited(lambda: 1, stop, "it") == 1
    with pytest.raises(TimeoutError, match="its own"):
        awaited(late, stop, "it")


def late() -> int:
    raise TimeoutError("its own")

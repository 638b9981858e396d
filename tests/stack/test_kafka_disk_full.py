"""The disk fills up under a process that follows a topic: it waits, says so, and goes on when there is space again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.test_disk_full import _fill, small_disk
from tests.stack.follower import Follower, until
from tests.stack.test_kafka_faults import same, taken_in, values
from tests.stack.topics import Filled

__all__ = ["small_disk"]
pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
LEFT = (0, 40, 100)  # KiB


@pytest.fixture
def follower(small_disk: Path, topic: Filled) -> Iterator[Follower]:
    made = Follower(small_disk, topic)
    yield made
    made.kill()


def test_a_full_disk_is_waited_for(
    follower: Follower, small_disk: Path, topic: Filled, datalab: Callable[..., Any]
) -> None:
    def is_all_there() -> bool:
        return len(list(taken_in(small_disk))) == len(topic.ledger)

    topic.send(values(topic, 0, 2_000))
    until(is_all_there)
    for left in LEFT:
        filler = _fill(small_disk, left)
        topic.send(values(topic, len(topic.ledger), 20_000))
        until(lambda: follower.health()[0] == 503)
        assert "no space left" in follower.health()[1].lower()
        until(lambda: "no space left" in datalab("platform", "health", "--project", small_disk).out.lower())
        assert datalab("platform", "health", "--project", small_disk).code == 1
        assert follower.process.poll() is None
        filler.unlink()
        until(is_all_there, 90)
        until(lambda: follower.health() == (200, "well\n"))
    said = follower.end()
    assert said.count("waits") >= len(LEFT)
    assert said.count("goes on") >= len(LEFT)
    assert same(small_disk, topic)
    assert Counter(taken_in(small_disk)).most_common(1)[0][1] == 1

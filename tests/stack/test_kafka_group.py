"""Processes of one project share a topic by its consumer group, and the table has the last word."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.stack.test_kafka_source import good, whole
from tests.stack.topics import TARGET, Filled, World, world

from datalab.engine.base import Staged
from datalab.errors import Fenced
from datalab.ingest.ingest import ingest
from datalab.ingest.sources import kafka_group, kafka_topic
from datalab.ingest.sources.base import Run
from datalab.ingest.sources.kafka import Pace
from datalab.ingest.workers import Workers
from datalab.platform import feeds
from datalab.platform.services.control import Control
from datalab.quality.publish import Publication, publish

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]


@pytest.fixture(params=["iceberg", "delta"])
def pair(
    request: pytest.FixtureRequest, kafka: Control, registry: Control, tmp_path: Path, workers: Workers
) -> Iterator[tuple[World, World]]:
    topic = Filled(kafka.addresses["bootstrap"], registry.addresses["url"], f"t{uuid.uuid4().hex[:8]}")
    topic.make(4)
    with world(topic, tmp_path, workers, request.param) as one:
        other = one.again()
        one.feed.join()
        other.feed.join()
        until(lambda: sorted([*parts(one), *parts(other)]) == [0, 1, 2, 3] and parts(one) and parts(other))
        yield one, other
        other.feed.close()


def parts(made: World) -> list[int]:
    source: Any = made.feed.source
    return sorted(source._member.owned(10))


def until(done: Callable[[], object]) -> None:
    for _ in range(300):
        if done():
            return
        time.sleep(0.1)
    raise AssertionError("it never happened")


def staged(made: World) -> Callable[[], Any]:
    """A batch that is read and decoded, and the function that commits it."""
    context = made.context()
    state = made.feed.ready()
    (batch,) = made.feed._pending(state, context).batches
    found = ingest(made.feed.source, batch, state, Run(context.run_id, context.now))
    publication = Publication(state, found.provenance, found.rejected, Staged(found.add), found.onto)
    return lambda: publish(made.lake, made.engine, publication, context.now)


def test_commits_of_different_partitions_do_not_stand_in_each_others_way(pair: tuple[World, World]) -> None:
    one, other = pair
    topic = one.topic
    values = good(topic, 0, 800)
    values[5] = values[6] = values[7] = values[8] = b"bad"
    topic.send(values)
    first, second = staged(one), staged(other)
    second()
    first()
    whole(one)
    assert one.run().read == other.run().read == 0
    ids = [row["id"] for row in one.query("SELECT source_partition AS p, source_offset AS o, id FROM t ORDER BY p, o")]
    assert ids == [f"p{at}" for each in range(4) for at in range(each, 800, 4) if at not in (5, 6, 7, 8)]


def test_who_is_paused_and_overtaken_lands_nothing_of_what_others_took(pair: tuple[World, World]) -> None:
    slow, quick = pair
    topic = slow.topic
    values = good(topic, 0, 400)
    values[0] = values[1] = values[2] = values[3] = b"bad"
    topic.send(values)
    commit = staged(slow)
    taker = slow.again()  # reads all partitions, as whoever they were given to
    assert taker.run().read == 400
    aside = [row["run_id"] for row in taker.quarantine()]
    with pytest.raises(Fenced):
        commit()
    assert [row["run_id"] for row in taker.quarantine()] == aside
    assert slow.run().read == quick.run().read == 0
    whole(slow)
    taker.feed.close()


def test_partitions_that_are_added_are_given_out_soon(pair: tuple[World, World]) -> None:
    one, other = pair
    one.topic.widen(6)
    one.topic.send(good(one.topic, 0, 60))
    until(lambda: sorted([*parts(one), *parts(other)]) == [0, 1, 2, 3, 4, 5])
    one.run()
    other.run()
    whole(one)


def test_who_leaves_hands_over_what_it_has_not_read(pair: tuple[World, World]) -> None:
    leaver, heir = pair
    topic = leaver.topic
    topic.send(good(topic, 0, 400))
    assert 0 < leaver.run().read < 400
    topic.send(good(topic, 400, 400))
    leaver.feed.close()
    until(lambda: parts(heir) == [0, 1, 2, 3])
    heir.run()
    whole(heir)
    until(lambda: sum(topic.group_offsets(f"group-{topic.name}").values()) == 800)


def test_a_partition_that_was_given_away_is_not_begun(pair: tuple[World, World]) -> None:
    one, other = pair
    topic = one.topic
    topic.send(good(topic, 0, 40))
    context = one.context()
    state = one.feed.ready()
    (batch,) = one.feed._pending(state, context).batches
    before, third = parts(one), one.again()
    third.feed.join()
    until(lambda: sorted([*parts(one), *parts(other), *parts(third)]) == [0, 1, 2, 3] and parts(third))
    if parts(one) != before:  # else the other one gave
        with pytest.raises(Fenced, match="the group has given"):
            one.feed.source.stage(batch, state.target(), {}, Run("r", context.now))
    for each in (one, other, third):
        assert each.run().read == 10 * len(parts(each))
    third.feed.close()
    whole(one)
    assert one.lake.require(TARGET).positions["pedidos"].offsets["partitions"] == dict.fromkeys("0123", 10)


def test_a_rebalance_while_one_batch_is_committed_and_the_next_is_read(
    kafka: Control, registry: Control, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Filled(kafka.addresses["bootstrap"], registry.addresses["url"], f"t{uuid.uuid4().hex[:8]}")
    topic.make(4)
    topic.send(good(topic, 0, 2_000))
    monkeypatch.setattr(kafka_topic, "_AT_ONCE", 50)
    with world(topic, tmp_path, workers, pace=Pace(messages=100)) as one:
        one.feed.join()
        source: Any = one.feed.source
        until(lambda: parts(one) == [0, 1, 2, 3])
        other = one.again()
        busy = list[bool]()
        acknowledge, really = source.acknowledge, feeds.publish

        def acknowledged(offsets: Mapping[str, Any]) -> None:
            acknowledge(offsets)
            busy.append(bool(source._member._busy))

        def slowly(*arguments: Any) -> Any:
            if len(busy) == 1:  # the second commit; the third batch is being read meanwhile
                other.feed.join()
                until(lambda: not source._member.keeps(range(4)))
            return really(*arguments)

        source.acknowledge = acknowledged
        monkeypatch.setattr(feeds, "publish", slowly)
        with suppress(Fenced):  # where it meets a batch that was not begun
            one.run()
        assert 200 <= sum(one.places().values()) < 2_000
        assert busy[0]  # what is read behind a commit is not given away with it
        assert not busy[-1]
        until(lambda: len(parts(one)) == len(parts(other)) == 2)
        for each in (one, other, one, other):
            each.run()
        whole(one)
        other.feed.close()


@pytest.mark.full
def test_who_hangs_loses_its_partitions_and_comes_back(
    kafka: Control, registry: Control, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_group, "_SETTINGS", {**kafka_group._SETTINGS, "max.poll.interval.ms": 10_000})
    monkeypatch.setattr(kafka_group, "_HUNG", 1.0)
    topic = Filled(kafka.addresses["bootstrap"], registry.addresses["url"], f"t{uuid.uuid4().hex[:8]}")
    topic.make(2)
    topic.send(good(topic, 0, 40))
    with world(topic, tmp_path, workers) as hung:
        other = hung.again()
        for each in (hung, other):
            each.feed.join()
        until(lambda: len(parts(hung)) == len(parts(other)) == 1)
        until(lambda: parts(other) == [0, 1])  # nobody asks the other one for a while
        assert other.run().read == 40
        until(lambda: len(parts(hung)) == len(parts(other)) == 1)
        topic.send(good(topic, 40, 40))
        assert hung.run().read == other.run().read == 20
        other.feed.close()
        whole(hung)

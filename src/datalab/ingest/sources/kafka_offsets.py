"""Where a table stands in a topic, beside what the topic holds: what is to be read, what is out of the ordinary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datalab.errors import SourceError
from datalab.events import Event, OffsetsLost, PartitionAdded, TopicRecreated

_LEFT = "left"  # by the id of a topic that was read before: the next offset of each partition
_MOST_LEFT = 8


@dataclass(frozen=True)
class Log:
    """A topic now: its id, and of each partition the first offset that is there and the one that comes next."""

    topic: str
    topic_id: str
    partitions: Mapping[int, tuple[int, int]]


@dataclass(frozen=True)
class Range:
    """Offsets of a partition from `start` up to, not including, `stop`. `lost`: those before it that are gone."""

    partition: int
    start: int
    stop: int
    lost: int = 0


def offsets_of(topic: str, topic_id: str, stands: Mapping[int, int]) -> dict[str, Any]:
    """Where a source stands, as its table's commits say it: the next offset of each partition."""
    partitions = {str(partition): stands[partition] for partition in sorted(stands)}
    return {"topic": topic, "topic_id": topic_id, "partitions": partitions}


def stands_at(offsets: Mapping[str, Any]) -> dict[int, int]:
    """The next offset of each partition."""
    return {int(partition): offset for partition, offset in offsets.get("partitions", {}).items()}


def stands_in(offsets: Mapping[str, Any], topic_id: str) -> dict[int, int]:
    """The same in a topic that the table reads, or has read before another one; nothing in one that it has not."""
    if offsets.get("topic_id") == topic_id:
        return stands_at(offsets)
    return stands_at({"partitions": offsets.get(_LEFT, {}).get(topic_id, {})})


def taken_over(ranges: Sequence[Range], topic_id: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether anybody has committed, or gone back to, other offsets of these ranges than they start at.

    `before` are the offsets that the ranges were planned with, `now` those that the table has.
    """
    if now.get("topic_id") not in (topic_id, before.get("topic_id")):
        return True
    planned, present = stands_in(before, topic_id), stands_in(now, topic_id)
    starts = {each.partition: each.start - each.lost for each in ranges}
    new = {partition: start for partition, start in starts.items() if partition not in planned}
    return any({**new, **present}.get(partition) != start for partition, start in starts.items())


def offsets_after(log: Log, before: Mapping[str, Any], at: Mapping[int, int]) -> dict[str, Any]:
    """Where the source stands once partitions are consumed up to `at`: all of the topic's, those of others too.

    A table that takes a topic up stands at its first offsets, also where it has not read yet. Where it stood in the
    last topics before this one is kept.
    """
    first = {partition: low for partition, (low, _) in log.partitions.items()}
    stands = stands_in(before, log.topic_id) or first
    left = {**before.get(_LEFT, {}), before.get("topic_id", ""): before.get("partitions", {})}
    left = {topic_id: held for topic_id, held in left.items() if held and topic_id != log.topic_id}
    kept = dict([*left.items()][-_MOST_LEFT:])
    return {**offsets_of(log.topic, log.topic_id, {**stands, **at}), **({_LEFT: kept} if kept else {})}


def ranges_of(source: str, offsets: Mapping[str, Any], log: Log) -> tuple[tuple[Range, ...], tuple[Event, ...]]:
    """What of each partition a table has not consumed, which may be nothing, and what has to be told of it.

    SourceError where the table stands behind the log's end: what it consumed is not what the topic holds.
    """
    events: list[Event] = []
    stands = stands_in(offsets, log.topic_id)
    if offsets.get("partitions") and not stands:
        events.append(TopicRecreated(source, log.topic, offsets.get("topic_id", ""), log.topic_id))
    ranges = []
    for partition, (low, high) in sorted(log.partitions.items()):
        start = stands.get(partition, low)
        if stands and partition not in stands:
            events.append(PartitionAdded(source, log.topic, partition))
        if start > high:
            raise SourceError(
                f"source {source}: the table stands at offset {start:,} of {log.topic}/{partition}, "
                f"and the log ends at {high:,}",
                "the broker lost records that it had acknowledged: see docs/kafka.md, 'A log that ends too early'",
            )
        if start < low:
            events.append(OffsetsLost(source, log.topic, partition, start, low))
        ranges.append(Range(partition, max(start, low), high, max(low - start, 0)))
    return tuple(ranges), tuple(events)

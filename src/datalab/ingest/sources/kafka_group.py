"""A process in a topic's consumer group: which partitions are its own until the group says otherwise.

The member only belongs; another client of the same process reads. So it answers the broker while a batch is decoded or
committed, and fetching knows nothing of rebalances. Whose rows land is decided by the table, not here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from datalab.errors import Fenced, SourceUnavailable
from datalab.ingest.sources.kafka_client import accepted
from datalab.ingest.sources.waiting import require_going_on

_SETTINGS: Mapping[str, Any] = {
    "auto.offset.reset": "latest",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "heartbeat.interval.ms": 2_000,
    "log_level": 0,
    "max.poll.interval.ms": 60_000,
    "partition.assignment.strategy": "cooperative-sticky",  # who keeps a partition goes on working
    "queued.min.messages": 1,
    "session.timeout.ms": 10_000,
    "topic.metadata.refresh.interval.ms": 5_000,  # new partitions are given out when a member sees them
}
_TICK = 0.2
_HANDOVER = 10.0  # how long a partition that is asked back waits for the commit of what was read of it
_FAREWELL = 3.0
_HUNG = 240.0  # seconds without a sign of the reading thread after which this one stops to answer for it


class Member:
    """Joins at once. A thread of its own answers the group until `close`."""

    def __init__(self, topic: str, bootstrap: str, group: str, options: Mapping[str, Any]) -> None:
        self._topic = topic
        self._group = group
        self._changed = threading.Condition()
        self._owned: frozenset[int] = frozenset()
        self._settled = False
        self._busy: frozenset[int] = frozenset()
        self._stands: Mapping[int, int] = {}
        self._told: dict[int, int] = {}
        self._ended = threading.Event()
        self._sign = time.monotonic()
        settings = {**options, **_SETTINGS, "bootstrap.servers": bootstrap, "group.id": group}
        with accepted():
            self._consumer = Consumer({**settings, "on_commit": self._committed})
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        self._thread = threading.Thread(target=self._belong, name=f"group {group}", daemon=True)
        self._thread.start()

    def owned(self, patience: float, stop: threading.Event | None = None) -> frozenset[int]:
        """The partitions of this process; waits for the group's first word. SourceUnavailable where it has none.

        A group that misses a member has its first word 10 s later, which is too long to wait where it has to `stop`.
        """
        self._sign = end = time.monotonic() + patience
        with self._changed:
            while not self._changed.wait_for(lambda: self._settled, _TICK) and time.monotonic() < end:
                require_going_on(stop, f"the group {self._group}")
            if not self._settled:
                raise SourceUnavailable(
                    f"the group {self._group} gives this process no part of {self._topic}",
                    "is the broker up? its log says what holds up the group",
                )
            self._sign = time.monotonic()
            return self._owned

    def begin(self, partitions: Iterable[int]) -> None:
        """Partitions are being read: who asks for one of them back waits for `done`. Fenced where one was lost."""
        self._sign = time.monotonic()
        wanted = frozenset(partitions)
        with self._changed:
            if not wanted <= self._owned:
                raise Fenced(
                    f"{self._topic}: the group has given {sorted(wanted - self._owned)} to another process",
                    "nothing was read; it is planned again",
                )
            self._busy = wanted

    def done(self) -> None:
        """What was read is committed, or given up."""
        self._sign = time.monotonic()
        with self._changed:
            self._busy = frozenset()
            self._changed.notify_all()

    def keeps(self, partitions: Iterable[int]) -> bool:
        """Whether partitions are still this process's own."""
        return self._owned.issuperset(partitions)

    def publish(self, stands: Mapping[int, int]) -> None:
        """Have the group's offsets of the own partitions told, now or later. Does not wait."""
        self._stands = dict(stands)

    def close(self) -> None:
        """Leave the group, so that others get the partitions at once."""
        self.done()
        self._ended.set()
        self._thread.join(_FAREWELL)

    def _belong(self) -> None:
        while not self._ended.is_set():
            if time.monotonic() - self._sign > _HUNG:
                self._ended.wait(_TICK)
                continue
            with suppress(KafkaException):
                self._consumer.poll(_TICK)
                self._tell()
        with suppress(KafkaException):
            self._tell()
            self._consumer.close()

    def _tell(self) -> None:
        """Commit what the group does not know; the client is no good in two threads at once."""
        stands = self._stands
        news = {each: stands[each] for each in self._owned & stands.keys() if self._told.get(each) != stands[each]}
        if news:
            self._consumer.commit(offsets=[TopicPartition(self._topic, *each) for each in news.items()])
            self._told.update(news)

    def _assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        consumer.incremental_assign(list(partitions))
        consumer.pause(list(partitions))
        with self._changed:
            self._owned |= {each.partition for each in partitions}
            self._settled = True
            self._changed.notify_all()

    def _revoked(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        gone = self._without(partitions)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy & gone, _HANDOVER)
        consumer.incremental_unassign(list(partitions))

    def _lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._without(partitions)
        with self._changed:
            self._settled = False
        consumer.incremental_unassign(list(partitions))

    def _without(self, partitions: Sequence[TopicPartition]) -> frozenset[int]:
        gone = frozenset(each.partition for each in partitions)
        with self._changed:
            self._owned -= gone
            self._told = {each: offset for each, offset in self._told.items() if each not in gone}
        return gone

    def _committed(self, error: Any, partitions: Sequence[TopicPartition]) -> None:
        """A commit that the group refused is told again."""
        for each in partitions:
            if error is not None or each.error is not None:
                self._told.pop(each.partition, None)

"""What a table has not consumed of a topic, and what is out of the ordinary."""

from __future__ import annotations

import pytest

from datalab.errors import SourceError
from datalab.events import OffsetsLost, PartitionAdded, TopicRecreated
from datalab.ingest.sources.kafka_offsets import Log, Range, offsets_of, ranges_of, stands_at

STANDS = offsets_of("t", "one", {0: 10, 1: 4})


def log(partitions: dict[int, tuple[int, int]], topic_id: str = "one") -> Log:
    return Log("t", topic_id, partitions)


def test_a_table_that_consumed_nothing_begins_where_the_log_does() -> None:
    assert ranges_of("s", {}, log({0: (0, 7), 1: (3, 3)})) == ((Range(0, 0, 7), Range(1, 3, 3)), ())


def test_a_table_goes_on_where_it_stands() -> None:
    assert stands_at(STANDS) == {0: 10, 1: 4}
    assert ranges_of("s", STANDS, log({0: (0, 12), 1: (0, 4)})) == ((Range(0, 10, 12), Range(1, 4, 4)), ())


def test_a_new_partition_is_told_and_read_from_its_beginning() -> None:
    ranges, (event,) = ranges_of("s", STANDS, log({0: (0, 10), 1: (0, 4), 2: (0, 5)}))
    assert ranges[2] == Range(2, 0, 5)
    assert isinstance(event, PartitionAdded)
    assert (event.topic, event.partition) == ("t", 2)


def test_deleted_messages_are_told() -> None:
    ranges, (event,) = ranges_of("s", STANDS, log({0: (15, 20), 1: (0, 4)}))
    assert ranges[0] == Range(0, 15, 20, lost=5)
    assert isinstance(event, OffsetsLost)
    assert (event.partition, event.first, event.stop) == (0, 10, 15)


def test_another_topic_of_the_same_name_is_told_and_read_from_its_beginning() -> None:
    ranges, (event,) = ranges_of("s", STANDS, log({0: (0, 3)}, "two"))
    assert ranges == (Range(0, 0, 3),)
    assert isinstance(event, TopicRecreated)
    assert (event.was, event.now) == ("one", "two")


def test_a_log_that_ends_before_the_table_is_refused() -> None:
    with pytest.raises(SourceError, match=r"stands at offset 10 of t/0, and the log ends at 9"):
        ranges_of("s", STANDS, log({0: (0, 9), 1: (0, 4)}))

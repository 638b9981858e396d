"""What a table has not consumed of a topic, and what is out of the ordinary."""

from __future__ import annotations

import pytest

from datalab.errors import SourceError
from datalab.events import OffsetsLost, PartitionAdded, TopicRecreated
from datalab.ingest.sources.kafka_offsets import (
    Log,
    Range,
    offsets_after,
    offsets_of,
    ranges_of,
    stands_at,
    taken_over,
)

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


TAKEN = (Range(0, 10, 20),)


def test_offsets_that_others_committed_for_other_partitions_leave_room() -> None:
    assert not taken_over(TAKEN, "one", STANDS, STANDS)
    others = offsets_of("t", "one", {0: 10, 1: 400, 2: 7})
    assert not taken_over(TAKEN, "one", STANDS, others)
    assert offsets_after(log({0: (0, 20), 1: (0, 500), 2: (0, 9)}), others, {0: 20})["partitions"] == {
        "0": 20, "1": 400, "2": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    "now",
    [
        offsets_of("t", "one", {0: 11, 1: 4}),
        offsets_of("t", "one", {0: 9, 1: 4}),  # somebody went back to an earlier snapshot
        offsets_of("t", "one", {1: 4}),
        offsets_of("t", "two", {0: 10, 1: 4}),
        {},
    ],
    ids=["further", "back", "gone", "other topic", "nothing"],
)
def test_the_same_partition_elsewhere_leaves_none(now: dict[str, object]) -> None:
    assert taken_over(TAKEN, "one", STANDS, now)


def test_a_topic_that_is_taken_up_by_two_at_once() -> None:
    first = offsets_after(log({0: (3, 20), 1: (0, 4)}), {}, {1: 4})
    assert first["partitions"] == {"0": 3, "1": 4}
    assert not taken_over((Range(0, 3, 20),), "one", {}, first)
    assert taken_over((Range(0, 5, 20),), "one", {}, first)
    assert taken_over((Range(1, 0, 4),), "one", {}, first)


def test_a_topic_that_was_made_again_is_taken_up_by_two_at_once() -> None:
    new = log({0: (0, 9), 1: (0, 4)}, "two")
    first = offsets_after(new, STANDS, {1: 4})
    assert first == {**offsets_of("t", "two", {0: 0, 1: 4}), "left": {"one": STANDS["partitions"]}}
    assert not taken_over((Range(0, 0, 9),), "two", STANDS, first)
    assert not taken_over((Range(0, 0, 9),), "two", STANDS, STANDS)
    assert taken_over((Range(1, 0, 4),), "two", STANDS, first)


def test_a_topic_that_was_read_before_another_one_goes_on_where_it_was_left() -> None:
    one, two = log({0: (0, 12), 1: (0, 4)}), log({0: (0, 3)}, "two")
    in_two = offsets_after(two, STANDS, {0: 3})
    ranges, events = ranges_of("s", in_two, one)
    assert (ranges, events) == ((Range(0, 10, 12), Range(1, 4, 4)), ())
    assert not taken_over(ranges, "one", in_two, in_two)
    back = offsets_after(one, in_two, {0: 12})
    assert stands_at(back) == {0: 12, 1: 4}
    assert taken_over(ranges, "one", in_two, back)
    assert ranges_of("s", back, two) == ((Range(0, 3, 3),), ())


def test_not_all_topics_that_were_ever_read_are_kept() -> None:
    offsets = STANDS
    for number in range(20):
        offsets = offsets_after(log({0: (0, 1)}, f"topic {number}"), offsets, {0: 1})
    assert [*offsets["left"]] == [f"topic {number}" for number in range(11, 19)]


def test_messages_lost_before_they_were_read_count_as_consumed_by_nobody() -> None:
    assert not taken_over((Range(0, 15, 20, lost=5),), "one", STANDS, STANDS)

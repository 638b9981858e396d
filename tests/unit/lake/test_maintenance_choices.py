"""What maintenance chooses: which files are merged, at which cost over the years, and which snapshots stay."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalab.lake.maintenance.goals import Goals
from datalab.lake.maintenance.retention import Need, verdicts
from datalab.lake.maintenance.selection import groups_to_merge
from datalab.lake.provenance import Provenance
from datalab.lake.table import DataFile, Snapshot
from datalab.names import TableName

AIM = Goals(file_size=1000, overlap=3, keep=2, keep_for=timedelta(days=7), readers=timedelta(hours=6))
NOW = datetime(2026, 11, 26, tzinfo=UTC)
TABLE = TableName("silver", "x")


def file(number: int, size: int, low: int | None = None, high: int | None = None, partition: str = "") -> DataFile:
    lower, upper = ({}, {}) if low is None else ({"k": low}, {"k": high})
    return DataFile(f"{number}.parquet", size, size, (partition,), lower, upper)


def merged(files: list[DataFile], goals: Goals = AIM, order: tuple[str, ...] = ()) -> list[set[str]]:
    return [{each.path for each in group.files} for group in groups_to_merge(files, order, goals)]


def test_small_files_of_one_partition_are_merged_among_themselves() -> None:
    files = [file(1, 10), file(2, 10), file(3, 900), file(4, 10, partition="b"), file(5, 12, partition="b")]
    assert merged(files) == [{"1.parquet", "2.parquet"}]
    assert merged([*files, file(6, 3, partition="b")]) == [
        {"1.parquet", "2.parquet"},
        {"4.parquet", "5.parquet", "6.parquet"},
    ]
    assert merged([file(1, 10)]) == []


def test_a_file_is_written_anew_only_with_as_many_other_bytes() -> None:
    assert merged([file(1, 400), file(2, 10), file(3, 10)]) == [{"2.parquet", "3.parquet"}]
    assert merged([file(1, 400), file(2, 390), file(3, 10)]) == [{"1.parquet", "2.parquet", "3.parquet"}]


@given(st.lists(st.integers(1, 3000), max_size=60))
def test_merging_ends_and_never_takes_a_file_of_good_size(sizes: list[int]) -> None:
    files = [file(number, size) for number, size in enumerate(sizes)]
    for round_ in range(20):
        groups = groups_to_merge(files, (), AIM)
        if not groups:
            break
        (group,) = groups
        assert all(each.size * 2 < AIM.file_size for each in group.files)
        assert len(set(group.files)) == len(group.files) >= 2
        total = sum(each.size for each in group.files)
        parts = -(-total // AIM.file_size)
        assert parts < len(group.files)
        files = [each for each in files if each not in set(group.files)]
        files += [file(1000 * (round_ + 1) + part, total // parts) for part in range(parts)]
    assert not groups_to_merge(files, (), AIM)


@pytest.mark.parametrize("days", [100, 1000])
def test_every_byte_is_written_a_few_times_however_long_the_table_grows(days: int) -> None:
    chance, files, written, came = random.Random(7), list[DataFile](), 0, 0
    for day in range(days):
        size = chance.randint(5, 15)
        files.append(file(day, size))
        came += size
        for group in groups_to_merge(files, (), AIM):
            total = sum(each.size for each in group.files)
            written += total
            files = [each for each in files if each not in set(group.files)]
            parts = -(-total // AIM.file_size)
            files += [file(10**6 * (part + 1) + day, total // parts) for part in range(parts)]
    assert written <= 8 * came  # the logarithm of 1000 bytes aimed at over 10 bytes a day, and a little
    assert len(files) <= 2 + came // (AIM.file_size // 2) + 8


def test_layers_over_each_other_are_merged_when_the_upper_ones_have_grown() -> None:
    base = [file(number, 900, 100 * number, 100 * number + 99) for number in range(10)]
    thin = [file(100 + number, 510, 0, 999) for number in range(1)]
    assert merged([*base, *thin], order=("k",)) == []
    thick = [file(100 + number, 510, 0, 999) for number in range(3)]
    (group,) = merged([*base, *thick], order=("k",))
    assert len(group) == 13
    assert merged([*base, *thick]) == []
    apart = [file(200 + number, 510, 2000, 2001) for number in range(3)]
    assert merged([*base, *apart], order=("k",)) == []


def history(*ages: float, kinds: str = "") -> list[Snapshot]:
    """Snapshots made so many days ago, oldest first."""
    return [
        Snapshot(number, NOW - timedelta(days=age), "append", 1, 0, 1, Provenance("r", "f", "append"))
        for number, age in enumerate(ages, 1)
    ]


def staying(snapshots: list[Snapshot], *wanted: Need, tags: dict[str, int] | None = None) -> dict[int, str]:
    return {each.snapshot.id: each.reason for each in verdicts(snapshots, tags or {}, wanted, AIM, NOW) if each.stays}


def test_snapshots_stay_by_count_and_by_age_since_they_were_replaced() -> None:
    assert set(staying(history(100, 90, 80, 70))) == {3, 4}
    assert staying(history(100, 90, 5, 4)) == {
        2: "replaced 5 days ago, less than 7 days",
        3: "among the newest 2",
        4: "the newest",
    }


def test_an_old_snapshot_that_was_replaced_a_moment_ago_may_have_readers() -> None:
    found = staying(history(100, 0.1, 0.05, 0.01, 0.0))
    assert found[1] == "replaced 2 hours ago: a reader may still be at it"
    assert len(found) == 5


def test_needs_and_tags_come_before_age() -> None:
    old = history(100, 95, 90, 85, 80, 75)
    consumer = Need(TABLE, 4, "gold.y (flow f)", onwards=True)
    training = Need(TABLE, 2, "training.t@9 was made from it")
    found = staying(old, consumer, training, tags={"antes": 1})
    assert found == {
        1: "tag antes",
        2: "training.t@9 was made from it",
        4: "gold.y (flow f) stands here",
        5: "not yet consumed by gold.y (flow f)",
        6: "the newest",
    }
    assert set(staying(old, Need(TABLE, 77, "gone"))) == {5, 6}

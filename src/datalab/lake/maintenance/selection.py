"""Which data files to merge: small ones, layers that lie over each other, and those of which many rows are gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from datalab.lake.maintenance.goals import Goals
from datalab.lake.table import DataFile

_WORN = 10  # a tenth of a file's rows
_NEWS = 8  # upper layers are merged into the lower ones when they have an eighth of the bytes


@dataclass(frozen=True)
class Group:
    """Data files of one partition that become fewer, larger or better sorted ones."""

    partition: tuple[Any, ...]
    files: tuple[DataFile, ...]
    reason: str


def groups_to_merge(files: Iterable[DataFile], order: Sequence[str], goals: Goals) -> tuple[Group, ...]:
    """The groups of files worth merging, at most one per partition.

    Every byte is written anew only together with at least as many newer bytes (small files) or an eighth (layers),
    so that the cost follows what came since the last time, whatever the size of the table.
    """
    partitions: dict[tuple[Any, ...], list[DataFile]] = {}
    for file in files:
        partitions.setdefault(file.partition, []).append(file)
    found = (_group(partition, members, order, goals) for partition, members in partitions.items())
    return tuple(group for group in found if group is not None)


def is_small(file: DataFile, goals: Goals) -> bool:
    """Whether a file has less than half of the size aimed at."""
    return file.size * 2 < goals.file_size


def _group(partition: tuple[Any, ...], files: Sequence[DataFile], order: Sequence[str], goals: Goals) -> Group | None:
    layered = _layers_to_merge(files, order[0], goals) if order else ()
    others = [file for file in files if file not in set(layered)]
    small = _small_to_merge([file for file in others if is_small(file, goals)])
    worn = tuple(file for file in others if file not in set(small) and _is_worn(file))
    if not layered and not small and not worn:
        return None
    reasons = [f"{len(small)} small files"] if small else []
    reasons += [f"{len(layered)} files over each other in {order[0]}"] if layered else []
    reasons += [f"{len(worn)} files with many deleted rows"] if worn else []
    return Group(partition, (*small, *layered, *worn), ", ".join(reasons))


def _is_worn(file: DataFile) -> bool:
    """Whether so many rows of a file are marked as gone that reading past them costs much."""
    gone = sum(marks.rows for marks in file.gone)
    return 0 < file.rows + gone <= gone * _WORN


def _small_to_merge(files: Sequence[DataFile]) -> tuple[DataFile, ...]:
    """The longest row of files, by size, in which the largest is not larger than all others together."""
    ascending = sorted(files, key=lambda file: file.size)
    total, count = 0, 0
    for number, file in enumerate(ascending, 1):
        if number > 1 and file.size <= total:
            count = number
        total += file.size
    return tuple(ascending[:count])


def _layers_to_merge(files: Sequence[DataFile], column: str, goals: Goals) -> tuple[DataFile, ...]:
    """Files of stretches where more than `overlap` lie over each other, if the upper layers have grown enough."""
    known = [file for file in files if file.lower.get(column) is not None and file.upper.get(column) is not None]
    found: list[DataFile] = []
    for stretch in _stretches(known, column):
        layers = _layers(stretch, column)
        total = sum(file.size for file in stretch)
        lowest = max(sum(file.size for file in layer) for layer in layers)
        if len(layers) > goals.overlap and (total - lowest) * _NEWS >= total:
            found += stretch
    return tuple(found)


def _stretches(files: Sequence[DataFile], column: str) -> list[list[DataFile]]:
    """The files in runs that touch each other."""
    runs: list[list[DataFile]] = []
    highest: Any = None
    for file in sorted(files, key=lambda file: file.lower[column]):
        if runs and file.lower[column] < highest:
            runs[-1].append(file)
            highest = max(highest, file.upper[column])
        else:
            runs.append([file])
            highest = file.upper[column]
    return runs


def _layers(files: Sequence[DataFile], column: str) -> list[list[DataFile]]:
    """The files in layers without overlap, as few as possible; `files` come in order of their lower bounds."""
    layers: list[list[DataFile]] = []
    for file in files:
        free = next((layer for layer in layers if layer[-1].upper[column] <= file.lower[column]), None)
        if free is None:
            layers.append([file])
        else:
            free.append(file)
    return layers

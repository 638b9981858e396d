"""Messages that a broker acknowledged against what a lake holds: each place once, with its record, keys in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
_PARTITION = 1 << 40


@dataclass(frozen=True)
class Messages:
    """Messages by their places. `numbers` tell them apart; those of one key are numbered in the order of sending."""

    partitions: Numbers
    offsets: Numbers
    numbers: Numbers

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int]]) -> Messages:
        """From partition, offset and number of each."""
        return cls(*np.array(list(rows), dtype=np.int64).reshape(-1, 3).T)

    def places(self) -> Numbers:
        """Partition and offset as one number."""
        return self.partitions * _PARTITION + self.offsets


@dataclass(frozen=True)
class Finding:
    """Something that must not be, and at how many messages."""

    kind: str
    count: int


def compare(ledger: Messages, good: Messages, bad: Messages, expected_bad: Numbers, keys: int) -> list[Finding]:
    """All differences between what was acknowledged and what lies in bronze (`good`) and quarantine (`bad`).

    `expected_bad` are the numbers of messages that cannot be accepted; a message's key is its number modulo `keys`.
    """
    held = Messages(*(np.concatenate([getattr(good, name), getattr(bad, name)]) for name in vars(ledger)))
    places, counts = np.unique(held.places(), return_counts=True)
    order = np.argsort(ledger.places())
    known, numbers = ledger.places()[order], ledger.numbers[order]
    at = np.minimum(np.searchsorted(known, held.places()), max(len(known) - 1, 0))
    same_place = known[at] == held.places() if len(known) else np.zeros(len(held.numbers), dtype=bool)
    found = {
        "lost": int((~np.isin(known, places)).sum()),
        "doubled": int((counts - 1).sum()),
        "invented": int((~same_place).sum()),
        "altered": int((numbers[at][same_place] != held.numbers[same_place]).sum()) if len(known) else 0,
        "misjudged": int((~np.isin(bad.numbers, expected_bad)).sum() + np.isin(good.numbers, expected_bad).sum()),
        "disordered": _disordered(held, keys),
    }
    return [Finding(kind, count) for kind, count in found.items() if count]


def _disordered(held: Messages, keys: int) -> int:
    """Messages that do not come after the one before them of the same key."""
    key = held.numbers % keys
    order = np.lexsort((held.offsets, held.partitions, key))
    same = np.diff(key[order]) == 0
    return int((same & (np.diff(held.numbers[order]) <= 0)).sum())


def gaps(commits: Sequence[Mapping[str, Sequence[int]]]) -> list[str]:
    """Where the ranges of offsets that commits consumed, in order, do not begin at the end of the one before."""
    ends: dict[str, int] = {}
    found = []
    for ranges in commits:
        for partition, (start, stop) in ranges.items():
            if start != ends.get(partition, 0):
                found.append(f"{partition}: {ends.get(partition, 0)} → {start}")
            ends[partition] = stop
    return found

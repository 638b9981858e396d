"""Where the records of Avro blocks begin, guessed by the bits that the bytes around all earlier borders had in common.

Nothing hangs on a guess: the first record begins where its block does, and decoding shows whether each one ends where
the next is said to begin, and the last one where the block ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_AROUND = 16
_SAMPLE = 1 << 18
_TESTS = 10
_PATIENCE = 3
_TRIED = 16


@dataclass(frozen=True)
class _Test:
    """The byte so far from a border has these bits."""

    offset: int
    mask: int
    value: int

    def of(self, found: Bytes) -> npt.NDArray[np.bool_]:
        known = found if self.mask == 0xFF else found & np.uint8(self.mask)
        return np.equal(known, np.uint8(self.value))


class Borders:
    """What is known of the borders of one schema's records. Several wrong guesses in a row, and there are no more."""

    def __init__(self) -> None:
        self._masks = np.full(2 * _AROUND, 0xFF, dtype=np.uint8)
        self._values: Bytes | None = None
        self._tests: list[_Test] = []
        self._failures = 0

    @property
    def wanted(self) -> bool:
        """Whether to go on guessing."""
        return self._failures < _PATIENCE

    @property
    def unknown(self) -> bool:
        """Whether nothing has been learnt yet."""
        return self._values is None

    def guess(self, data: Bytes, count: int) -> Places | None:
        """The offsets of `count` records in what `padded` made and the end of the last one; None without an idea."""
        if count == 1:
            return np.array([_AROUND, len(data) - _AROUND])
        if not self._tests or not self.wanted:
            return None
        found: Places | None = None
        for each in self._tests:
            tried = self._all(each, data, count) if found is None else found[each.of(data[found + each.offset])]
            if tried is None or len(tried) < count - 1:
                continue  # it does not hold for all of them any more
            found = tried
            if len(found) == count - 1:
                return np.concatenate([[_AROUND], found, [len(data) - _AROUND]])
        self.judge(False)
        return None

    def _all(self, test: _Test, data: Bytes, count: int) -> Places | None:
        """All places that pass; None where there are too many to look at."""
        fits = test.of(data)
        if np.count_nonzero(fits) > _TRIED * count:
            return None
        found = np.flatnonzero(fits) - test.offset
        return found[(found > _AROUND) & (found < len(data) - _AROUND)]

    def judge(self, right: bool) -> None:
        """Whether the last guess was."""
        self._failures = 0 if right else self._failures + 1

    def learn(self, data: Bytes, sizes: Places) -> None:
        """The sizes of all records in what `padded` made."""
        inner = np.cumsum(sizes[:-1]) + _AROUND
        if not len(inner):
            return
        columns = [data[inner + offset] for offset in range(-_AROUND, _AROUND)]
        ones = np.array([np.bitwise_and.reduce(column) for column in columns], dtype=np.uint8)
        some = np.array([np.bitwise_or.reduce(column) for column in columns], dtype=np.uint8)
        self._masks &= ones | ~some
        if self._values is not None:
            self._masks &= ~(ones ^ self._values)
        self._values = ones & self._masks
        self._tests = self._sharpest(data[:_SAMPLE], self._values)

    def _sharpest(self, sample: Bytes, values: Bytes) -> list[_Test]:
        tests = [
            _Test(offset, mask, value)
            for offset, mask, value in zip(range(-_AROUND, _AROUND), self._masks.tolist(), values.tolist(), strict=True)
        ]
        shares = [float(each.of(sample).mean()) for each in tests]
        order = np.argsort(shares, kind="stable")[:_TESTS].tolist()
        return [tests[at] for at in order if shares[at] < 1]


def padded(plains: Iterable[bytes | memoryview]) -> Bytes:
    """Blocks one behind the other, with room around them."""
    room = bytes(_AROUND)
    return np.frombuffer(b"".join([room, *plains, room]), dtype=np.uint8)

"""Arguments of calls on their way to a worker: large buffers lie in memory that both processes share."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

_SMALL = 4_096
_ALONE = 512 << 10
_ALIGNED = 64
ORDER_BYTES = 512  # each order to the process that starts workers: none is read together with the next one
Packed = tuple[bytes, tuple[tuple[int, int], ...]]


class Shared:
    """A nameless file in memory (where the system has none, on disk) that a child process inherits.

    It holds the buffers of one call at a time: they stay valid until the next call is packed.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("datalab")
        else:
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        self._size = 0

    def pack(self, value: Any) -> Packed:
        """The value without its large buffers, and where those lie."""
        large: list[pickle.PickleBuffer] = []

        def aside(buffer: pickle.PickleBuffer) -> bool:
            """True where it stays within the pickle."""
            small = buffer.raw().nbytes < _SMALL
            if not small:
                large.append(buffer)
            return small

        packed = pickle.dumps(value, protocol=5, buffer_callback=aside)
        return packed, tuple(self._placed(large))

    def close(self) -> None:
        """Give the memory back, as soon as the child has."""
        os.close(self.descriptor)

    def _placed(self, buffers: Sequence[pickle.PickleBuffer]) -> list[tuple[int, int]]:
        places, at = list[tuple[int, int]](), 0
        for each in buffers:
            raw = each.raw()
            places.append((at, raw.nbytes))
            at = -(-(at + raw.nbytes) // _ALIGNED) * _ALIGNED
        if at > self._size:
            os.ftruncate(self.descriptor, at)
            self._size = at
        for each, (start, _) in zip(buffers, places, strict=True):
            _write(self.descriptor, each.raw(), start)
        return places


def unpack(descriptor: int, packed: Packed) -> Any:
    """The value, in the child; its large buffers are the shared memory itself, read-only, as long as they are used."""
    body, places = packed
    return pickle.loads(body, buffers=_views(descriptor, places))  # noqa: S301 - from our own parent


def _views(descriptor: int, places: Sequence[tuple[int, int]]) -> Iterator[memoryview]:
    """What lies in each place; the largest are mapped by themselves, and leave the process's memory with their user."""
    for _, some in groupby(places, lambda place: place[0] if place[1] >= _ALONE else None):
        together = list(some)
        (first, _), (last, size) = together[0], together[-1]
        offset = first - first % mmap.ALLOCATIONGRANULARITY
        view = memoryview(mmap.mmap(descriptor, last + size - offset, access=mmap.ACCESS_READ, offset=offset))
        yield from (view[start - offset : start - offset + size] for start, size in together)


def _write(descriptor: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written

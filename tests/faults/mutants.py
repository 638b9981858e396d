"""Damaged copies of good files, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

_EDGES = (b"\x00", b"\x01", b"\x02", b"\x7f", b"\x80", b"\xff", b'"', b"\n", b",", b"\\", b"{", b"}", b"\r", b"0", b"-")
_HUGE = (b"\xfe\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80\xa8\xd6\xb9\x07", b"9" * 30)


def _flip(data: bytearray, random: Random) -> None:
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    data[at : at + 1] = random.choice(_EDGES)


def _insert(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data) + 1)
    data[at:at] = random.choice((*_EDGES, *_HUGE, random.randbytes(random.randrange(1, 40))))


def _huge(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    value = random.choice(_HUGE)
    data[at : at + random.choice((1, len(value)))] = value


def _delete(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    del data[at : at + random.choice((1, 2, 16, random.randrange(1, 200)))]


def _truncate(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data)) :]


def _repeat(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    data[at:at] = data[at : at + random.randrange(1, 300)]


def _zero(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    size = min(random.randrange(1, 64), len(data) - at)
    data[at : at + size] = bytes(size)


def _swap(data: bytearray, random: Random) -> None:
    one, two = sorted((random.randrange(len(data)), random.randrange(len(data))))
    data[one], data[two] = data[two], data[one]


_DAMAGE: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip,
    _flip,
    _flip,
    _set,
    _insert,
    _huge,
    _delete,
    _truncate,
    _repeat,
    _zero,
    _swap,
)


def mutants(good: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` copies with one piece of damage each, sometimes two or three."""
    for number in range(count):
        yield mutant(good, seed, number)


def mutant(good: bytes, seed: int, number: int) -> bytes:
    """One of these copies."""
    random = Random(f"{seed}/{number}")
    data = bytearray(good)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if data:
            random.choice(_DAMAGE)(data, random)
    return bytes(data)

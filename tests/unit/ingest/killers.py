"""Calls for worker processes that end them, each in its own way. Imported by the workers alone."""

from __future__ import annotations

import os
import resource
import signal
import time

import pyarrow as pa

from datalab.ingest.memory_limit import unlimited


def double(number: int) -> int:
    return 2 * number


def family(seconds: float) -> tuple[int, int]:
    time.sleep(seconds)
    return os.getpid(), os.getppid()


def crash(number: int) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(number: int) -> None:
    time.sleep(600)


def doze(seconds: float) -> None:
    time.sleep(seconds)


def hoard(size: int) -> int:
    return len(bytearray(size))


def hoard_natively(size: int) -> None:
    import polars as pl  # noqa: PLC0415 - in the worker alone

    pl.zeros(size, pl.Int64, eager=True).to_list()


def fail(number: int) -> None:
    raise ValueError(f"not {number}")


def fail_unportably(number: int) -> None:
    class Local(Exception):
        """Cannot be pickled."""

    raise Local("here alone")


def hold(size: int) -> int:
    """Memory of Arrow's allocator, then of Python's."""
    held = pa.allocate_buffer(64)
    return len(bytearray(size)) if held.size == 64 else 0


def talk_and_crash(lines: int) -> None:
    for number in range(lines):
        os.write(2, f"line {number}: {'x' * 80}\n".encode())
    crash(0)


def talk(lines: int) -> int:
    os.write(2, b"x" * 80 * lines)
    return os.fstat(2).st_size


_KEPT: list[bytearray] = []


def keep(size: int) -> int:
    """Holds on to memory from then on."""
    _KEPT.append(bytearray(size))
    return size


def load_and_hold(size: int) -> tuple[int, bool]:
    """What is allocated beyond the limit raises it by as much."""
    before, _ = resource.getrlimit(resource.RLIMIT_DATA)
    with unlimited():
        held = keep(size)
    return held, resource.getrlimit(resource.RLIMIT_DATA)[0] - before >= size

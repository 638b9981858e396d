"""A bound on what this process may allocate, which libraries that are loaded later do not count towards."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/status")


def limit_memory(memory: int) -> None:
    """From now on `memory` bytes more than there are; where the system tells how many those are (Linux)."""
    held = _held()
    if held is not None:
        _set(held + memory)


@contextmanager
def unlimited() -> Iterator[None]:
    """What is allocated meanwhile comes on top of the bound."""
    bound, _ = resource.getrlimit(resource.RLIMIT_DATA)
    before = _held()
    if bound == resource.RLIM_INFINITY or before is None:
        yield
        return
    _set(resource.RLIM_INFINITY)
    try:
        yield
    finally:
        _set(bound + max((_held() or before) - before, 0))


def _set(bound: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, most))


def _held() -> int | None:
    if not _STATUS.exists():
        return None
    return next(int(line.split()[1]) << 10 for line in _STATUS.read_text().splitlines() if line.startswith("VmData"))

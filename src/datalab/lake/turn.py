"""Turns at the head of a table: writers of one machine commit one after the other, so that the quick starve nobody.

A courtesy only: what a commit compares decides, with the turn or without it. Nobody waits long for one who stands
still, and other tools, which know nothing of turns, are met as before.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from datalab.lake.local import local_path, taken

_PATIENCE = 2.0
_LONGEST_PAUSE = 0.01


class _Mine(threading.local):
    """The folders of tables at whose head this thread has the turn."""

    def __init__(self) -> None:
        self.folders: set[Path] = set()


_mine = _Mine()


@contextmanager
def turn(location: str) -> Iterator[bool]:
    """A block in which no other writer commits to the table at `location`; whether that is so.

    It is not where the table is not on the local disk, or where somebody has had the turn for too long. Whoever has it
    may ask for it again.
    """
    folder = local_path(location)
    if folder is None or folder in _mine.folders:
        yield folder is not None
        return
    descriptor = _opened(folder)
    if descriptor is None:
        yield False
        return
    try:
        alone = _taken(descriptor)
        if alone:
            _mine.folders.add(folder)
        try:
            yield alone
        finally:
            _mine.folders.discard(folder)
            if alone:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process forked meanwhile has the descriptor, too
    finally:
        os.close(descriptor)


def turn_after(attempt: int, location: str) -> AbstractContextManager[bool]:
    """The turn for who has lost a race already; the first attempt is everybody's."""
    return nullcontext(False) if attempt == 1 else turn(location)


def _opened(folder: Path) -> int | None:
    try:
        return os.open(folder, os.O_RDONLY)
    except OSError:  # no such table yet, or not ours to look at
        return None


def _taken(descriptor: int) -> bool:
    try:
        return taken(descriptor, _PATIENCE, _LONGEST_PAUSE)
    except OSError:  # a file system without locks
        return False

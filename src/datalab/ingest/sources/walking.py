"""Names below a folder that match a pattern, `**` included, in folders that may link to each other in circles."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from collections.abc import Iterator
from glob import has_magic
from pathlib import PurePosixPath

from datalab.errors import SourceUnavailable

_ANY_DEPTH = "**"
_LEFT_OUT = (".", "_")
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
Ids = frozenset[tuple[int, int]]


def matching(root: str, pattern: str) -> set[str]:
    """Paths relative to `root`. As Python's glob, but a folder is not entered again from within itself.

    Below `**`, folders whose names begin with a dot or an underscore are left out. SourceUnavailable where a folder
    cannot be listed: what may be in it is not passed over.
    """
    written = PurePosixPath(pattern).parts
    parts = tuple(part for at, part in enumerate(written) if part != _ANY_DEPTH or written[:at][-1:] != (_ANY_DEPTH,))
    return set(_below(f"{root}{os.sep}", "", parts, frozenset())) if parts else set()


def _below(root: str, folder: str, parts: tuple[str, ...], above: Ids) -> Iterator[str]:
    """`folder` is empty or ends with a separator; `above` are the folders on the way, since the first `**`."""
    part, rest = parts[0], parts[1:]
    if part == _ANY_DEPTH:
        yield from _at_any_depth(root, folder, parts, above)
    elif not has_magic(part):
        yield from _below(root, f"{folder}{part}{os.sep}", rest, above) if rest else (f"{folder}{part}",)
    else:
        fits = re.compile(fnmatch.translate(part)).match
        for entry in _entries(f"{root}{folder}"):
            if fits(entry.name):
                name = f"{folder}{entry.name}"
                yield from _below(root, f"{name}{os.sep}", rest, above) if rest else (name,)


def _at_any_depth(root: str, folder: str, parts: tuple[str, ...], above: Ids) -> Iterator[str]:
    own = _id(f"{root}{folder}")
    if own in above:
        return
    inside, rest = above | {own}, parts[1:]
    if rest:
        yield from _below(root, folder, rest, inside)
    for entry in _entries(f"{root}{folder}"):
        name = f"{folder}{entry.name}"
        if not _is_folder(entry):
            yield from () if rest else (name,)
        elif not entry.name.startswith(_LEFT_OUT):
            yield from _at_any_depth(root, f"{name}{os.sep}", parts, inside)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        if error.errno in ABSENT:
            return []
        raise SourceUnavailable(
            f"{folder} cannot be listed: {error.strerror}", "may this user read the folder, is its disk there?"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _id(folder: str) -> tuple[int, int]:
    try:
        status = os.stat(folder)  # noqa: PTH116 - text, as what is listed
    except OSError:
        return -1, -1  # what is wrong, listing it will tell
    return status.st_dev, status.st_ino

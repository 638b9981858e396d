"""Upkeep of Delta tables: checkpoints, commits taken out of the log, and the files that only they named.

A version that stays after a gap gets a checkpoint, so that it can be read without the commits before it.
"""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from datalab.errors import LakeError
from datalab.lake.beside import CHANGES, STATE, side_files
from datalab.lake.formats.base import Overtaken
from datalab.lake.formats.delta_files import absolute
from datalab.lake.formats.delta_history import snapshots as to_snapshots
from datalab.lake.formats.delta_log import Entry, entry_path, last_checkpoint
from datalab.lake.formats.delta_state import is_head
from datalab.lake.formats.traces import DELTA_LOG
from datalab.lake.formats.upkeep import File, Metadata
from datalab.lake.local import files_below, flush
from datalab.lake.table import DataFile, TableState
from datalab.names import TableName

TAG = "datalab.tag."
_LOCK = "datalab.lock"
_CHECKPOINT_AFTER = 20
_OURS = (CHANGES, STATE)
_VECTORS = "deletion_vector_*.bin"  # other writers', which the log names in a code of its own

Reload = Callable[[TableName, DeltaTable], TableState]
Run = tuple[Sequence[Entry], Sequence[DataFile]]


class DeltaUpkeep:
    """The upkeep port over delta-rs's tables. `runs` answers the log without gaps, and the files where a run begins."""

    def __init__(self, reload: Reload, runs: Callable[[TableState], Sequence[Run]]) -> None:
        self._reload = reload
        self._runs = runs

    def tags(self, state: TableState) -> Mapping[str, int]:
        """Delta has no tags: they are properties of the table."""
        found = {key.removeprefix(TAG): value for key, value in state.properties.items() if key.startswith(TAG)}
        return {name: int(value) for name, value in found.items() if value}

    def tag(self, state: TableState, name: str, snapshot: int | None) -> TableState:
        """A property of the table; an empty one is no tag, since delta-rs cannot take a property away."""
        with self._alone(state):
            try:
                value = "" if snapshot is None else str(snapshot)
                table = DeltaTable(state.location, version=state.handle.version())
                table.alter.set_table_properties({f"{TAG}{name}": value}, raise_if_not_exists=False)
            except CommitFailedError as error:
                raise Overtaken(f"{state.name} has moved on from version {state.handle.version()}: {error}") from error
            return self._reload(state.name, DeltaTable(state.location))

    def doomed(self, state: TableState, snapshots: Collection[int]) -> tuple[File, ...]:
        """From the log: data files that no version that stays can see, and the commits and checkpoints of a gap."""
        root, runs = Path(state.location), self._runs(state)
        entries = [entry for run, _ in runs for entry in run]
        kept = [each.version for each in entries if each.is_snapshot and each.version not in snapshots]
        lives = _Lives(kept)
        for run, first in runs:
            lives.follow(run, root, {file.path: file.size for file in first})
        staying = frozenset(kept)
        ours = _held(state, (each for each in entries if each.version in snapshots))
        ours -= _held(state, (each for each in entries if each.version in staying))
        files = [File(path, size) for path, size in lives.ended()]
        files += [File(path, _size(path)) for path in ours]
        log, _ = _gaps(root / DELTA_LOG, [run for run, _ in runs], snapshots)
        return (*files, *(File(str(path), _size(path)) for path in log))

    def expire(self, state: TableState, snapshots: Collection[int]) -> tuple[File, ...]:
        """Checkpoints first, then the log, newest commit of a gap first: what is left can be read at every moment."""
        tagged = {snapshot: name for name, snapshot in self.tags(state).items()}
        if state.snapshot in snapshots or tagged.keys() & set(snapshots):
            raise LakeError(f"{state.name}: a snapshot to be expired is in use", "take its tag away first")
        with self._alone(state):
            files = self.doomed(state, snapshots)
            log, starts = _gaps(Path(state.location) / DELTA_LOG, [run for run, _ in self._runs(state)], snapshots)
            self._checkpoint(state, starts)
            for path in (*log, *(Path(file.path) for file in files)):
                path.unlink(missing_ok=True)
        return files

    def strays(self, state: TableState) -> Iterator[File]:
        """Files that no version in the log has; others' deletion vectors and folders (`_…`) are left alone."""
        root, runs = Path(state.location), self._runs(state)
        named = {file.path for _, first in runs for file in first}
        named |= {absolute(path, root) for run, _ in runs for entry in run for path in entry.sizes}
        named |= _held(state, (entry for run, _ in runs for entry in run))
        for file in files_below(root):
            inside = Path(file.path).relative_to(root)
            if inside.parts[0] == DELTA_LOG:
                if _is_draft(inside):
                    yield file
            elif file.path not in named and not _is_of_others(inside):
                yield file

    def metadata(self, state: TableState) -> Metadata:
        """The commits since the last checkpoint."""
        log, newest = Path(state.location) / DELTA_LOG, state.handle.version()
        paths = [entry_path(log, version) for version in range(last_checkpoint(log) + 1, newest + 1)]
        return Metadata("commits since the last checkpoint", len(paths), sum(_size(path) for path in paths))

    def tidy(self, state: TableState) -> bool:
        """A checkpoint at the newest version, where many commits came after the last."""
        log = Path(state.location) / DELTA_LOG
        if state.handle.version() - last_checkpoint(log) < _CHECKPOINT_AFTER:
            return False
        with self._alone(state):
            self._checkpoint(state, [state.handle.version()])
        return True

    def _checkpoint(self, state: TableState, starts: Iterable[int]) -> None:
        log, head = Path(state.location) / DELTA_LOG, state.handle.version()
        missing = [version for version in starts if not (log / f"{version:020}.checkpoint.parquet").exists()]
        for version in sorted({*missing, *([head] if missing else [])}):
            DeltaTable(state.location, version=version).create_checkpoint()
        flush(str(log / f"{version:020}.checkpoint.parquet") for version in missing)

    @contextmanager
    def _alone(self, state: TableState) -> Iterator[None]:
        """One piece of upkeep at a time, from the newest state; the lock goes with its process."""
        log = Path(state.location) / DELTA_LOG
        descriptor = os.open(log / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not is_head(log, state.handle.version()):
                raise Overtaken(f"{state.name} has moved on from version {state.handle.version()}")
            yield
        finally:
            os.close(descriptor)


class _Lives:
    """From which version to which each file was live; `kept` are the versions that stay, ascending."""

    def __init__(self, kept: Sequence[int]) -> None:
        self._kept = kept
        self._sizes: dict[str, int] = {}
        self._needed: set[str] = set()

    def follow(self, run: Sequence[Entry], root: Path, first: Mapping[str, int]) -> None:
        """Take in one run of the log; `first` are the files at its first version."""
        born = dict.fromkeys(first, run[0].version)
        self._sizes.update(first)
        for entry in run:
            self._sizes.update({absolute(path, root): size for path, size in entry.sizes.items()})
            for path in (absolute(path, root) for path in entry.removed):
                self._close(path, born.pop(path, None), entry.version - 1)
            born.update({absolute(path, root): entry.version for path in entry.added})
        for path, version in born.items():
            self._close(path, version, run[-1].version)

    def ended(self) -> list[tuple[str, int]]:
        """The files that no version that stays can see."""
        return [(path, size) for path, size in self._sizes.items() if path not in self._needed]

    def _close(self, path: str, first: int | None, last: int) -> None:
        at = bisect_left(self._kept, first) if first is not None else len(self._kept)
        if at < len(self._kept) and self._kept[at] <= last:
            self._needed.add(path)


def _gaps(log: Path, runs: Sequence[Sequence[Entry]], snapshots: Collection[int]) -> tuple[list[Path], list[int]]:
    """The log's files that go, newest first, and the versions that then stand behind a gap."""
    going: list[int] = []
    starts: list[int] = []
    for run in runs:
        last_kept, pending = None, list[int]()
        for entry in run:
            if entry.version in snapshots or not entry.is_snapshot:
                pending.append(entry.version)
                continue
            if any(version in snapshots for version in pending):
                going += pending
                starts.append(entry.version)
            last_kept, pending = entry.version, []
        if last_kept is None and any(version in snapshots for version in pending):
            going += pending
    paths = [path for version in sorted(going, reverse=True) for path in _files_of(log, version)]
    return paths, starts


def _files_of(log: Path, version: int) -> list[Path]:
    return [entry_path(log, version), *log.glob(f"{version:020}.checkpoint*"), *log.glob(f"{version:020}.crc")]


def _held(state: TableState, entries: Iterable[Entry]) -> frozenset[str]:
    return side_files(state, to_snapshots([*entries], Path(state.location), {}))


def _is_of_others(inside: Path) -> bool:
    return inside.match(_VECTORS) or (inside.parts[0].startswith("_") and inside.parts[0] not in _OURS)


def _is_draft(inside: Path) -> bool:
    """What a killed writer leaves in the log: names that no reader takes for a commit or a checkpoint."""
    return inside.name.startswith("_commit_") or "#" in inside.name or inside.name.endswith(".tmp")


def _size(path: str | Path) -> int:
    with suppress(FileNotFoundError):
        return Path(path).stat().st_size
    return 0

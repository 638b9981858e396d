"""What is not well with a project's tables, found in metadata alone, each finding with what helps."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from datalab.engine.scratch import abandoned
from datalab.errors import DataLabError
from datalab.lake.formats.base import Overtaken
from datalab.lake.lake import Lake
from datalab.lake.local import local_path
from datalab.lake.maintenance.compact import plan_compaction
from datalab.lake.maintenance.goals import Goals
from datalab.lake.maintenance.retention import Need, verdicts
from datalab.lake.maintenance.selection import is_small
from datalab.lake.maintenance.vacuum import vacuum
from datalab.lake.read import standing
from datalab.lake.restore import RESTORING, began
from datalab.lake.table import DataFile, Snapshot, TableState
from datalab.names import TableName
from datalab.pipelines.graph import FlowNode
from datalab.platform.lab import Lab
from datalab.platform.needs import project_needs
from datalab.platform.settings_schema import LayerMaintenance, MaintenanceSettings
from datalab.platform.upkeep import goals_of
from datalab.plugins import load

_MADE_ELSEWHERE = frozenset({"ops", "training"})
_BUILT = "datalab.ingest.native.library:built"
_PERCENT = 100
_FEW = 10  # small files that are no finding yet


@dataclass(frozen=True)
class Finding:
    """Something that is not well: which check, of which table, what was found, and what helps."""

    check: str
    table: str
    found: str
    hint: str


@dataclass(frozen=True)
class _Patient:
    lake: Lake
    state: TableState
    files: tuple[DataFile, ...]
    history: tuple[Snapshot, ...]
    goals: Goals
    limits: MaintenanceSettings
    wanted: tuple[Need, ...]
    now: datetime

    @property
    def name(self) -> TableName:
        return self.state.name


def examine(lab: Lab, names: Collection[TableName] = ()) -> Iterator[Finding]:
    """All findings: of the tables named (none: all), then of the project. Opens no data file but of `ops.models`."""
    now = datetime.now(UTC)
    known = lab.tables()
    wanted, elsewhere = _needs(lab), list[TableState]()
    for name in names or known:
        patient, finding = _patient(lab, name, wanted, now)
        if finding is not None:
            yield finding
        if patient is not None and patient.state.elsewhere:
            elsewhere.append(patient.state)
        elif patient is not None:
            for check in _CHECKS:
                yield from check(patient)
    yield from _copied(elsewhere)
    yield from _pipelines(lab, names, now)
    if not names:
        yield from _folders(lab, known)
        yield from _clients(lab)


def limits_of(settings: MaintenanceSettings, name: TableName) -> MaintenanceSettings:
    """The settings with those of a table's layer in their place."""
    own = {str(layer): chosen for layer, chosen in settings.layers.items()}.get(name.layer, LayerMaintenance())
    merged: dict[str, Any] = {key: value for key, value in vars(own).items() if value is not None}
    return MaintenanceSettings(**{**vars(settings), **merged})


def _needs(lab: Lab) -> tuple[Need, ...]:
    try:
        return project_needs(lab)
    except Exception:  # noqa: BLE001 - a table that cannot be read is a finding of its own
        return ()


def _patient(
    lab: Lab, name: TableName, wanted: tuple[Need, ...], now: datetime
) -> tuple[_Patient | None, Finding | None]:
    settings = lab.configuration.settings.maintenance
    try:
        state = lab.lake.require(name)
        files, history = lab.lake.files(state).files, lab.lake.history(state)
    except Exception as error:  # noqa: BLE001 - whatever it is, the table cannot be read
        said = _said(error)
        hint = "restore the folder of the table from a backup, or take it out of the catalog"
        return None, Finding("entry without files", str(name), f"the table cannot be read: {said}", hint)
    goals, limits = goals_of(settings, name), limits_of(settings, name)
    own = tuple(need for need in wanted if need.table == name)
    return _Patient(lab.lake, state, files, history, goals, limits, own, now), None


def _said(error: Exception) -> str:
    return error.message if isinstance(error, DataLabError) else (str(error).splitlines() or [type(error).__name__])[0]


def _copied(elsewhere: Sequence[TableState]) -> Iterator[Finding]:
    """One finding for all of a copied project: what else is wrong with its tables is the original's."""
    for place in sorted({state.elsewhere for state in elsewhere}):
        names = [str(state.name) for state in elsewhere if state.elsewhere == place]
        what = f"{len(names):,} tables lie" if len(names) > 1 else "it lies"
        found = f"{what} in another warehouse, {place}: from here to be read, not written"
        hint = "work in the original of this copy; a folder that was moved: move it back, or link it from where it was"
        yield Finding("copied folder", names[0] if len(names) == 1 else "", found, hint)


def _state(lake: Lake, name: TableName) -> TableState | None:
    """None also for a table that cannot be read: that is a finding of its own."""
    try:
        return lake.state(name)
    except Exception:  # noqa: BLE001
        return None


def _small_files(patient: _Patient) -> Iterator[Finding]:
    small = [file for file in patient.files if is_small(file, patient.goals)]
    share = len(small) * _PERCENT // max(len(patient.files), 1)
    many = len(small) > _FEW and share > patient.limits.small_files
    if many and plan_compaction(patient.lake, patient.name, patient.goals).groups:
        found = f"{len(small):,} of {len(patient.files):,} files are below half of {patient.limits.file_size}"
        yield Finding("small files", str(patient.name), found, f"datalab data optimize {patient.name}")


def _dead_bytes(patient: _Patient) -> Iterator[Finding]:
    upkeep = patient.lake.format(patient.state.format).upkeep
    old = [snapshot.id for snapshot in patient.history[:-1]]
    try:
        dead = sum(file.size for file in upkeep.doomed(patient.state, old))
    except Overtaken:  # somebody expires them just now
        return
    live = sum(file.size for file in patient.files)
    judged = verdicts(patient.history, upkeep.tags(patient.state), patient.wanted, patient.goals, patient.now)
    gone = sum(not verdict.stays for verdict in judged)
    if gone and dead * _PERCENT > live * patient.limits.dead_bytes:
        share = f"{dead * _PERCENT // live} %" if live else "more"
        found = f"{dead:,} bytes are there for old snapshots alone, {share} of the live ones; {gone} snapshots may go"
        yield Finding("dead bytes", str(patient.name), found, f"datalab data expire {patient.name}")


def _metadata(patient: _Patient) -> Iterator[Finding]:
    found = patient.lake.format(patient.state.format).upkeep.metadata(patient.state)
    if found.files > patient.limits.metadata:
        words = f"{found.files:,} {found.kind} ({found.bytes:,} bytes) before the first row"
        yield Finding("metadata", str(patient.name), words, f"datalab data optimize {patient.name}")


def _snapshots(patient: _Patient) -> Iterator[Finding]:
    if len(patient.history) > patient.limits.snapshots:
        by = sorted({need.reason for need in patient.wanted if need.onwards})
        why = f"; consumers: {', '.join(by)}" if by else ""
        found = f"{len(patient.history):,} snapshots, the oldest of {patient.history[0].at:%Y-%m-%d}{why}"
        yield Finding("snapshots", str(patient.name), found, f"datalab data expire {patient.name}")


def _left_tags(patient: _Patient) -> Iterator[Finding]:
    """A restore that was killed leaves the tag that held its snapshot."""
    for tag in patient.lake.tags(patient.state):
        if tag.startswith(RESTORING):
            when = f"; data cleanup does it {_days(patient.goals.readers)} after it began" if began(tag) else ""
            hint = f"unless a restore runs now: datalab data tag {patient.name} {tag} --remove{when}"
            yield Finding("leftovers", str(patient.name), f"the tag {tag} of a restore that did not end", hint)


def _lost_files(patient: _Patient) -> Iterator[Finding]:
    named = (place for file in patient.files for place in file.paths)
    lost = [place for place in named if (path := local_path(place)) is not None and not path.exists()]
    if lost:
        found = f"{len(lost):,} data files are gone: {Path(lost[0]).name} …"
        hint = f"datalab data restore {patient.name} --to a snapshot before them, or bring the files back"
        yield Finding("entry without files", str(patient.name), found, hint)


def _damaged_files(patient: _Patient) -> Iterator[Finding]:
    """Other bytes of the same number are not seen here: a table keeps no digest of its files."""
    there = [(file, path) for file in patient.files if (path := local_path(file.path)) is not None and path.exists()]
    damaged = [path for file, path in there if path.stat().st_size != file.size]
    closed = [path for _, path in there if not os.access(path, os.R_OK)]
    if damaged:
        found = f"{len(damaged):,} data files have not the size that they were written with: {damaged[0].name} …"
        hint = f"datalab data restore {patient.name} --to a snapshot before them, or bring the files back"
        yield Finding("damaged files", str(patient.name), found, hint)
    if closed:
        found = f"{len(closed):,} data files may not be read by this user: {closed[0].name} …"
        yield Finding("damaged files", str(patient.name), found, "give the files to the user that runs datalab")


def _orphans(patient: _Patient) -> Iterator[Finding]:
    try:
        swept = vacuum(patient.lake, patient.name, patient.goals.orphans, patient.now, dry_run=True)
    except DataLabError:
        return
    if swept.files:
        size = sum(file.size for file in swept.files)
        found = f"{len(swept.files):,} files ({size:,} bytes) that no metadata names"
        yield Finding("files without an entry", str(patient.name), found, f"datalab data vacuum {patient.name}")


_CHECKS: tuple[Callable[[_Patient], Iterator[Finding]], ...] = (
    _small_files,
    _dead_bytes,
    _metadata,
    _snapshots,
    _left_tags,
    _lost_files,
    _damaged_files,
    _orphans,
)


def _pipelines(lab: Lab, names: Collection[TableName], now: datetime) -> Iterator[Finding]:
    try:
        feeds = {feed.target for feed in lab.feeds}
        nodes = lab.graph.flows
    except Exception as error:  # noqa: BLE001 - also where a table that they read cannot be read
        yield Finding("pipelines", "", _said(error), "datalab check")
        return
    made = feeds | {node.flow.target for node in nodes}
    for name in names or lab.tables():
        if name not in made and name.layer not in _MADE_ELSEWHERE:
            yield Finding(
                "no contract", str(name), "no source with a contract and no flow makes it", "declare it, or drop it"
            )
    for node in nodes:
        if not names or node.flow.target in names:
            yield from _stale(lab, node, now)


def _stale(lab: Lab, node: FlowNode, now: datetime) -> Iterator[Finding]:
    target = _state(lab.lake, node.flow.target)
    position = target.positions.get(node.flow.name) if target is not None else None
    limit = limits_of(lab.configuration.settings.maintenance, node.flow.target).stale.delta
    for read in node.inputs if position is not None else ():
        source = _state(lab.lake, read.table)
        consumed = position.inputs.get(str(read.table)) if position is not None else None
        waiting = _waiting(lab.lake.history(source), consumed) if source is not None else ()
        if waiting and now - waiting[0].at > limit:
            found = f"{len(waiting):,} commits of {read.table} wait for {_days(now - waiting[0].at)}"
            yield Finding("stale", str(node.flow.target), found, f"datalab run {node.flow.target}")


def _waiting(history: Sequence[Snapshot], consumed: int | None) -> tuple[Snapshot, ...]:
    ids = [snapshot.id for snapshot in history]
    consumed = standing(history, consumed) if consumed is not None else None
    later = history[ids.index(consumed) + 1 :] if consumed in ids else history
    return tuple(snapshot for snapshot in later if snapshot.operation != "compact")


def _days(age: timedelta) -> str:
    return f"{age.days} days" if age.days > 1 else f"{int(age.total_seconds()) // 3600} hours"


def _folders(lab: Lab, known: Collection[TableName]) -> Iterator[Finding]:
    warehouse = local_path(str(lab.configuration.settings.lake.warehouse))
    named = {f"{name.layer}/{name.table}" for name in known}
    for place in sorted(warehouse.glob("*/*")) if warehouse is not None and warehouse.is_dir() else ():
        inside = place.relative_to(warehouse).as_posix() if warehouse is not None else ""
        if place.is_dir() and inside not in named:
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            found = f"a folder of {size:,} bytes that no table of the catalog is in"
            yield Finding(
                "files without an entry", inside.replace("/", "."), found, f"look at it, then remove {inside}"
            )
    left = abandoned(lab.configuration.settings.engine.temp)
    if left:
        found = f"{len(left)} temporary folders of processes that are gone"
        yield Finding("leftovers", "", found, "datalab data cleanup --all")


def _clients(lab: Lab) -> Iterator[Finding]:
    """Topics are read faster where a compiler was found at installation."""
    topics = sorted(name for name, source in lab.configuration.settings.sources.items() if source.topic)
    if topics and load(_BUILT)() is None:
        found = f"{', '.join(topics)}: messages are taken and decoded in Python: the part in C is missing"
        hint = "install a C compiler, then DataLab again: topics come in a third faster, Avro files a sixth"
        yield Finding("part in C", "", found, hint)

"""Maintenance of a project's tables: settings to aims, one operation after the other over the tables that are named."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from datalab.engine.scratch import abandoned
from datalab.errors import DataLabError, LakeError
from datalab.events import Progress
from datalab.lake.local import local_path
from datalab.lake.maintenance.compact import Compaction, compact, plan_compaction, tidy
from datalab.lake.maintenance.expire import Expiry, expire
from datalab.lake.maintenance.goals import Goals
from datalab.lake.maintenance.vacuum import Vacuumed, vacuum
from datalab.names import TableName
from datalab.platform.lab import Lab
from datalab.platform.needs import project_needs
from datalab.platform.settings_schema import LayerMaintenance, MaintenanceSettings
from datalab.quality.statistics import SCHEMA, Analyzed, analyze, is_analyzed


def goals_of(settings: MaintenanceSettings, name: TableName) -> Goals:
    """The aims for one table: those of its layer where it has any."""
    own = {str(layer): chosen for layer, chosen in settings.layers.items()}.get(name.layer, LayerMaintenance())
    return Goals(
        file_size=(settings.file_size if own.file_size is None else own.file_size).bytes,
        overlap=settings.overlap if own.overlap is None else own.overlap,
        keep=settings.keep if own.keep is None else own.keep,
        keep_for=(settings.keep_for if own.keep_for is None else own.keep_for).delta,
        readers=settings.readers.delta,
        orphans=settings.orphans.delta,
    )


def optimize(lab: Lab, names: Iterable[TableName], *, dry_run: bool = False) -> Iterator[Compaction]:
    """Merge small files and layers, table by table, and make the metadata quick to read.

    Here and below: an error at one table is in its answer, and the others are done all the same.
    """
    for name, goals in _each(lab, "optimize", names):
        try:
            yield plan_compaction(lab.lake, name, goals) if dry_run else _optimize(lab, name, goals)
        except DataLabError as error:
            yield Compaction(name, error=error)


def _optimize(lab: Lab, name: TableName, goals: Goals) -> Compaction:
    done = compact(lab.lake, name, goals, lab.engine.rewrite, lab.context().run_id, partial(_tell, lab))
    tidy(lab.lake, name)
    return done


def expire_snapshots(lab: Lab, names: Iterable[TableName], *, dry_run: bool = False) -> Iterator[Expiry]:
    """Forget old snapshots, table by table; what is needed of any table is looked up once, before."""
    wanted = project_needs(lab)
    for name, goals in _each(lab, "expire", names):
        try:
            _require_own(lab, name)
            yield expire(lab.lake, name, wanted, goals, datetime.now(UTC), dry_run=dry_run)
        except DataLabError as error:
            yield Expiry(name, (), error=error)


def remove_orphans(lab: Lab, names: Iterable[TableName], *, dry_run: bool = False) -> Iterator[Vacuumed]:
    """Remove files that no metadata names, table by table."""
    for name, goals in _each(lab, "vacuum", names):
        try:
            _require_own(lab, name)
            yield vacuum(lab.lake, name, goals.orphans, datetime.now(UTC), dry_run=dry_run)
        except DataLabError as error:
            yield Vacuumed(name, (), error=error)


def analyze_tables(lab: Lab, names: Iterable[TableName], *, dry_run: bool = False) -> Iterator[Analyzed]:
    """Count what is in the columns of the tables that changed; a dry run answers which would be counted."""
    for name, _ in _each(lab, "analyze", names):
        if dry_run:
            yield Analyzed(name, None, SCHEMA.empty_table(), waiting=not is_analyzed(lab.lake, name))
            continue
        context = lab.context()
        try:
            yield analyze(lab.lake, lab.engine, name, context.run_id, context.now)
        except DataLabError as error:
            yield Analyzed(name, None, SCHEMA.empty_table(), error=error)


def remove_leftovers(lab: Lab, *, dry_run: bool = False) -> tuple[Path, ...]:
    """Remove what engines of dead processes left in the project's folder for spilled data."""
    places = abandoned(lab.configuration.settings.engine.temp)
    if not dry_run:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
    return places


def _require_own(lab: Lab, name: TableName) -> None:
    """Files of another project are not removed: the catalog of a copied folder still names those of the original."""
    chosen = lab.configuration.settings.lake
    warehouse, location = local_path(str(chosen.warehouse)), local_path(lab.lake.require(name).location)
    if chosen.catalog or warehouse is None or location is None:
        return
    if not location.resolve().is_relative_to(warehouse.resolve()):
        raise LakeError(
            f"{name}: its files lie in {location}, outside of this project's warehouse, and may belong to another",
            "Iceberg tables name their files by absolute paths: a copy of the folder has none of its own",
        )


def _each(lab: Lab, word: str, names: Iterable[TableName]) -> Iterator[tuple[TableName, Goals]]:
    listed = list(names)
    for number, name in enumerate(listed):
        lab.bus.emit(Progress(f"tables to {word}", number, len(listed)))
        yield name, goals_of(lab.configuration.settings.maintenance, name)


def _tell(lab: Lab, task: str, done: int, total: int) -> None:
    lab.bus.emit(Progress(task, done, total))

"""Parity: a sample of the online store beside the lake it came from, every difference told.

Each row is compared with the gold table at the snapshot it was taken from, bit by bit, and with what the gold query
answers over its input at the snapshot that the gold commit names, to nine digits: sums may be added in another order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Query
from datalab.errors import SnapshotNotFound
from datalab.features.derivation import Definition
from datalab.features.materialize import Gold, held
from datalab.features.online.base import Layout, Lookup, OnlineStore, Position, Stored, Version
from datalab.features.online.encoding import EPOCH, key_of, layout_of
from datalab.features.past import named, spark
from datalab.features.views import FeatureView
from datalab.lake.table import Relation
from datalab.pipelines.changes import TOUCHED, only_touched
from datalab.pipelines.grouping import Grouping, grouping

_DIGITS = 1e-9
Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Difference:
    """One value that is not the same. `beside` is the gold table, or the gold query computed anew.

    `feature` is empty where the whole row is on one side only.
    """

    view: str
    entity: Mapping[str, Any]
    feature: str
    online: Any
    lake: Any
    snapshot: int
    beside: Literal["table", "query"]


@dataclass(frozen=True)
class Parity:
    """How many entities of a view were compared, and what differs. `note` says what could not be compared, and why."""

    view: str
    table: str
    snapshot: int | None
    compared: int = 0
    recomputed: int = 0
    differences: tuple[Difference, ...] = ()
    note: str = ""


@dataclass
class _Check:
    """One view's comparison while it goes on."""

    gold: Gold
    view: FeatureView
    layout: Layout
    position: Position
    found: list[Difference] = field(default_factory=list)

    def reference(self, stored: Stored | None) -> Version | None:
        """The version that a row belongs to: that of a writer who has not finished, else the whole one."""
        begun = [version for version in self.position.pending if stored and version.snapshot == stored.snapshot]
        return begun[0] if begun else self.position.done


def check(gold: Gold, store: OnlineStore, view: FeatureView, definition: Definition | None, sample: int) -> Parity:
    """Compare up to `sample` entities of the store, and as many of the table, with the lake.

    Without a `definition` nothing is computed anew.
    """
    position = store.position(view.name)
    if position.done is None and not position.pending:
        return Parity(view.name, str(view.table), None, note="never materialized")
    layout = layout_of(gold.state.schema, view.layout(gold.state.schema.names))
    if position.layout is not None and position.layout != layout:
        return Parity(view.name, str(view.table), None, note="the view was changed: materialize it first")
    work = _Check(gold, view, layout, position)
    try:
        online = _online(work, store, sample)
        _beside_table(work, online)
    except SnapshotNotFound as gone:
        return Parity(view.name, str(view.table), None, note=gone.message)
    recomputed, note = _beside_query(work, online, definition)
    snapshot = position.done.snapshot if position.done else None
    return Parity(view.name, str(view.table), snapshot, len(online), recomputed, tuple(work.found), note)


def _online(work: _Check, store: OnlineStore, sample: int) -> dict[tuple[Any, ...], Stored | None]:
    """A sample of the store's rows, and what it has of a sample of the table's entities; age plays no part."""
    found = {_typed(work, entry.entity): entry.stored for entry in store.entries(work.view.name, sample)}
    known = [entity for entity in _entities(work, sample) if entity not in found]
    looked = store.read([Lookup(work.view.name, entity) for entity in known], EPOCH)
    return {**found, **dict(zip(known, looked, strict=True))}


def _entities(work: _Check, sample: int) -> list[tuple[Any, ...]]:
    if work.position.done is None:
        return []
    keys = ", ".join(map(named, work.layout.entity))
    texts = ", ".join(f"coalesce(CAST({named(name)} AS STRING), '')" for name in work.layout.entity)
    sql = f"SELECT {keys} FROM gold WHERE {held(work.layout)} ORDER BY md5(concat_ws('|', {texts})) LIMIT {sample}"
    rows = work.gold.read(sql, {"gold": _at(work, work.position.done)}).read_all().to_pylist()
    return [tuple(row.values()) for row in rows]


def _typed(work: _Check, entity: Sequence[Any]) -> tuple[Any, ...]:
    """The entity as the table has it: dates and moments are texts in keys."""
    kinds = [work.gold.state.schema.field(name).type for name in work.layout.entity]
    return tuple(
        _read_time(kind, part) if isinstance(part, str) else part for kind, part in zip(kinds, entity, strict=True)
    )


def _read_time(kind: pa.DataType, text: str) -> Any:
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(text)
    return date.fromisoformat(text) if pa.types.is_date(kind) else text


def _at(work: _Check, version: Version) -> Relation:
    return work.gold.lake.files(work.gold.state, version.snapshot)


def _beside_table(work: _Check, online: Mapping[tuple[Any, ...], Stored | None]) -> None:
    groups: dict[Version | None, list[tuple[Any, ...]]] = {}
    for entity, stored in online.items():
        groups.setdefault(work.reference(stored), []).append(entity)
    for version, entities in groups.items():
        rows = _rows(work, version, entities) if version is not None else {}
        for entity in entities:
            if online[entity] is None and _left(work, entity):
                continue
            _compare(work, entity, online[entity], rows.get(key_of(entity)), version)


def _left(work: _Check, entity: tuple[Any, ...]) -> bool:
    """Whether a writer who has not finished may have removed an entity: a version that was begun lacks it."""
    return any(not _rows(work, version, [entity]) for version in work.position.pending)


def _rows(work: _Check, version: Version, entities: Sequence[tuple[Any, ...]]) -> Rows:
    """The table's rows of some entities at a version, by key."""
    wanted = _wanted(work, entities)
    same = " AND ".join(f"w.{named(name)} <=> g.{named(name)}" for name in work.layout.entity)
    columns = (*work.layout.entity, work.layout.timestamp, *work.layout.features)
    sql = (
        f"SELECT {', '.join(f'g.{named(name)}' for name in columns)} FROM gold AS g WHERE EXISTS "
        f"(SELECT 1 FROM wanted AS w WHERE {same}) AND g.{named(work.layout.timestamp)} IS NOT NULL"
    )
    return _by_key(work, work.gold.read(sql, {"gold": _at(work, version), "wanted": wanted}).read_all())


def _wanted(work: _Check, entities: Sequence[tuple[Any, ...]]) -> Relation:
    schema = pa.schema([work.gold.state.schema.field(name).remove_metadata() for name in work.layout.entity])
    records = [dict(zip(schema.names, entity, strict=True)) for entity in entities]
    return Relation(schema, memory=pa.Table.from_pylist(records, schema=schema))


def _by_key(work: _Check, rows: pa.Table) -> Rows:
    return {key_of([row[name] for name in work.layout.entity]): row for row in rows.to_pylist()}


def _compare(
    work: _Check,
    entity: tuple[Any, ...],
    stored: Stored | None,
    row: Mapping[str, Any] | None,
    version: Version | None,
    beside: Literal["table", "query"] = "table",
) -> None:
    snapshot = version.snapshot if version else 0

    def tell(feature: str, online: Any, lake: Any) -> None:
        named_entity = dict(zip(work.layout.entity, entity, strict=True))
        work.found.append(Difference(work.view.name, named_entity, feature, online, lake, snapshot, beside))

    if stored is None or row is None:
        if stored is not None or row is not None:
            tell("", dict(stored.values) if stored else None, dict(row) if row else None)
        return
    same = _same if beside == "table" else _nearly
    pairs = {work.layout.timestamp: stored.timestamp, **stored.values}
    for name, value in pairs.items():
        if not same(value, row[name]):
            tell(name, value, row[name])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other and isinstance(one, type(other)))


def _nearly(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_DIGITS, abs_tol=_DIGITS) or _same(one, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_nearly, one, other))
    return _same(one, other)


def _beside_query(
    work: _Check, online: Mapping[tuple[Any, ...], Stored | None], definition: Definition | None
) -> tuple[int, str]:
    """Compare rows of the whole version with the gold query over its input then; answers how many, or why none."""
    done = work.position.done
    if definition is None or done is None:
        return 0, ""
    tree = definition.tree()
    inputs = _inputs(work, done)
    table = definition.source
    if inputs.get(str(table)) is None:
        return 0, f"not computed anew: the commit of {work.view.table} does not name its input"
    state = work.gold.lake.require(table)
    groups = grouping(tree, state.schema.names)
    if not isinstance(groups, Grouping):
        return 0, f"not computed anew: {groups}"
    try:
        source = work.gold.lake.files(state, inputs[str(table)])
    except SnapshotNotFound as gone:
        return 0, f"not computed anew: {gone.message}"
    entities = [entity for entity, stored in online.items() if work.reference(stored) == done]
    rows = _computed(work, tree, groups, source, entities)
    for entity in entities:
        if online[entity] is not None or not _left(work, entity):
            _compare(work, entity, online[entity], rows.get(key_of(entity)), done, "query")
    return len(entities), ""


def _inputs(work: _Check, done: Version) -> Mapping[str, int]:
    """The snapshots of its inputs that a version of the table was made from."""
    history: Iterable[Any] = work.gold.lake.history(work.gold.state)
    made = next((entry.provenance for entry in history if entry.id == done.snapshot and entry.provenance), None)
    positions = [position.inputs for position in (made.positions if made else {}).values()]
    return positions[0] if len(positions) == 1 else {}


def _computed(
    work: _Check, tree: exp.Query, groups: Grouping, source: Relation, entities: Sequence[tuple[Any, ...]]
) -> Rows:
    wanted = _wanted(work, entities)
    assert wanted.memory is not None
    by_name = {name.lower(): name for name in work.layout.entity}
    touched = wanted.memory.select([by_name[key.lower()] for key in groups.keys]).rename_columns(list(groups.keys))
    relations = {str(groups.table): source, TOUCHED: Relation(touched.schema, memory=touched)}
    restricted = only_touched(tree, groups)
    columns = ", ".join(map(named, (*work.layout.entity, work.layout.timestamp, *work.layout.features)))
    whole = spark(f"SELECT {columns} FROM made WHERE {named(work.layout.timestamp)} IS NOT NULL")
    whole.args["from_"].this.replace(restricted.subquery("made"))
    query = Query(whole, relations, work.gold.now, str(work.view.table))
    return _by_key(work, work.gold.engine.read(query).read_all())

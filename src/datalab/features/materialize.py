"""Gold into the online store: what changed since the version that the store itself says it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pyarrow as pa

from datalab.engine.base import Engine, Query
from datalab.errors import FeatureError, NotSupported, SnapshotNotFound
from datalab.events import Bus, Progress
from datalab.features.online.base import Claim, Layout, OnlineStore, Position, Superseded, Version
from datalab.features.online.encoding import layout_of
from datalab.features.past import named, spark
from datalab.features.views import FeatureView
from datalab.lake.lake import Lake
from datalab.lake.table import Relation, TableState

Kind = Literal["whole", "changed", "nothing", "superseded"]


@dataclass(frozen=True)
class Materialized:
    """What was brought into the store: rows set, entities forgotten.

    `superseded`: another writer has brought a newer version, or is at it.
    """

    view: str
    table: str
    snapshot: int
    kind: Kind
    written: int = 0
    gone: int = 0


@dataclass(frozen=True)
class Gold:
    """The head of a view's table."""

    lake: Lake
    engine: Engine
    state: TableState
    version: Version
    now: datetime

    def read(self, sql: str, relations: Mapping[str, Relation]) -> pa.RecordBatchReader:
        """The rows of a query over relations by name."""
        return self.engine.read(Query(spark(sql), relations, self.now, str(self.state.name)))


@dataclass(frozen=True)
class _News:
    """Rows to set, and the entities that are gone."""

    rows: pa.RecordBatchReader
    total: int
    gone: pa.Table | None


def head(lake: Lake, engine: Engine, view: FeatureView, now: datetime) -> Gold:
    """The newest state of a view's table. FeatureError where it has no rows yet, TableNotFound."""
    state = lake.require(view.table)
    if state.snapshot is None:
        raise FeatureError(f"{view.table} has no rows yet", f"datalab run {view.table}")
    newest = lake.history(state)[-1]
    return Gold(lake, engine, state, Version(newest.sequence, newest.id), now)


def materialize(
    gold: Gold, store: OnlineStore, view: FeatureView, bus: Bus | None = None, *, rebuild: bool = False
) -> Materialized:
    """Bring a view in the store to the head of its table; with `rebuild` from nothing.

    FeatureError where the table was made anew, or the entity is no key of it. OnlineStoreError. Killed anywhere, it
    leaves rows of either version; the next call ends what was begun.
    """
    layout = layout_of(gold.state.schema, view.layout(gold.state.schema.names))
    before = Position() if rebuild else store.position(view.name)  # which may be what is damaged
    told = Materialized(view.name, str(view.table), gold.version.snapshot, "nothing")
    if before.done == gold.version and before.layout == layout and not before.pending and not rebuild:
        return told
    anew = rebuild or (before.layout is not None and before.layout.table != layout.table)
    if before.done and not anew:
        _require_same_table(gold, view, before.done)
    try:
        claim = store.begin(view.name, layout, gold.version, anew=anew)
        news = _changed(gold, claim)
        whole = news is None
        written, gone = _write(store, claim, news or _everything(gold, claim), bus or Bus())
        store.finish(claim, whole=whole)
    except Superseded:
        return Materialized(view.name, str(view.table), gold.version.snapshot, "superseded")
    return Materialized(
        view.name, str(view.table), gold.version.snapshot, "whole" if whole else "changed", written, gone
    )


def _require_same_table(gold: Gold, view: FeatureView, done: Version) -> None:
    newest = gold.lake.history(gold.lake.require(gold.state.name))[-1]
    if done.order > newest.sequence:
        raise FeatureError(
            f"{view.table} is at commit {newest.sequence}, and the online store already holds {done.order}: "
            "the table was made anew",
            f"datalab features materialize {view.name} --rebuild",
        )


def _write(store: OnlineStore, claim: Claim, news: _News, bus: Bus) -> tuple[int, int]:
    written = 0
    if news.gone is not None and news.gone.num_rows:
        store.write(claim, news.rows.schema.empty_table(), news.gone)
    for batch in news.rows:
        written += store.write(claim, pa.Table.from_batches([batch]))
        bus.emit(Progress(f"features {claim.view}", written, news.total))
    return written, news.gone.num_rows if news.gone is not None else 0


def _everything(gold: Gold, claim: Claim) -> _News:
    layout, rows = claim.layout, gold.lake.files(gold.state, gold.version.snapshot)
    keys = _list(layout.entity)
    twice = gold.read(f"SELECT {keys} FROM gold GROUP BY {keys} HAVING count(*) > 1 LIMIT 1", {"gold": rows}).read_all()
    if twice.num_rows:
        raise FeatureError(
            f"{layout.table} has several rows of one {', '.join(layout.entity)}",
            "name all columns of the key as `entity`",
        )
    sql = f"SELECT {_columns(layout)} FROM gold WHERE {held(layout)} ORDER BY {keys}"
    return _News(gold.read(sql, {"gold": rows}), rows.rows, None)


def _changed(gold: Gold, claim: Claim) -> _News | None:
    """What changed since the whole version, and what writers that did not finish may have changed; None: unknown."""
    before = claim.before
    if before.done is None or before.layout != claim.layout:
        return None
    others = [version for version in before.pending if version != claim.version]
    try:
        touched = [_touched(gold, claim.layout, before.done, version) for version in (*others, claim.version)]
        if others:
            source, relations = "gold", {"gold": gold.lake.files(gold.state, gold.version.snapshot)}
        else:
            source, relations = _came(claim.layout), _sides(gold, before.done, claim.version)
    except (SnapshotNotFound, NotSupported):
        return None
    keys = pa.concat_tables(touched).group_by(list(claim.layout.entity)).aggregate([])
    return _of(gold, claim.layout, keys, source, relations)


def _touched(gold: Gold, layout: Layout, since: Version, until: Version) -> pa.Table:
    """The entities of which the row differs between two versions, or is in one of them only."""
    keys = _list(layout.entity)
    sql = f"SELECT {keys} FROM {_came(layout)} UNION SELECT {keys} FROM {_came(layout, back=True)}"
    return gold.read(sql, _sides(gold, since, until)).read_all()


def _sides(gold: Gold, since: Version, until: Version) -> dict[str, Relation]:
    """The rows that came and went; a row may have come and gone several times in between."""
    difference = gold.lake.changed(gold.state, since.snapshot, until.snapshot)
    return {"added": difference.added, "removed": difference.removed}


def _came(layout: Layout, *, back: bool = False) -> str:
    """Rows of the later version only (`back`: of the earlier), each counted as often as it came and went."""
    columns, (one, other) = _columns(layout), ("removed", "added") if back else ("added", "removed")
    return f"(SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other})"


def _of(gold: Gold, layout: Layout, touched: pa.Table, source: str, sides: Mapping[str, Relation]) -> _News:
    """The rows of the touched entities in `source`, and those of them that have none."""
    relations = {"touched": Relation(touched.schema, memory=touched), **sides}
    same = " AND ".join(f"t.{named(key)} <=> g.{named(key)}" for key in layout.entity)
    served = held(layout, "g.")
    rows = gold.read(
        f"SELECT {_columns(layout, 'g.')} FROM {source} AS g WHERE {served} AND EXISTS "
        f"(SELECT 1 FROM touched AS t WHERE {same}) ORDER BY {_list(layout.entity, 'g.')}",
        relations,
    )
    gone = gold.read(
        f"SELECT {_list(layout.entity, 't.')} FROM touched AS t WHERE NOT EXISTS "
        f"(SELECT 1 FROM {source} AS g WHERE {same} AND {served})",
        relations,
    ).read_all()
    return _News(rows, touched.num_rows - gone.num_rows, gone)


def held(layout: Layout, prefix: str = "") -> str:
    """Which rows of gold a store holds, as SQL: those that say when they held, and of whom."""
    return " AND ".join(f"{prefix}{named(name)} IS NOT NULL" for name in (layout.timestamp, *layout.entity))


def _columns(layout: Layout, prefix: str = "") -> str:
    return _list((*layout.entity, layout.timestamp, *layout.features), prefix)


def _list(columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(prefix + named(name) for name in columns)

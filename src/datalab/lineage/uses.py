"""What was made of a feature view's rows: training sets, models that learnt from them, scores that used them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
from sqlglot import exp, parse_one

from datalab.features.views import Definitions, FeatureView
from datalab.lineage.arrival import Arrival
from datalab.lineage.records import values_of
from datalab.lineage.rows import PARENT, Found, Link, Search, Standing, Tables
from datalab.lineage.scores import MODELS, SCORES
from datalab.lineage.strands import INPUT
from datalab.lineage.tree import Read, Row
from datalab.names import TableName

_BEFORE = "made before the record had come"
_UNSURE = ": whether the record had come by then cannot be told any more"


@dataclass(frozen=True)
class Use:
    """A table whose rows name rows of a gold table. `links`: what equals each column of that table's entity.

    `snapshot`: the one of the gold table that a row used, as text; None where all rows were made at once.
    """

    table: TableName
    via: str
    links: tuple[Link, ...]
    keys: tuple[str, ...]
    snapshot: exp.Expr | None = None


def uses_of(definitions: Definitions) -> Mapping[TableName, tuple[Use, ...]]:
    """What uses the rows of each gold table."""
    found: dict[TableName, list[Use]] = {}
    for view in definitions.views.values():
        found.setdefault(view.table, []).append(_scores(view))
    for each in definitions.sets.values():
        for name, columns in each.views.items():
            view = definitions.views[name]
            links = [Link(key, _column(own)) for key, own in zip(view.entity, columns, strict=True)]
            keys = tuple(dict.fromkeys((*columns, each.moment)))
            use = Use(TableName("training", each.name), f"view {name}", tuple(links), keys)
            found.setdefault(view.table, []).append(use)
    return {table: tuple(uses) for table, uses in found.items()}


@dataclass(frozen=True)
class Users:
    """Looks for what used rows of a gold table. `arrival`: only for what was made after a record had come."""

    tables: Tables
    arrival: Arrival | None
    limit: int

    def reads(self, use: Use, gold: TableName, rows: pa.Table) -> list[Read]:
        """For each row of a gold table the rows of one use that name it; nothing where the table does not exist."""
        if not self.tables.exists(use.table):
            return []
        target = self.tables.at(use.table, None)
        before = use.snapshot is None and self._seen(use.table, target.snapshot) is False
        judged = [exp.false()] if before else self._since(use, gold)
        found = self._find(use, target, rows, self.limit, judged)
        shown: dict[int, list[Row]] = {}
        for record in found.rows.to_pylist():
            keys = {name: record[name] for name in use.keys if name in record}
            row = Row(str(use.table), target.snapshot, keys, values_of(record), status=_model_of(record))
            shown.setdefault(record[PARENT], []).append(row)
        read = Read(str(use.table), target.snapshot, use.via, {link.column: _told(link) for link in use.links})
        models, notes = self._models(use, rows), (_BEFORE,) if before else ()
        return [
            replace(
                read,
                total=found.totals.get(number, 0),
                rows=tuple(shown.get(number, ())),
                notes=(*notes, *models.get(number, ())),
            )
            for number in range(rows.num_rows)
        ]

    def _find(self, use: Use, target: Standing, rows: pa.Table, limit: int, judged: Sequence[exp.Expr] = ()) -> Found:
        wanted = pa.table({link.column: _as_text(rows.column(link.column), use) for link in use.links})
        return self.tables.find(target, Search(use.links, wanted, (), use.keys, limit, judged))

    def _models(self, use: Use, rows: pa.Table) -> Mapping[int, tuple[str, ...]]:
        """By the number of a row: the model versions that learnt from it, each with the training set that it had."""
        if use.snapshot is not None or not self.tables.exists(MODELS):
            return {}
        named = exp.column("training_set").like(f"{use.table.table}@%")
        tree = exp.select("model", "version", "training_set").distinct().from_(str(MODELS)).where(named)
        held = self.tables.ask(tree, {str(MODELS): self.tables.at(MODELS, None).relation}).to_pylist()
        learnt: dict[int, list[str]] = {}
        for name in sorted({entry["training_set"] for entry in held}):
            versions = [f"{each['model']} version {each['version']}" for each in held if each["training_set"] == name]
            for number, note in self._learnt(use, rows, name).items():
                learnt.setdefault(number, []).extend(f"{each} learnt from {name}{note}" for each in versions)
        return {number: tuple(sorted(notes)) for number, notes in learnt.items()}

    def _learnt(self, use: Use, rows: pa.Table, name: str) -> Mapping[int, str]:
        """The numbers of the rows that are in a training set, none where it was made too early, and what is unsure."""
        text = name.rpartition("@")[2]
        snapshot = int(text) if text.lstrip("-").isdigit() else None
        seen = self._seen(use.table, snapshot)
        if seen is False:
            return {}
        target = self.tables.at(use.table, snapshot)
        note = f": {target.note}" if target.note else "" if seen else _UNSURE
        return dict.fromkeys(self._find(use, target, rows, 1).totals, note)

    def _seen(self, table: TableName, snapshot: int | None) -> bool | None:
        return True if self.arrival is None else self.arrival.seen_by(table, snapshot)

    def _since(self, use: Use, gold: TableName) -> list[exp.Expr]:
        """Only what used a state of the gold table that had seen the record, or of which that cannot be told."""
        if self.arrival is None or use.snapshot is None:
            return []
        told = {entry: self.arrival.seen_by(gold, entry) for entry in self.arrival.history(gold)}
        since = self.arrival.earliest
        unsure: list[exp.Expr] = (
            [] if since is None else [exp.GTE(this=_column("scored_at"), expression=_moment(since))]
        )
        unsure.append(exp.not_(_among(use.snapshot, (entry for entry, seen in told.items() if seen is False))))
        seen = _among(use.snapshot, (entry for entry, seen in told.items() if seen))
        return [exp.paren(exp.or_(seen, exp.and_(*unsure)))]


def _scores(view: FeatureView) -> Use:
    links = []
    for key in view.entity:
        path = f"$.{view.name}.entity.{key}"
        links.append(Link(key, parse_one(f"get_json_object({INPUT}.features, '{path}')", read="spark")))
    snapshot = parse_one(f"coalesce(get_json_object({INPUT}.features, '$.{view.name}.snapshot'), '')", read="spark")
    return Use(SCORES, f"view {view.name}", tuple(links), ("score_id",), snapshot)


def _among(value: exp.Expr, snapshots: Iterable[int]) -> exp.Expr:
    named = [exp.Literal.string(str(snapshot)) for snapshot in snapshots]
    return exp.In(this=value.copy(), expressions=named) if named else exp.false()


def _moment(at: datetime) -> exp.Expr:
    return parse_one(f"timestamp_micros({int(at.timestamp() * 1_000_000)})", read="spark")


def _as_text(values: pa.ChunkedArray, use: Use) -> pa.ChunkedArray:
    """A score's record keeps its entity as JSON text."""
    return values.cast(pa.string()) if use.table == SCORES else values


def _column(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True), table=INPUT)


def _told(link: Link) -> str:
    return link.expression.sql("spark").replace(f"{INPUT}.", "").replace("`", "")


def _model_of(record: Mapping[str, object]) -> str:
    return f"by {record['model']} version {record['model_version']}" if "model_version" in record else ""

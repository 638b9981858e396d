"""What was made of a feature view's rows: training sets, models that learnt from them, scores that used them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from sqlglot import exp, parse_one

from datalab.features.views import Definitions, FeatureView
from datalab.lineage.records import values_of
from datalab.lineage.rows import PARENT, Link, Search, Standing, Tables
from datalab.lineage.scores import MODELS, SCORES
from datalab.lineage.strands import INPUT
from datalab.lineage.tree import Read, Row
from datalab.names import TableName


@dataclass(frozen=True)
class Use:
    """A table whose rows name rows of a gold table. `links`: what equals each column of that table's entity."""

    table: TableName
    via: str
    links: tuple[Link, ...]
    keys: tuple[str, ...]


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


def uses_read(tables: Tables, use: Use, rows: pa.Table, limit: int) -> list[Read]:
    """For each row of a gold table the rows of one use that name it; nothing where the table does not exist."""
    if not tables.exists(use.table):
        return []
    target = tables.at(use.table, None)
    wanted = pa.table({link.column: _as_text(rows.column(link.column), use) for link in use.links})
    found = tables.find(target, Search(use.links, wanted, (), use.keys, limit))
    shown: dict[int, list[Row]] = {}
    for record in found.rows.to_pylist():
        keys = {name: record[name] for name in use.keys if name in record}
        row = Row(str(use.table), target.snapshot, keys, values_of(record), status=_model_of(record))
        shown.setdefault(record[PARENT], []).append(row)
    notes = _models(tables, use.table)
    read = Read(str(use.table), target.snapshot, use.via, {link.column: _told(link) for link in use.links}, notes=notes)
    return [
        replace(read, total=found.totals.get(number, 0), rows=tuple(shown.get(number, ())))
        for number in range(rows.num_rows)
    ]


def _scores(view: FeatureView) -> Use:
    links = []
    for key in view.entity:
        path = f"$.{view.name}.entity.{key}"
        links.append(Link(key, parse_one(f"get_json_object({INPUT}.features, '{path}')", read="spark")))
    return Use(SCORES, f"view {view.name}", tuple(links), ("score_id",))


def _as_text(values: pa.ChunkedArray, use: Use) -> pa.ChunkedArray:
    """A score's record keeps its entity as JSON text."""
    return values.cast(pa.string()) if use.table == SCORES else values


def _column(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True), table=INPUT)


def _told(link: Link) -> str:
    return link.expression.sql("spark").replace(f"{INPUT}.", "").replace("`", "")


def _model_of(record: Mapping[str, object]) -> str:
    return f"by {record['model']} version {record['model_version']}" if "model_version" in record else ""


def _models(tables: Tables, table: TableName) -> tuple[str, ...]:
    """The model versions that learnt from a training set, whatever its snapshot."""
    if table.layer != "training" or not tables.exists(MODELS):
        return ()
    standing: Standing = tables.at(MODELS, None)
    named = exp.column("training_set").like(f"{table.table}@%")
    tree = exp.select("model", "version", "training_set").distinct().from_(str(MODELS)).where(named)
    found: Sequence[dict[str, object]] = tables.ask(tree, {str(MODELS): standing.relation}).to_pylist()
    told = sorted({f"{each['model']} version {each['version']} learnt from {each['training_set']}" for each in found})
    return tuple(told)

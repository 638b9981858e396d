"""A small silver table and its gold views, for questions about the past."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from datalab.engine.base import Engine, Query
from datalab.features.derivation import Definition
from datalab.features.past import Past, features_at, spark, view_at
from datalab.lake.table import Relation
from datalab.names import TableName

SILVER = TableName("silver", "pedidos")
START = datetime(2026, 1, 30, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("cliente", pa.string()),
        ("loja", pa.int64()),
        ("valor", pa.float64()),
        ("itens", pa.int32()),
        ("produto", pa.string()),
        ("pago", pa.bool_()),
        ("quando", pa.timestamp("us", tz="UTC")),
        ("chegou", pa.timestamp("us", tz="UTC")),
    ]
)
BY_CLIENT = """
WITH grandes AS (SELECT * FROM silver.pedidos WHERE itens IS NULL OR itens > 0)
SELECT cliente, count(*) AS pedidos, count(DISTINCT produto) AS produtos, avg(valor) AS media, sum(valor) AS total,
  stddev(valor) AS desvio, var_pop(valor) AS variancia, avg(itens) AS itens_medios, stddev_pop(itens) AS itens_desvio,
  sum(valor) FILTER (WHERE pago) AS pago_total, median(valor) AS mediana, mode(produto, true) AS favorito,
  max_by(produto, quando) AS ultimo, count_if(pago) / count(*) AS taxa, datediff(max(quando), min(quando)) AS dias,
  CASE WHEN count(*) = 1 THEN 'NOVO' WHEN stddev(valor) / nullif(avg(valor), 0) > 0.5 THEN 'VOLATIL' ELSE 'CALMO' END
    AS perfil, max(quando) AS visto_em
FROM grandes GROUP BY cliente
"""
BY_SHOP = """
SELECT loja, upper(produto) AS artigo, produtos, media, visto_em FROM (
  SELECT loja, produto, count(*) AS produtos, avg(valor) AS media, max(quando) AS visto_em
  FROM silver.pedidos GROUP BY loja, produto HAVING count(*) > 1
) WHERE media > -1000
"""


def moment(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def silver(rows: Iterable[Sequence[Any]]) -> pa.Table:
    """cliente, loja, valor, itens, produto, pago, hour of the event, hour of its arrival."""
    records = [(*row[:6], moment(row[6]), moment(row[7])) for row in rows]
    names = SCHEMA.names
    return pa.Table.from_pylist([dict(zip(names, record, strict=True)) for record in records], schema=SCHEMA)


def definition(query: str = BY_CLIENT, entity: Sequence[str] = ("cliente",), **changes: Any) -> Definition:
    fields: dict[str, Any] = {
        "name": "cliente",
        "table": "gold.clientes",
        "query": query,
        "entity": tuple(entity),
        "timestamp": "visto_em",
        "features": (),
        "accuracy": "event",
        "arrived": "",
        "ttl": None,
        "file": "features/cliente.yaml",
    }
    return Definition(**{**fields, **changes})


def past(engine: Engine, rows: pa.Table) -> Past:
    return Past(engine, {SILVER: Relation(SCHEMA, memory=rows)}, START)


def asked_of(engine: Engine, rows: pa.Table, wanted: Definition, asked: Sequence[Sequence[Any]]) -> list[Any]:
    """The features of (entity …, moment) in the order asked; None where nothing had happened."""
    looked = past(engine, rows)
    derivation = view_at(looked, wanted)
    keys = [f"datalab_k{number}" for number in range(len(wanted.entity))]
    kinds = [SCHEMA.field(name).type for name in wanted.entity]
    schema = pa.schema(
        [*zip(keys, kinds, strict=True), ("datalab_moment", SCHEMA.field("quando").type), ("datalab_row", pa.int64())]
    )
    records = [dict(zip(schema.names, (*row, number), strict=True)) for number, row in enumerate(asked)]
    found = features_at(looked, derivation, pa.Table.from_pylist(records, schema=schema), lambda done, total: None)
    by_row = {row.pop("datalab_row"): row for row in found.to_pylist()}
    return [by_row.get(number) for number in range(len(asked))]


def gold(engine: Engine, rows: pa.Table, wanted: Definition) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The gold query itself over some rows, by entity."""
    relations = {str(SILVER): Relation(SCHEMA, memory=rows)}
    found = engine.read(Query(spark(wanted.query), relations, START)).read_all().to_pylist()
    return {tuple(row.pop(name) for name in wanted.entity): row for row in found}

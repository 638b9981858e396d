"""Labels with the features of their moments: an entity with a NULL in it is nobody, as it is to the server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.unit.features.gold import SCHEMA, SILVER, definition, moment, silver

from datalab.engine.duckdb import DuckDBEngine
from datalab.events import Bus
from datalab.features.joining import joined
from datalab.features.past import Past
from datalab.features.recipe import Recipe
from datalab.lake.table import Relation
from datalab.names import TableName

ROWS = silver((client, shop, 5.0, 1, "soja", True, 1, 1) for client in ("ana", None) for shop in (1, None))
LABELS = "SELECT cliente, loja, momento, true AS pagou FROM silver.labels"


def counted(folder: Path, entity: Sequence[str], asked: Sequence[tuple[Any, ...]]) -> list[int | None]:
    """How many orders each label of (client, shop) knows of, in the order asked."""
    query = f"SELECT {', '.join(entity)}, count(*) AS pedidos, max(quando) AS visto_em FROM silver.pedidos GROUP BY ALL"
    view = definition(query, entity)
    recipe = Recipe("treino", LABELS, "momento", "pagou", 1, ((view, tuple(entity)),), "features/treino.yaml")
    schema = pa.schema([SCHEMA.field("cliente"), SCHEMA.field("loja"), ("momento", SCHEMA.field("quando").type)])
    records = [dict(zip(schema.names, (*row, moment(9 + n)), strict=True)) for n, row in enumerate(asked)]
    labels = Relation(schema, memory=pa.Table.from_pylist(records, schema=schema))
    engine = DuckDBEngine("1GB", 1, folder)
    try:
        past = Past(engine, {SILVER: Relation(SCHEMA, memory=ROWS), TableName("silver", "labels"): labels}, moment(0))
        found = engine.read(joined(past, recipe, Bus())[0]).read_all().sort_by("momento")
    finally:
        engine.close()
    return found.column("cliente__pedidos").to_pylist()


@pytest.mark.parametrize(
    ("entity", "known"),
    [(("cliente",), [2, None, 2, None]), (("cliente", "loja"), [1, None, None, None])],
)
def test_a_null_in_an_entity_has_no_features(tmp_path: Path, entity: Sequence[str], known: list[int | None]) -> None:
    """The gold view has a group for NULL; whoever has no name is not the same as all others that have none."""
    assert counted(tmp_path, entity, [("ana", 1), (None, 1), ("ana", None), ("zoe", 1)]) == known

"""A value is one and the same to training, which has it in a table, and to the server, which has it from the store."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from tests import loans

from datalab.errors import ModelError
from datalab.features.online.base import Layout
from datalab.features.online.encoding import decoder, encoded
from datalab.ml.rows import as_served, select
from datalab.serving.inputs import Vector, inputs_of

LEVELS: list[tuple[Any, list[Any]]] = [
    (pa.bool_(), [True, False, None]),
    (pa.int64(), [2, -(2**53) - 1, None]),
    (pa.float64(), [2.0, 0.1, 1e16, 351384295556371.6, 3.1e-6, -0.0, None]),
    (pa.float32(), [2.0, 0.1, None]),
    (pa.decimal128(10, 2), [Decimal("1.50"), Decimal("0.00"), None]),
    (pa.date32(), [date(2026, 5, 1), None]),
    (pa.timestamp("us", "UTC"), [datetime(2026, 5, 1, 3, tzinfo=UTC), None]),
    (pa.string(), ["ação", "", None]),
]


@pytest.mark.parametrize(("kind", "values"), LEVELS)
def test_a_level_has_one_name_in_training_and_serving(kind: Any, values: list[Any]) -> None:
    """The value goes through the online store, as features do."""
    model = loans.declaration(
        inputs="{valor_solicitado: {}, nivel: {kind: category, from: proponente.nivel}}", derived="{}"
    )
    column = pa.array(values, kind)
    rows = select(loans.table(len(values)).append_column("proponente__nivel", column), model)
    learnt = as_served(rows, model)["nivel"].tolist()
    served = Vector(inputs_of({"inputs": [{"name": "nivel", "kind": "category", "from": {"request": "nivel"}}]}))
    stored = online(rows.table.column("proponente__nivel"))
    assert served.arrays([[value] for value in stored])[1][0].tolist() == learnt


def online(column: pa.ChunkedArray) -> list[Any]:
    layout = Layout("gold.x", ("k",), "t", ("nivel",), (str(column.type),))
    keys, times = pa.array(range(len(column))), pa.array([0] * len(column), pa.timestamp("us", "UTC"))
    rows = pa.table({"k": keys, "t": times, "nivel": column})
    return [decoder(layout)(content)["nivel"] for _, _, content in encoded(rows, layout)]


def test_whole_numbers_that_no_double_holds_are_learnt_from() -> None:
    model = loans.declaration(inputs="{valor_solicitado: {}, grande: {from: proponente.grande}}", derived="{}")
    large = pa.array([2**53 + 1, 2**62, -(2**63)], pa.int64())
    rows = select(loans.table(3).append_column("proponente__grande", large), model)
    served = Vector(inputs_of({"inputs": [{"name": "grande", "kind": "number", "from": {"request": "grande"}}]}))
    raw = [[value] for value in rows.table.column("proponente__grande").to_pylist()]
    assert as_served(rows, model)["grande"].tolist() == served.arrays(raw)[0][0].tolist()


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([date(2026, 5, 1)] * 3), "number"),
        (pa.array(["x"] * 3), "boolean"),
        (pa.array([[1.0]] * 3), "number"),
        (pa.array([[1.0]] * 3), "category"),
    ],
)
def test_a_column_that_cannot_be_what_it_shall_be_is_named(column: pa.Array, kind: str) -> None:
    inputs = f"{{valor_solicitado: {{}}, dia: {{from: proponente.dia, kind: {kind}}}}}"
    with pytest.raises(ModelError, match=r"proponente__dia, a column of type .* cannot be a"):
        select(loans.table(3).append_column("proponente__dia", column), loans.declaration(inputs=inputs, derived="{}"))

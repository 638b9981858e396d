"""A view that could never be found under what a request brings is refused before anything is learnt from it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from tests import loans

from datalab.errors import InvalidModel
from datalab.ml.keys import require_keys

ENTITIES = {"proponente": ("proponente_id",), "municipio": ("localizacao_municipio",)}


def columns(key: Any, municipio: Any = None, place: Any = None) -> dict[str, pa.Schema]:
    known = pa.schema([("proponente_id", key), ("municipio", municipio or pa.string())])
    return {"proponente": known, "municipio": pa.schema([("localizacao_municipio", place or pa.string())])}


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("integer", pa.int64()),
        ("integer", pa.int32()),
        ("string", pa.string()),
        ("string", pa.date32()),
        ("string", pa.timestamp("us", "UTC")),
        ("boolean", pa.bool_()),
    ],
)
def test_types_that_are_keys_of_each_other(field: str, key: Any) -> None:
    model = loans.declaration(request=fields(field))
    require_keys(model, ENTITIES, columns(key))


@pytest.mark.parametrize(
    ("field", "key", "hint"),
    [
        ("number", pa.int64(), "integer"),
        ("string", pa.int64(), "integer"),
        ("integer", pa.string(), "string"),
        ("boolean", pa.int32(), "integer"),
        ("string", pa.bool_(), "boolean"),
    ],
)
def test_a_request_field_that_is_no_key_of_the_view(field: str, key: Any, hint: str) -> None:
    model = loans.declaration(request=fields(field))
    with pytest.raises(InvalidModel, match=f"request.id_proponente is of type {field}, and proponente_id") as error:
        require_keys(model, ENTITIES, columns(key))
    assert f"{{type: {hint}}}" in error.value.hint


def test_a_feature_that_is_no_key_of_the_next_view() -> None:
    with pytest.raises(InvalidModel, match=r"proponente\.municipio is double, and localizacao_municipio .* is int32"):
        require_keys(loans.declaration(), ENTITIES, columns(pa.string(), pa.float64(), pa.int32()))


def test_a_view_without_a_table_is_left_to_the_training_set() -> None:
    require_keys(loans.declaration(), ENTITIES, {})


def fields(kind: str) -> str:
    return (
        f"{{id_proponente: {{type: {kind}}}, uf: {{type: string}}, valor_solicitado: {{type: number}}, "
        "renda_liquida_mes: {type: number}, cultura_principal: {type: string, optional: true}, "
        "autuado: {type: boolean, optional: true}}"
    )

"""Contracts: types, personal data, defaults, fingerprints, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from datalab.errors import ContractError
from datalab.ingest.contracts import bronze_schema, parse_contract, read_contract
from datalab.ingest.defaults import default_value
from datalab.ingest.sources.files import FilesSource

INNER = {"type": "record", "name": "local", "fields": [{"name": "uf", "type": "string", "pii": "address"}]}


def contract(*fields: dict[str, Any], **more: Any) -> str:
    return json.dumps({"type": "record", "name": "pedido", "fields": list(fields), **more})


def field(kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": "campo", "type": kind, **more}


@pytest.mark.parametrize(
    ("kind", "arrow"),
    [
        ("boolean", pa.bool_()),
        ("int", pa.int32()),
        ("long", pa.int64()),
        ("float", pa.float32()),
        ("double", pa.float64()),
        ("string", pa.string()),
        ("bytes", pa.binary()),
        ({"type": "fixed", "name": "f", "size": 4}, pa.binary()),
        ({"type": "enum", "name": "e", "symbols": ["A"]}, pa.string()),
        ({"type": "int", "logicalType": "date"}, pa.date32()),
        ({"type": "long", "logicalType": "timestamp-millis"}, pa.timestamp("us", tz="UTC")),
        ({"type": "long", "logicalType": "timestamp-micros"}, pa.timestamp("us", tz="UTC")),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, pa.decimal128(9, 2)),
        ({"type": "array", "items": "int"}, pa.list_(pa.field("element", pa.int32(), nullable=False))),
        ({"type": "map", "values": ["null", "long"]}, pa.map_(pa.string(), pa.field("value", pa.int64()))),
        (INNER, pa.struct([pa.field("uf", pa.string(), nullable=False)])),
    ],
)
def test_types(kind: Any, arrow: pa.DataType) -> None:
    required, optional = (parse_contract(contract(field(each))).schema.field(0) for each in (kind, ["null", kind]))
    assert (required.type, required.nullable) == (arrow, False)
    assert (optional.type, optional.nullable) == (arrow, True)


def test_bronze_has_the_fields_and_then_the_position() -> None:
    made = bronze_schema(parse_contract(contract(field("long"), {"name": "local", "type": INNER})))
    assert made.names == ["campo", "local", "ingestion_timestamp", "source_file", "source_row", "source_version"]
    assert all(each.nullable for each in made)
    assert made.field("local").type == pa.struct([("uf", pa.string())])


def test_personal_data_is_found_wherever_it_is_nested() -> None:
    kinds = {"type": "array", "items": ["null", INNER]}
    made = parse_contract(contract(field("string", pii="cpf"), {"name": "locais", "type": kinds}))
    assert made.personal == {"campo": "cpf", "locais.uf": "address"}


def test_the_fingerprint_is_of_what_counts() -> None:
    one = parse_contract(contract(field("int"), doc="one")).schema_id
    assert parse_contract(" " + contract(field("int", doc="another"))).schema_id == one
    assert len(one) == 16
    assert parse_contract(contract(field("long"))).schema_id != one
    assert parse_contract(contract(field("int", pii="cpf"))).schema_id != one


def test_a_named_type_may_be_used_again() -> None:
    made = parse_contract(contract({"name": "a", "type": INNER}, {"name": "b", "type": ["null", "local"]}))
    assert made.schema.field("b").type == made.schema.field("a").type


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ('"string"', "must be a record"),
        ('{"type": "record", "name": "p"}', "record without 'fields'"),
        (contract(field("strin")), "campo: unknown type 'strin'"),
        (contract(field(["null", "int", "long"])), "campo: only unions of null and one other type"),
        (contract(field({"type": "array", "items": "pedido"})), "campo[]: type pedido contains itself"),
        (contract(field("null")), "campo: a field that is always null"),
        (contract(field("int"), {"name": "CAMPO", "type": "int"}), "two fields have the same name"),
        (contract({"name": "1a", "type": "int"}), "a field needs a valid 'name'"),
        (contract({"name": "source_file", "type": "string"}), "source_file: this name is kept"),
        (contract({"name": "__id", "type": "string"}), "__id: this name is kept"),
        (contract(field({"type": "long", "logicalType": "time-micros"})), "campo: logical type 'time-micros'"),
        (contract(field({"type": "bytes", "logicalType": "decimal", "precision": 50})), "campo: decimal needs"),
        (
            contract(field({"type": "enum", "name": "e", "symbols": ["A", "A"]})),
            "campo: an enum symbol is listed twice",
        ),
        (
            contract(field({"type": "enum", "name": "e", "symbols": ["A"], "default": "B"})),
            "campo: the default of an enum has to be one of its symbols",
        ),
        (contract(field("int", default="1")), "campo: the default is not a value of type int"),
        (contract(field("int", default=1 << 40)), "campo: the default is not a value of type int"),
        (contract(field("int", default=None)), "campo: the default is not a value of type int"),
        (contract(field({"type": "fixed", "name": "f", "size": 0})), "campo: fixed needs a 'size'"),
        (contract(field("int"))[:-1] + ', "name": "x"}', "the same key twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_field(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "pedidos.avsc"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        read_contract(path, "contracts/pedidos.avsc")
    assert caught.value.message.startswith("contract contracts/pedidos.avsc: ")
    assert words in caught.value.message
    assert caught.value.hint


def test_types_that_double_with_each_level_are_bounded() -> None:
    kind: Any = "int"
    for level in range(20):
        inner = [{"name": "a", "type": kind}, {"name": "b", "type": f"n{level - 1}" if level else "int"}]
        kind = {"type": "record", "name": f"n{level}", "fields": inner}
    with pytest.raises(ValueError, match="too deep or too large"):
        parse_contract(contract(field(kind)))


def test_a_contract_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"contract nada\.avsc does not exist"):
        read_contract(tmp_path / "nada.avsc")


@pytest.mark.parametrize(
    ("kind", "pattern", "named"),
    [
        ("bytes", "x/*.csv", "campo"),
        ({"type": "array", "items": "int"}, "x/*.csv.gz", "campo"),
        (INNER, "x/*.csv", "campo"),
        ({"type": "array", "items": {"type": "fixed", "name": "f", "size": 2}}, "x/*.jsonl", "campo"),
    ],
)
def test_what_text_cannot_carry_is_refused_before_a_file_is_read(
    tmp_path: Path, kind: Any, pattern: str, named: str
) -> None:
    with pytest.raises(ContractError, match=f"field {named} of the contract has no form in"):
        FilesSource("pedidos", parse_contract(contract(field(kind))), tmp_path, pattern)


def test_defaults_of_decimals_keep_all_their_digits() -> None:
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2}
    whole = 12345678901234567890123456789012345678
    text = whole.to_bytes(16, "big").decode("latin-1")
    (made,) = parse_contract(contract(field(kind, default=text))).record.fields
    assert str(default_value(made.default, made.type)) == "123456789012345678901234567890123456.78"

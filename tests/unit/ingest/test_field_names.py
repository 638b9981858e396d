"""Fields under other names: aliases in files of each format, names of types within namespaces."""

from __future__ import annotations

import io
import json
from time import process_time
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.avro_messages import decoded as messages

from datalab.ingest.avro_schema import SchemaProblem
from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode.formats import decode
from datalab.ingest.decode.framing import Schemas
from datalab.ingest.limits import Limits

LOCAL = {"type": "record", "name": "l", "fields": [{"name": "uf", "type": "string", "aliases": ["estado"]}]}
ID = {"name": "id", "type": "string", "aliases": ["codigo", "chave"]}
VALUE = {"name": "v", "type": ["null", "long"], "default": None}


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "pedido", "fields": list(fields)}


def decoded(data: bytes, kind: str, *fields: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Accepted records, and what is said of the others."""
    parts = list(decode(memoryview(data), kind, parse_contract(json.dumps(record(*fields))), Limits()))
    accepted = [row for part in parts if part.records is not None for row in part.records.to_pylist()]
    return accepted, [reject.detail for part in parts for reject in part.rejects]


def parquet(**columns: list[Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def test_a_column_of_csv_under_an_alias() -> None:
    assert decoded(b"v,chave\n1,a\n", "csv", ID, VALUE) == ([{"id": "a", "v": 1}], [])


@pytest.mark.parametrize(
    ("header", "words"),
    [("id,codigo", "'codigo': not in"), ("chave,codigo", "'chave': not in"), ("id,id", "id: twice")],
)
def test_two_columns_of_csv_for_one_field_are_not_one_too_many_to_be_lost(header: str, words: str) -> None:
    accepted, (said,) = decoded(f"{header}\na,b\n".encode(), "csv", ID, VALUE)
    assert not accepted
    assert said.startswith(words)


def test_columns_of_parquet_under_aliases_at_any_depth() -> None:
    place = {"name": "local", "type": LOCAL}
    file = parquet(codigo=["a"], local=[{"estado": "SP"}])
    assert decoded(file, "parquet", ID, VALUE, place) == ([{"id": "a", "v": None, "local": {"uf": "SP"}}], [])
    accepted, (said,) = decoded(parquet(id=["a"], codigo=["b"], local=[{"uf": "SP"}]), "parquet", ID, place)
    assert (accepted, said) == ([], "codigo: not in the contract")


@pytest.mark.parametrize("aliases", [(["v"], []), (["w"], ["w"]), ([], ["id"])])
def test_an_alias_that_could_be_two_fields_is_refused(aliases: tuple[list[str], list[str]]) -> None:
    first, second = ({**each, "aliases": names} for each, names in zip((ID, VALUE), aliases, strict=True))
    with pytest.raises(SchemaProblem, match="another field's name or alias"):
        parse_contract(json.dumps(record(first, second)))


def test_a_hundred_thousand_columns_are_refused_at_once() -> None:
    header = ",".join(f"c{at}" for at in range(100_000)).encode()
    began = process_time()
    accepted, (said,) = decoded(header + b"\n", "csv", ID)
    assert process_time() - began < 10
    assert (accepted, said[:24]) == ([], "'c0': not in the contrac")


def test_a_type_is_looked_for_in_its_own_namespace_first() -> None:
    numbers = [{"name": "x", "type": "int"}, {"name": "y", "type": "int"}]
    outer = {"type": "record", "name": "ponto", "fields": numbers}
    inner = {"type": "record", "name": "ponto", "fields": numbers[::-1]}
    fields = [{"name": "p", "type": inner}, {"name": "q", "type": "ponto"}]
    within = {"type": "record", "name": "dois", "namespace": "br", "fields": fields}
    schema = record({"name": "a", "type": outer}, {"name": "b", "type": within})
    row = {"a": {"x": 1, "y": 2}, "b": {"p": {"y": 3, "x": 4}, "q": {"y": 5, "x": 6}}}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), row)
    text = json.dumps(schema)
    found, rejects = messages([b"\0\0\0\0\1" + out.getvalue()], Schemas({1: text.encode()}, {}), parse_contract(text))
    assert (found, rejects) == ({0: row}, {})

"""Records decoded in C: the same columns as field by field in NumPy, bad records and bad blocks included."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from random import Random
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalab.ingest.avro_schema import AvroType, parse_schema
from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode import avro_run
from datalab.ingest.decode.avro import decode_avro
from datalab.ingest.decode.avro_columns import PADDING, decode_columns
from datalab.ingest.decode.avro_form import form_of
from datalab.ingest.decode.avro_native import Stretches, Walked, walker_of
from datalab.ingest.decode.container import write_long
from datalab.ingest.limits import Limits
from datalab.ingest.native.build import LIBRARY

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="the part in C was not built: it needs a C compiler")

INNER = {
    "type": "record",
    "name": "i",
    "fields": [{"name": "t", "type": ["string", "null"]}, {"name": "n", "type": "int"}],
}
FIELDS: dict[str, Any] = {
    "text": "string",
    "maybe": ["null", "string"],
    "n": "long",
    "small": ["int", "null"],
    "ok": "boolean",
    "v": "double",
    "f": ["null", "float"],
    "bytes": "bytes",
    "three": {"type": "fixed", "name": "three", "size": 3},
    "kind": {"type": "enum", "name": "kind", "symbols": ["A", "B"]},
    "inner": INNER,
    "other": [
        "null",
        {**INNER, "name": "o", "fields": [*INNER["fields"], {"name": "in", "type": ["null", {**INNER, "name": "p"}]}]},
    ],
}
SCHEMA = {"type": "record", "name": "r", "fields": [{"name": name, "type": kind} for name, kind in FIELDS.items()]}
PARSED = fastavro.parse_schema(SCHEMA)
RECORD = parse_schema(SCHEMA)
TEXTS = st.text(max_size=20)
INNERS = st.fixed_dictionaries({"t": st.none() | TEXTS, "n": st.integers(-(2**31), 2**31 - 1)})
RECORDS = st.fixed_dictionaries(
    {
        "text": TEXTS,
        "maybe": st.none() | TEXTS,
        "n": st.integers(-(2**63), 2**63 - 1),
        "small": st.none() | st.integers(-(2**31), 2**31 - 1),
        "ok": st.booleans(),
        "v": st.floats(),
        "f": st.none() | st.floats(width=32),
        "bytes": st.binary(max_size=20),
        "three": st.binary(min_size=3, max_size=3),
        "kind": st.sampled_from("AB"),
        "inner": INNERS,
        "other": st.none() | st.tuples(INNERS, st.none() | INNERS).map(lambda two: {**two[0], "in": two[1]}),
    }
)


def encoded(row: Any, schema: Any = PARSED) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, row)
    return out.getvalue()


def walked(bodies: list[bytes], kind: AvroType = RECORD, behind: bytes = b"") -> Walked:
    walker = walker_of(kind)
    assert walker is not None
    ends = np.cumsum([len(each) for each in bodies])
    starts = ends - [len(each) for each in bodies]
    return walker.walk(memoryview(b"".join(bodies) + behind), Stretches(starts, ends))


def plain(array: pa.Array) -> Any:
    """Values as text, since NaN is not equal to itself."""
    return [repr(each) for each in array.to_pylist()]


def require_same(bodies: list[bytes], kind: AvroType = RECORD) -> None:
    ends = np.cumsum([len(each) for each in bodies])
    starts = ends - [len(each) for each in bodies]
    expected, good = decode_columns(kind, memoryview(b"".join(bodies)), starts, ends)
    for behind in (b"", b"\0" * PADDING, b"\2" * PADDING, b"\xff" * PADDING):
        made = walked(bodies, kind, behind)
        assert made.good.tolist() == good.tolist()
        assert plain(made.records.filter(pa.array(good))) == plain(expected.filter(pa.array(good)))
        made.records.validate(full=True)


@given(st.lists(RECORDS, min_size=1, max_size=12))
def test_any_records(rows: list[Any]) -> None:
    require_same([encoded(row) for row in rows])


@given(st.lists(RECORDS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_damaged_records_among_good_ones(rows: list[Any], random: Random) -> None:
    bodies = []
    for row in rows:
        body = bytearray(encoded(row))
        bodies.append(bytes(body))
        for _ in range(random.randrange(1, 5)):
            body[random.randrange(len(body))] = random.choice((0, 1, 2, 0x7F, 0x80, 0xFF, random.randrange(256)))
        bodies.extend((bytes(body), bytes(body[: random.randrange(len(body))]), bytes(body) + b"\0"))
    require_same(bodies)


def one(kind: Any) -> AvroType:
    return parse_schema({"type": "record", "name": "r", "fields": [{"name": "x", "type": kind}]})


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 200])
def test_texts_of_any_length_that_recur_or_do_not(size: int) -> None:
    for count in (3, 1_000, 1_500):  # of different ones; of more than a thousand or so no dictionary is made
        texts = [f"{at % count:0{size}}"[-size:] for at in range(4_000)]
        bodies = [encoded({"x": text}, {"type": "record", "name": "r", "fields": [{"name": "x", "type": "string"}]})
                  for text in texts]  # fmt: skip
        made = walked(bodies, one("string"))
        assert made.good.all()
        column = made.records.field("x")
        assert column.to_pylist() == texts
        assert pa.types.is_dictionary(column.type) == (len(set(texts)) <= 1_024)


BROKEN = [
    b"\xff",
    b"\xc3",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf0\x80\x80\x80",
    b"a" * 20 + b"\xe2\x82",
]
SOUND = ["é", "日本", "🌱", "\U0010ffff", "\ud7ff\ue000", "a" * 20 + "€"]


@pytest.mark.parametrize("different", [1, 2_000])
def test_texts_that_are_none_cost_their_own_record_alone(different: int) -> None:
    values: list[bytes] = [f"{text}{at % different}".encode() for at in range(2_000) for text in SOUND]
    for at, broken in enumerate(BROKEN):
        values.insert(1_000 * at, broken)
    bodies = [encoded({"x": value}, {"type": "record", "name": "r", "fields": [{"name": "x", "type": "bytes"}]})
              for value in values]  # fmt: skip
    made = walked(bodies, one("string"))
    assert [at for at, good in enumerate(made.good) if not good] == [1_000 * at for at in range(len(BROKEN))]
    kept = [value.decode() for value in values if value not in BROKEN]
    assert made.records.field("x").filter(pa.array(made.good)).to_pylist() == kept
    made.records.validate(full=True)


PAIR = {
    "type": "record",
    "name": "pair",
    "fields": [{"name": "k", "type": ["null", "string"]}, {"name": "n", "type": "int"}],
}
NESTED: dict[str, Any] = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "a", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "m", "type": ["null", {"type": "map", "values": {"type": "array", "items": "long"}}]},
        {"name": "ps", "type": {"type": "array", "items": PAIR}},
        {"name": "end", "type": ["double", "null"]},
        {"name": "in", "type": ["null", {"type": "record", "name": "box", "fields": [
            {"name": "deep", "type": {"type": "array", "items": {"type": "array", "items": ["null", "pair"]}}}]}]},
    ],
}  # fmt: skip
PAIRS = st.fixed_dictionaries({"k": st.none() | TEXTS, "n": st.integers(-(2**31), 2**31 - 1)})
LISTS = st.fixed_dictionaries(
    {
        "a": st.lists(st.none() | TEXTS, max_size=3),
        "m": st.none() | st.dictionaries(TEXTS, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3), max_size=3),
        "ps": st.lists(PAIRS, max_size=3),
        "end": st.none() | st.floats(allow_nan=False),
        "in": st.none()
        | st.fixed_dictionaries({"deep": st.lists(st.lists(st.none() | PAIRS, max_size=3), max_size=3)}),
    }
)


@given(st.lists(LISTS, min_size=1, max_size=12), st.sampled_from([b"", b"\0" * PADDING, b"\xff" * PADDING]))
def test_lists_and_maps(rows: list[Any], behind: bytes) -> None:
    parsed = fastavro.parse_schema(NESTED)
    bodies = [encoded(row, parsed) for row in rows]
    cut = [body[: len(body) // 2] for body in bodies]
    made = walked([part for both in zip(bodies, cut, strict=True) for part in both], parse_schema(NESTED), behind)
    assert made.good.tolist() == [True, False] * len(rows)
    made.records.validate(full=True)
    maps = [None if row["m"] is None else [{"key": k, "value": v} for k, v in row["m"].items()] for row in rows]
    expected = [{**row, "m": pairs} for row, pairs in zip(rows, maps, strict=True)]
    assert made.records.filter(pa.array(made.good)).to_pylist() == expected


def test_blocks_of_items() -> None:
    """Several of them, and such that tell their size in bytes, which nobody looks at."""
    kind = one({"type": "array", "items": "int"})
    good = {
        b"\x00": [],
        b"\x04\x02\x04\x02\x06\x00": [1, 2, 3],
        b"\x03\x04\x02\x04\x00": [1, 2],
        b"\x01\x7f\x08\x00": [4],
    }
    most = write_long(2**63 - 1)
    bad = [
        b"",
        b"\x02",
        b"\x02\x02",
        b"\x04\x02\x00",
        most,
        most + b"\x02" * 40,
        write_long(-(2**63)) + b"\0\0",
        b"\x03",
    ]
    made = walked([*good, *bad], kind)
    assert made.good.tolist() == [True] * len(good) + [False] * len(bad)
    assert made.records.field("x").to_pylist()[: len(good)] == list(good.values())


@pytest.mark.parametrize("broken", BROKEN)
def test_a_text_in_a_list_that_is_none_costs_its_record_alone(broken: bytes) -> None:
    written = {"type": "record", "name": "r", "fields": [
        {"name": "x", "type": {"type": "array", "items": {"type": "map", "values": "bytes"}}}]}  # fmt: skip
    lists: list[Any] = [
        [],
        [{"k": "é".encode()}],
        [{"k": b"a", "b": broken}, {}],
        [{}, {"k": b"z"}],
        [{"b": broken}],
        [{}],
    ]
    bodies = [encoded({"x": each}, written) for each in lists]
    made = walked(bodies, one({"type": "array", "items": {"type": "map", "values": "string"}}))
    assert made.good.tolist() == [True, True, False, True, False, True]
    made.records.validate(full=True)


def test_no_records_and_no_bytes() -> None:
    walker = walker_of(RECORD)
    assert walker is not None
    nothing = np.zeros(0, dtype=np.int64)
    assert len(walker.walk(memoryview(b""), Stretches(nothing, nothing)).records) == 0
    assert walked([b"", b""]).good.tolist() == [False, False]


CONTRACT = parse_contract(json.dumps({"type": "record", "name": "r", "fields": [
    {"name": "id", "type": "string"}, {"name": "n", "type": ["null", "long"]}]}))  # fmt: skip


def container(blocks: list[list[Any]]) -> list[bytes]:
    """The header of a file, and its blocks."""
    schema = fastavro.parse_schema(json.loads(CONTRACT.text))
    out, borders = io.BytesIO(), [0]
    for rows in blocks:
        if rows is blocks[0]:
            fastavro.writer(out, schema, [], sync_marker=b"sixteen bytes ok")
            borders.append(out.tell())
        fastavro.writer(out, schema, rows, sync_interval=1 << 30)
        borders.append(out.tell())
    data = out.getvalue()
    return [data[start:stop] for start, stop in pairwise(borders)]


def rows_of(block: int, count: int = 50) -> list[Any]:
    return [{"id": f"{block}-{at}", "n": None if at % 3 else at} for at in range(count)]


def test_only_the_block_that_is_bad_is_judged_record_by_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro_run, "_decoded", None)  # polars
    form_of.cache_clear()
    head, *blocks = container([rows_of(block) for block in range(4)])
    spoilt = bytearray(blocks[2])
    spoilt[spoilt.index(b"2-25") - 1] = 0xFF  # the length of an id
    parts = list(decode_avro(memoryview(head + b"".join([*blocks[:2], spoilt, blocks[3]])), CONTRACT, Limits()))
    found = {row: record for part in parts if part.records is not None and part.rows is not None
             for row, record in zip(part.rows.tolist(), part.records.to_pylist(), strict=True)}  # fmt: skip
    expected = [*rows_of(0), *rows_of(1), *rows_of(2), *rows_of(3)]
    assert found == {at: expected[at] for at in range(200) if not 125 <= at < 150}
    assert [(each.row, each.records) for part in parts for each in part.rejects] == [(125, 25)]

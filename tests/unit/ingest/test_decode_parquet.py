"""Parquet: types checked before values are read, values before they are taken."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode.formats import decode
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import Reject


def decoded(table: pa.Table | bytes, kind: Any, **options: Any) -> tuple[dict[int, Any], list[Reject]]:
    """Accepted values of the one field by record number, and rejects."""
    if not isinstance(table, bytes):
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        table = sink.getvalue()
    contract = parse_contract(json.dumps({"type": "record", "name": "p", "fields": [{"name": "v", "type": kind}]}))
    parts = list(decode(memoryview(table), "parquet", contract, Limits()))
    accepted = {
        row: record["v"]
        for part in parts
        if part.records is not None and part.rows is not None
        for row, record in zip(part.rows.tolist(), part.records.to_pylist(), strict=True)
    }
    return accepted, [reject for part in parts for reject in part.rejects]


def column(values: list[Any], kind: pa.DataType) -> pa.Table:
    return pa.table({"v": pa.array(values, kind)})


MOMENT = {"type": "long", "logicalType": "timestamp-micros"}


def test_timestamps_of_any_unit_and_zone() -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    for kind in (pa.timestamp("ms"), pa.timestamp("us", tz="America/Sao_Paulo"), pa.timestamp("ns", tz="UTC")):
        assert decoded(column([when], kind), MOMENT) == ({0: when}, [])
    accepted, (reject,) = decoded(column([1_000, 1_001, None], pa.timestamp("ns")), ["null", MOMENT])
    assert accepted == {0: datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), 2: None}
    assert (reject.row, reject.reason, reject.detail) == (1, "out_of_range", "v: finer than a microsecond")


def int96(days: int, nanos: int, stand_in: bytes = bytes(8) + (2_440_588).to_bytes(4, "little")) -> bytes:
    """A file with one INT96: the Julian day, counted from that of 1970, and the nanoseconds of the day."""
    sink = io.BytesIO()
    options: dict[str, Any] = {"use_dictionary": False, "compression": "none", "write_statistics": False}
    pq.write_table(column([0], pa.timestamp("us")), sink, use_deprecated_int96_timestamps=True, **options)
    assert sink.getvalue().count(stand_in) == 1
    return sink.getvalue().replace(stand_in, nanos.to_bytes(8, "little") + (2_440_588 + days).to_bytes(4, "little"))


def test_int96_beyond_what_64_bits_of_nanoseconds_hold() -> None:
    moments = [datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) for year in (1, 1500, 1969, 2026, 2300, 9999)]
    table = column([None, *moments], pa.timestamp("us"))
    accepted, rejects = decoded(table, ["null", MOMENT], use_deprecated_int96_timestamps=True, row_group_size=4)
    assert (accepted, rejects) == (dict(enumerate([None, *moments])), [])


@pytest.mark.parametrize(
    ("days", "nanos", "found"),
    [
        (-171_664, 1_000, datetime(1500, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        (-171_664, 384, "v: finer than a microsecond"),  # with which 64 bits of nanoseconds would be whole
        (-171_664, 1, "v: finer than a microsecond"),
        (20_000, 999, "v: finer than a microsecond"),
        (2_932_897, 0, "v: outside the years 1 to 9999"),
        (213_503_982, 0, "v: outside the years 1 to 9999"),  # 64 bits of microseconds would hold 1970 and some hours
        (1 << 31, 0, "v: outside the years 1 to 9999"),
    ],
)
def test_int96_that_does_not_fit_is_refused_for_what_it_is(days: int, nanos: int, found: Any) -> None:
    accepted, rejects = decoded(int96(days, nanos), MOMENT)
    if isinstance(found, datetime):
        assert (accepted, rejects) == ({0: found}, [])
    else:
        assert [(reject.row, reject.reason, reject.detail) for reject in rejects] == [(0, "out_of_range", found)]


def test_int96_inside_of_others() -> None:
    old = datetime(1500, 1, 1, tzinfo=UTC)
    record = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}, {"name": "t", "type": MOMENT}]}
    inner = pa.struct([("a", pa.int32()), ("t", pa.timestamp("us"))])
    for found, kind, value in [
        (inner, record, {"a": 1, "t": old}),
        (pa.list_(pa.timestamp("us")), {"type": "array", "items": MOMENT}, [old, old]),
        (pa.list_(inner), {"type": "array", "items": record}, [{"a": 1, "t": old}]),
        (pa.map_(pa.string(), pa.timestamp("us")), {"type": "map", "values": MOMENT}, [("k", old)]),
    ]:
        values = [None, value, None, value]
        answer = decoded(column(values, found), ["null", kind], use_deprecated_int96_timestamps=True)
        assert answer == (dict(enumerate(values)), []), found


@pytest.mark.parametrize(
    ("values", "found", "kind", "good", "reason"),
    [
        ([1, 1 << 40], pa.int64(), "int", {0: 1}, "out_of_range"),
        ([1, None], pa.int16(), "long", {0: 1}, "null_in_required"),
        ([1, 1 << 63], pa.uint64(), "long", {0: 1}, "out_of_range"),
        (["A", "C"], pa.string(), {"type": "enum", "name": "e", "symbols": ["A", "B"]}, {0: "A"}, "unknown_symbol"),
        ([[1], [1, None]], pa.list_(pa.int32()), {"type": "array", "items": "int"}, {0: [1]}, "null_in_required"),
        ([b"ab", b"abc"], pa.binary(), {"type": "fixed", "name": "f", "size": 2}, {0: b"ab"}, "wrong_type"),
    ],
)
def test_values_that_do_not_fit_are_refused_one_by_one(
    values: list[Any], found: pa.DataType, kind: Any, good: dict[int, Any], reason: str
) -> None:
    accepted, (reject,) = decoded(column(values, found), kind)
    assert (accepted, reject.row, reject.reason) == (good, 1, reason)


@pytest.mark.parametrize(
    ("found", "kind"), [(pa.string(), "long"), (pa.float64(), "long"), (pa.float64(), "float"), (pa.int64(), MOMENT)]
)
def test_types_that_do_not_fit_set_the_file_aside(found: pa.DataType, kind: Any) -> None:
    accepted, (reject,) = decoded(column([], found), kind)
    assert (accepted, reject.row, reject.reason) == ({}, -1, "schema_mismatch")
    assert reject.detail.startswith(f"v: {found} in the file")


def test_dictionaries_are_read_as_their_values() -> None:
    table = pa.table({"v": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert decoded(table, "string") == ({0: "a", 1: "b", 2: "a"}, [])


def fields(**kinds: pa.DataType) -> pa.DataType:
    return pa.struct(list(kinds.items()))


RECORD = {"type": "record", "name": "r", "fields": [{"name": "t", "type": "string"}, {"name": "n", "type": "float"}]}


@pytest.mark.parametrize(
    ("found", "kind", "value"),
    [
        (pa.string_view(), "string", "a text that is longer than a view holds"),
        (pa.binary_view(), "bytes", b"ab"),
        (pa.float16(), "float", 1.5),
        (pa.json_(), "string", "[1]"),
        (pa.uuid(), {"type": "fixed", "name": "f", "size": 16}, bytes(range(16))),
        (pa.list_(pa.string(), 2), {"type": "array", "items": "string"}, ["a", "b"]),
        (pa.list_(pa.string_view()), {"type": "array", "items": "string"}, ["a", "b"]),
        (fields(t=pa.string_view(), n=pa.float16()), RECORD, {"t": "a", "n": 0.5}),
        (
            pa.list_(fields(t=pa.dictionary(pa.int8(), pa.string()), n=pa.float32())),
            {"type": "array", "items": RECORD},
            [{"t": "a", "n": 2.0}],
        ),
        (pa.map_(pa.string(), pa.string_view()), {"type": "map", "values": "string"}, [("k", "v")]),
    ],
    ids=str,
)
@pytest.mark.parametrize("required", [True, False])
def test_what_a_writer_called_a_type_does_not_matter(found: pa.DataType, kind: Any, value: Any, required: bool) -> None:
    values = [value, value] if required else [value, None]
    stored = pa.array(values, getattr(found, "storage_type", found))
    table = pa.table({"v": pa.ExtensionArray.from_storage(found, stored) if stored.type != found else stored})
    assert decoded(table, kind if required else ["null", kind]) == (dict(enumerate(values)), [])


def annotated_as_enum(table: pa.Table) -> bytes:
    """The file as a writer of Avro schemas makes it: the footer says ENUM where Arrow writes STRING."""
    sink = io.BytesIO()
    pq.write_table(table, sink, store_schema=False)
    text, enum = (b"\x06symbol\x25" + rest for rest in (b"\x00\x4c\x1c\x00\x00", b"\x08\x4c\x4c\x00\x00"))
    assert sink.getvalue().count(text) == 1
    return sink.getvalue().replace(text, enum)


def test_text_that_is_annotated_as_enum_is_text() -> None:
    kind = pa.list_(fields(before=pa.int32(), symbol=pa.string(), raw=pa.binary()))
    data = annotated_as_enum(column([[{"before": 1, "symbol": "A", "raw": b"x"}], [{"symbol": "C"}], None], kind))
    inner = [
        {"name": "before", "type": ["null", "int"]},
        {"name": "symbol", "type": {"type": "enum", "name": "e", "symbols": ["A", "B"]}},
        {"name": "raw", "type": ["null", "bytes"]},
    ]
    items = {"type": "array", "items": {"type": "record", "name": "r", "fields": inner}}
    accepted, (reject,) = decoded(data, ["null", items])
    assert accepted == {0: [{"before": 1, "symbol": "A", "raw": b"x"}], 2: None}
    assert (reject.row, reject.reason) == (1, "unknown_symbol")


def test_an_enum_that_is_no_text_costs_its_row_group() -> None:
    data = annotated_as_enum(pa.table({"symbol": ["marker"]})).replace(b"marker", b"\xff\xferker")
    contract = parse_contract(
        json.dumps({"type": "record", "name": "p", "fields": [{"name": "symbol", "type": "string"}]})
    )
    (part,) = decode(memoryview(data), "parquet", contract, Limits())
    assert [(reject.row, reject.reason) for reject in part.rejects] == [(0, "corrupt_file")]


def test_a_row_group_that_is_damaged_costs_itself() -> None:
    sink = io.BytesIO()
    table = column([f"valor numero {at}" for at in range(300)], pa.string())
    pq.write_table(table, sink, row_group_size=100, compression="none", use_dictionary=False, write_page_checksum=True)
    damaged = sink.getvalue().replace(b"valor numero 150", b"valor numero XXX")
    accepted, (reject,) = decoded(damaged, "string")
    assert sorted(accepted) == [*range(100), *range(200, 300)]
    assert (reject.row, reject.records, reject.reason) == (100, 100, "corrupt_file")


def test_what_is_no_parquet_file() -> None:
    for data in (b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"):
        accepted, (reject,) = decoded(data, "string")
        assert (accepted, reject.row, reject.reason) == ({}, -1, "corrupt_file")


@pytest.mark.parametrize(
    "error",
    [
        pa.ArrowMemoryError("malloc of size 314572864 failed"),
        OSError("zlib deflateInit failed: insufficient memory"),
        OSError("Couldn't deserialize thrift: std::bad_alloc\n"),
    ],
)
def test_a_lack_of_memory_is_not_the_files_fault(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise error

    good = column(["a"], pa.string())
    for method in ("__init__", "iter_batches"):
        with monkeypatch.context() as patched:
            patched.setattr(pq.ParquetFile, method, fail)
            with pytest.raises(MemoryError):
                decoded(good, "string")

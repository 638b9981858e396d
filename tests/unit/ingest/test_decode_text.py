"""CSV, JSON lines and gzip: each bad record alone is refused, with its number, its reason and its bytes."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode.formats import decode
from datalab.ingest.decode.spans import Span
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import Reject


def schema(*fields: tuple[str, Any], **defaults: Any) -> dict[str, Any]:
    listed = [
        {"name": name, "type": kind, **({"default": defaults[name]} if name in defaults else {})}
        for name, kind in fields
    ]
    return {"type": "record", "name": "pedido", "fields": listed}


PLAIN = schema(("id", "string"), ("n", "long"), ("v", ["null", "double"]))
LOGICAL = schema(
    ("d", {"type": "int", "logicalType": "date"}),
    ("t", ["null", {"type": "long", "logicalType": "timestamp-micros"}]),
    ("p", {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}),
)


def decoded(
    kind: str,
    data: str | bytes,
    contract: dict[str, Any] = PLAIN,
    limits: Limits | None = None,
    span: Span | None = None,
) -> tuple[dict[int, Any], list[Reject]]:
    """Accepted records by number, and rejects in the order of numbers."""
    content = data.encode() if isinstance(data, str) else data
    parts = list(decode(memoryview(content), kind, parse_contract(json.dumps(contract)), limits or Limits(), span))
    accepted = {
        row: record
        for part in parts
        if part.records is not None and part.rows is not None
        for row, record in zip(part.rows.tolist(), part.records.to_pylist(), strict=True)
    }
    return accepted, sorted((reject for part in parts for reject in part.rejects), key=lambda each: each.row)


GOOD = '{"id": "a", "n": 1, "v": 0.5}'


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        ('{"id": "a", "n": 1, "v": 0.5', "invalid_json", ""),
        ('{"id": "a", "n": 1, "v": 0.5,}', "invalid_json", ""),
        ('{"id": "a", "n": 1, "v": NaN}', "invalid_json", "NaN is not JSON"),
        ('{"id": "a", "n": 1, "v": 1e999}', "out_of_range", "v: "),
        ('{"id": "a", "n": 1} {"id": "b", "n": 2}', "invalid_json", ""),
        ('{"id": "a", "n": 1, "n": 2, "v": null}', "duplicate_key", ""),
        ('{"id": "a", "v": 0.5}', "missing_field", "n: missing"),
        ('{"id": "a", "n": 1}', "missing_field", "v: missing"),
        ('{"id": "a", "n": 1, "v": 1, "x": 2}', "surplus_field", "'x': not in the contract"),
        ('{"id": "a", "n": 1.0, "v": 1}', "wrong_type", "n: not a long"),
        ('{"id": "a", "n": "1", "v": 1}', "wrong_type", "n: not a long"),
        ('{"id": 5, "n": 1, "v": 1}', "wrong_type", "id: not a string"),
        ('{"id": "a", "n": true, "v": 1}', "wrong_type", "n: not a long"),
        ('{"id": "a", "n": 9223372036854775808, "v": 1}', "out_of_range", "n: "),
        ('{"id": null, "n": 1, "v": 1}', "null_in_required", "id: null"),
        ('{"id": "\\ud800", "n": 1, "v": 1}', "invalid_utf8", "id: half"),
        ("[" * 5_000 + "]" * 5_000, "too_deep", ""),
        ('{"id": "' + "x" * 2_000 + '", "n": 1, "v": 1}', "too_large", ""),
        ("7", "wrong_type", "the line: not a record"),
        ("null", "null_in_required", "the line: null in a required field"),
    ],
)
def test_a_bad_line_of_json(line: str, reason: str, words: str) -> None:
    limits = Limits(record_bytes=1_000 if reason == "too_large" else 1 << 20)
    accepted, (reject,) = decoded("jsonl", f"{GOOD}\n\n{line}\r\n  {GOOD}", limits=limits)
    assert accepted == {at: {"id": "a", "n": 1, "v": 0.5} for at in (0, 2)}
    assert (reject.row, reject.reason, reject.records) == (1, reason, 1)
    assert words in reject.detail
    assert reject.raw == line.encode()


def test_bytes_that_are_not_utf8() -> None:
    accepted, (reject,) = decoded("jsonl", f"{GOOD}\n".encode() + b'{"id": "\xff"}\n' + GOOD.encode())
    assert sorted(accepted) == [0, 2]
    assert (reject.reason, reject.raw) == ("invalid_utf8", b'{"id": "\xff"}')


def test_nested_values_maps_and_defaults_of_json() -> None:
    inner = {"type": "record", "name": "l", "fields": [{"name": "uf", "type": "string", "default": "SP"}]}
    contract = schema(
        ("l", {"type": "array", "items": inner}), ("m", {"type": "map", "values": "int"}), ("o", "long"), o=7
    )
    accepted, rejects = decoded(
        "jsonl", '{"l": [{}, {"uf": "PR"}], "m": {"a": 1, "b": 2}}\n{"l": [], "m": {}, "o": 1}', contract
    )
    assert not rejects
    assert accepted[0] == {"l": [{"uf": "SP"}, {"uf": "PR"}], "m": [("a", 1), ("b", 2)], "o": 7}
    assert accepted[1] == {"l": [], "m": [], "o": 1}


def test_a_null_is_no_missing_key() -> None:
    contract = schema(("n", ["null", "long"]), ("d", ["null", "long"]), ("z", "string"), d=3, z="padrao")
    accepted, (reject,) = decoded("jsonl", '{"n": null, "d": null}\n{"n": 1}\n{"d": 1}', contract)
    assert accepted == {0: {"n": None, "d": None, "z": "padrao"}, 1: {"n": 1, "d": 3, "z": "padrao"}}
    assert (reject.row, reject.reason) == (2, "missing_field")


def test_many_lines_keep_their_numbers_across_chunks() -> None:
    lines = [json.dumps({"id": f"p{at}", "n": at if at % 7 else "x", "v": None}) for at in range(500)]
    accepted, rejects = decoded("jsonl", "\n".join(lines), limits=Limits(chunk_bytes=1_000))
    assert accepted == {at: {"id": f"p{at}", "n": at, "v": None} for at in range(500) if at % 7}
    assert [reject.row for reject in rejects] == list(range(0, 500, 7))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_span_of_records(kind: str) -> None:
    lines = (
        [f"p{at},{at},\n" for at in range(100)]
        if kind == "csv"
        else [f'{{"id":"p{at}","n":{at},"v":null}}\n' for at in range(100)]
    )
    text = ("id,n,v\n" if kind == "csv" else "") + "".join(lines)
    accepted, rejects = decoded(kind, text, limits=Limits(chunk_bytes=64), span=Span(37, 52))
    assert not rejects
    assert accepted == {at: {"id": f"p{at}", "n": at, "v": None} for at in range(37, 52)}


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,1", "invalid_csv"),
        ("a,1,2,3", "invalid_csv"),
        ('"a"b,1,2', "invalid_csv"),
        ("a,x,2", "wrong_type"),
        ("a,1.5,2", "wrong_type"),
        ("a,0x10,2", "wrong_type"),
        ("a, 1,2", "wrong_type"),
        ("a,1,nan", "wrong_type"),
        ("a,1,1e999", "out_of_range"),
        ("a,9223372036854775808,2", "out_of_range"),
        ("a,,2", "null_in_required"),
    ],
)
def test_a_bad_line_of_csv(line: str, reason: str, quoted: bool) -> None:
    first = '"um, ""dois""\nlinhas",1,0.5' if quoted else "um,1,0.5"
    accepted, (reject,) = decoded("csv", f"\ufeffid,n,v\r\n{first}\r\n{line}\r\n\r\nz,2,\r\n")
    text = 'um, "dois"\nlinhas' if quoted else "um"
    assert accepted == {0: {"id": text, "n": 1, "v": 0.5}, 2: {"id": "z", "n": 2, "v": None}}
    assert (reject.row, reject.reason, reject.raw) == (1, reason, line.encode())


def test_a_quote_that_is_never_closed_costs_its_line_alone() -> None:
    accepted, (reject,) = decoded("csv", 'id,n,v\na,1,\n"b,2,\nc,3,\nd,4,\n')
    assert sorted(accepted) == [0, 2, 3]
    assert (reject.row, reject.reason, reject.raw) == (1, "invalid_csv", b'"b,2,')


def test_many_broken_quotes_stay_cheap() -> None:
    lines = ['"a,1,\n' for _ in range(3_000)]
    accepted, rejects = decoded("csv", "id,n,v\n" + "".join(lines) + "z,1,\n")
    assert len(accepted) + len(rejects) <= 3_001
    assert rejects


def test_csv_in_another_order_with_aliases_and_defaults() -> None:
    contract = schema(("id", "string"), ("n", "long"), ("v", ["null", "double"]), ("x", "string"), v=1.5, x="")
    contract["fields"][0]["aliases"] = ["codigo"]
    assert decoded("csv", "n,codigo\n5,a\n", contract) == ({0: {"id": "a", "n": 5, "v": 1.5, "x": ""}}, [])


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("id,v", "n: missing in the file"),
        ("id,n,v,x", "'x': not in the contract"),
        ("id,n,v,id", "id: twice in the header"),
        ("a,1,2", "id: missing in the file"),
    ],
)
def test_a_header_that_does_not_fit_sets_the_file_aside(header: str, words: str) -> None:
    accepted, (reject,) = decoded("csv", f"{header}\na,1,2\n")
    assert (accepted, reject.row, reject.reason) == ({}, -1, "schema_mismatch")
    assert words in reject.detail


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "id,n,v", "id,n,v\r\n\r\n"])
def test_csv_without_records(text: str) -> None:
    assert decoded("csv", text) == ({}, [])


def test_dates_times_and_amounts_of_text() -> None:
    lines = [
        "2026-02-28,2026-01-01T10:00:00-03:00,12.30",
        "2026-02-28,2026-01-01 10:00:00.5,-0.01",
        "0001-01-01,,9999",
        "2026-02-30,,1",
        "28/02/2026,,1",
        "2026-02-28,ontem,1",
        "2026-02-28,,12.345",
        "2026-02-28,,12345.00",
    ]
    accepted, rejects = decoded("csv", "d,t,p\n" + "\n".join(lines), LOGICAL)
    assert accepted == {
        0: {"d": date(2026, 2, 28), "t": datetime(2026, 1, 1, 13, tzinfo=UTC), "p": Decimal("12.30")},
        1: {"d": date(2026, 2, 28), "t": datetime(2026, 1, 1, 10, 0, 0, 500_000, tzinfo=UTC), "p": Decimal("-0.01")},
        2: {"d": date(1, 1, 1), "t": None, "p": Decimal("9999.00")},
    }
    assert [(reject.row, reject.reason) for reject in rejects] == [
        (3, "wrong_type"),
        (4, "wrong_type"),
        (5, "wrong_type"),
        (6, "out_of_range"),
        (7, "out_of_range"),
    ]
    as_json, _ = decoded("jsonl", '{"d": "2026-02-28", "t": null, "p": 12.3}', LOGICAL)
    assert as_json[0] == {"d": date(2026, 2, 28), "t": None, "p": Decimal("12.30")}


def test_gzip() -> None:
    packed = gzip.compress(f"{GOOD}\n".encode()) + gzip.compress(GOOD.encode())
    assert sorted(decoded("jsonl.gz", packed)[0]) == [0, 1]
    for damaged in (packed[:-9], b"not gzip", packed[:30] + b"\x00\x01" + packed[32:]):
        accepted, (reject,) = decoded("jsonl.gz", damaged)
        assert (accepted, reject.row, reject.reason) == ({}, -1, "corrupt_file")
    accepted, (reject,) = decoded("csv.gz", gzip.compress(bytes(1 << 20)), limits=Limits(plain_bytes=1 << 16))
    assert (accepted, reject.reason) == ({}, "too_large")

"""Schemas in the lake's own types, how they may grow, and their differences in words."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalab.errors import SchemaConflict
from datalab.lake.schema import difference, extend, normalise

UTC = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.null(), pa.string()),
        (pa.large_binary(), pa.binary()),
        (pa.binary(16), pa.binary()),
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.timestamp("ns"), UTC),
        (pa.timestamp("s", tz="America/Sao_Paulo"), UTC),
        (pa.date64(), pa.date32()),
        (pa.time32("s"), pa.time64("us")),
        (pa.int8(), pa.int32()),
        (pa.uint16(), pa.int32()),
        (pa.uint32(), pa.int64()),
        (pa.uint64(), pa.decimal128(20, 0)),
        (pa.float16(), pa.float32()),
        (pa.decimal256(20, 3), pa.decimal128(20, 3)),
        (pa.large_list(pa.uint8()), pa.list_(pa.field("element", pa.int32()))),
        (pa.list_(pa.date64(), 3), pa.list_(pa.field("element", pa.date32()))),
        (pa.map_(pa.large_string(), pa.uint32()), pa.map_(pa.string(), pa.int64())),
        (pa.struct([pa.field("a", pa.int16(), nullable=False)]), pa.struct([("a", pa.int32())])),
    ],
)
def test_types_become_the_lakes_own(given_type: pa.DataType, kept: pa.DataType) -> None:
    field = pa.field("x", given_type, nullable=given_type == pa.null(), metadata={"a": "b"})
    found = normalise(pa.schema([field], metadata={"c": "d"}))
    assert found.equals(pa.schema([("x", kept)]), check_metadata=True)
    assert normalise(found).equals(found)


@pytest.mark.parametrize("kind", [pa.duration("us"), pa.month_day_nano_interval(), pa.decimal256(60, 2)])
def test_a_type_no_format_keeps_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(SchemaConflict, match="a table cannot keep columns of type"):
        normalise(pa.schema([("x", kind)]))


def test_names_that_differ_in_case_only_are_refused() -> None:
    with pytest.raises(SchemaConflict, match="column id appears twice"):
        normalise(pa.schema([("id", pa.int32()), ("ID", pa.int32())]))


def test_new_columns_come_after_the_present_ones() -> None:
    present = pa.schema([("b", pa.int32()), ("s", pa.struct([("x", pa.int32())]))])
    wanted = pa.schema(
        [("n", pa.string()), ("s", pa.struct([("y", pa.bool_()), ("x", pa.int64())])), ("b", pa.int32())]
    )
    assert extend(present, wanted) == pa.schema(
        [("b", pa.int32()), ("s", pa.struct([("x", pa.int64()), ("y", pa.bool_())])), ("n", pa.string())]
    )


def test_the_whole_difference_is_in_the_refusal() -> None:
    present = pa.schema([("a", pa.int64()), ("b", pa.string()), ("m", pa.map_(pa.string(), pa.int32()))])
    wanted = pa.schema([("a", pa.int32()), ("c", pa.string()), ("m", pa.map_(pa.int32(), pa.int32()))])
    with pytest.raises(SchemaConflict) as refused:
        extend(present, wanted)
    assert refused.value.message == (
        "the schema cannot change so: removed column b (string); changed column a from int64 to int32; "
        "changed column m from map<string, int32> to map<int32, int32>"
    )
    assert "added column c (string)" in difference(present, wanted)


def test_missing_columns_stay_when_asked_for() -> None:
    present = pa.schema([("a", pa.int32()), ("b", pa.string())])
    assert extend(present, pa.schema([("a", pa.int64())]), keep_missing=True) == pa.schema(
        [("a", pa.int64()), ("b", pa.string())]
    )


PRIMITIVES = st.sampled_from(
    [pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.decimal128(9, 2), pa.decimal128(12, 2), UTC]
)
TYPES = st.recursive(
    PRIMITIVES,
    lambda inner: st.one_of(
        inner.map(lambda kind: pa.list_(pa.field("element", kind))),
        st.dictionaries(st.sampled_from("xyz"), inner, min_size=1).map(lambda fields: pa.struct(list(fields.items()))),
    ),
    max_leaves=4,
)
SCHEMAS = st.dictionaries(st.sampled_from("abcd"), TYPES).map(lambda fields: pa.schema(list(fields.items())))


@given(SCHEMAS, SCHEMAS)
def test_a_schema_that_grew_holds_both(present: Any, wanted: Any) -> None:
    try:
        grown = extend(present, wanted, keep_missing=True)
    except SchemaConflict:
        assert any(words.startswith("changed") for words in difference(present, wanted))
        return
    assert extend(grown, grown) == grown
    assert not any(words.startswith("removed") for words in difference(present, grown))
    assert not any(words.startswith(("added", "widened", "changed")) for words in difference(grown, wanted)) or any(
        words.startswith("widened") for words in difference(wanted, grown)
    )


@given(SCHEMAS)
def test_a_schema_does_not_differ_from_itself(schema: Any) -> None:
    assert difference(schema, schema) == ()
    assert extend(schema, schema) == schema

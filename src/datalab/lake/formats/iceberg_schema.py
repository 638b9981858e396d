"""Arrow and Iceberg schemas, into each other. Field ids travel as `PARQUET:field_id` metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionSpec
from pyiceberg.partitioning import PartitionField as IcebergPartition
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    YearTransform,
)
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from datalab.errors import NotSupported
from datalab.lake.formats.parquet import FIELD_ID
from datalab.lake.table import PartitionField

TRANSFORMS: dict[str, Callable[[], Transform[Any, Any]]] = {
    "identity": IdentityTransform,
    "years": YearTransform,
    "months": MonthTransform,
    "days": DayTransform,
    "hours": HourTransform,
}
_WORDS = {transform: word for word, transform in TRANSFORMS.items()}
_PRIMITIVES: dict[type[IcebergType], pa.DataType] = {
    BooleanType: pa.bool_(),
    IntegerType: pa.int32(),
    LongType: pa.int64(),
    FloatType: pa.float32(),
    DoubleType: pa.float64(),
    DateType: pa.date32(),
    TimeType: pa.time64("us"),
    TimestampType: pa.timestamp("us"),
    TimestamptzType: pa.timestamp("us", tz="UTC"),
    StringType: pa.string(),
    BinaryType: pa.binary(),
    UUIDType: pa.binary(16),
}
_FROM_ARROW = {arrow: iceberg for iceberg, arrow in _PRIMITIVES.items() if iceberg is not UUIDType}


def to_iceberg(schema: pa.Schema) -> Schema:
    """An Iceberg schema for a normalised Arrow one, with new field ids."""
    ids = count(1)
    return Schema(*[_field(field, ids) for field in schema])


def to_arrow(schema: Schema) -> pa.Schema:
    """The Arrow schema of an Iceberg one, each field with its id, nested ones too."""
    return pa.schema([_arrow_field(field) for field in schema.fields])


def partition_spec(fields: Sequence[PartitionField], schema: Schema) -> PartitionSpec:
    """The Iceberg partition spec of a table with these partition fields."""
    names = {"identity": "{}", "years": "{}_year", "months": "{}_month", "days": "{}_day", "hours": "{}_hour"}
    return PartitionSpec(
        *[
            IcebergPartition(
                source_id=schema.find_field(field.column).field_id,
                field_id=PARTITION_FIELD_ID_START + index,
                transform=TRANSFORMS[field.transform](),
                name=names[field.transform].format(field.column),
            )
            for index, field in enumerate(fields)
        ]
    )


def partition_fields(spec: PartitionSpec, schema: Schema) -> tuple[PartitionField, ...]:
    """The partition fields of a table. NotSupported for a transform that only other writers use (bucket, truncate)."""
    fields = []
    for field in spec.fields:
        word = _WORDS.get(type(field.transform))
        if word is None:
            raise NotSupported("Iceberg in DataLab", f"the partition transform {field.transform}")
        fields.append(PartitionField(schema.find_column_name(field.source_id) or field.name, word))
    return tuple(fields)


def _field(field: Any, ids: Iterator[int]) -> NestedField:
    return NestedField(next(ids), field.name, _type(field.type, ids), required=False)


def _type(kind: Any, ids: Iterator[int]) -> IcebergType:
    if kinds.is_struct(kind):
        return StructType(*[_field(child, ids) for child in kind])
    if kinds.is_list(kind):
        return ListType(next(ids), _type(kind.value_type, ids), element_required=False)
    if kinds.is_map(kind):
        key = next(ids)
        return MapType(key, _type(kind.key_type, ids), next(ids), _type(kind.item_type, ids), value_required=False)
    if kinds.is_decimal128(kind):
        return DecimalType(kind.precision, kind.scale)
    return _FROM_ARROW[kind]()


def _arrow_field(field: NestedField) -> Any:
    return pa.field(
        field.name,
        arrow_type(field.field_type),
        nullable=not field.required,
        metadata={FIELD_ID: str(field.field_id).encode()},
    )


def arrow_type(kind: IcebergType) -> pa.DataType:
    """The Arrow type of an Iceberg type."""
    if isinstance(kind, StructType):
        return pa.struct([_arrow_field(field) for field in kind.fields])
    if isinstance(kind, ListType):
        return pa.list_(_arrow_field(kind.element_field))
    if isinstance(kind, MapType):
        return pa.map_(_arrow_field(kind.key_field), _arrow_field(kind.value_field))
    if isinstance(kind, DecimalType):
        return pa.decimal128(kind.precision, kind.scale)
    if isinstance(kind, FixedType):
        return pa.binary(len(kind))
    if type(kind) not in _PRIMITIVES:
        raise NotSupported("Iceberg in DataLab", f"columns of type {kind}")
    return _PRIMITIVES[type(kind)]

"""Data files of Iceberg tables: from manifests to the lake's values, and from Parquet files to manifest entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from pyiceberg.conversions import from_bytes, to_bytes
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import (
    DateType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    PrimitiveType,
    TimestampType,
    TimestamptzType,
    TimeType,
)
from pyiceberg.utils.datetime import date_to_days, datetime_to_micros, time_to_micros

from datalab.lake.formats.iceberg_schema import to_arrow
from datalab.lake.formats.parquet import ColumnStatistics, Footer, lower_bound, read_footer, require_fit, upper_bound
from datalab.lake.table import DataFile, Marks

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.metadata import TableMetadata

_BOUND_LENGTH = 16
PATH_ID = 2147483546  # of the column `file_path` of a delete file
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_manifest(entry: IcebergFile, schema: Schema, spec: PartitionSpec, *, older: bool) -> DataFile:
    """A live file as the lake knows it; bounds are decoded when they are looked at."""
    return DataFile(
        path=entry.file_path,
        rows=entry.record_count,
        size=entry.file_size_in_bytes,
        partition=_partition(entry, schema, spec),
        lower=_Bounds(schema, entry.lower_bounds or {}),
        upper=_Bounds(schema, _reliable_upper(entry, schema)),
        nulls=_by_name(schema, entry.null_value_counts or {}),
        handle=entry,
        older=older,
    )


def _known_entry(file: DataFile) -> IcebergFile | None:
    """The entry of a file that was live before and comes back."""
    return file.handle if isinstance(file.handle, IcebergFile) else None


def to_manifest(files: Iterable[DataFile], metadata: TableMetadata, io: FileIO) -> Iterator[IcebergFile]:
    """Manifest entries for files; of a new one, sizes and bounds come from its own footer."""
    schema = metadata.schema()
    wanted = to_arrow(schema)
    for file in files:
        yield _known_entry(file) or _new_entry(file, metadata, (schema, wanted), io)


def _new_entry(file: DataFile, metadata: TableMetadata, schemas: tuple[Schema, pa.Schema], io: FileIO) -> IcebergFile:
    schema, wanted = schemas
    with io.new_input(file.path).open() as stream:
        footer = read_footer(stream)  # type: ignore[arg-type]
    require_fit(file.path, footer, wanted)
    values = [_internal(value) for value in file.partition]
    entry = IcebergFile.from_args(
        content=DataFileContent.DATA,
        file_path=file.path,
        file_format=FileFormat.PARQUET,
        partition=Record(*values),
        record_count=footer.rows,
        file_size_in_bytes=file.size,
        split_offsets=list(footer.offsets),
        **_metrics(footer, schema),
    )
    entry.spec_id = metadata.default_spec_id
    return entry


def to_deletes(marks: Marks, file: DataFile) -> IcebergFile:
    """A manifest entry for marks of a file; its bounds name that file alone, so that readers open it for no other."""
    if isinstance(marks.handle, IcebergFile):
        return marks.handle
    path = file.path.encode()
    entry = IcebergFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=marks.path,
        file_format=FileFormat.PARQUET,
        partition=file.handle.partition,
        record_count=marks.rows,
        file_size_in_bytes=marks.size,
        lower_bounds={PATH_ID: path},
        upper_bounds={PATH_ID: path},
    )
    entry.spec_id = file.handle.spec_id
    return entry


def _metrics(footer: Footer, schema: Schema) -> dict[str, Any]:
    columns = {column.field_id: column for column in footer.columns if column.field_id is not None}
    bounds = {key: _encoded(column, schema.find_type(key)) for key, column in columns.items()}
    lower = {key: pair[0] for key, pair in bounds.items() if pair[0] is not None}
    upper = {key: pair[1] for key, pair in bounds.items() if pair[1] is not None}
    return {
        "column_sizes": {key: column.size for key, column in columns.items()},
        "value_counts": {key: column.values for key, column in columns.items()},
        "null_value_counts": {key: column.nulls for key, column in columns.items() if column.nulls is not None},
        "nan_value_counts": {key: 0 for key in upper if isinstance(schema.find_type(key), FloatType | DoubleType)},
        "lower_bounds": lower,
        "upper_bounds": upper,
    }


def _encoded(column: ColumnStatistics, kind: IcebergType) -> tuple[bytes | None, bytes | None]:
    if column.lower is None or not isinstance(kind, PrimitiveType):
        return None, None
    lower, upper = lower_bound(column.lower, _BOUND_LENGTH), upper_bound(column.upper, _BOUND_LENGTH)
    return to_bytes(kind, lower), None if upper is None else to_bytes(kind, upper)


def _reliable_upper(entry: IcebergFile, schema: Schema) -> Mapping[int, bytes]:
    # Bounds pass over NaN, which sorts after every number: without a count of them the upper one says nothing.
    counts = entry.nan_value_counts or {}
    upper = entry.upper_bounds or {}
    floating = {field.field_id for field in schema.fields if isinstance(field.field_type, FloatType | DoubleType)}
    return {key: value for key, value in upper.items() if key not in floating or counts.get(key) == 0}


@dataclass(frozen=True)
class _Bounds(Mapping[str, Any]):
    schema: Schema
    encoded: Mapping[int, bytes]

    def __getitem__(self, name: str) -> Any:
        for field in self.schema.fields:
            if field.name == name and field.field_id in self.encoded:
                return _decoded(field.field_type, self.encoded[field.field_id])
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_by_name(self.schema, self.encoded))

    def __len__(self) -> int:
        return len(_by_name(self.schema, self.encoded))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _by_name(schema: Schema, values: Mapping[int, Any]) -> dict[str, Any]:
    return {field.name: values[field.field_id] for field in schema.fields if field.field_id in values}


def _decoded(kind: IcebergType, value: bytes) -> Any:
    # A file written before its column was widened holds a bound of the narrow type.
    if isinstance(kind, LongType) and len(value) == 4:
        return from_bytes(IntegerType(), value)
    if isinstance(kind, DoubleType) and len(value) == 4:
        return from_bytes(FloatType(), value)
    return _external(kind, from_bytes(kind, value))  # type: ignore[arg-type]


def _partition(entry: IcebergFile, schema: Schema, spec: PartitionSpec) -> tuple[Any, ...]:
    values = [entry.partition[index] for index in range(len(spec.fields))]
    return tuple(_external(_source_type(schema, spec, index), value) for index, value in enumerate(values))


def _source_type(schema: Schema, spec: PartitionSpec, index: int) -> IcebergType:
    field = spec.fields[index]
    # Years, months, days and hours are plain numbers since 1970 in the lake, whatever Iceberg calls their type.
    return schema.find_type(field.source_id) if isinstance(field.transform, IdentityTransform) else IntegerType()


def _external(kind: IcebergType, value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if isinstance(kind, DateType):
        return _EPOCH.date() + timedelta(days=value)
    if isinstance(kind, TimestamptzType):
        return _EPOCH + timedelta(microseconds=value)
    if isinstance(kind, TimestampType):
        return _EPOCH.replace(tzinfo=None) + timedelta(microseconds=value)
    if isinstance(kind, TimeType):
        return (_EPOCH + timedelta(microseconds=value)).time()
    return value


def _internal(value: Any) -> Any:
    if isinstance(value, datetime):
        return datetime_to_micros(value)
    if isinstance(value, date):
        return date_to_days(value)
    if isinstance(value, time):
        return time_to_micros(value)
    return value

"""Avro schema resolution: can records of a writer's schema be read under the contract, and if not, why not."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from datalab.ingest.avro_schema import MISSING, NANOS, AvroType, Field

PROMOTIONS: Mapping[str, Collection[str]] = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def source_of(wanted: Field, record: AvroType) -> Field | None:
    """The writer's field that feeds a field of the contract: by name, else by alias."""
    by_name = {each.name: each for each in record.fields}
    name = name_of(wanted, by_name)
    return None if name is None else by_name[name]


def name_of(wanted: Field, names: Collection[str]) -> str | None:
    """The name, of those that a source has, that feeds a field of the contract: its own, else the first alias."""
    return next((name for name in (wanted.name, *wanted.aliases) if name in names), None)


def feeds(record: AvroType, names: Collection[str]) -> dict[str, str]:
    """The names of a source that feed fields of the contract -> those fields. All others are not in the contract."""
    return {name: each.name for each in record.fields if (name := name_of(each, names)) is not None}


def differences(writer: AvroType, reader: AvroType, path: str = "") -> tuple[str, ...]:
    """What keeps the writer's records from being read as the contract's, in words; nothing where they can be.

    Nullability is not compared: a null where the contract forbids it is the fault of one record. A field that the
    contract does not know is a difference, for bronze keeps records as they came.
    """
    if writer.kind == reader.kind == "record":
        return _records(writer, reader, path)
    if writer.kind == reader.kind and writer.kind in ("array", "map"):
        return differences(writer.element, reader.element, f"{path}[]")
    same = writer.kind == reader.kind or reader.kind in PROMOTIONS.get(writer.kind, ())
    if not same or not _same_detail(writer, reader):
        return (f"{path}: {writer} in the file, {reader} in the contract",)
    return ()


def _records(writer: AvroType, reader: AvroType, path: str) -> tuple[str, ...]:
    found: list[str] = []
    used: set[str] = set()
    for wanted in reader.fields:
        inner = f"{path}.{wanted.name}" if path else wanted.name
        source = source_of(wanted, writer)
        if source is not None:
            used.add(source.name)
            found.extend(differences(source.type, wanted.type, inner))
        elif wanted.default is MISSING:
            found.append(f"{inner}: missing in the file, and without a default in the contract")
    surplus = (each.name for each in writer.fields if each.name not in used)
    found.extend(f"{path}.{name}: not in the contract" if path else f"{name}: not in the contract" for name in surplus)
    return tuple(found)


def _same_detail(writer: AvroType, reader: AvroType) -> bool:
    if writer.kind == "fixed" and writer.size != reader.size:
        return False
    if "decimal" in (writer.logical, reader.logical):
        return not writer.logical or (writer.logical, writer.precision, writer.scale) == (
            reader.logical,
            reader.precision,
            reader.scale,
        )
    if writer.logical == NANOS:
        return not reader.logical
    timestamps = writer.logical.startswith("timestamp") and reader.logical.startswith("timestamp")
    return timestamps or not writer.logical or not reader.logical or writer.logical == reader.logical

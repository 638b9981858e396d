"""What all records of one writer's schema share: how their bytes are framed for polars, and what to expect of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa

from datalab.ingest.avro_schema import AvroType, fingerprint, load_json, min_size, parse_schema
from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode.avro_binary import Read, reader_of
from datalab.ingest.decode.avro_borders import Borders
from datalab.ingest.decode.avro_columns import has_columns
from datalab.ingest.decode.avro_native import Walker, walker_of
from datalab.ingest.decode.container import write_long
from datalab.ingest.decode.wire import wire_schema, wire_type
from datalab.ingest.resolution import differences

SYNC = bytes(16)
HEAD = "__head"  # no schema can name a field so and have it in the lake


@dataclass(frozen=True)
class Form:
    """A writer's schema, parsed once for all files and messages that were written with it.

    `head` is how many bytes stand before each record, as messages have them; they are read over.
    """

    document: Any
    writer: AvroType
    head: int = 0

    @cached_property
    def schema_id(self) -> str:
        """The schema's fingerprint."""
        return fingerprint(self.document)

    @cached_property
    def smallest(self) -> int:
        """The fewest bytes of a record."""
        return min_size(self.writer)

    @cached_property
    def flat(self) -> bool:
        """Whether each field of a record holds one value at most."""
        return has_columns(self.writer)

    @cached_property
    def walker(self) -> Walker | None:
        """What decodes its records in C, where that can be done."""
        return walker_of(self.writer)

    @cached_property
    def borders(self) -> Borders:
        """What is known of the borders of its records."""
        return Borders()

    @cached_property
    def wire(self) -> Any:
        """The schema that decodes the same bytes without trust."""
        return wire_schema(self.writer)

    @cached_property
    def kind(self) -> pa.DataType:
        """The Arrow type of records decoded by it."""
        return wire_type(self.writer)

    @cached_property
    def strict(self) -> Read:
        """Reads one record, without trust."""
        return reader_of(self.writer)

    @cached_property
    def lenient(self) -> Read:
        """Reads one record that polars has read already, to know where it ends."""
        return reader_of(self.writer, lenient=True)

    @cached_property
    def prefix(self) -> bytes:
        """The header of a container in memory, up to its first block."""
        wire = self.wire
        if self.head:
            head = {"name": HEAD, "type": {"type": "fixed", "name": HEAD, "size": self.head}}
            wire = {**wire, "fields": [head, *wire["fields"]]}
        text = json.dumps(wire, separators=(",", ":")).encode()
        pairs = ((b"avro.schema", text), (b"avro.codec", b"null"))
        entries = b"".join(write_long(len(part)) + part for pair in pairs for part in pair)
        return b"Obj\x01" + write_long(2) + entries + write_long(0) + SYNC


@lru_cache(maxsize=64)
def form_of(text: bytes) -> Form:
    """The form of a schema as it stands in a header or a registry. SchemaProblem."""
    document = load_json(text)
    return Form(document, parse_schema(document, strict=False))


@lru_cache(maxsize=64)
def misfits(text: bytes, contract: str) -> tuple[str, ...]:
    """What keeps records of a writer's schema from being read under a contract (its text); nothing if they can be."""
    form = form_of(text)
    wrong = differences(form.writer, parse_contract(contract).record)
    return wrong or (() if form.smallest else ("records of this schema take no bytes",))

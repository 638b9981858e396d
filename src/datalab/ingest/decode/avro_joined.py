"""Small Avro files of one writer's schema as one: where all are sound they cost little more than their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datalab.ingest.avro_schema import SchemaProblem
from datalab.ingest.contracts import Contract
from datalab.ingest.decode.avro_form import form_of, misfits
from datalab.ingest.decode.avro_run import Body, decode_run
from datalab.ingest.decode.container import Unreadable, decompress, read_header, walk
from datalab.ingest.decode.parts import Part
from datalab.ingest.limits import Limits


@dataclass(frozen=True)
class Sound:
    """A file whose blocks are framed as they should be: its schema, their plain bytes, the records they declare."""

    schema: bytes
    bodies: tuple[Body, ...]
    records: int


def sound(data: memoryview, contract: Contract, limits: Limits) -> Sound | None:
    """The file's blocks, or None where anything is amiss that can be told without decoding records."""
    try:
        header = read_header(data)
        if misfits(header.schema, contract.text):
            return None
        smallest = form_of(header.schema).smallest
        bodies, row = list[Body](), 0
        for block in walk(data, header):
            plain = decompress(header.codec, data[block.start : block.stop], limits.block_bytes)
            if block.problem or block.count > len(plain) // smallest or (plain and not block.count):
                return None
            if block.count:
                bodies.append(Body(plain, row, block.count))
                row += block.count
    except (Unreadable, SchemaProblem):
        return None
    return Sound(header.schema, tuple(bodies), row)


def decode_joined(files: Sequence[Sound], contract: Contract) -> Part | None:
    """All records of files of the same schema, numbered through; None where any of them is not good."""
    bodies, row = list[Body](), 0
    for each in files:
        for body in each.bodies:
            bodies.append(Body(body.plain, row, body.count))
            row += body.count
    if not bodies:
        return Part()
    parts = list(decode_run(form_of(files[0].schema), contract.record, bodies))
    return parts[0] if len(parts) == 1 and not parts[0].rejects and parts[0].accepted == row else None

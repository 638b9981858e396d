"""Messages in the registry's wire format: a magic byte, four bytes of schema id, one Avro record; many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pyarrow as pa

from datalab.ingest.avro_schema import SchemaProblem
from datalab.ingest.contracts import Contract
from datalab.ingest.decode.avro_form import Form, form_of, misfits
from datalab.ingest.decode.avro_run import decode_records
from datalab.ingest.decode.framing import HEAD, NO_SCHEMA, Ids, Schemas, distinct
from datalab.ingest.decode.parts import Part
from datalab.ingest.reasons import Reason, Reject


def decode_messages(values: pa.LargeBinaryArray, schemas: Schemas, contract: Contract) -> Iterator[Part]:
    """Accepted records and rejects; their numbers are indexes of `values`."""
    for schema_id, rows in distinct(values).items():
        if schema_id == NO_SCHEMA:
            yield _all_refused(values, rows, "", None)
        elif schema_id not in schemas.texts:
            words = schemas.missing.get(schema_id, "unknown")
            yield _all_refused(values, rows, str(schema_id), (Reason.UNKNOWN_SCHEMA, f"schema {schema_id}: {words}"))
        elif wrong := _wrong(schemas.texts[schema_id], contract):
            refusal = (Reason.SCHEMA_MISMATCH, f"schema {schema_id}: {wrong}")
            yield _all_refused(values, rows, str(schema_id), refusal)
        else:
            chosen = values if len(rows) == len(values) else values.take(pa.array(rows))
            yield from _decoded(chosen, rows, (_form(schemas.texts[schema_id]), schema_id), contract)


@lru_cache(maxsize=64)
def _form(text: bytes) -> Form:
    return replace(form_of(text), head=HEAD)


def _wrong(text: bytes, contract: Contract) -> str:
    try:
        return "; ".join(misfits(text, contract.text))
    except SchemaProblem as problem:
        return f"it cannot be used: {problem}"


def _decoded(values: pa.LargeBinaryArray, rows: Ids, written: tuple[Form, int], contract: Contract) -> Iterator[Part]:
    """Messages of one schema: all at once, and where that does not work, in as few pieces as it takes."""
    form, schema_id = written
    _, offsets, data = values.buffers()
    starts = np.frombuffer(offsets, dtype=np.int64)[values.offset : values.offset + len(values) + 1]
    for part in decode_records(form, contract.record, memoryview(data), starts):
        named = tuple(
            _positioned(reject, int(rows[reject.row]), values[reject.row].as_py(), str(schema_id))
            for reject in part.rejects
        )
        yield Part(part.records, None if part.rows is None else rows[part.rows], named)


def _positioned(reject: Reject, row: int, raw: bytes, schema_id: str) -> Reject:
    made = Reject.of(row, reject.reason, reject.detail, raw)
    return replace(made, schema_id=schema_id)


def _all_refused(
    values: pa.LargeBinaryArray, rows: Sequence[int] | Ids, schema_id: str, refusal: tuple[Reason, str] | None
) -> Part:
    rejects = []
    for row in (int(row) for row in rows):
        raw = values[row].as_py()
        tombstone = (Reason.TOMBSTONE, "a message without a value")
        unframed = (Reason.CORRUPT_RECORD, "not in the registry's wire format")
        reason, detail = refusal or (tombstone if raw is None else unframed)
        rejects.append(replace(Reject.of(row, reason, detail, raw or b""), schema_id=schema_id))
    return Part(rejects=tuple(rejects))

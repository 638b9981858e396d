"""Messages of topics for tests: a schema with a field of every kind, and what becomes of each message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from datalab.ingest.contracts import Contract
from datalab.ingest.decode.avro_columns import PADDING
from datalab.ingest.decode.framing import Schemas
from datalab.ingest.decode.messages import decode_messages

PEDIDO: dict[str, Any] = {
    "type": "record",
    "name": "pedido",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "n", "type": ["null", "long"]},
        {"name": "v", "type": "double"},
        {"name": "ok", "type": "boolean"},
        {"name": "tipo", "type": {"type": "enum", "name": "tipo", "symbols": ["A", "B"]}},
        {"name": "notas", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "m", "type": {"type": "map", "values": "int"}},
        {
            "name": "local",
            "type": ["null", {"type": "record", "name": "l", "fields": [{"name": "uf", "type": "string"}]}],
        },
    ],
}


def decoded(
    values: Sequence[bytes | None], schemas: Schemas, contract: Contract, behind: bytes = b""
) -> tuple[dict[int, Any], dict[int, Any]]:
    """The records and the rejects by the number of their message; each message is one of them.

    They are the same where other bytes follow the last message (`behind`, each repeated), as in batches of a topic.
    """
    array = pa.array(values, pa.large_binary())
    found = _decoded(array, schemas, contract)
    for byte in behind:
        assert repr(_decoded(_followed(array, bytes([byte]) * PADDING), schemas, contract)) == repr(found)
    return found


def _followed(array: pa.LargeBinaryArray, room: bytes) -> pa.LargeBinaryArray:
    present, ends, data = array.buffers()
    held = pa.py_buffer((data.to_pybytes() if data else b"") + room)
    return pa.Array.from_buffers(array.type, len(array), [present, ends, held])


def _decoded(
    values: pa.LargeBinaryArray, schemas: Schemas, contract: Contract
) -> tuple[dict[int, Any], dict[int, Any]]:
    accepted: dict[int, Any] = {}
    rejects: dict[int, Any] = {}
    for part in decode_messages(values, schemas, contract):
        if part.records is not None and part.rows is not None:
            accepted.update(zip(part.rows.tolist(), part.records.to_pylist(), strict=True))
        rejects.update({reject.row: reject for reject in part.rejects})
    assert sorted([*accepted, *rejects]) == list(range(len(values)))
    return accepted, rejects

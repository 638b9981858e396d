"""`POST /v1/ingest/{source}`: records on disk before they are acknowledged, in bronze with the next run."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from pydantic_core import from_json, to_json

from datalab.errors import IdempotencyConflict, StorageFull
from datalab.ingest.push.log import PushLog, Receipt
from datalab.serving.app import Extension
from datalab.serving.guard import CALL, Call
from datalab.serving.openapi import problem_responses
from datalab.serving.policy import Policy
from datalab.serving.problems import Problem

PATH = "/v1/ingest/{source}"
_AVRO = (b"application/avro", b"avro/binary", b"application/vnd.apache.avro")
_LINES = (b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines")
_JSON = b"application/json"
_MAGIC = b"Obj\x01"
_LONGEST_KEY = 200
POLICY = Policy("ingest", "batch", (*_LINES, _JSON, *_AVRO))


class Accepted(BaseModel):
    """Where the records are until the next run takes them in: the file, and the number of the first in it."""

    source: str
    records: int | None = Field(description="How many; null for an Avro file, whose records are counted later.")
    file: str
    row: int
    repeated: bool = Field(description="The same request had come before; nothing was stored again.")


def push_routes(logs: Mapping[str, PushLog]) -> Extension:
    """The route and its policy, for the sources that take pushed records."""
    router = APIRouter()

    @router.post(
        PATH,
        status_code=202,
        summary="Send records of a source.",
        response_class=Response,
        response_model=None,
        responses={202: {"description": "On disk", "model": Accepted}, **problem_responses(POLICY)},
        openapi_extra={"requestBody": _request_body(), "parameters": [_KEY_HEADER]},
    )
    async def push(source: str, request: Request) -> Response:
        call: Call = request.scope[CALL]
        log = logs.get(source)
        if log is None:
            raise Problem("not_found", "no source of that name takes pushed records")
        media = request.headers["content-type"].partition(";")[0].strip().lower().encode("latin-1")
        receipt = await _stored(log, call.body, media, _scoped_key(request, call))
        records = receipt.rows or None
        answer = {"source": source, "records": records, "file": receipt.file, "row": receipt.row}
        return Response(to_json({**answer, "repeated": receipt.repeated}), 202, media_type="application/json")

    return Extension(router, {("POST", PATH): POLICY})


async def _stored(log: PushLog, body: bytes, media: bytes, key: str) -> Receipt:
    try:
        if media in _AVRO:
            if not body.startswith(_MAGIC):
                raise Problem("invalid", "not an Avro object container file")
            return await asyncio.to_thread(log.put, body, 0, ".avro", key)
        lines = _lines(body, media)
        return await asyncio.to_thread(log.append, b"".join(lines), len(lines), key)
    except IdempotencyConflict as error:
        raise Problem("key_reused") from error
    except (StorageFull, OSError) as error:
        raise Problem("not_stored") from error


def _lines(body: bytes, media: bytes) -> list[bytes]:
    """One record a line, blank lines left out. A single JSON object may be spread over several.

    A byte order mark would be skipped at the beginning of a file, and be a fault where others' records come before it.
    """
    body = body.removeprefix(BOM_UTF8)
    if media == _JSON and (b"\n" in body.strip() or body.lstrip().startswith(b"[")):
        body = _on_one_line(body)
    found = [line + b"\n" for line in body.split(b"\n") if line.strip()]
    if not found:
        raise Problem("invalid", "no records")
    return found


def _on_one_line(body: bytes) -> bytes:
    """A document in one piece holds line feeds only between its parts: texts write them as backslash n."""
    try:
        document = from_json(body)
    except ValueError:
        return body  # several documents: lines
    if isinstance(document, dict):
        return body.replace(b"\r", b" ").replace(b"\n", b" ")
    raise Problem("invalid", "send one object, or JSON lines: one object a line")


def _scoped_key(request: Request, call: Call) -> str:
    """One caller's keys do not meet another's."""
    given = request.headers.get("idempotency-key", "")
    if len(given) > _LONGEST_KEY or not given.isprintable():
        raise Problem("invalid", f"Idempotency-Key: at most {_LONGEST_KEY} printable characters")
    caller = call.key.id if call.key is not None else ""
    return f"{caller}:{given}" if given else ""


_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request again, within a day, is answered as before and not stored twice.",
    "schema": {"type": "string", "maxLength": _LONGEST_KEY},
}


def _request_body() -> dict[str, Any]:
    text = {"schema": {"type": "string"}, "example": '{"id": "1"}\n{"id": "2"}\n'}
    binary = {"schema": {"type": "string", "format": "binary"}}
    kinds = {media.decode(): text for media in _LINES} | {_JSON.decode(): {"schema": {"type": "object"}}}
    return {"required": True, "content": {**kinds, **{media.decode(): binary for media in _AVRO}}}

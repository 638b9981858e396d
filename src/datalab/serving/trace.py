"""`GET /v1/scores/{score_id}/trace`: where a score came from. Another process looks, so that this one stays light."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from datalab.serving.app import Extension
from datalab.serving.openapi import problem_responses
from datalab.serving.policy import Policy
from datalab.serving.problems import KINDS, Problem
from datalab.serving.score_id import ScoreIds

PATH = "/v1/scores/{score_id}/trace"
POLICY = Policy("read")
_NOT_FOUND = 4
_MOST_WAITING = 16

Tracer = Callable[[str], Awaitable[bytes]]


class Trace(BaseModel):
    """A score down to the records of its sources, as `datalab trace SCORE_ID --json` tells it."""

    score_id: str
    values: dict[str, Any] = Field(description="The score's record: request, probability, decision, reasons.")
    model: dict[str, Any] = Field(description="The version, its history, and the training set with its snapshots.")
    features: list[dict[str, Any]] = Field(description="Per view the row that was used, and all that is below it.")
    note: str


def trace_routes(ids: ScoreIds, tracer: Tracer) -> Extension:
    """The route and its policy. Only ids that this project gave out are looked for."""
    router = APIRouter()
    kinds = ("not_found", "unavailable")
    problems: dict[int | str, Any] = {KINDS[kind][0]: {"description": KINDS[kind][1]} for kind in kinds}

    @router.get(
        PATH,
        summary="Where a score came from.",
        response_class=Response,
        response_model=None,
        responses={200: {"description": "OK", "model": Trace}, **problems, **problem_responses(POLICY)},
    )
    async def trace(score_id: str) -> Response:
        if ids.decision(score_id) is None:
            raise Problem("not_found", "there is no such score")
        return Response(await tracer(score_id), media_type="application/json")

    return Extension(router, {("GET", PATH): POLICY})


class TraceProcess:
    """Runs a command with the score's id behind it, one at a time; answers what it prints."""

    def __init__(self, command: Sequence[str], seconds: float) -> None:
        self._command = command
        self._seconds = seconds
        self._waiting = 0
        self._turn = asyncio.Lock()

    async def __call__(self, score_id: str) -> bytes:
        """The trace as JSON. Problem: no such score, too many are asked for, or it cannot be told now."""
        if self._waiting >= _MOST_WAITING:
            raise Problem("unavailable", "too many traces are asked for", headers=((b"retry-after", b"5"),))
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds), self._turn:
                return await self._asked(score_id)
        except TimeoutError:
            raise Problem("unavailable", "the trace took too long") from None
        finally:
            self._waiting -= 1

    async def _asked(self, score_id: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *self._command, score_id, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        try:
            out, told = await process.communicate()
        finally:
            await _ended(process)
        if process.returncode == _NOT_FOUND:
            raise Problem("not_found", "there is no such score")
        if process.returncode:
            raise Problem("unavailable", _kind(told))
        return out


async def _ended(process: Process) -> None:
    """A process that is not waited for any more is ended."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _kind(told: bytes) -> str:
    """The kind of the error that the command told; its words may hold values."""
    try:
        return f"the trace failed: {json.loads(told.splitlines()[-1])['error']['type']}"
    except (ValueError, LookupError, TypeError):
        return "the trace failed"

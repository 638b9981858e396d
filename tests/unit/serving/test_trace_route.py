"""`GET /v1/scores/{id}/trace`: who may ask, for which scores, and what is answered."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.serving.conftest import Served

from datalab.serving.problems import Problem
from datalab.serving.trace import TraceProcess


def test_a_score_that_is_still_in_the_log_is_traced(served: Served) -> None:
    async def asked() -> tuple[int, dict[str, Any], int]:
        score = await served.score()
        path = f"/v1/scores/{score['id_score']}/trace"
        async with served.client("read") as client:
            answer = await client.get(path)
        async with served.client("score") as client:
            refused = await client.get(path)
        return answer.status_code, answer.json(), refused.status_code

    status, trace, refused = asyncio.run(asked())
    assert status == 200, trace
    assert refused == 403
    assert trace["note"] == "not in the lake yet: read from the server's own log (datalab flush)"
    assert trace["model"]["version"] == 1
    (used,) = (each for each in trace["features"] if each["view"] == "proponente")
    assert (used["entity"], used["note"]) == ({"proponente_id": "proponente_1"}, "there is no table gold.proponente")


def test_only_ids_that_were_given_out_start_a_process(serve: Callable[..., Served], monkeypatch) -> None:
    monkeypatch.setattr(TraceProcess, "_asked", None)
    served = serve()

    async def asked(score_id: str) -> int:
        async with served.client("read") as client:
            return (await client.get(f"/v1/scores/{score_id}/trace")).status_code

    for score_id in ("x", "0" * 24 + "-a-" + "0" * 16, "--help"):
        assert asyncio.run(asked(score_id)) == 404


@pytest.mark.parametrize(
    ("code", "kind", "detail"),
    [
        ("import sys; sys.exit(4)", "not_found", "there is no such score"),
        ("import sys; sys.stderr.write('{\"error\": {\"type\": \"LakeError\"}}'); sys.exit(8)", "unavailable",
         "the trace failed: LakeError"),
        ("import sys; sys.exit(1)", "unavailable", "the trace failed"),
        ("import time; time.sleep(60)", "unavailable", "the trace took too long"),
    ],
)  # fmt: skip
def test_what_the_command_answers_becomes_a_problem(code: str, kind: str, detail: str) -> None:
    with pytest.raises(Problem) as problem:
        asyncio.run(TraceProcess([sys.executable, "-c", code], seconds=2)("s-1"))
    assert (problem.value.kind, problem.value.detail) == (kind, detail)


def test_traces_wait_for_their_turn_and_too_many_are_refused() -> None:
    command = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1]))"]

    async def many() -> list[object]:
        ask = TraceProcess(command, seconds=60)
        return await asyncio.gather(*(ask(str(n)) for n in range(20)), return_exceptions=True)

    answers = asyncio.run(many())
    assert [json.loads(each) for each in answers if isinstance(each, bytes)] == [str(n) for n in range(16)]
    assert [each.kind for each in answers if isinstance(each, Problem)] == ["unavailable"] * 4

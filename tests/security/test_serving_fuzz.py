"""Requests made up from the API's own schema, and from its opposite: no server error, nothing undeclared.

FUZZ_CASES asks for more cases than a desk has time for: `FUZZ_CASES=2000 pytest tests/security/test_serving_fuzz.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from tests.unit.serving.conftest import serve, serving_project

QUICK, FULL = 300, 50_000
CASES_PER_EXAMPLE = 8  # of nine operations, three take bodies, sound and unsound ones
REVIEW = "/v1/scores/{score_id}/review"
__all__ = ["serve", "serving_project"]


def test_answers_are_as_declared(serve):
    cases = int(os.environ.get("FUZZ_CASES", QUICK))
    counts = fuzz(serve(rate=1_000_000, burst=1_000_000), cases)
    assert sum(counts.values()) >= 0.8 * cases
    assert {200, 201, 401, 404, 422} <= {status for _, status in counts}


@pytest.mark.full
@pytest.mark.timeout(0)
def test_many_answers_are_as_declared(serve):
    assert sum(fuzz(serve(rate=1_000_000, burst=1_000_000), FULL).values()) >= 0.8 * FULL


def fuzz(served: Any, cases: int) -> Counter[tuple[str, int]]:
    """Every check of schemathesis on every operation; answers how often each operation gave each status."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", served.app)
    counts: Counter[tuple[str, int]] = Counter()
    genuine = asyncio.run(served.score())["id_score"]
    for result in schema.get_all_operations():
        operation = result.ok()
        modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if operation.method == "post" else [])]
        for mode in modes:
            known = genuine if mode is GenerationMode.POSITIVE and operation.path == REVIEW else None
            _check(operation, mode, cases // CASES_PER_EXAMPLE, known, (served.keys["admin"], counts))
    return counts


def _check(operation: Any, mode: Any, examples: int, known: str | None, told: tuple[str, Counter[Any]]) -> None:
    key, counts = told

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        if known is not None:
            case.path_parameters = {"score_id": known}
        response = case.call_and_validate(headers={"Authorization": f"Bearer {key}"})
        counts[operation.path, response.status_code] += 1

    check()

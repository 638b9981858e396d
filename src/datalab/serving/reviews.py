"""What a person decided about a score that asked for a manual review."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from datalab.errors import ScoreLogFailed
from datalab.serving.log import RecordLog
from datalab.serving.problems import Problem
from datalab.serving.request_form import RequestForm
from datalab.serving.score_id import ScoreIds

FORM = RequestForm(
    (
        {"name": "resultado", "type": "string", "enum": ["APROVADO", "NEGADO"], "description": "O que foi decidido."},
        {
            "name": "revisor",
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "description": "Quem decidiu.",
            "example": "analista-7",
        },
        {
            "name": "nota",
            "type": "string",
            "maxLength": 2000,
            "optional": True,
            "description": "Por quê.",
            "example": "renda comprovada por documentos",
        },
    ),
    batch_rows=1,
)


class Reviewer:
    """Records the outcome of reviews; of several for one score the newest counts."""

    def __init__(self, ids: ScoreIds, log: RecordLog) -> None:
        self._ids = ids
        self._log = log

    async def review(self, score_id: str, body: bytes, key_id: str) -> dict[str, Any]:
        """Record a review; Problem where there is no such score, or it asks for none."""
        decision = self._ids.decision(score_id)
        if decision is None:
            raise Problem("not_found", "there is no such score")
        if decision != "REVISAO_MANUAL":
            raise Problem("not_reviewable", f"this score was {decision}")
        row = FORM.read(body)
        record = {
            "score_id": score_id,
            "reviewed_at": datetime.now(UTC),
            "reviewer": row["revisor"],
            "outcome": row["resultado"],
            "note": row.get("nota"),
            "key_id": key_id,
        }
        try:
            self._log.append(to_json(record) + b"\n")
            await self._log.settled()
        except ScoreLogFailed as error:
            raise Problem("not_recorded") from error
        return {"id_score": score_id, "resultado": row["resultado"], "momento": record["reviewed_at"]}

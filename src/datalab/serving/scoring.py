"""Scoring: features, model, decision, reasons, record, answer. The same code behind the API and the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from datalab.errors import ScoreLogFailed
from datalab.serving.feature_reader import FeatureReader
from datalab.serving.log import RecordLog
from datalab.serving.lookup import Features, LookupPlan
from datalab.serving.model import LiveModel, ModelFailed, Verdict
from datalab.serving.problems import Problem
from datalab.serving.score_id import ScoreIds

WORDS = {
    "unknown_entity": "não há dados de {views}: pontuado com o pedido e o que há da região",
    "lookup_failed": "os dados de {views} não puderam ser lidos: pontuado só com o pedido",
    "lookup_slow": "os dados de {views} não chegaram a tempo: pontuado só com o pedido",
}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, since when (`time.perf_counter()`), and whether the live model is known to be stale."""

    key_id: str
    started: float
    stale: bool = False


class Scorer:
    """Answers requests for a model. What it answers is in the log before it returns."""

    def __init__(self, reader: FeatureReader, ids: ScoreIds, log: RecordLog) -> None:
        self._reader = reader
        self._ids = ids
        self._log = log

    async def score(self, model: LiveModel, row: Row, caller: Caller) -> dict[str, Any]:
        """One answer. Problem where it cannot be given or recorded."""
        (answer,) = await self._scored(model, [row], caller, in_thread=False)
        return answer

    async def score_many(self, model: LiveModel, rows: Sequence[Row], caller: Caller) -> list[dict[str, Any]]:
        """An answer for each row, in order; all are recorded or none is answered."""
        return await self._scored(model, rows, caller, in_thread=True)

    async def _scored(
        self, model: LiveModel, rows: Sequence[Row], caller: Caller, *, in_thread: bool
    ) -> list[dict[str, Any]]:
        found = await self._reader.read(model.plan, rows)
        try:
            if in_thread:
                answers = await asyncio.to_thread(self._judged, model, rows, found, caller)
            else:
                answers = self._judged(model, rows, found, caller)
            await self._log.settled()
        except ScoreLogFailed as error:
            raise Problem("not_recorded") from error
        except ModelFailed as error:
            raise Problem("internal", "the model failed at this request") from error
        return answers

    def _judged(
        self, model: LiveModel, rows: Sequence[Row], found: Sequence[Features], caller: Caller
    ) -> list[dict[str, Any]]:
        inputs = [model.vector.raw(row, each.values) for row, each in zip(rows, found, strict=True)]
        now = datetime.now(UTC)
        answers, lines = [], []
        judged = [model.judge(inputs[0])] if len(rows) == 1 else model.judge_many(inputs)
        for row, each, values, verdict in zip(rows, found, inputs, judged, strict=True):
            answer = self._answer(model, row, each, verdict, caller, now)
            answers.append(answer)
            record = self._record(model, row, each, values, answer, caller)
            lines.append(to_json(record, inf_nan_mode="null", fallback=str))
        lines.append(b"")
        self._log.append(b"\n".join(lines))
        return answers

    def _answer(
        self,
        model: LiveModel,
        row: Row,
        features: Features,
        verdict: Verdict,
        caller: Caller,
        now: datetime,
    ) -> dict[str, Any]:
        probability, reasons = verdict
        decision, rules = model.decisions.decide(probability, row)
        degraded = features.degraded
        return {
            "id_score": self._ids.new(decision),
            "score": model.decisions.score(probability),
            "probabilidade_inadimplencia": probability,
            "decisao": decision,
            "razoes": reasons,
            "regras": [{"nome": rule.name, "texto": rule.text, "decisao_minima": rule.at_least} for rule in rules],
            "modelo": {"nome": model.name, "versao": model.version, "desatualizado": caller.stale},
            "momento": now,
            "features": {
                view: None if stored is None else {"momento": stored.timestamp, "snapshot": str(stored.snapshot)}
                for view, stored in features.stored.items()
            },
            "degradacao": None
            if degraded is None
            else {
                "motivo": degraded.reason,
                "views": degraded.views,
                "texto": WORDS[degraded.reason].format(views=", ".join(degraded.views)),
            },
        }

    def _record(
        self,
        model: LiveModel,
        row: Row,
        features: Features,
        values: list[Any],
        answer: Mapping[str, Any],
        caller: Caller,
    ) -> dict[str, Any]:
        degraded = features.degraded
        return {
            "score_id": answer["id_score"],
            "scored_at": answer["momento"],
            "model": model.name,
            "model_version": model.version,
            "entity": _entity(model.plan, features),
            "request": row,
            "features": {name: self._source(model.plan, features, name) for name in features.stored},
            "inputs": {part.name: value for part, value in zip(model.vector.inputs, values, strict=True)},
            "probability": answer["probabilidade_inadimplencia"],
            "score": answer["score"],
            "decision": answer["decisao"],
            "reasons": [*answer["razoes"], *answer["regras"]],
            "degraded": None if degraded is None else f"{degraded.reason}: {', '.join(degraded.views)}",
            "latency_ms": round((time.perf_counter() - caller.started) * 1000, 3),
            "key_id": caller.key_id,
        }

    def _source(self, plan: LookupPlan, features: Features, name: str) -> dict[str, Any] | None:
        stored, view = features.stored[name], plan.views[name]
        if stored is None:
            return None
        return {
            "table": stored.table,
            "snapshot": stored.snapshot,
            "timestamp": stored.timestamp,
            "entity": dict(zip(self._reader.columns(view), features.entities[name], strict=True)),
            "values": {feature: stored.values.get(feature) for feature in view.used},
        }


def _entity(plan: LookupPlan, features: Features) -> list[Any]:
    """The entity that the request is about: that of the first view that it names by itself."""
    first = plan.stages[0][0].name if plan.stages else ""
    return list(features.entities.get(first, ()))

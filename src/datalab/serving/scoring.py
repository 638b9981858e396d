"""Scoring: features, model, decision, reasons, record, answer. The same code behind the API and the command line."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic_core import to_json

from datalab.errors import ScoreLogFailed
from datalab.serving.feature_reader import FeatureReader
from datalab.serving.log import RecordLog
from datalab.serving.lookup import Features, Known, LookupPlan
from datalab.serving.model import LiveModel, ModelFailed, Verdict
from datalab.serving.problems import Problem
from datalab.serving.score_id import ScoreIds
from datalab.serving.sources import Said, Sources

WORDS = {
    "unknown_entity": "não há dados de {views}: pontuado com o pedido e o que há da região",
    "lookup_failed": "os dados de {views} não puderam ser lidos: pontuado só com o pedido",
    "lookup_slow": "os dados de {views} não chegaram a tempo: pontuado só com o pedido",
}
Row = Mapping[str, Any]
Scored = dict[str, Any] | Problem
_PART = 500


class Caller(NamedTuple):
    """Who asks, since when (`time.perf_counter()`), and whether the live model is known to be stale."""

    key_id: str
    started: float
    stale: bool = False


class Begun(NamedTuple):
    """Rows whose verdicts are on their way."""

    rows: Sequence[Row]
    found: Sequence[Features]
    inputs: Sequence[list[Any]]
    verdicts: Callable[[], Sequence[Verdict]]


class Case(NamedTuple):
    """A row with all that its answer and its record are made of."""

    row: Row
    features: Features
    values: list[Any]
    verdict: Verdict
    sources: Mapping[str, Said]
    caller: Caller


class Scorer:
    """Answers requests for a model. What it answers is in the log before it returns."""

    def __init__(self, reader: FeatureReader, ids: ScoreIds, log: RecordLog) -> None:
        self._reader = reader
        self._ids = ids
        self._log = log

    def prompt(self, rows: int) -> bool:
        """Whether `score_now` may be called for so many rows: neither features nor the disk are waited for."""
        return self._log.sync == "process" and self._reader.reads_in_place(rows)

    def score_now(self, model: LiveModel, rows: Sequence[Row], callers: Sequence[Caller]) -> list[Scored]:
        """An answer or a problem for each row; rows of different callers do not share their problems."""
        return self._each(model, rows, self._reader.read_now(model.plan, rows), callers)

    async def score_each(self, model: LiveModel, rows: Sequence[Row], callers: Sequence[Caller]) -> list[Scored]:
        """The same, waiting for features and the disk where that is needed."""
        outcomes = self._each(model, rows, await self._reader.read(model.plan, rows), callers)
        try:
            await self._log.settled()
        except ScoreLogFailed:
            return [Problem("not_recorded")] * len(rows)
        return outcomes

    async def score(self, model: LiveModel, row: Row, caller: Caller) -> dict[str, Any]:
        """One answer. Problem where it cannot be given or recorded."""
        (outcome,) = await self.score_each(model, [row], [caller])
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    async def score_many(self, model: LiveModel, rows: Sequence[Row], caller: Caller) -> list[dict[str, Any]]:
        """An answer for each row, in order; all are recorded or none is answered. Problem.

        While one part's features are read, those before are computed.
        """
        parts = [rows[start : start + _PART] for start in range(0, len(rows), _PART)]
        pool = ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1), "judge")
        try:
            begun, known = [], Known()
            for part in parts:
                found = await self._reader.read(model.plan, part, known)
                inputs = _inputs(model, part, found)
                begun.append(Begun(part, found, inputs, pool.submit(model.judge_many, inputs).result))
            answers = await asyncio.to_thread(self._recorded, model, begun, [caller] * len(rows))
            await self._log.settled()
        except (ScoreLogFailed, ModelFailed) as error:
            raise _problem(error) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return answers

    def _each(
        self, model: LiveModel, rows: Sequence[Row], found: Sequence[Features], callers: Sequence[Caller]
    ) -> list[Scored]:
        try:
            return [*self._judged(model, rows, found, callers)]
        except ModelFailed as error:
            if len(rows) == 1:
                return [_problem(error)]
            alone = zip(rows, found, callers, strict=True)
            return [self._each(model, [row], [features], [caller])[0] for row, features, caller in alone]
        except ScoreLogFailed as error:
            return [_problem(error)] * len(rows)

    def _judged(
        self, model: LiveModel, rows: Sequence[Row], found: Sequence[Features], callers: Sequence[Caller]
    ) -> list[dict[str, Any]]:
        inputs = _inputs(model, rows, found)
        verdicts = model.judge_many(inputs)
        return self._recorded(model, [Begun(rows, found, inputs, lambda: verdicts)], callers)

    def _recorded(self, model: LiveModel, begun: Sequence[Begun], callers: Iterable[Caller]) -> list[dict[str, Any]]:
        now, callers, sources = datetime.now(UTC), iter(callers), Sources(self._reader)
        answers: list[dict[str, Any]] = []
        lines: list[bytes] = []
        for rows, found, inputs, verdicts in begun:
            for row, each, values, verdict in zip(rows, found, inputs, verdicts(), strict=True):
                case = Case(row, each, values, verdict, sources.of(model.plan, each), next(callers))
                answer = self._answer(model, case, now)
                answers.append(answer)
                lines.append(to_json(_record(model, case, answer), inf_nan_mode="null", fallback=str))
        lines.append(b"")
        self._log.append(b"\n".join(lines))
        return answers

    def _answer(self, model: LiveModel, case: Case, now: datetime) -> dict[str, Any]:
        probability, reasons = case.verdict
        decision, rules = model.decisions.decide(probability, case.row)
        degraded = case.features.degraded
        return {
            "id_score": self._ids.new(decision),
            "score": model.decisions.score(probability),
            "probabilidade_inadimplencia": probability,
            "decisao": decision,
            "razoes": reasons,
            "regras": [{"nome": rule.name, "texto": rule.text, "decisao_minima": rule.at_least} for rule in rules],
            "modelo": {"nome": model.name, "versao": model.version, "desatualizado": case.caller.stale},
            "momento": now,
            "features": {view: said.answered for view, said in case.sources.items()},
            "degradacao": None
            if degraded is None
            else {
                "motivo": degraded.reason,
                "views": degraded.views,
                "texto": WORDS[degraded.reason].format(views=", ".join(degraded.views)),
            },
        }


def _record(model: LiveModel, case: Case, answer: Mapping[str, Any]) -> dict[str, Any]:
    degraded = case.features.degraded
    return {
        "score_id": answer["id_score"],
        "scored_at": answer["momento"],
        "model": model.name,
        "model_version": model.version,
        "entity": _entity(model.plan, case.features),
        "request": case.row,
        "features": {view: said.recorded for view, said in case.sources.items()},
        "inputs": dict(zip(model.vector.names, case.values, strict=True)),
        "probability": answer["probabilidade_inadimplencia"],
        "score": answer["score"],
        "decision": answer["decisao"],
        "reasons": [*answer["razoes"], *answer["regras"]],
        "degraded": None if degraded is None else f"{degraded.reason}: {', '.join(degraded.views)}",
        "latency_ms": round((time.perf_counter() - case.caller.started) * 1000, 3),
        "key_id": case.caller.key_id,
    }


def _inputs(model: LiveModel, rows: Sequence[Row], found: Sequence[Features]) -> list[list[Any]]:
    return [model.vector.raw(row, each.values) for row, each in zip(rows, found, strict=True)]


def _problem(error: ScoreLogFailed | ModelFailed) -> Problem:
    if isinstance(error, ScoreLogFailed):
        return Problem("not_recorded")
    return Problem("internal", "the model failed at this request")


def _entity(plan: LookupPlan, features: Features) -> list[Any]:
    """The entity that the request is about: that of the first view that it names by itself."""
    first = plan.stages[0][0].name if plan.stages else ""
    return list(features.entities.get(first, ()))

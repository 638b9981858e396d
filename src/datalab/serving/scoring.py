"""Scoring: features, model, decision, reasons, record, answer. The same code behind the API and the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from datalab.errors import ScoreLogFailed
from datalab.serving.feature_reader import FeatureReader
from datalab.serving.inputs import Matrix
from datalab.serving.judging import Judging
from datalab.serving.log import RecordLog
from datalab.serving.lookup import Features, Known
from datalab.serving.model import LiveModel, ModelFailed
from datalab.serving.problems import Problem
from datalab.serving.score_id import ScoreIds
from datalab.serving.writing import Caller, Case, Writer, Written

Row = dict[str, Any]
Scored = Written | Problem
_PART = 1_000


class Begun(NamedTuple):
    """Rows of which the model's answers are on their way."""

    rows: Sequence[Row]
    found: Sequence[Features]
    inputs: Sequence[list[Any]]
    answers: Callable[[], Matrix]


class Scorer:
    """Answers requests for a model. What it answers is in the log before it returns."""

    def __init__(self, reader: FeatureReader, ids: ScoreIds, log: RecordLog) -> None:
        self._reader = reader
        self._ids = ids
        self._log = log

    @property
    def unrecorded(self) -> str:
        """Why the last answer could not be recorded; empty where it could."""
        return self._log.failing

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

    async def score(self, model: LiveModel, row: Row, caller: Caller) -> Written:
        """One answer. Problem where it cannot be given or recorded."""
        (outcome,) = await self.score_each(model, [row], [caller])
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    async def score_many(self, model: LiveModel, rows: Sequence[Row], caller: Caller) -> list[Written]:
        """An answer for each row, in order; all are recorded or none is answered. Problem.

        While features are read and answers are written, the model works on other parts.
        """
        judging = Judging(model)
        try:
            begun, known = [], Known()
            for start in range(0, len(rows), _PART):
                part = rows[start : start + _PART]
                found = await self._reader.read(model.plan, part, known)
                inputs = _inputs(model, part, found)
                number = judging.add(model.laid_out(inputs))
                begun.append(Begun(part, found, inputs, partial(judging.answers, number)))
            answers = await asyncio.to_thread(self._recorded, model, begun, [caller] * len(rows))
            await self._log.settled()
        except (ScoreLogFailed, ModelFailed) as error:
            raise _problem(error) from error
        finally:
            judging.close()
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
    ) -> list[Written]:
        inputs = _inputs(model, rows, found)
        answers = model.answers(*model.laid_out(inputs))
        return self._recorded(model, [Begun(rows, found, inputs, lambda: answers)], callers)

    def _recorded(self, model: LiveModel, begun: Sequence[Begun], callers: Iterable[Caller]) -> list[Written]:
        callers, writer = iter(callers), Writer(model, self._reader, self._ids)
        written = [
            writer.write(Case(row, features, values, verdict, next(callers)))
            for rows, found, inputs, answers in begun
            for row, features, values, verdict in zip(
                rows, found, inputs, model.verdicts(answers(), len(rows)), strict=True
            )
        ]
        self._log.append(b"\n".join([*[each.record for each in written], b""]))
        return written


def _inputs(model: LiveModel, rows: Sequence[Row], found: Sequence[Features]) -> list[list[Any]]:
    return [model.vector.raw(row, each.values) for row, each in zip(rows, found, strict=True)]


def _problem(error: ScoreLogFailed | ModelFailed) -> Problem:
    if isinstance(error, ScoreLogFailed):
        return Problem("not_recorded")
    return Problem("internal", "the model failed at this request")

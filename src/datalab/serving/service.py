"""The server's parts and what its routes do; no HTTP here but problems and answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from pydantic_core import to_json

from datalab.serving.bursts import Asked
from datalab.serving.guard import Call
from datalab.serving.keeper import ModelKeeper, info
from datalab.serving.metrics import Metrics
from datalab.serving.model import LiveModel
from datalab.serving.problems import Answer, Problem
from datalab.serving.reviews import Reviewer
from datalab.serving.scoring import Scored, Scorer
from datalab.serving.writing import Caller, Written

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


def _no_backlog() -> int:
    return 0


@dataclass(frozen=True)
class Service:
    """Everything that answers need. `backlog` tells the bytes of the log that are not in the lake yet."""

    keeper: ModelKeeper
    scorer: Scorer
    reviewer: Reviewer
    metrics: Metrics = field(default_factory=Metrics)
    backlog: Callable[[], int] = _no_backlog

    def burst(self, asked: Sequence[Asked]) -> Awaitable[None] | None:
        """Score requests that came together, each for itself; an awaitable where features or the disk are waited for.

        One model answers all of them.
        """
        try:
            model = self._model()
        except Problem as problem:
            for each in asked:
                each.answer(problem)
            return None
        good, rows = [], []
        for each in asked:
            try:
                rows.append(model.form.read(each.call.body))
                good.append(each)
            except Problem as problem:
                each.answer(problem)
        if not good:
            return None
        callers = [self._caller(each.call) for each in good]
        if not self.scorer.prompt(len(rows)):
            return self._waited(good, self.scorer.score_each(model, rows, callers))
        self._tell(good, self.scorer.score_now(model, rows, callers))
        return None

    async def credit_score_batch(self, call: Call) -> Answer:
        """Score many requests."""
        model = self._model()
        rows = model.form.read_batch(call.body)
        answers = await self.scorer.score_many(model, rows, self._caller(call))
        for answer in answers:
            self._count(answer)
        return Answer(200, b'{"resultados":[%b]}' % b",".join([answer.answer for answer in answers]))

    async def review(self, call: Call) -> Answer:
        """Record what a person decided."""
        key_id = call.key.id if call.key is not None else ""
        return Answer(201, to_json(await self.reviewer.review(call.params["score_id"], call.body, key_id)))

    async def model_info(self, _: Call) -> Answer:
        """What is live, since when, and what was refused."""
        return Answer(200, to_json(info(self.keeper), inf_nan_mode="null", fallback=str))

    async def health(self, _: Call) -> Answer:
        """The process answers."""
        return Answer(200, b'{"status":"ok"}')

    async def ready(self, _: Call) -> Answer:
        """All that the project declares can be done: scores are answered, where it declares a model."""
        if not self.keeper.model:
            return Answer(200, b'{"status":"ok","modelo":null,"versao":null}')
        model = self._model()
        if self.scorer.unrecorded:
            raise Problem("not_recorded", self.scorer.unrecorded)
        return Answer(200, to_json({"status": "ok", "modelo": model.name, "versao": model.version}))

    async def metrics_text(self, _: Call) -> Answer:
        """Counts, for Prometheus."""
        live = self.keeper.live
        gauges = {
            "datalab_model_version": ("Version that is live; 0: none.", float(live.version if live else 0)),
            "datalab_model_stale": ("1 where the registry does not confirm the live version.", bool(self.keeper.stale)),
            "datalab_model_swaps_total": ("Models that went live.", self.keeper.swaps),
            "datalab_model_refused_total": ("Champions that were refused.", self.keeper.refused_total),
            "datalab_log_backlog_bytes": ("Bytes of the log that are not in the lake yet.", self.backlog()),
        }
        return Answer(200, self.metrics.text(gauges).encode(), _TEXT)

    async def _waited(self, asked: Sequence[Asked], work: Awaitable[Sequence[Scored]]) -> None:
        self._tell(asked, await work)

    def _tell(self, asked: Sequence[Asked], outcomes: Sequence[Scored]) -> None:
        for each, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Problem):
                each.answer(outcome)
            else:
                self._count(outcome)
                each.answer(Answer(200, outcome.answer))

    def _model(self) -> LiveModel:
        model = self.keeper.live
        if model is None:
            raise Problem("no_model", self._why_none())
        return model

    def _why_none(self) -> str:
        keeper = self.keeper
        if not keeper.model:
            return "the project declares no model"
        if keeper.refusal is not None:
            return "the champion was refused: see /v1/model-info"
        return f"{keeper.missing}: datalab model train {keeper.model}" if keeper.missing else ""

    def _caller(self, call: Call) -> Caller:
        return Caller(call.key.id if call.key is not None else "", call.started, bool(self.keeper.stale))

    def _count(self, written: Written) -> None:
        self.metrics.decisions[written.decision] += 1
        if written.degraded is not None:
            self.metrics.degraded[written.degraded] += 1

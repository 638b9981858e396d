"""An answer and its record as JSON, put together from parts that are encoded once for both, or once for many rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, to_json

from datalab.features.online.base import Stored
from datalab.serving.decision import Rule
from datalab.serving.feature_reader import FeatureReader
from datalab.serving.lookup import Degradation, Features, LookupPlan
from datalab.serving.model import LiveModel, Verdict
from datalab.serving.reasons import rounded
from datalab.serving.score_id import ScoreIds

WORDS = {
    "unknown_entity": "não há dados de {views}: pontuado com o pedido e o que há da região",
    "lookup_failed": "os dados de {views} não puderam ser lidos: pontuado só com o pedido",
    "lookup_slow": "os dados de {views} não chegaram a tempo: pontuado só com o pedido",
}
_ANSWER = (
    b'{"id_score":"%b","score":%d,"probabilidade_inadimplencia":%b,"decisao":"%b","razoes":[%b],"regras":[%b],'
    b'"modelo":{"nome":%b,"versao":%d,"desatualizado":%b},"momento":%b,"features":{%b},"degradacao":%b}'
)
_RECORD = (
    b'{"score_id":"%b","scored_at":%b,"model":%b,"model_version":%d,%b,"features":{%b},'
    b'"inputs":%b,"probability":%b,"score":%d,"decision":"%b","reasons":[%b],"degraded":%b,"latency_ms":%b,'
    b'"key_id":%b}'
)


class Caller(NamedTuple):
    """Who asks, since when (`time.perf_counter()`), and whether the live model is known to be stale."""

    key_id: str
    started: float
    stale: bool = False


class Case(NamedTuple):
    """A row with all that its answer and its record are made of."""

    row: dict[str, Any]
    features: Features
    values: list[Any]
    verdict: Verdict
    caller: Caller


class Written(NamedTuple):
    """A row's answer and its record; what it decided, and why it is degraded, for whoever counts."""

    answer: bytes
    record: bytes
    decision: str
    degraded: str | None


class _Said(NamedTuple):
    """Of one view's features, its name included: in the answer, and in the record."""

    stored: Stored | None  # held for as long as it is known by its identity
    answered: bytes
    recorded: bytes


class Writer:
    """Writes the rows of one call; rows that share features share what is written of them."""

    def __init__(self, model: LiveModel, reader: FeatureReader, ids: ScoreIds) -> None:
        self._model = model
        self._reader = reader
        self._ids = ids
        self._name = to_json(model.name)
        self._moment = to_json(datetime.now(UTC))
        self._said: dict[int, _Said] = {}

    def write(self, case: Case) -> Written:
        """The answer and the record of a row, under a new id."""
        model, features, (probability, reasons) = self._model, case.features, case.verdict
        decision, rules = model.decisions.decide(probability, case.row)
        score_id, word = self._ids.new(decision).encode("ascii"), decision.encode("ascii")
        score, chance = model.decisions.score(probability), to_json(probability)
        ruled = _ruled(rules) if rules else b""
        said = [
            self._said.get(id(stored)) or self._say(model.plan, features, view)
            for view, stored in features.stored.items()
        ]
        stale = b"true" if case.caller.stale else b"false"
        answer = _ANSWER % (
            score_id, score, chance, word, reasons, ruled, self._name, model.version, stale, self._moment,
            b",".join([each.answered for each in said]), _degradation(features.degraded),
        )  # fmt: skip
        asked = _json({"entity": _entity(model.plan, features), "request": case.row})[1:-1]
        record = _RECORD % (
            score_id, self._moment, self._name, model.version, asked,
            b",".join([each.recorded for each in said]), _json(dict(zip(model.vector.names, case.values, strict=True))),
            chance, score, word, b",".join([part for part in (reasons, ruled) if part]), _degraded(features.degraded),
            rounded((time.perf_counter() - case.caller.started) * 1000, 3), to_json(case.caller.key_id),
        )  # fmt: skip
        return Written(answer, record, decision, None if features.degraded is None else features.degraded.reason)

    def _say(self, plan: LookupPlan, features: Features, name: str) -> _Said:
        stored = features.stored[name]
        if stored is None:
            return _unsaid(name)
        view, key, moment = plan.views[name], _key(name), to_json(stored.timestamp)
        answered = b'%b{"momento":%b,"snapshot":"%d"}' % (key, moment, stored.snapshot)
        entity = dict(zip(self._reader.columns(view), features.entities[name], strict=True))
        values = {feature: stored.values.get(feature) for feature in view.used}
        recorded = b'%b{"table":%b,"snapshot":%d,"timestamp":%b,%b' % (
            key, _text(stored.table), stored.snapshot, moment, _json({"entity": entity, "values": values})[1:],
        )  # fmt: skip
        said = self._said[id(stored)] = _Said(stored, answered, recorded)
        return said


def _json(value: Any) -> bytes:
    """As records have it. To name a fallback doubles the time, and features hardly ever need one."""
    try:
        return to_json(value, inf_nan_mode="null")
    except PydanticSerializationError:
        return to_json(value, inf_nan_mode="null", fallback=str)


@lru_cache(1024)
def _text(text: str) -> bytes:
    return to_json(text)


@lru_cache(1024)
def _key(name: str) -> bytes:
    return to_json(name) + b":"


@lru_cache(1024)
def _unsaid(view: str) -> _Said:
    nothing = _key(view) + b"null"
    return _Said(None, nothing, nothing)


def _ruled(rules: Sequence[Rule]) -> bytes:
    told = [{"nome": rule.name, "texto": rule.text, "decisao_minima": rule.at_least} for rule in rules]
    return to_json(told)[1:-1]


def _degradation(degraded: Degradation | None) -> bytes:
    if degraded is None:
        return b"null"
    text = WORDS[degraded.reason].format(views=", ".join(degraded.views))
    return to_json({"motivo": degraded.reason, "views": degraded.views, "texto": text})


def _degraded(degraded: Degradation | None) -> bytes:
    return b"null" if degraded is None else to_json(f"{degraded.reason}: {', '.join(degraded.views)}")


def _entity(plan: LookupPlan, features: Features) -> Sequence[Any]:
    """The entity that the request is about: that of the first view that it names by itself."""
    first = plan.stages[0][0].name if plan.stages else ""
    return features.entities.get(first, ())

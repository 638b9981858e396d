"""Features that do not come: late, failing or unknown, the answer goes out within the deadline and says so."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing

import pytest
import redis
from tests.contracts.redis_server import PASSWORD, redis_server
from tests.unit.serving.conftest import fill
from tests.unit.serving.models import REQUEST, probability

from datalab.errors import ModelRefused, OnlineStoreError
from datalab.features.online.base import OnlineCapabilities
from datalab.features.online.redis import RedisStore
from datalab.features.online.sqlite import SqliteStore
from datalab.serving import feature_reader, scoring
from datalab.serving.inputs import inputs_of
from datalab.serving.lookup import lookup_plan

REQUEST_ONLY = {"renda": 15000, "valor": 50000}


class Troubled:
    """The SQLite store behind trouble: `delay` seconds before each read, or an error."""

    name = "troubled"

    def __init__(self, path, shared=True):
        self._store = SqliteStore(path)
        fill(self._store)
        self.capabilities = OnlineCapabilities(shared=shared)
        self.delay = 0.0
        self.error = None
        self.reads = 0
        self.looked_up = []

    def read(self, wanted, now, more=None):
        self.reads += 1
        self.looked_up += wanted
        time.sleep(self.delay)
        if self.error is not None:
            raise self.error
        return self._store.read(wanted, now, more)

    def position(self, view):
        return self._store.position(view)

    def entries(self, view, limit):
        return self._store.entries(view, limit)

    def close(self):
        self._store.close()


@pytest.fixture
def troubled(tmp_path):
    return Troubled(tmp_path / "troubled.db")


def score(served, count=1):
    async def ask():
        async with served.client() as client:
            started = time.monotonic()
            answers = [(await client.post("/v1/credit-score", json=REQUEST)).json() for _ in range(count)]
            return answers[-1], (time.monotonic() - started) / count

    return asyncio.run(ask())


def test_a_slow_store_is_not_waited_for(serve, troubled):
    served = serve(troubled, deadline_ms=30)
    answer, _ = score(served)
    assert answer["degradacao"] is None
    troubled.delay = 0.6
    answer, seconds = score(served)
    assert seconds < 0.6
    assert answer["degradacao"]["motivo"] == "lookup_slow"
    assert set(answer["degradacao"]["views"]) == {"proponente", "perfil", "municipio", "uf"}
    assert answer["probabilidade_inadimplencia"] == pytest.approx(probability(REQUEST_ONLY), abs=1e-6)
    assert "não chegaram a tempo" in answer["degradacao"]["texto"]


def test_a_store_that_hangs_holds_up_a_few_threads_and_no_request(serve, troubled):
    served = serve(troubled, deadline_ms=10)
    troubled.delay = 1.0
    answer, seconds = score(served, 30)
    assert answer["degradacao"] is not None
    assert seconds < 0.1
    assert troubled.reads <= 8


def test_a_failing_store_is_left_alone_for_a_while(serve, troubled):
    served = serve(troubled, deadline_ms=500)
    troubled.error = OnlineStoreError("it is down", "wait")
    answer, _ = score(served, 20)
    assert answer["degradacao"]["motivo"] == "lookup_failed"
    assert troubled.reads <= 10
    troubled.error = None
    time.sleep(1.1)
    assert score(served)[0]["degradacao"] is None


def test_an_embedded_store_that_turns_slow_is_read_with_care(serve, troubled):
    troubled.capabilities = OnlineCapabilities(shared=False)
    served = serve(troubled, deadline_ms=20)
    troubled.delay = 0.3
    score(served)
    answer, seconds = score(served)
    assert answer["degradacao"]["motivo"] == "lookup_slow"
    assert seconds < 0.3


def test_a_locked_database_is_not_waited_for(served):
    with closing(sqlite3.connect(served.state / "online.db", isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        answer, seconds = score(served)
        assert answer["degradacao"]["motivo"] in ("lookup_failed", "lookup_slow")
        assert seconds < 1
        writer.execute("ROLLBACK")


def test_a_batch_degrades_as_a_whole(serve, troubled):
    served = serve(troubled, deadline_ms=30)
    troubled.delay = 0.7

    async def ask():
        async with served.client() as client:
            return (await client.post("/v1/credit-score/batch", json={"propostas": [REQUEST] * 5})).json()

    answers = asyncio.run(ask())["resultados"]
    assert [answer["degradacao"]["motivo"] for answer in answers] == ["lookup_slow"] * 5


def test_the_parts_of_a_batch_look_each_entity_up_once(serve, troubled, monkeypatch):
    monkeypatch.setattr(scoring, "_PART", 40)  # more than are read in place
    served = serve(troubled, deadline_ms=5000)

    async def ask():
        async with served.client() as client:
            return (await client.post("/v1/credit-score/batch", json={"propostas": [REQUEST] * 100})).json()

    results = asyncio.run(ask())["resultados"]
    assert len(troubled.looked_up) == len(set(troubled.looked_up)) == 4
    assert {json.dumps(each["features"]) for each in results} == {json.dumps(score(served)[0]["features"])}
    assert None not in results[-1]["features"].values()


def manifest(views, inputs):
    parts = [{"name": name, "kind": "number", "from": source, "reference": 0} for name, source in inputs.items()]
    return {"views": views, "inputs": parts}


def test_views_are_read_in_the_order_of_their_keys():
    views = {
        "c": {"entity": [{"view": "b", "feature": "k"}]},
        "b": {"entity": [{"view": "a", "feature": "k"}]},
        "a": {"entity": [{"request": "id"}]},
        "unused": {"entity": [{"request": "id"}]},
    }
    declared = manifest(views, {"x": {"view": "c", "feature": "v"}})
    plan = lookup_plan(declared, inputs_of(declared))
    assert [[view.name for view in stage] for stage in plan.stages] == [["a"], ["b"], ["c"]]
    assert plan.views["b"].used == ("k",)


def test_views_that_name_each_other_are_refused():
    views = {"a": {"entity": [{"view": "b", "feature": "k"}]}, "b": {"entity": [{"view": "a", "feature": "k"}]}}
    declared = manifest(views, {"x": {"view": "a", "feature": "v"}})
    with pytest.raises(ModelRefused, match="circle"):
        lookup_plan(declared, inputs_of(declared))


def test_a_server_on_redis_is_warm_before_its_first_request(serve, tmp_path):
    """Connections are there, and the entity's columns and the layouts are known: a look-up is one question."""
    with redis_server(tmp_path) as url:
        store = RedisStore(url, PASSWORD, "fazenda", 2.0)
        fill(store)
        store.close()
        served = serve(RedisStore(url, PASSWORD, "fazenda", 2.0))
        with closing(redis.Redis.from_url(url, password=PASSWORD)) as watching:

            def seen():
                layouts = watching.info("commandstats").get("cmdstat_hget", {"calls": 0})["calls"]
                return watching.info("stats")["total_connections_received"], layouts

            cold = seen()
            asyncio.run(served.parts.warm())
            warm = seen()
            assert warm[0] - cold[0] >= 2, "one for the sample, and of those that read as many as met"
            assert warm[1] > cold[1]
            assert score(served, count=3)[0]["degradacao"] is None
            assert seen() == warm


@pytest.mark.parametrize("delay", [0.0, 0.4])
def test_warming_waits_for_no_store_that_is_in_trouble(serve, troubled, delay, monkeypatch):
    monkeypatch.setattr(feature_reader, "_WARM_SECONDS", 0.1)
    served = serve(troubled, deadline_ms=5000)
    troubled.delay, troubled.error = delay, OnlineStoreError("gone", "")
    started = time.monotonic()
    asyncio.run(served.parts.warm())
    assert time.monotonic() - started < 0.4
    assert troubled.reads == 4
    troubled.delay, troubled.error = 0.0, None
    answer, _ = score(served)
    assert answer["degradacao"] is None


def test_a_store_that_is_silent_at_the_start_is_not_sampled_for_long(serve, troubled, monkeypatch):
    monkeypatch.setattr(feature_reader, "_WARM_SECONDS", 0.1)
    served = serve(troubled)
    monkeypatch.setattr(troubled, "position", lambda view: time.sleep(0.5))
    started = time.monotonic()
    asyncio.run(served.parts.warm())
    assert time.monotonic() - started < 0.4
    assert troubled.reads == 0

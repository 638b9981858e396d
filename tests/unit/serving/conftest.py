"""A project that serves: a known model, its features in SQLite, API keys of every role."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from tests.unit.serving.models import REQUEST, Registry, package

from datalab.events import Bus, Event
from datalab.features.online.base import Layout, OnlineStore, Version
from datalab.platform.online import wire_online_store
from datalab.platform.serving import Parts, wire_app, wire_keys, wire_service
from datalab.platform.settings import load
from datalab.serving.guard import Guard
from datalab.serving.policy import ROLES

WHEN = datetime(2026, 11, 20, 12, tzinfo=UTC)
STORED = {
    "proponente": (("proponente_id",), [("proponente_1",)], {"serasa_score_medio": [720.0]}),
    "perfil": (
        ("proponente_id",),
        [("proponente_1",)],
        {
            "localizacao_uf": ["SP"],
            "localizacao_municipio": ["Bauru"],
            "cultura_principal": ["CAFE"],
            "ibama_autuacoes_ativas": [False],
        },
    ),
    "municipio": (("localizacao_uf", "localizacao_municipio"), [("SP", "Bauru")], {"taxa_risco_elevado": [0.25]}),
    "uf": (("localizacao_uf",), [("SP",), ("PR",), ("MT",)], {"taxa_risco_elevado": [0.2, 0.35, 0.4]}),
}


@dataclass
class Served:
    """A service in this process, with its application as an HTTP client sees it."""

    folder: Path
    registry: Registry
    parts: Parts
    app: Guard
    keys: dict[str, str]
    events: list[Event] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / ".datalab"

    def client(self, role: str | None = "score", app: Any = None) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.keys[role]}"} if role else {}
        transport = httpx.ASGITransport(app or self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://server", headers=headers)

    async def score(self, **changes: Any) -> dict[str, Any]:
        async with self.client() as client:
            answer = await client.post("/v1/credit-score", json={**REQUEST, **changes})
        assert answer.status_code == 200, answer.text
        return answer.json()


def fill(store: OnlineStore) -> None:
    """Features of one farmer, a municipality and three states."""
    for view, (entity, keys, features) in STORED.items():
        kinds = {name: pa.array(values).type for name, values in features.items()}
        layout = Layout(f"gold.{view}", entity, "feature_timestamp", tuple(features), tuple(map(str, kinds.values())))
        columns: dict[str, Any] = {name: [key[place] for key in keys] for place, name in enumerate(entity)}
        columns["feature_timestamp"] = pa.array([WHEN] * len(keys), pa.timestamp("us", tz="UTC"))
        claim = store.begin(view, layout, Version(1, 4611686018427387905))
        store.write(claim, pa.table({**columns, **features}))
        store.finish(claim, whole=True)


@pytest.fixture
def serving_project(tmp_path: Path) -> Path:
    folder = tmp_path / "fazenda"
    folder.mkdir()
    (folder / "datalab.yaml").write_text("name: fazenda\nserving: {model: credito}\n", encoding="utf-8")
    state = folder / ".datalab"
    Registry(state).champion(1, package(state, 1))
    store = wire_online_store(load(folder), {})
    fill(store)
    store.close()
    return folder


@pytest.fixture
def serve(serving_project: Path) -> Iterator[Callable[..., Served]]:
    """Starts a service in this process: `serve(deadline_ms=20)` with settings of `serving`."""
    started: list[Served] = []

    def start(store: OnlineStore | None = None, extensions: Any = (), **settings: Any) -> Served:
        configuration = load(serving_project, None, os.environ, {"serving": settings})
        bus = Bus()
        events: list[Event] = []
        bus.subscribe(events.append)
        parts = wire_service(configuration, {}, bus, store=store)
        parts.keeper.refresh()
        keys = wire_keys(configuration)
        texts = {role: keys.create(role, role)[1] for role in ROLES}
        app = wire_app(configuration, parts, bus, extensions=extensions)
        served = Served(serving_project, Registry(serving_project / ".datalab"), parts, app, texts, events)
        started.append(served)
        return served

    yield start
    for served in started:
        served.parts.close()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()

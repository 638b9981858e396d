"""Records pushed over HTTP: taken once, on disk when acknowledged, in bronze with the next run; the flow for NiFi."""

from __future__ import annotations

import asyncio
import codecs
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pytest
from tests.journeys.pedidos import FIELDS, Pedidos, order
from tests.ports import free_port

from datalab.events import Bus
from datalab.platform.serving import wire_app, wire_keys, wire_service
from datalab.platform.settings import load

LINES = "application/x-ndjson"
FLOW = Path(__file__).resolve().parents[3] / "deploy" / "nifi" / "ingest.json"


@pytest.fixture
def pedidos(tmp_path: Path, datalab: Callable[..., Any]) -> Pedidos:
    project = Pedidos(tmp_path / "pedidos", datalab).create()
    source = "{into: bronze.pedidos, contract: contracts/pedidos.avsc, push: true}"
    project.write("datalab.yaml", f"name: pedidos\ningest: {{workers: 1}}\nsources:\n  pedidos: {source}\n")
    return project


async def pushed(project: Pedidos, *requests: dict[str, Any], role: str = "ingest") -> list[httpx.Response]:
    """The answers to requests against an application in this process, which ends afterwards."""
    configuration = load(project.folder)
    bus = Bus()
    parts = wire_service(configuration, {}, bus)
    _, key = wire_keys(configuration).create("test", role)
    app = wire_app(configuration, parts, bus)
    lifespan = app._app.router.lifespan_context(app._app)  # type: ignore[attr-defined] # httpx starts no lifespan
    headers = {"authorization": f"Bearer {key}"}
    async with lifespan, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        return [
            await client.post(
                f"/v1/ingest/{request.get('source', 'pedidos')}",
                content=request["content"],
                headers={**headers, "content-type": request.get("type", LINES), **request.get("headers", {})},
            )
            for request in requests
        ]


def push(project: Pedidos, *requests: dict[str, Any], role: str = "ingest") -> list[httpx.Response]:
    return asyncio.run(pushed(project, *requests, role=role))


def lines(*orders: str) -> bytes:
    return "".join(f"{each}\n" for each in orders).encode()


def container(*numbers: str) -> bytes:
    fields = [{"name": name, "type": kind} for name, kind in FIELDS.items()]
    schema = fastavro.parse_schema({"type": "record", "name": "pedido", "fields": fields})
    out = io.BytesIO()
    fastavro.writer(out, schema, [json.loads(order(number)) for number in numbers])
    return out.getvalue()


def test_a_server_that_only_takes_records_is_ready_and_one_whose_model_is_to_come_takes_them_too(
    pedidos: Pedidos,
) -> None:
    async def ready() -> httpx.Response:
        configuration = load(pedidos.folder)
        app = wire_app(configuration, wire_service(configuration, {}, Bus()), Bus())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.get("/ready")

    answer = asyncio.run(ready())
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "modelo": None, "versao": None})
    settings = (pedidos.folder / "datalab.yaml").read_text()
    pedidos.write("datalab.yaml", f"{settings}serving: {{model: credito}}\n")
    assert asyncio.run(ready()).status_code == 503
    assert push(pedidos, {"content": lines(order("1"))})[0].status_code == 202


def test_records_of_every_form_reach_bronze_with_their_position(pedidos: Pedidos) -> None:
    pretty = json.dumps(json.loads(order("3")), indent=2).encode()
    answers = push(
        pedidos,
        {"content": lines(order("1"), "", order("2"))},
        {"content": pretty, "type": "application/json; charset=utf-8"},
        {"content": container("4", "5"), "type": "application/avro"},
        {"content": order("6").encode()},
    )
    assert [(a.status_code, a.json().get("records")) for a in answers] == [(202, 2), (202, 1), (202, None), (202, 1)]
    pedidos.run()
    found = pedidos.rows("SELECT id, source_file, source_row FROM bronze.pedidos")
    assert [row[0] for row in found] == ["1", "2", "3", "4", "5", "6"]
    for at, answer in ((0, answers[0]), (2, answers[1]), (3, answers[2]), (5, answers[3])):
        assert found[at][1:] == (f"push/pedidos/{answer.json()['file']}", answer.json()["row"])


def test_a_byte_order_mark_is_no_fault_wherever_the_request_stands_in_the_file(pedidos: Pedidos) -> None:
    marked = [{"content": codecs.BOM_UTF8 + order(each).encode(), "type": "application/json"} for each in "12"]
    answers = push(pedidos, *marked, {"content": codecs.BOM_UTF8 + lines(order("3"))})
    assert [answer.json()["row"] for answer in answers] == [0, 1, 2]
    pedidos.run()
    assert pedidos.rows("SELECT id FROM bronze.pedidos ORDER BY id") == [("1",), ("2",), ("3",)]


def test_the_same_request_is_stored_once(pedidos: Pedidos) -> None:
    once = {"content": lines(order("1")), "headers": {"idempotency-key": "lote-1"}}
    first, again, other = push(pedidos, once, once, {**once, "content": lines(order("2"))})
    assert (first.json()["repeated"], again.json()["repeated"]) == (False, True)
    assert {**again.json(), "repeated": False} == first.json()
    assert (other.status_code, other.json()["type"]) == (409, "/docs#key_reused")
    (elsewhere,) = push(pedidos, once)  # another caller's key under the same name
    assert not elsewhere.json()["repeated"]
    pedidos.run()
    assert len(pedidos.rows("SELECT id FROM bronze.pedidos")) == 2


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        ({"content": b"\n \n"}, 422, "invalid"),
        ({"content": b"[1, \n2]", "type": "application/json"}, 422, "invalid"),
        ({"content": b" [{}]", "type": "application/json"}, 422, "invalid"),
        ({"content": b"no container", "type": "application/avro"}, 422, "invalid"),
        ({"content": b"{}", "type": "text/plain"}, 415, "media_type"),
        ({"content": gzip.compress(b"{}\n"), "headers": {"content-encoding": "gzip"}}, 415, "media_type"),
        ({"content": b"{}\n", "source": "clientes"}, 404, "not_found"),
        ({"content": b"{}\n", "headers": {"idempotency-key": "k" * 201}}, 422, "invalid"),
        ({"content": b"x" * (9 << 20)}, 413, "too_large"),
    ],
)
def test_what_cannot_be_taken_is_told(pedidos: Pedidos, request_: dict[str, Any], status: int, kind: str) -> None:
    (answer,) = push(pedidos, request_)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/docs#{kind}")
    assert not list((pedidos.folder / "push").glob("**/*.jsonl"))


@pytest.mark.parametrize(("role", "status"), [("score", 403), ("read", 403), ("ingest", 202), ("admin", 202)])
def test_only_keys_of_the_role_may_push(pedidos: Pedidos, role: str, status: int) -> None:
    (answer,) = push(pedidos, {"content": lines(order("1"))}, role=role)
    assert answer.status_code == status


@pytest.mark.slow
def test_what_a_killed_server_acknowledged_is_in_bronze_once(pedidos: Pedidos) -> None:
    _, key = wire_keys(load(pedidos.folder)).create("test", "ingest")
    port, acknowledged = free_port(), set[int]()
    headers = {"authorization": f"Bearer {key}", "content-type": LINES}
    for first in (0, 1000):
        command = [sys.executable, "-m", "datalab", "serve", "--port", str(port), "--no-flush"]
        server = subprocess.Popen([*command, "--project", str(pedidos.folder)], stderr=subprocess.DEVNULL)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10) as client:
            _await(client)
            for number in range(first, first + 60):
                body = lines(order(str(number)))
                assert client.post("/v1/ingest/pedidos", content=body).status_code == 202
                acknowledged.add(number)
        server.send_signal(signal.SIGKILL)
        server.wait()
    os.sync()
    push(pedidos, {"content": lines(order("9999"))})  # the next server takes over what the killed ones left
    pedidos.run()
    found = [int(row[0]) for row in pedidos.rows("SELECT id FROM bronze.pedidos")]
    assert sorted(found) == sorted([*acknowledged, 9999])


@pytest.mark.slow
def test_two_servers_of_a_project_store_a_request_that_comes_to_both_once(pedidos: Pedidos) -> None:
    _, key = wire_keys(load(pedidos.folder)).create("test", "ingest")
    headers = {"authorization": f"Bearer {key}", "content-type": LINES}
    with ExitStack() as stack:
        clients = []
        for _ in range(2):
            port = free_port()
            command = [sys.executable, "-m", "datalab", "serve", "--port", str(port), "--no-flush"]
            server = subprocess.Popen([*command, "--project", str(pedidos.folder)], stderr=subprocess.DEVNULL)
            stack.callback(server.wait, 30)
            stack.callback(server.terminate)
            clients.append(stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers)))
            _await(clients[-1])

        def send(client: httpx.Client, number: int) -> httpx.Response:
            own = {"idempotency-key": f"lote-{number}"}
            return client.post("/v1/ingest/pedidos", content=lines(order(str(number))), headers=own, timeout=30)

        with ThreadPoolExecutor(16) as pool:
            sent = [(number, pool.submit(send, client, number)) for number in range(50) for client in clients]
            answers = [(number, future.result()) for number, future in sent]
        answers += [(number, send(client, number)) for number in range(50) for client in clients]
        conflict = clients[1].post(
            "/v1/ingest/pedidos", content=lines(order("99")), headers={"idempotency-key": "lote-0"}
        )
    assert {answer.status_code for _, answer in answers} == {202}
    assert (conflict.status_code, conflict.json()["type"]) == (409, "/docs#key_reused")
    places = {(number, answer.json()["file"], answer.json()["row"]) for number, answer in answers}
    assert len(places) == 50
    assert sum(not answer.json()["repeated"] for _, answer in answers) == 50
    pedidos.run()
    found = pedidos.rows("SELECT id, source_file, source_row FROM bronze.pedidos")
    assert {(int(number), Path(file).name, row) for number, file, row in found} == places
    assert len(found) == 50


def _await(client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server did not come up")


def test_the_flow_for_nifi_is_whole_and_its_request_is_taken(pedidos: Pedidos) -> None:
    flow = json.loads(FLOW.read_text(encoding="utf-8"))
    content = flow["flowContents"]
    known = {each["identifier"] for each in content["processors"]}
    ends = {(c["source"]["id"], relation) for c in content["connections"] for relation in c["selectedRelationships"]}
    assert {c[side]["id"] for c in content["connections"] for side in ("source", "destination")} <= known
    assert {("post", name) for name in ("Retry", "Failure", "No Retry")} <= ends
    (context,) = flow["parameterContexts"].values()
    parameters = {each["name"]: each.get("value") for each in context["parameters"]}
    assert parameters["api.key"] is None
    assert set(re.findall(r"#\{([\w.]+)\}", json.dumps(content))) <= set(parameters)
    (post,) = (each for each in content["processors"] if each["identifier"] == "post")
    (named,) = (each for each in content["processors"] if each["identifier"] == "key")
    url = re.sub(r"#\{([\w.]+)\}", lambda found: parameters[found[1]], post["properties"]["HTTP URL"])
    assert post["properties"]["Authorization"] == "Bearer #{api.key}"
    key = named["properties"]["Idempotency-Key"].replace("${filename}", "a.jsonl").replace("${'content_SHA-256'}", "0a")
    request = {
        "content": lines(order("1")),
        "source": url.rsplit("/", 1)[1],
        "type": named["properties"]["mime.type"],
        "headers": {"idempotency-key": key},
    }
    first, again = push(pedidos, request, request)
    assert (first.status_code, first.json()["repeated"], again.json()["repeated"]) == (202, False, True)

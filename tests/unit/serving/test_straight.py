"""Scores over a real connection: requests that are whole go past ASGI, and nobody can tell but by the time it takes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from tests.unit.serving.models import REQUEST
from tests.unit.serving.test_lookup import Troubled
from tests.unit.serving.test_scoring import logged
from uvicorn.server import ServerState

from datalab.serving.limits import Limits
from datalab.serving.protocol import bounded_protocol

PATH = "/v1/credit-score"
GOOD = json.dumps(REQUEST).encode()


def request(served, body=GOOD, path=PATH, role="score", method="POST", **headers: Any) -> bytes:
    lines = {"host": "x", "content-type": "application/json", "content-length": len(body)}
    if role:
        lines["authorization"] = f"Bearer {served.keys[role]}"
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class Client:
    """Writes bytes as they are, reads answers one by one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ask(self, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.02 if len(parts) > 1 else 0)
        return await self.answer()


@asynccontextmanager
async def listening(served, limits: Limits | None = None, *, straight: bool = True):
    """Answers a function that connects; without `straight` every request goes through ASGI."""
    config = uvicorn.Config(served.app, lifespan="off", access_log=False, server_header=False, ws="none")
    config.load()
    state = ServerState()
    protocol = bounded_protocol(limits or Limits(), served.app.straight if straight else {})
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clients: list[Client] = []

    async def connect() -> Client:
        clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
        return clients[-1]

    try:
        yield connect
    finally:
        for client in clients:
            client.writer.close()
        server.close()
        await asyncio.sleep(0.05)


def run(served, work: Callable[[Any], Any], limits: Limits | None = None, *, straight: bool = True) -> Any:
    async def whole() -> Any:
        async with listening(served, limits, straight=straight) as connect:
            return await work(connect)

    return asyncio.run(whole())


CASES: dict[str, dict[str, Any]] = {
    "a score": {},
    "a key without its role": {"role": "read"},
    "no key": {"role": None},
    "a made-up key": {"role": None, "authorization": "Bearer dlk_00000000_x"},
    "another media type": {"content_type": "text/plain"},
    "a media type with a parameter": {"content_type": "Application/JSON; charset=utf-8"},
    "no media type": {"content_type": None},
    "too large": {"body": b" " * 70_000},
    "too deep": {"body": b'{"a":' * 30 + b"1" + b"}" * 30},
    "no JSON": {"body": b"{"},
    "no body": {"body": b""},
    "an unknown field": {"body": json.dumps({**REQUEST, "x": 1}).encode()},
    "another method": {"method": "PUT"},
    "a query": {"path": f"{PATH}?x=1"},
    "no keep-alive": {"connection": "close"},
}


@pytest.mark.parametrize("case", CASES)
def test_a_request_is_answered_as_through_asgi(served, case):
    async def ask(connect):
        client = await connect()
        status, headers, body = await client.ask(request(served, **CASES[case]))
        closed = headers.get("connection") == "close"
        if closed:
            assert await client.reader.read() == b""
        document = json.loads(body)
        told = sorted(document) if status == 200 else document
        return status, {k: v for k, v in headers.items() if k not in ("date", "content-length")}, told, closed

    assert run(served, ask) == run(served, ask, straight=False)


def test_a_body_in_pieces_is_received(served):
    async def ask(connect):
        client = await connect()
        whole = request(served)
        first = await client.ask(whole[:40], whole[40 : -len(GOOD)], whole[-len(GOOD) : -5], whole[-5:])
        again = await client.ask(whole)
        return first, again

    first, again = run(served, ask)
    assert (first[0], again[0]) == (200, 200)
    assert len(logged(served)) == 2


def test_who_waits_to_send_a_body_is_told_to_go_on(served):
    async def ask(connect):
        client = await connect()
        head = request(served, b"", content_length=len(GOOD), expect="100-continue")
        client.writer.write(head)
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        return await client.ask(GOOD)

    assert run(served, ask)[0] == 200


def test_requests_sent_at_once_are_answered_in_order(served):
    async def ask(connect):
        client = await connect()
        bad = request(served, b"{}")
        health = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
        client.writer.write(request(served) + health + bad + request(served) + health)
        return [await client.answer() for _ in range(5)]

    answers = run(served, ask)
    assert [status for status, _, _ in answers] == [200, 200, 422, 200, 200]
    assert [b"id_score" in body for _, _, body in answers] == [True, False, False, True, False]


def test_many_requests_sent_at_once_have_no_large_head(served):
    """A piece of the stream ends within a head, and most of it is of the requests before."""

    async def ask(connect):
        client = await connect()
        client.writer.write(request(served) * 400)
        return [(await client.answer())[0] for _ in range(400)]

    assert Counter(run(served, ask)) == {200: 400}


@pytest.mark.parametrize("straight", [True, False])
def test_requests_of_all_sizes_that_come_ahead_of_their_turn_are_answered_in_order(served, straight):
    """Far more than is taken at a time, so that heads and bodies are cut anywhere, and much is kept for later."""

    def whole(number):
        if number % 5 == 1:
            return b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", 200
        if number % 5 == 3:
            rows = json.dumps({"propostas": [REQUEST] * (number % 7 * 40 + 1)}).encode()
            return request(served, rows, path=f"{PATH}/batch"), 200
        return request(served, b"{}" if number % 5 == 2 else GOOD), 422 if number % 5 == 2 else 200

    async def ask(connect):
        client = await connect()
        wanted = [whole(number) for number in range(300)]
        client.writer.write(b"".join(text for text, _ in wanted))
        return [(await client.answer())[0] for _ in wanted], [status for _, status in wanted]

    found, wanted = run(served, ask, straight=straight)
    assert found == wanted


@pytest.mark.parametrize("straight", [True, False])
def test_what_is_no_request_is_told_after_the_answers_to_those_before(served, straight):
    async def ask(connect):
        client = await connect()
        client.writer.write(request(served) * 2 + b"\x00\x01 no request\r\n\r\n")
        answers = [await client.answer() for _ in range(3)]
        return answers, await client.reader.read()

    answers, rest = run(served, ask, straight=straight)
    assert [status for status, _, _ in answers] == [200, 200, 400]
    assert (answers[2][1]["connection"], rest) == ("close", b"")
    assert len(logged(served)) == 2


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("straight", [True, False])
def test_an_offer_of_another_protocol_is_declined(served, straight, pieces):
    """Clients for HTTP/2 offer it with their first request, whatever its body; what follows is not lost either."""

    async def ask(connect):
        client = await connect()
        offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAAQAAP__"}
        first, health = (
            request(served, **offer),
            b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c",
        )
        whole = first + health + b"\r\n\r\n" + request(served)
        place = len(first) - len(GOOD)
        one = await client.ask(*([whole] if pieces == 1 else [whole[:place], whole[place:]]))
        return [one, await client.answer(), await client.answer()]

    answers = run(served, ask, straight=straight)
    assert [status for status, _, _ in answers] == [200, 200, 200]
    assert [b"id_score" in body for _, _, body in answers] == [True, False, True]


def test_offers_without_end_are_refused(served):
    async def ask(connect):
        client = await connect()
        client.writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n" * 500)
        return await client.reader.read()

    told = run(served, ask)
    assert told.count(b"HTTP/1.1 200") == 8
    assert told.count(b"HTTP/1.1 400") == 1


@pytest.mark.parametrize("before", [0, 2])
def test_a_body_that_breaks_off_is_refused_at_once(served, before):
    async def ask(connect):
        client = await connect()
        head = request(served, b"", content_length=None, transfer_encoding="chunked")
        client.writer.write(request(served) * before + head + b"5\r\n{")
        await asyncio.sleep(0.05)
        client.writer.write(b'"id_pGARBAGE')
        answers = [await client.answer() for _ in range(before + 1)]
        return [status for status, _, _ in answers], await client.reader.read()

    assert run(served, ask) == ([*[200] * before, 400], b"")


@pytest.mark.parametrize("piece", [b"x-a: " + b"b" * 50 + b"\r\n", b"b" * 100])
def test_fields_without_end_behind_a_body_end_the_connection(served, piece):
    async def ask(connect):
        client = await connect()
        head = request(served, b"", content_length=None, transfer_encoding="chunked")
        client.writer.write(head + b"%x\r\n%b\r\n0\r\nx-b: 1" % (len(GOOD), GOOD))
        sent = 0
        try:
            while sent < 10_000_000:
                client.writer.write(piece * 100)
                sent += len(piece) * 100
                await asyncio.wait_for(client.writer.drain(), 10)
        except ConnectionError:
            return sent
        return sent

    assert run(served, ask) < 10_000_000


def test_head_is_answered_as_get_is_but_for_the_body(served):
    async def work(connect):
        client = await connect()
        asked = [
            ("/health", ""),
            ("/v1/model-info", "read"),
            ("/v1/model-info", ""),
            (PATH, "score"),
            ("/nowhere", "read"),
        ]
        found = []
        for path, role in asked:
            client.writer.write(request(served, b"", path, role, "HEAD"))
            head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
            found.append((int(head.split()[1]), "content-length: 0\r\n" in head))
        whole = await client.ask(request(served, b"", "/health", "", "GET"))
        refused = await client.ask(request(served, b"", "/v1/model-info", "read", "POST"))
        return found, whole[0], refused[1]["allow"]

    found, whole, allowed = run(served, work)
    assert found == [(200, False), (200, False), (401, False), (405, False), (404, False)]
    assert (whole, allowed) == (200, "GET, HEAD")


def test_this_is_no_proxy(served):
    async def ask(connect):
        client = await connect()
        return await client.ask(b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: elsewhere:443\r\n\r\n")

    assert run(served, ask)[0] == 400


@pytest.mark.parametrize("straight", [True, False])
@pytest.mark.parametrize("twice", ["host: y", "Authorization: Bearer another", "content-type: text/plain", ""])
def test_a_head_that_can_be_read_in_two_ways_is_refused(served, twice, straight):
    async def ask(connect):
        client = await connect()
        sound = request(served)
        head = (
            sound.replace(b"\r\n\r\n", f"\r\n{twice}\r\n\r\n".encode()) if twice else sound.replace(b"host: x\r\n", b"")
        )
        return await client.ask(head), await client.reader.read()

    (status, headers, body), rest = run(served, ask, straight=straight)
    assert (status, headers["connection"], rest) == (400, "close", b"")
    assert b"host" in body
    assert not logged(served)


@pytest.mark.parametrize("straight", [True, False])
def test_a_transfer_coding_that_is_not_undone_is_refused(served, straight):
    async def ask(connect):
        client = await connect()
        head = request(served, b"", content_length=None, transfer_encoding="gzip, chunked")
        return await client.ask(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD))

    assert run(served, ask, straight=straight)[0] == 501
    assert not logged(served)


@pytest.mark.parametrize("straight", [True, False])
def test_what_stands_behind_a_body_is_no_head(served, straight):
    async def ask(connect):
        client = await connect()
        chunks = b"%x\r\n%b\r\n0\r\n" % (len(GOOD), GOOD)
        key = f"authorization: Bearer {served.keys['score']}\r\n\r\n".encode()
        head = request(served, b"", role=None, content_length=None, transfer_encoding="chunked")
        return await client.ask(head + chunks + key)

    assert run(served, ask, straight=straight)[0] == 401


def test_requests_that_come_together_share_one_look_up_and_are_each_answered(serve, tmp_path):
    troubled = Troubled(tmp_path / "troubled.db", shared=False)
    served = serve(troubled)
    bodies = [json.dumps({**REQUEST, "prazo": 12 + number}).encode() for number in range(40)]
    bodies[7] = b'{"uf": 3}'

    async def ask(connect):
        clients = [await connect() for _ in bodies]
        for client, body in zip(clients, bodies, strict=True):
            client.writer.write(request(served, body))
        return [await client.answer() for client in clients]

    answers = run(served, ask)
    assert [status for status, _, _ in answers] == [200] * 7 + [422] + [200] * 32
    ids = [json.loads(body)["id_score"] for status, _, body in answers if status == 200]
    records = logged(served)
    assert sorted(record["score_id"] for record in records) == sorted(ids)
    terms = {record["score_id"]: record["request"]["prazo"] for record in records}
    assert [terms[score] for score in ids] == [12 + number for number in range(40) if number != 7]
    assert troubled.reads < 40


def test_a_row_that_the_model_fails_at_is_its_own_callers_problem(served):
    live = served.parts.keeper.live

    class Failing:
        def run(self, outputs, feeds, *rest):
            if (feeds["renda"] == 13).any():
                raise RuntimeError
            return live.session.run(outputs, feeds, *rest)

    served.parts.keeper.live = replace(live, session=Failing())

    async def ask(connect):
        clients = [await connect() for _ in range(5)]
        for number, client in enumerate(clients):
            row = {**REQUEST, "renda_liquida_mes": 13 if number == 2 else 15000}
            client.writer.write(request(served, json.dumps(row).encode()))
        return [(await client.answer())[0] for client in clients]

    assert run(served, ask) == [200, 200, 500, 200, 200]
    assert len(logged(served)) == 4


def test_nothing_is_answered_that_is_not_recorded(served):
    (served.state / "serving").mkdir(exist_ok=True)
    (served.state / "serving" / "scores").write_text("in the way")

    async def ask(connect):
        clients = [await connect() for _ in range(3)]
        return [await client.ask(request(served)) for client in clients]

    assert [status for status, _, _ in run(served, ask)] == [503] * 3


def test_who_leaves_before_the_answer_hurts_nobody(serve, tmp_path):
    troubled = Troubled(tmp_path / "troubled.db")
    troubled.delay = 0.2
    served = serve(troubled, deadline_ms=1000)

    async def ask(connect):
        leaving, staying = await connect(), await connect()
        leaving.writer.write(request(served))
        await leaving.writer.drain()
        await asyncio.sleep(0.05)
        leaving.writer.transport.abort()
        return await staying.ask(request(served))

    assert run(served, ask)[0] == 200
    assert [event for event in served.events if type(event).__name__ == "RequestFailed"] == []


def test_an_idle_connection_is_ended(served):
    async def ask(connect):
        client = await connect()
        assert (await client.ask(request(served)))[0] == 200
        return await asyncio.wait_for(client.reader.read(), 5)

    assert run(served, ask, replace(Limits(), idle_seconds=0.3)) == b""

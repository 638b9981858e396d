"""The schema registry over HTTP: what it answers, what it does not, and who is asking."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from datalab.errors import SourceUnavailable
from datalab.ingest.sources.registry import Registry

RECORD = {"type": "record", "name": "r", "fields": [{"name": "u", "type": "uf"}]}
UF = {"type": "enum", "name": "uf", "symbols": ["SP"]}
ANSWERS: dict[str, tuple[int, Any]] = {
    "/schemas/ids/1": (200, {"schema": '"string"'}),
    "/schemas/ids/2": (
        200,
        {"schema": json.dumps(RECORD), "references": [{"name": "uf", "subject": "a/uf", "version": 3}]},
    ),
    "/subjects/a%2Fuf/versions/3": (200, {"schema": json.dumps(UF), "subject": "a/uf", "version": 3, "id": 9}),
    "/schemas/ids/3": (200, {"schema": "syntax = …", "schemaType": "PROTOBUF"}),
    "/schemas/ids/4": (200, {"schema": "{"}),
    "/schemas/ids/5": (503, {"message": "later"}),
    "/schemas/ids/6": (200, ["no object"]),
    "/schemas/ids/8": (200, {"error": "please log in"}),
    "/schemas/ids/11": (200, {"schema": None}),
    "/schemas/ids/9": (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
    "/schemas/ids/10": (404, "default backend - 404"),
    "/schemas/ids/40": (200, {"schema": '"int"'}),
    "/schemas/ids/12": (200, "<html>please log in</html>"),
}

LEVELS = 24


def _twice(level: int) -> list[dict[str, Any]]:
    """References of a schema that uses the next one under two names."""
    return [{"name": f"n{level}{each}", "subject": f"s{level}", "version": 1} for each in "ab"]


HOSTILE: dict[str, tuple[int, Any]] = {
    "/schemas/ids/20": (200, {"schema": "[" * 100_000}),
    "/schemas/ids/21": (200, {"schema": '{"type":' * 100_000}),
    "/schemas/ids/22": (200, {"schema": json.dumps({"type": "record", "name": "r", "fields": [1, {"name": "x"}]})}),
    "/schemas/ids/23": (200, {"schema": json.dumps({"type": "record", "name": "r", "fields": [{"name": "x"}]})}),
    "/schemas/ids/25": (200, {"schema": '"int"', "references": [5]}),
    "/schemas/ids/26": (200, {"schema": '"int"', "references": [{"name": "a", "subject": "b", "version": "x"}]}),
}
DOUBLING: dict[str, tuple[int, Any]] = {
    "/schemas/ids/30": (200, {"schema": '"int"', "references": _twice(0)}),
    **{
        f"/subjects/s{level}/versions/1": (
            200, {"schema": '"int"', "references": _twice(level + 1) if level < LEVELS else []}
        )
        for level in range(LEVELS + 1)
    },
}  # fmt: skip
ANSWERS |= HOSTILE | DOUBLING


@pytest.fixture
def asked() -> list[tuple[str, str | None]]:
    return []


@pytest.fixture
def address(asked: list[tuple[str, str | None]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            status, answer = ANSWERS.get(self.path, (404, {"error_code": 40403}))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())
            if self.path.endswith("/ids/40"):
                self._go_on()

        def _go_on(self) -> None:
            with suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.05)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_each_schema_is_asked_for_once(address: str, asked: list[tuple[str, str | None]]) -> None:
    registry = Registry(f"http://{address}/", 5)
    found = registry.schemas([1, 7, 1])
    assert (found.texts, found.missing) == ({1: b'"string"'}, {7: "the registry does not know it"})
    assert registry.schemas([1]).texts == {1: b'"string"'}
    assert asked == [("/schemas/ids/1", None), ("/schemas/ids/7", None)]


def test_references_are_written_out(address: str) -> None:
    (text,) = Registry(f"http://{address}", 5).schemas([2]).texts.values()
    assert json.loads(text) == {**RECORD, "fields": [{"name": "u", "type": UF}]}


def test_what_cannot_be_used_is_said(address: str) -> None:
    missing = Registry(f"http://{address}", 5).schemas([3, 4]).missing
    assert missing == {3: "it is of type PROTOBUF, not Avro", 4: "it is not JSON"}


@pytest.mark.parametrize("schema_id", [5, 6, 8, 9, 10, 11, 12])
def test_trouble_is_not_an_answer(address: str, schema_id: int) -> None:
    with pytest.raises(SourceUnavailable, match=f"schema {schema_id}"):
        Registry(f"http://{address}", 5).schemas([schema_id])


def test_an_id_that_no_registry_gives_is_not_asked_for(address: str, asked: list[tuple[str, str | None]]) -> None:
    assert Registry(f"http://{address}", 5).schemas([2**31]).missing == {2**31: "no registry gives such an id"}
    assert asked == []


def test_user_and_password_go_into_a_header_and_into_no_message(
    address: str, asked: list[tuple[str, str | None]]
) -> None:
    registry = Registry(f"http://ana:s%40nha@{address}", 5)
    registry.schemas([1])
    assert asked == [("/schemas/ids/1", "Basic YW5hOnNAbmhh")]
    with pytest.raises(SourceUnavailable) as raised:
        registry.schemas([5])
    assert "nha" not in str(raised.value)


@pytest.mark.parametrize("path", HOSTILE)
def test_a_hostile_schema_is_as_good_as_none(address: str, path: str) -> None:
    schema_id = int(path.rpartition("/")[2])
    found = Registry(f"http://{address}", 5).schemas([schema_id, 1])
    assert set(found.texts) == {1}
    assert found.missing[schema_id]


def test_references_that_double_from_level_to_level_are_followed_once(
    address: str, asked: list[tuple[str, str | None]]
) -> None:
    assert Registry(f"http://{address}", 5).schemas([30]).texts == {30: b'"int"'}
    assert len(asked) <= 2 * (LEVELS + 1) + 1


def test_an_answer_without_end_is_not_waited_for(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceUnavailable, match="does not come to an end in time"):
        Registry(f"http://{address}", 0.5).schemas([40])
    monkeypatch.setattr("datalab.ingest.sources.registry._LARGEST", 30)
    with pytest.raises(SourceUnavailable, match="more than 30 bytes"):
        Registry(f"http://{address}", 60).schemas([40])


def test_who_has_to_stop_does_not_ask_for_thousands_of_schemas_first() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(SourceUnavailable, match="ended while"):
        Registry("http://127.0.0.1:9", 60.0).schemas(range(1, 10_000), stop)

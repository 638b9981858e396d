"""Connections that are slow, endless, huge, deep or no HTTP at all: all of them end, others are served meanwhile."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.server import Server, make_project
from tests.unit.serving.models import REQUEST

QUICK, FULL = 100, 500
CLOSED_WITHIN = 15.0
HEAD = "POST /v1/credit-score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\n"


def says_nothing(connection: socket.socket, _: str) -> None:
    connection.settimeout(CLOSED_WITHIN)


def stops_in_the_head(connection: socket.socket, key: str) -> None:
    connection.sendall(HEAD.format(key=key)[:60].encode())


def trickles_the_head(connection: socket.socket, key: str) -> None:
    for letter in HEAD.format(key=key):
        connection.sendall(letter.encode())
        time.sleep(0.1)


def stops_in_the_body(connection: socket.socket, key: str) -> None:
    connection.sendall((HEAD.format(key=key) + 'content-length: 100\r\n\r\n{"uf": ').encode())


def trickles_the_body(connection: socket.socket, key: str) -> None:
    connection.sendall((HEAD.format(key=key) + "content-length: 1000\r\n\r\n").encode())
    while True:
        connection.sendall(b" ")
        time.sleep(0.1)


def trickles_chunks(connection: socket.socket, key: str) -> None:
    connection.sendall((HEAD.format(key=key) + "transfer-encoding: chunked\r\n\r\n").encode())
    while True:
        connection.sendall(b"1\r\n \r\n")
        time.sleep(0.1)


def trickles_a_body_that_nobody_asked_for(connection: socket.socket, _: str) -> None:
    connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.1)


def sends_an_endless_header(connection: socket.socket, _: str) -> None:
    connection.sendall(b"GET /health HTTP/1.1\r\nx: ")
    while True:
        connection.sendall(b"a" * 1000)


def sends_endless_headers(connection: socket.socket, _: str) -> None:
    connection.sendall(b"GET /health HTTP/1.1\r\n")
    while True:
        connection.sendall(b"x: y\r\n" * 100)


def sends_an_endless_body(connection: socket.socket, key: str) -> None:
    connection.sendall((HEAD.format(key=key) + "transfer-encoding: chunked\r\n\r\n").encode())
    while True:
        connection.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")


def announces_a_huge_body(connection: socket.socket, key: str) -> None:
    connection.sendall((HEAD.format(key=key) + f"content-length: {10**12}\r\n\r\n").encode())
    while True:
        connection.sendall(b" " * 100_000)


def nests_deeply(connection: socket.socket, key: str) -> None:
    body = b'{"a":' * 10_000
    connection.sendall(
        (HEAD.format(key=key) + f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n").encode() + body
    )


def speaks_no_http(connection: socket.socket, _: str) -> None:
    connection.sendall(bytes(random.Random(7).randbytes(5000)))


def never_reads(connection: socket.socket, key: str) -> None:
    rows = json.dumps({"propostas": [REQUEST] * 2000})
    head = HEAD.format(key=key).replace("credit-score", "credit-score/batch")
    connection.sendall((head + f"content-length: {len(rows)}\r\n\r\n{rows}").encode())
    for _ in range(200):
        connection.sendall(b" ")  # fails once the server has ended the connection
        time.sleep(0.1)


KINDS: tuple[Callable[[socket.socket, str], None], ...] = (
    says_nothing,
    stops_in_the_head,
    trickles_the_head,
    stops_in_the_body,
    trickles_the_body,
    trickles_chunks,
    trickles_a_body_that_nobody_asked_for,
    sends_an_endless_header,
    sends_endless_headers,
    sends_an_endless_body,
    announces_a_huge_body,
    nests_deeply,
    speaks_no_http,
    never_reads,
)


class Attack(threading.Thread):
    """One connection; `open_for` is how long it stayed open, `answer` what came back."""

    def __init__(self, server: Server, number: int) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.kind = KINDS[number % len(KINDS)]
        self.open_for = float("inf")
        self.answer = b""

    def run(self) -> None:
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", self._server.port), timeout=CLOSED_WITHIN + 5) as connection:
            try:
                self.kind(connection, self._server.key)
            except OSError:
                self.open_for = time.monotonic() - started
            self._read_to_the_end(connection)
            self.open_for = min(self.open_for, time.monotonic() - started)

    def _read_to_the_end(self, connection: socket.socket) -> None:
        try:
            while part := connection.recv(65536):
                self.answer += part[: 4096 - len(self.answer)] if len(self.answer) < 4096 else b""
        except ConnectionError:
            pass


def attack(tmp_path, connections: int) -> list[Attack]:
    folder = tmp_path / "fazenda"
    limits = {"header_seconds": 2, "receive_seconds": 2, "request_seconds": 6, "idle_seconds": 5}
    server = Server(folder, make_project(folder, **limits), tmp_path / "errors.txt", "--no-flush")
    attacks = [Attack(server, number) for number in range(connections)]
    try:
        for each in attacks:
            each.start()
        normal = []
        while any(each.is_alive() for each in attacks):
            normal.append(server.ask("POST", "/v1/credit-score", REQUEST)[0])
            time.sleep(0.05)
        assert set(normal) == {200}
        assert server.ask("GET", "/health")[0] == 200
    finally:
        assert server.stop() == 0
    assert b"Traceback" not in (tmp_path / "errors.txt").read_bytes()
    return attacks


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_bad_connections_end_and_others_are_served(tmp_path):
    _require_ended(attack(tmp_path, QUICK))


@pytest.mark.full
@pytest.mark.timeout(600)
def test_many_bad_connections_end_and_others_are_served(tmp_path):
    _require_ended(attack(tmp_path, FULL))


def _require_ended(attacks: list[Attack]) -> None:
    assert [(each.kind.__name__, each.open_for) for each in attacks if each.open_for > CLOSED_WITHIN] == []
    statuses = {kind: {each.answer[9:12] for each in attacks if each.kind is kind} - {b""} for kind in KINDS}
    assert statuses[nests_deeply] == {b"400"}
    assert statuses[speaks_no_http] == {b"400"}
    assert statuses[stops_in_the_body] == {b"408"}
    assert statuses[trickles_the_body] <= {b"408"}
    assert statuses[announces_a_huge_body] <= {b"413"}
    assert statuses[sends_endless_headers] <= {b"431"}
    assert statuses[says_nothing] == set()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("asked", ["GET /health", "POST /v1/credit-score"])
def test_who_asks_and_asks_and_takes_no_answer_fills_no_memory(tmp_path: Path, asked: str) -> None:
    folder = tmp_path / "fazenda"
    server = Server(folder, make_project(folder, rate=100_000, burst=100_000), tmp_path / "errors.txt", "--no-flush")
    body = json.dumps(REQUEST).encode()
    head = f"{asked} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.key}\r\ncontent-type: application/json\r\n"
    whole = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body if "POST" in asked else f"{head}\r\n".encode()
    try:
        before = _most_memory(server)
        with socket.create_connection(("127.0.0.1", server.port), timeout=3) as connection:
            _send_until_nothing_is_taken(connection, whole * 1000)
        assert _most_memory(server) - before < 64 << 10
        assert server.ask("GET", "/health")[0] == 200
    finally:
        code = server.stop()
    assert code == 0


def _send_until_nothing_is_taken(connection: socket.socket, piece: bytes) -> None:
    for _ in range(300):
        try:
            connection.sendall(piece)
        except TimeoutError:
            return
    raise AssertionError("everything was taken")


def _most_memory(server: Server) -> int:
    """KiB that the process ever had at once."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

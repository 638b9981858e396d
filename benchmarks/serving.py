"""Scores over HTTP on loopback: one row, rows a second a core, a batch; beside a plain FastAPI + joblib service.

Ours looks features up, gives reasons and records each answer; the peers do none of that. Both answer from the same
forest. A server's rows a second *a core* are those it would answer if one core did nothing else: requests divided by
the CPU seconds that its process took for them.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, measured
from benchmarks.report import Goal, Result
from benchmarks.scratch import Scratch

FARMERS = 20_000
STATES = ["SP", "PR", "MT", "GO", "RS", "BA"]
CLIENTS = 16
BATCH = 10_000
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What one client, or many, saw: seconds of each request; wall and CPU seconds of the server for all of them."""

    seconds: Sequence[float]
    wall: float
    cpu: float

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(len(self.seconds) * share))] * 1000

    def row(self, name: str) -> dict[str, Any]:
        count = len(self.seconds)
        return {
            "what": name,
            "requests": count,
            "p50 ms": self.percentile(0.5),
            "p99 ms": self.percentile(0.99),
            "rows/s": count / self.wall,
            "cpu ms": self.cpu / count * 1000,
            "rows/s a core": count / self.cpu,
        }


def serving(scratch: Scratch, requests: int) -> Result:
    """Rounds of ours and of both peers in turn; the median round of each counts."""
    project = scratch.folder / "serving"
    shutil.rmtree(project, ignore_errors=True)
    print(f"  training a forest and storing features of {FARMERS:,} farmers …", flush=True)
    made = measured("serving_project", project=project, farmers=FARMERS).answer
    environ = {"PEER_MODEL": str(project / "model.joblib")}
    with (
        _server(["-m", "datalab", "serve", "--project", str(project)], "/health") as ours,
        _server(["-m", "benchmarks.inside.serving_peer"], "/docs", {**environ, "PEER_JOBS": "1"}) as one,
        _server(["-m", "benchmarks.inside.serving_peer"], "/docs", {**environ, "PEER_JOBS": "-1"}) as all_cores,
        _server(["-m", "benchmarks.inside.serving_echo"], "/") as echo,
    ):
        path = "/v1/credit-score"
        _load(ours, path, made["key"], requests // 4, 1)
        _load(one, "/score", "", 50, 1)
        _load(all_cores, "/score", "", 50, 1)
        rounds = [
            (
                _load(ours, path, made["key"], requests, 1),
                _load(ours, path, made["key"], requests, CLIENTS),
                _load(one, "/score", "", requests // 10, 1),
                _load(all_cores, "/score", "", requests // 20, 1),
                _load(echo, path, "", requests, 1),
                _batch(ours, f"{path}/batch", made["key"]),
            )
            for _ in range(3)
        ]
    single, many, plain, plain_all, nothing, batch = (
        sorted((each[place] for each in rounds), key=lambda load: load.percentile(0.5))[1] for place in range(6)
    )
    rows = [
        single.row("DataLab, one client"),
        many.row(f"DataLab, {CLIENTS} clients"),
        plain.row("FastAPI + joblib, n_jobs=1"),
        plain_all.row("FastAPI + joblib, n_jobs=-1"),
        nothing.row("nothing done: the client's and the loopback's share"),
        {
            "what": f"DataLab, a batch of {BATCH:,}",
            "requests": 1,
            "p50 ms": batch.wall * 1000,
            "rows/s": BATCH / batch.wall,
            "cpu ms": batch.cpu * 1000,
            "rows/s a core": BATCH / batch.cpu,
        },
    ]
    middle = single.percentile(0.5)
    goals = [
        Goal("p50 of one row", middle, 0.6, "ms"),
        Goal("p99 of one row", single.percentile(0.99), 2, "ms"),
        Goal(f"rows a second a core, {CLIENTS} clients", len(many.seconds) / many.cpu, 2000, at_least=True),
        Goal("times faster than n_jobs=1", plain.percentile(0.5) / middle, 5, at_least=True),
        Goal("times faster than n_jobs=-1", plain_all.percentile(0.5) / middle, 20, at_least=True),
        Goal(f"a batch of {BATCH:,}", batch.wall, 1, "s"),
    ]
    return Result(f"serving, forest of 100 trees, {made['inputs']} inputs", rows, goals)


@dataclass(frozen=True)
class Running:
    """A server's process and port."""

    pid: int
    port: int

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK


@contextmanager
def _server(command: Sequence[str], ready: str, environ: dict[str, str] | None = None) -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    whole = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PEER_PORT": str(port), **(environ or {})}
    arguments = [*command, "--port", str(port), "--quiet"] if "serve" in command else command
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=whole)
    try:
        _wait(process, port, ready)
        yield Running(process.pid, port)
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            if connection.recv(15).startswith(b"HTTP/1.1 200"):
                return
        if process.poll() is not None:
            raise SystemExit(f"a server of the benchmark ended with {process.returncode}")
        time.sleep(0.1)
    raise SystemExit("a server of the benchmark does not answer")


def _request(path: str, key: str, number: int) -> bytes:
    farmer = number * 7919 % FARMERS
    row = {
        "id_proponente": f"proponente_{farmer}",
        "uf": STATES[farmer % 500 % len(STATES)],
        "renda_liquida_mes": 5000 + number % 90 * 100,
        "valor_solicitado": 10_000 + number % 70 * 1000,
        "prazo": 12 + number % 48,
    }
    return _post(path, key, json.dumps(row).encode())


def _post(path: str, key: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class _Connection:
    """One keep-alive client: sends the next request as soon as it has the answer to the last."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head, self._missing = b"", 0
        self._parts: list[bytes] = []
        self._started = 0.0

    def send(self, request: bytes) -> None:
        self._started = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> float | None:
        """Seconds since the request, once its answer is whole. SystemExit for any other than 200.

        A long answer comes in many parts: none is looked at or copied twice, or the client's time would be measured.
        """
        part = self.socket.recv(1 << 20)
        if self._missing:
            self._parts.append(part)
            self._missing -= len(part)
        else:
            self._head, end, body = (self._head + part).partition(b"\r\n\r\n")
            if not end:
                return None
            length = int(self._head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            self._parts, self._missing = [body], length - len(body)
        if self._missing:
            return None
        if not self._head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the server answered {self._head[:20]!r} {b''.join(self._parts)[:300]!r}")
        self._head = b""
        return time.perf_counter() - self._started


def _load(server: Running, path: str, key: str, count: int, clients: int) -> Load:
    requests = [_request(path, key, number) for number in range(count)]
    connections = [_Connection(server.port) for _ in range(clients)]
    started, cpu = time.perf_counter(), server.cpu()
    seconds = _alone(connections[0], requests) if clients == 1 else _together(connections, requests)
    load = Load(seconds, time.perf_counter() - started, max(server.cpu() - cpu, 1 / _TICK))
    for connection in connections:
        connection.socket.close()
    return load


def _alone(connection: _Connection, requests: Sequence[bytes]) -> list[float]:
    seconds = []
    for request in requests:
        connection.send(request)
        while (took := connection.receive()) is None:
            pass
        seconds.append(took)
    return seconds


def _together(connections: Sequence[_Connection], requests: Sequence[bytes]) -> list[float]:
    seconds: list[float] = []
    left = iter(requests)
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(left))
        while len(seconds) < len(requests):
            for key, _ in selector.select():
                took = key.data.receive()
                if took is not None:
                    seconds.append(took)
                    request = next(left, None)
                    if request is not None:
                        key.data.send(request)
    return seconds


def _batch(server: Running, path: str, key: str) -> Load:
    rows = [json.loads(_request(path, key, number).partition(b"\r\n\r\n")[2]) for number in range(BATCH)]
    connection, cpu = _Connection(server.port), server.cpu()
    connection.send(_post(path, key, json.dumps({"propostas": rows}).encode()))
    while (took := connection.receive()) is None:
        pass
    connection.socket.close()
    return Load([took], took, server.cpu() - cpu)

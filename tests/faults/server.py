"""A real `datalab serve` in a process of its own, with clients that keep a ledger of what they were answered."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tests.unit.serving.conftest import fill
from tests.unit.serving.models import REQUEST, Registry, package

from datalab.platform.online import wire_online_store
from datalab.platform.settings import load
from datalab.serving.keys import KeyStore

ROOT = Path(__file__).resolve().parents[2]


def make_project(folder: Path, **serving: Any) -> str:
    """A project with a live model and features; answers an admin key."""
    folder.mkdir()
    settings = json.dumps({"model": "credito", **serving})
    (folder / "datalab.yaml").write_text(f"name: fazenda\nserving: {settings}\n", encoding="utf-8")
    state = folder / ".datalab"
    Registry(state).champion(1, package(state, 1))
    store = wire_online_store(load(folder), {})
    fill(store)
    store.close()
    return KeyStore(state).create("test", "admin")[1]


class Server:
    """One run of the server; `errors` is the file of its stderr."""

    def __init__(self, folder: Path, key: str, errors: Path, *options: str) -> None:
        self.key = key
        self.port = _free_port()
        command = [
            sys.executable,
            "-m",
            "datalab",
            "serve",
            "--project",
            str(folder),
            "--port",
            str(self.port),
            *options,
        ]
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        self._errors = errors.open("ab")
        self.process = subprocess.Popen(command, env=environ, stdout=self._errors, stderr=self._errors)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """AssertionError where it ends, or is not ready in 30 s."""
        for _ in range(600):
            with suppress(OSError):
                answer = self.ask("GET", "/ready")
                if answer[0] == 200:
                    return
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}")
            time.sleep(0.05)
        raise AssertionError("the server is not ready")

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, method: str, path: str, body: Any = None, connection: Any = None) -> tuple[int, bytes]:
        if connection is None:
            with closing(self.connect()) as own:
                return self.ask(method, path, body, own)
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        with connection.getresponse() as answer:
            return answer.status, answer.read()

    def children(self) -> list[int]:
        found: list[int] = []
        for file in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, file.read_text().split())
        return found

    def kill(self, *, flusher: bool) -> None:
        """kill -9, of the process that takes the log to the lake, too, where `flusher`."""
        victims = [self.process.pid, *(self.children() if flusher else ())]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._errors.close()

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(30)
        self._errors.close()
        return code


class Client(threading.Thread):
    """Asks again and again until the server is gone; notes each id that it was answered, and only those."""

    def __init__(self, server: Server, number: int) -> None:
        super().__init__()
        self._server = server
        self._number = number
        self.answered: list[str] = []
        self.failed: list[int] = []

    def run(self) -> None:
        with closing(self._server.connect()) as connection, suppress(OSError, http.client.HTTPException):
            while True:
                if self._number % 3 == 2:
                    self._batch(connection)
                else:
                    self._single(connection)

    def _single(self, connection: Any) -> None:
        status, content = self._server.ask("POST", "/v1/credit-score", REQUEST, connection)
        if status == 200:
            self.answered.append(json.loads(content)["id_score"])
        else:
            self.failed.append(status)

    def _batch(self, connection: Any) -> None:
        body = {"propostas": [REQUEST] * 20}
        status, content = self._server.ask("POST", "/v1/credit-score/batch", body, connection)
        if status == 200:
            self.answered += [row["id_score"] for row in json.loads(content)["resultados"]]
        else:
            self.failed.append(status)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

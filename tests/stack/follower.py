"""A process that follows a topic, asked over HTTP how it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.stack.conftest import free_port
from tests.stack.topics import SCHEMA, Filled


class Follower:
    """Follows a topic into a project of its own, a commit every so many seconds."""

    def __init__(self, project: Path, topic: Filled, seconds: int = 1) -> None:
        self.project, self.topic = project, topic
        (project / "c.avsc").write_text(json.dumps(SCHEMA))
        (project / "datalab.yaml").write_text(
            "name: p\n"
            "ingest: {workers: 1}\n"
            f'kafka: {{bootstrap: "{topic.bootstrap}", registry: "{topic.registry}", '
            f"commit_seconds: {seconds}, patience: 5}}\n"
            f"sources: {{pedidos: {{into: bronze.pedidos, contract: c.avsc, topic: {topic.name}}}}}\n"
        )
        self.port = free_port()
        command = [sys.executable, "-m", "datalab", "ingest", "--follow", "--project", str(project),
                   "--metrics-port", str(self.port)]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def metrics(self) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            found: str = answer.read().decode()
            return found

    def health(self) -> tuple[int, str]:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, said.decode()
        return said.decode()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def until(done: Callable[[], object], seconds: float = 60.0) -> None:
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, "it never happened"
        time.sleep(0.3)

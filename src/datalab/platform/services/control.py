"""Servers of one project: started, stopped and asked how they are; their state is under `.datalab/services`."""

from __future__ import annotations

import base64
import json
import secrets
import shlex
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datalab.errors import InvalidSetting, ServiceError
from datalab.events import Bus, Progress
from datalab.lake.local import write_private
from datalab.platform.project import STATE_FOLDER
from datalab.platform.services.describe import Service, filled
from datalab.platform.services.fetch import fetched, files_folder, require_programs
from datalab.platform.services.health import unwell
from datalab.platform.services.processes import Process, end, forget, is_noted, last_lines, locked, present, start

_PAUSE = 0.25
_SHOWN = 12
_PORTS = 65_536


@dataclass(frozen=True)
class Status:
    """A server as it is now. `problem` says in words why it does not answer; `memory` is in bytes.

    `lost`: it was started, and ended though no command ended it.
    """

    service: str
    running: bool
    pid: int | None = None
    memory: int = 0
    started_at: str = ""
    problem: str = ""
    lost: bool = False


class Control:
    """A server in a project. `ports` are the project's own choices for some of the server's ports."""

    def __init__(self, service: Service, project: Path, ports: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.service = service
        self.folder = project / STATE_FOLDER / "services" / service.name
        self.ports = {**service.ports, **_chosen(service, ports)}
        self._environ = environ

    @property
    def addresses(self) -> dict[str, str]:
        """Where clients find the server, by name."""
        words = {f"port.{name}": str(port) for name, port in self.ports.items()}
        return {name: filled(address, words) for name, address in self.service.addresses.items()}

    def start(self, bus: Bus | None = None) -> Status:
        """Start the server where it does not run, and wait until it answers. ServiceError.

        It is ended where it does not come up in time, or where the waiting is broken off.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.folder):
            process = present(self.folder)
            if process is None:
                _tell(bus, f"{self.service.name}: fetch")
                require_programs(self.service)
                fetched(self.service, self._environ)
                process = self._begin()
            try:
                self._await(process, bus)
            except BaseException:
                end(process, self.service.stop_seconds)
                forget(self.folder)
                raise
        return self.status()

    def stop(self) -> bool:
        """End the server; whether there was one to end."""
        if not self.folder.is_dir():
            return False
        with locked(self.folder):
            process = present(self.folder)
            if process is not None:
                end(process, self.service.stop_seconds)
            forget(self.folder)
            return process is not None

    def status(self) -> Status:
        """How the server is."""
        process = present(self.folder)
        if process is None:
            lost = is_noted(self.folder)
            return Status(self.service.name, False, problem="ended by itself" if lost else "not running", lost=lost)
        problem = unwell(self._health())
        return Status(self.service.name, True, process.pid, process.memory(), process.started_at, problem)

    def _begin(self) -> Process:
        self._require_free_ports()
        words = self._words()
        (self.folder / "data").mkdir(exist_ok=True, mode=0o700)
        for name, text in self.service.files.items():
            write_private(self.folder / name, filled(text, words))
        prepare = self.service.prepare
        if prepare is not None and not (self.folder / prepare.unless).exists():
            _run([filled(part, words) for part in prepare.run], self.service.name)
        command = [filled(part, words) for part in self.service.run]
        environment = {name: filled(value, words) for name, value in self.service.environment.items()}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return start(command, {**self._environ, **environment}, self.folder, now)

    def _await(self, process: Process, bus: Bus | None) -> None:
        began = time.monotonic()
        while problem := unwell(self._health()):
            waited = time.monotonic() - began
            _tell(bus, f"{self.service.name}: start", int(waited), self.service.start_seconds)
            if not process.alive():
                said = "\n".join(last_lines(self.folder, _SHOWN))
                raise ServiceError(f"{self.service.name} ended while it started: {said}", self._see_log())
            if waited > self.service.start_seconds:
                raise ServiceError(f"{self.service.name} did not come up in {waited:.0f} s: {problem}", self._see_log())
            time.sleep(_PAUSE)

    def _see_log(self) -> str:
        return f"datalab services logs {self.service.name}"

    def _require_free_ports(self) -> None:
        for name, port in self.ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise ServiceError(
                        f"{self.service.name}: port {port} ({name}) is taken: {error.strerror}",
                        f"choose another: services: {{{self.service.name}: {{ports: {{{name}: …}}}}}} in datalab.yaml",
                    ) from error

    def _health(self) -> dict[str, str]:
        words = {f"port.{name}": str(port) for name, port in self.ports.items()}
        return {kind: filled(address, words) for kind, address in self.service.health.items()}

    def _words(self) -> dict[str, str]:
        return {
            "state": str(self.folder),
            "files": str(files_folder(self.service, self._environ)),
            **{f"port.{name}": str(port) for name, port in self.ports.items()},
            **{f"secret.{name}": value for name, value in self._secrets().items()},
        }

    def _secrets(self) -> dict[str, str]:
        """Made at the first start, and the same ever after."""
        path = self.folder / "secrets.json"
        known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        missing = {name: _secret(kind) for name, kind in self.service.secrets.items() if name not in known}
        if missing:
            write_private(path, json.dumps({**known, **missing}))
        return {**known, **missing}


def _chosen(service: Service, ports: Mapping[str, Any]) -> dict[str, int]:
    """The project's own ports. InvalidSetting."""
    for name, port in ports.items():
        key = f"services.{service.name}.ports.{name}"
        if name not in service.ports:
            raise InvalidSetting(f"{key}: {service.name} has no such port", f"it has {', '.join(service.ports)}")
        if type(port) is not int or not 0 < port < _PORTS:
            raise InvalidSetting(f"{key} is {port!r}, not a port", f"write a whole number from 1 to {_PORTS - 1}")
    return dict(ports)


def _secret(kind: str) -> str:
    if kind == "cluster id":
        # Kafka's tools take an id that begins with a dash for an option.
        return "d" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")[1:]
    return secrets.token_urlsafe(24)


def _run(command: list[str], name: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if answer.returncode:
        said = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[-_SHOWN:])
        raise ServiceError(f"{name} cannot be prepared: {said}", f"it was: {shlex.join(command[:1])} …")


def _tell(bus: Bus | None, task: str, done: int = 0, total: int = 0) -> None:
    if bus is not None:
        bus.emit(Progress(task, done, total))

"""Runs the application: uvicorn with bounded connections, and what goes on beside the requests."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from datalab.errors import ApiKeyError, ServingError
from datalab.events import Bus, FlusherRestarted, ScoreLogFailing, ScoreLogResumed
from datalab.ingest.push.log import PushLog
from datalab.serving.guard import Guard
from datalab.serving.keeper import ModelKeeper
from datalab.serving.keys import KeyStore
from datalab.serving.limits import Limits
from datalab.serving.log import RecordLog
from datalab.serving.protocol import bounded_protocol

_ROTATE_SECONDS = 600
_PATIENCE = 15.0
_GRACE_SECONDS = 10
_COLLECT = (20_000, 20, 20)  # nothing here makes circles; a batch makes many short-lived values


@dataclass(frozen=True)
class Address:
    """Where to listen, and the files of a certificate. `plain` allows another address than loopback without one."""

    host: str
    port: int
    certificate: Path | None = None
    private_key: Path | None = None
    plain: bool = False

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """How a browser names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'' if self.certificate is None else 's'}://{host}:{self.port}"


@dataclass(frozen=True)
class Beside:
    """What runs beside the requests. `flusher` is the command of the process that takes the log to the lake.

    `pushed` are the logs of sources that take records; their files are sealed in time for the next run. `warm` makes
    ready what the first request needs, once the model is known.
    """

    keeper: ModelKeeper
    keys: KeyStore
    logs: Sequence[RecordLog]
    bus: Bus
    poll_seconds: float
    flusher: Sequence[str] = ()
    closing: Callable[[], None] | None = None
    pushed: Sequence[PushLog] = ()
    warm: Callable[[], Awaitable[None]] | None = None

    def lifespan(self) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
        """For FastAPI: everything starts before the first request and ends after the last."""

        @asynccontextmanager
        async def running(_: FastAPI) -> AsyncIterator[None]:
            await asyncio.to_thread(self.keeper.refresh)
            if self.warm is not None:
                await self.warm()
            gc.collect()
            gc.freeze()  # the model and its libraries need no further look by the collector
            gc.set_threshold(*_COLLECT)
            child = Flusher(self.flusher, self.bus) if self.flusher else None
            tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._watch(child))]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                for log in self.logs:
                    log.close()
                for pushed in self.pushed:
                    pushed.close()
                if child is not None:
                    await asyncio.to_thread(child.stop)
                if self.closing is not None:
                    self.closing()

        return running

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self.poll_seconds)
            await asyncio.to_thread(self.keeper.refresh)

    async def _watch(self, child: Flusher | None) -> None:
        told: dict[str, str] = {}
        while True:
            await asyncio.sleep(1)
            with suppress(ApiKeyError, OSError):  # a damaged file changes nothing: the keys known so far stay
                self.keys.refresh()
            for log in self.logs:
                with suppress(OSError):
                    log.rotate(_ROTATE_SECONDS)
                told[log.name] = self._tell(log, told.get(log.name, ""), await asyncio.to_thread(log.probe))
            for pushed in self.pushed:
                with suppress(OSError):  # tried again in a second
                    await asyncio.to_thread(pushed.seal_due)
            if child is not None:
                with suppress(OSError):  # no process can be started now: tried again in a second
                    child.keep_alive()

    def _tell(self, log: RecordLog, before: str, now: str) -> str:
        if now and not before:
            self.bus.emit(ScoreLogFailing(log.name, now))
        elif before and not now:
            self.bus.emit(ScoreLogResumed(log.name))
        return now


class Flusher:
    """The process that takes the log to the lake: started again where it ended, asked for a last turn at the end."""

    def __init__(self, command: Sequence[str], bus: Bus) -> None:
        self._command = command
        self._bus = bus
        self._failures = 0
        self._wait = 0
        self._process = self._start()

    def keep_alive(self) -> None:
        """Start it again where it ended, later each time. Called once a second."""
        code = self._process.poll()
        if code is None:
            return
        if self._wait > 0:
            self._wait -= 1
            return
        self._failures += 1
        self._wait = min(60, 2**self._failures)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._bus.emit(FlusherRestarted(code))
        self._process = self._start()

    def stop(self) -> None:
        """Let it finish, within some seconds; what it does not take is taken by the next one."""
        assert self._process.stdin is not None
        self._process.stdin.close()  # it ends with its input, and so does it where this process is killed
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)


def require_safe(address: Address, keys: KeyStore) -> None:
    """ServingError where the server would be open to others: no key, or no TLS, on another address than loopback."""
    if address.loopback:
        return
    if all(key.revoked_at is not None for key in keys.all()):
        raise ServingError(
            f"{address.host} is not a loopback address, and there is no API key",
            "datalab keys create NAME --role score, or serving.host: 127.0.0.1",
        )
    if address.certificate is None and not address.plain:
        raise ServingError(
            f"{address.host} is not a loopback address, and keys would travel without TLS",
            "set serving.certificate and serving.private_key, or serving.plain_http: true behind a proxy that has TLS",
        )


class _Server(uvicorn.Server):
    """Says so once it listens, and everything beside the requests has started."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()


def run_server(app: Guard, address: Address, limits: Limits, listening: Callable[[], None]) -> None:
    """Serve until the process is told to end; calls `listening` once it does.

    ServingError where the address cannot be used.
    """
    tls: dict[str, Any] = {}
    if address.certificate is not None:
        tls = {"ssl_certfile": str(address.certificate), "ssl_keyfile": _text(address.private_key)}
    config = uvicorn.Config(
        app,
        host=address.host,
        port=address.port,
        http=bounded_protocol(limits, app.straight),
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.idle_seconds),
        timeout_graceful_shutdown=_GRACE_SECONDS,
        **tls,
    )
    server = _Server(config, listening)
    try:
        server.run()
    except (SystemExit, KeyboardInterrupt) as error:
        if server.started:
            return  # a signal asked for the end, and everything was closed in good order
        raise ServingError(
            f"cannot listen on {address.host}:{address.port}", "choose another port: datalab serve --port N"
        ) from error


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)

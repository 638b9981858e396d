"""The main program of worker processes: loads what they need, then copies itself for each worker that is asked for."""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import pkgutil
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from datalab.errors import DataLabError, OutOfMemory
from datalab.ingest.handover import ORDER_BYTES, Packed, unpack
from datalab.ingest.memory_limit import limit_memory

LOADED = "datalab.ingest.worker: loaded\n"
READY = "datalab.ingest.worker: ready\n"
_LATER = {"datalab.ingest.work": ("datalab.ingest.decode.avro_joined",)}


class Birth(NamedTuple):
    """What a new worker is given: descriptors, the bytes that it may take, and what it is for."""

    connection: int
    shared: int
    words: int
    memory: int
    function: str


def main(descriptor: int, function: str) -> None:
    """Start and end workers as asked, until the other end closes the socket; or be one of them."""
    for each in (signal.SIGTERM, signal.SIGINT):  # sent to all processes of a service: the asker ends these, in order
        signal.signal(each, signal.SIG_IGN)
    gc.disable()
    load_for(function)
    gc.freeze()  # libraries stay: no search for circles while they load, and none among them later
    gc.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _say(LOADED)
    with socket.socket(fileno=descriptor) as control:
        birth = _tend(control)
    if birth is not None:
        _serve(birth)


def load_for(function: str) -> None:
    """Import what a function needs, or most likely will."""
    module = function.partition(":")[0]
    for each in (module, *_LATER.get(module, ())):
        importlib.import_module(each)


def _tend(control: socket.socket) -> Birth | None:
    """Answers None once nobody asks any more; in a new process, what it was born with."""
    alive: dict[str, int] = {}
    for (order, number, *rest), descriptors in _orders(control):
        if order == "end":
            control.sendall(str(_ended(alive.pop(number))).encode())
            continue
        pid = os.fork()
        if not pid:
            connection, shared, words = descriptors
            return Birth(connection, shared, words, int(rest[0]), rest[1])
        alive[number] = pid
        for each in descriptors:
            os.close(each)
    for pid in alive.values():
        _ended(pid)
    return None


def _orders(control: socket.socket) -> Iterator[tuple[list[str], list[int]]]:
    """The words of each order, and the descriptors that came with it."""
    while True:
        text, descriptors, _, _ = socket.recv_fds(control, ORDER_BYTES, 3)
        if not text:
            return
        yield text.decode().split(), descriptors


def _ended(pid: int) -> int:
    """Its exit code, or the signal that it died of before as a negative number."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _serve(birth: Birth) -> None:
    """Take calls from the connection and answer them, within the memory limit."""
    for each in (sys.stdout, sys.stderr):
        os.dup2(birth.words, each.fileno())
    os.close(birth.words)
    load_for(birth.function)
    limit_memory(birth.memory)
    connection: Connection[Any, Any] = Connection(birth.connection)
    _say(READY)
    while True:
        try:
            function, packed = connection.recv()
        except EOFError:
            return
        answer = _answer(function, birth.shared, packed)
        with suppress(OSError):
            connection.send(answer)


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _answer(function: str, shared: int, packed: Packed) -> tuple[bool, Any]:
    try:
        return True, pkgutil.resolve_name(function)(unpack(shared, packed))
    except (MemoryError, OutOfMemory) as error:
        return False, MemoryError(str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller decides
        return False, _portable(error)


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - an error that cannot cross is told in words
        return DataLabError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""The main program of a worker process: takes calls from a pipe and answers them, within a memory limit."""

from __future__ import annotations

import gc
import importlib
import pickle
import pkgutil
import resource
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from datalab.errors import DataLabError, OutOfMemory
from datalab.ingest.handover import Packed, unpack
from datalab.ingest.memory_limit import limit_memory

READY = "datalab.ingest.worker: ready\n"
_LATER = {"datalab.ingest.work": ("datalab.ingest.decode.avro_joined",)}


def main(descriptor: int, shared: int, memory: int, function: str) -> None:
    """Serve calls until the other end closes the pipe. What `function` needs is loaded before the limit is set."""
    gc.disable()
    load_for(function)
    gc.freeze()  # libraries stay: no search for circles while they load, and none among them later
    gc.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_memory(memory)
    connection: Connection[Any, Any] = Connection(descriptor)
    sys.stdout.write(READY)
    sys.stdout.flush()
    while True:
        try:
            function, packed = connection.recv()
        except EOFError:
            return
        answer = _answer(function, shared, packed)
        with suppress(OSError):
            connection.send(answer)


def load_for(function: str) -> None:
    """Import what a function needs, or most likely will."""
    module = function.partition(":")[0]
    for each in (module, *_LATER.get(module, ())):
        importlib.import_module(each)


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
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

"""What a storm is made of: a producer with a ledger, a gate before the registry, ingest processes that come and go."""

from __future__ import annotations

import os
import random
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.faults.message_ledger import Messages
from tests.stack.topics import Filled

KEYS = 997
_WAITING = 200_000


def value(number: int, schema_id: int) -> bytes:
    """A message of tests.stack.topics.SCHEMA; every 200th is damaged, and still shows its number."""
    note = b"\0" if number % 3 == 0 else b"\2\x50"
    body = b"\x12" + b"%09d" % number + struct.pack("<d", number * 1.5) + (b"\0", b"\2")[number % 2] + note
    whole = b"\0" + schema_id.to_bytes(4, "big") + body
    return whole if not is_bad(number) else whole[:-1] if number % 400 == 7 else whole + b"!"


def is_bad(number: int) -> bool:
    return number % 200 == 7


def number_of(raw: bytes) -> int:
    return int(raw[6:15])


class Sender(threading.Thread):
    """Sends `count` messages, about so many a second, keys in order; the ledger has what was acknowledged."""

    def __init__(self, bootstrap: str, topic: tuple[str, int, int], count: int, rate: float) -> None:
        super().__init__(daemon=True)
        self._topic, self._partitions, self._schema_id = topic
        self._count, self._rate = count, rate
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0,
                                   "linger.ms": 20, "queue.buffering.max.messages": 2 * _WAITING})  # fmt: skip
        self._rows: list[tuple[int, int, int]] = []
        self.failed: list[str] = []

    def run(self) -> None:
        began = time.monotonic()
        for number in range(self._count):
            self._send(number)
            if number % 100 == 0:
                self._producer.poll(0)
                time.sleep(max(0.0, number / self._rate - (time.monotonic() - began)))
        left = self._producer.flush(240)
        self.failed += ["not acknowledged"] * left

    def ledger(self) -> Messages:
        return Messages.of(self._rows)

    def _send(self, number: int) -> None:
        def told(error: object, message: object) -> None:
            if error is not None:
                self.failed.append(str(error))
            else:
                self._rows.append((message.partition(), message.offset(), number))  # type: ignore[attr-defined]

        key, partition = number % KEYS, number % KEYS % self._partitions
        made = value(number, self._schema_id)
        while len(self._producer) > _WAITING:
            self._producer.poll(0.1)
        self._producer.produce(self._topic, made, b"%d" % key, partition, on_delivery=told)


class Gate:
    """A port that leads to a server, and refuses everybody while it is shut."""

    def __init__(self, port: int, to: int) -> None:
        self.port, self._to = port, to
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        assert self._listener is not None
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.enter_context(client)
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self._to)))
            chooser = stack.enter_context(selectors.DefaultSelector())
            for one, other in ((client, server), (server, client)):
                chooser.register(one, selectors.EVENT_READ, other)
            while True:
                for key, _ in chooser.select():
                    data = key.fileobj.recv(65_536)  # type: ignore[union-attr]
                    if not data:
                        return
                    key.data.sendall(data)


class Crew:
    """Ingest processes that follow a project; what they say goes to files."""

    def __init__(self, project: Path, count: int, chance: random.Random) -> None:
        self._project, self._chance = project, chance
        self._started = 0
        self.codes: list[int] = []
        self._members = [self._start() for _ in range(count)]

    def kill(self) -> None:
        """One of them, at once; another one takes its place."""
        at = self._chance.randrange(len(self._members))
        os.killpg(self._members[at].pid, signal.SIGKILL)
        self._members[at].wait()
        self._members[at] = self._start()

    def leave(self) -> None:
        """One of them ends as it should, while another one comes."""
        at = self._chance.randrange(len(self._members))
        leaver, self._members[at] = self._members[at], self._start()
        self._end(leaver)

    def pause(self, seconds: float) -> None:
        """One of them stands still for so long that the group gives its part to others, and goes on."""
        member = self._chance.choice(self._members)
        os.kill(member.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(member.pid, signal.SIGCONT)

    def dead(self) -> list[int]:
        """Exit codes of those who ended and were not asked to."""
        return [each.returncode for each in self._members if each.poll() is not None]

    def end(self) -> None:
        for each in self._members:
            if each.poll() is None:
                self._end(each)

    def said(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self._project.glob("said-*")))

    def _end(self, member: subprocess.Popen[bytes]) -> None:
        member.send_signal(signal.SIGTERM)
        try:
            self.codes.append(member.wait(60))
        except subprocess.TimeoutExpired:
            os.killpg(member.pid, signal.SIGKILL)
            self.codes.append(-9)

    def _start(self) -> subprocess.Popen[bytes]:
        self._started += 1
        command = [sys.executable, "-m", "datalab", "ingest", "--follow", "--project", str(self._project)]
        with (self._project / f"said-{self._started:03}").open("wb") as said:
            return subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)


class Watch(threading.Thread):
    """Compares the group's offsets with the table's, again and again: the group is asked first."""

    def __init__(self, topic: Filled, group: str, partitions: int, stands: Callable[[], dict[int, int]]) -> None:
        super().__init__(daemon=True)
        self._asker = Consumer({"bootstrap.servers": topic.bootstrap, "group.id": group, "log_level": 0})
        self._places = [TopicPartition(topic.name, each) for each in range(partitions)]
        self._stands = stands
        self._ended = threading.Event()
        self.looks = 0
        self.ahead: list[str] = []
        self.last: dict[int, int] = {}

    def run(self) -> None:
        while not self._ended.wait(0.5):
            with suppress(Exception):  # while the broker is away nobody can be asked
                self.last = self._told()
                stands = self._stands()
                self.looks += bool(self.last)
                self.ahead += [
                    f"{partition}: group {offset}, table {stands.get(partition, 0)}"
                    for partition, offset in self.last.items()
                    if offset > stands.get(partition, 0)
                ]

    def end(self) -> None:
        self._ended.set()
        self.join()
        self._asker.close()

    def _told(self) -> dict[int, int]:
        found = self._asker.committed(self._places, timeout=3)
        return {each.partition: each.offset for each in found if each.offset >= 0}


def bad_numbers(count: int) -> np.ndarray:
    return np.array([number for number in range(count) if is_bad(number)], dtype=np.int64)

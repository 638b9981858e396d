"""The part in C: every message given back once, whatever it holds; and what happens where it is missing."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datalab.ingest.native import build, library
from datalab.ingest.sources import kafka_native
from datalab.ingest.sources.kafka_client import UNREADABLE, client_of
from datalab.ingest.sources.kafka_native import NativeClient
from datalab.ingest.sources.kafka_python import PythonClient

Header = tuple[bytes, bytes | None]


@dataclass(frozen=True)
class Sent:
    """What stands in librdkafka's memory."""

    value: bytes | None = b""
    key: bytes | None = None
    timestamp: int = -1
    headers: tuple[Header, ...] = ()
    error: int = 0


@dataclass
class Broker:
    """librdkafka's functions, as far as messages.c calls them, over messages that are made up."""

    sent: Sequence[Sent]
    destroyed: Counter[int] = field(default_factory=Counter)
    kept: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._messages = [self._message(at, each) for at, each in enumerate(self.sent)]
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        kinds = [
            ctypes.CFUNCTYPE(ctypes.c_int64, pointer, pointer),
            ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer),
            ctypes.CFUNCTYPE(size, pointer),
            ctypes.CFUNCTYPE(ctypes.c_int, pointer, size, pointer, pointer, pointer),
            ctypes.CFUNCTYPE(None, pointer),
        ]
        functions = (self._timestamp, self._headers, self._count, self._header, self._destroy)
        self.handed = [kind(function) for kind, function in zip(kinds, functions, strict=True)]

    def __getattr__(self, name: str) -> Any:
        return lambda *_: 1 if name.startswith("rd_kafka_") else None

    def rd_kafka_consume_batch_queue(self, _queue: int, _timeout: int, room: Any, most: int) -> int:
        count = min(most, len(self._messages))
        room[:count] = [ctypes.addressof(each) for each in self._messages[:count]]
        return count

    def _bytes(self, value: bytes | None) -> tuple[int | None, int]:
        if value is None:
            return None, 0
        self.kept.append(ctypes.create_string_buffer(value))
        return ctypes.addressof(self.kept[-1]), len(value)

    def _message(self, at: int, each: Sent) -> Any:
        value, key = self._bytes(each.value), self._bytes(each.key)
        return kafka_native._Message(each.error, None, at % 3, *value, *key, 100 + at, at)

    def _at(self, message: int) -> int:
        return kafka_native._Message.from_address(message).own or 0

    def _timestamp(self, message: int, _kind: int) -> int:
        return self.sent[self._at(message)].timestamp

    def _headers(self, message: int, found: int) -> int:
        ctypes.c_void_p.from_address(found).value = self._at(message) + 1
        return 0 if self.sent[self._at(message)].headers else -156

    def _count(self, headers: int) -> int:
        return len(self.sent[headers - 1].headers)

    def _header(self, headers: int, index: int, name: int, value: int, size: int) -> int:
        those, content = self.sent[headers - 1].headers[index]
        ctypes.c_void_p.from_address(name).value = self._bytes(those)[0]
        found = self._bytes(content)
        ctypes.c_void_p.from_address(value).value, ctypes.c_size_t.from_address(size).value = found
        return 0

    def _destroy(self, message: int) -> None:
        self.destroyed[self._at(message)] += 1


@pytest.fixture(autouse=True)
def built(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name and not build.LIBRARY.exists():
        pytest.skip("the part in C was not built: a C compiler is needed when the package is installed")


def consumed(sent: Sequence[Sent]) -> tuple[list[dict[str, Any]], list[Any], Broker]:
    broker = Broker(sent)
    library: Any = kafka_native._library()
    handed = (ctypes.c_void_p * 5)(*(ctypes.cast(each, ctypes.c_void_p).value for each in broker.handed))
    over = SimpleNamespace(
        client=broker, handed=handed, measure=library.measure, gather=library.gather, errors=library.errors
    )
    client = NativeClient(over, {})  # type: ignore[arg-type]
    batch, notices = client.consume(1_000)
    if batch is not None:
        batch.validate(full=True)
    return ([] if batch is None else batch.to_pylist()), list(notices), broker


ANY = st.binary(max_size=40)
NAMES = st.one_of(st.text(max_size=8).map(str.encode), ANY).map(lambda name: name.replace(b"\0", b""))
MESSAGES = st.builds(
    Sent,
    st.none() | ANY,
    st.none() | ANY,
    st.integers(-1, 2**62),
    st.lists(st.tuples(NAMES, st.none() | ANY), max_size=4).map(tuple),
    st.sampled_from([0, 0, 0, KafkaError._PARTITION_EOF, KafkaError._TRANSPORT]),
)


def expected(each: Sent, at: int) -> dict[str, Any]:
    try:
        headers = [{"name": name.decode(), "value": value} for name, value in each.headers] or None
    except UnicodeDecodeError:
        headers = [{"name": UNREADABLE, "value": None}]
    place = {"partition": at % 3, "offset": 100 + at, "timestamp": each.timestamp}
    return {"value": each.value, **place, "key": each.key, "headers": headers}


@settings(max_examples=150, deadline=None)
@example([Sent(b"two\0words\xff", error=KafkaError._TRANSPORT)])
@given(st.lists(MESSAGES, min_size=1, max_size=40))
def test_all_that_messages_hold_is_in_the_columns_and_each_is_given_back_once(sent: list[Sent]) -> None:
    rows, notices, broker = consumed(sent)
    assert rows == [expected(each, at) for at, each in enumerate(sent) if not each.error]
    told = [(each.partition, each.offset, each.error.code()) for each in notices]
    assert told == [(at % 3, 100 + at, each.error) for at, each in enumerate(sent) if each.error]
    assert broker.destroyed == Counter(range(len(sent)))


def test_more_messages_than_bits_of_a_byte() -> None:
    sent = [Sent(None if at % 7 == 0 else b"%d" % at, b"k" if at % 5 else None) for at in range(1_000)]
    rows, _, broker = consumed(sent)
    assert rows == [expected(each, at) for at, each in enumerate(sent)]
    assert len(broker.destroyed) == 1_000


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What is known of the library is asked again, before and after."""
    for each in (library.built, kafka_native._library):
        each.cache_clear()
    yield
    for each in (library.built, kafka_native._library):
        each.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_without_the_library_messages_are_taken_in_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "none.so")
    client = client_of({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0})
    assert isinstance(client, PythonClient)
    client.close()


@pytest.mark.usefixtures("forgotten")
def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_native, "_LAYOUT", 0)
    assert kafka_native.native_client({}) is None


@pytest.mark.parametrize("value", ["off", "0", "False"])
def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DATALAB_NATIVE", value)
    client = client_of({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0})
    assert isinstance(client, PythonClient)
    client.close()


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "native.so")
    return tmp_path / "native.so"


def test_what_a_compiler_says_is_told_and_nothing_is_left(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = own.with_name("broken.c")
    source.write_text("int messages_layout(void) { return wrong; }")
    monkeypatch.setattr(build, "SOURCES", (source,))
    assert "wrong" in build.build()
    assert not own.exists()


def test_without_a_compiler_nothing_is_built(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert build.build() == "no C compiler was found"
    monkeypatch.setenv("CC", "/no/such/compiler")
    assert "/no/such/compiler cannot be run" in build.build()
    assert not own.exists()

"""Messages through librdkafka's batch call: gathered into columns by the part in C, none of them a Python object.

The library is the one that confluent-kafka brings along and has loaded; only its public interface is used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, cimpl

from datalab.ingest.decode.avro_columns import PADDING
from datalab.ingest.message_jobs import MESSAGES
from datalab.ingest.native.library import built
from datalab.ingest.sources.kafka_client import TICK, UNREADABLE, Gate, Notice, Settings, Taken

_LAYOUT = 2  # of the structures below, as messages.c has them
_CONSUMER = 1
_WORDS = 512

_P, _S, _I32, _I64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int64
_INT, _SIZE = ctypes.c_int, ctypes.c_size_t
_CALLS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "rd_kafka_assign": (_INT, (_P, _P)),
    "rd_kafka_commit": (_INT, (_P, _P, _INT)),
    "rd_kafka_conf_destroy": (None, (_P,)),
    "rd_kafka_conf_new": (_P, ()),
    "rd_kafka_conf_set": (_INT, (_P, _S, _S, _P, _SIZE)),
    "rd_kafka_consume_batch_queue": (ctypes.c_ssize_t, (_P, _INT, _P, _SIZE)),
    "rd_kafka_consumer_close": (_INT, (_P,)),
    "rd_kafka_destroy": (None, (_P,)),
    "rd_kafka_metadata": (_INT, (_P, _INT, _P, _P, _INT)),
    "rd_kafka_metadata_destroy": (None, (_P,)),
    "rd_kafka_new": (_P, (_INT, _P, _P, _SIZE)),
    "rd_kafka_poll_set_consumer": (_INT, (_P,)),
    "rd_kafka_queue_destroy": (None, (_P,)),
    "rd_kafka_queue_get_consumer": (_P, (_P,)),
    "rd_kafka_topic_destroy": (None, (_P,)),
    "rd_kafka_topic_new": (_P, (_P, _S, _P)),
    "rd_kafka_topic_partition_list_add": (_P, (_P, _S, _I32)),
    "rd_kafka_topic_partition_list_destroy": (None, (_P,)),
    "rd_kafka_topic_partition_list_new": (_P, (_INT,)),
    "rd_kafka_topic_partition_list_set_offset": (_INT, (_P, _S, _I32, _I64)),
}
_HANDED = (
    "rd_kafka_message_timestamp",
    "rd_kafka_message_headers",
    "rd_kafka_header_cnt",
    "rd_kafka_header_get_all",
    "rd_kafka_message_destroy",
)

Array = npt.NDArray[Any]


class _Message(ctypes.Structure):
    _fields_ = (
        ("error", _INT),
        ("topic", _P),
        ("partition", _I32),
        ("value", _P),
        ("value_size", _SIZE),
        ("key", _P),
        ("key_size", _SIZE),
        ("offset", _I64),
        ("own", _P),
    )


class _Sizes(ctypes.Structure):
    _fields_ = tuple(
        (name, _I64)
        for name in (
            "kept",
            "value_bytes",
            "null_values",
            "key_bytes",
            "null_keys",
            "with_headers",
            "headers",
            "name_bytes",
            "header_bytes",
        )
    )


class _Library:
    """librdkafka's functions and our own, with their types."""

    def __init__(self, client: ctypes.CDLL, own: ctypes.CDLL) -> None:
        self.client = client
        for name, (answer, arguments) in _CALLS.items():
            function = getattr(client, name)
            function.restype, function.argtypes = answer, arguments
        self.handed = (_P * len(_HANDED))(*(ctypes.cast(getattr(client, name), _P).value for name in _HANDED))
        self.measure, self.gather, self.errors = own.messages_measure, own.messages_gather, own.messages_errors
        self.measure.restype = self.gather.restype = self.errors.restype = None
        self.errors.argtypes = (_P, _I64, _P)
        self.measure.argtypes, self.gather.argtypes = (_P, _P, _I64, _P), (_P, _P, _I64, _P, _P)


def native_client(settings: Settings) -> NativeClient | None:
    """A client of these settings; None where the part in C was not built, or does not fit."""
    library = _library()
    return NativeClient(library, settings) if library is not None else None


@lru_cache(maxsize=1)
def _library() -> _Library | None:
    own = built()
    try:
        if own is None or own.messages_layout() != _LAYOUT:
            return None
        return _Library(ctypes.CDLL(cimpl.__file__), own)  # what it is linked with is found through it
    except (OSError, AttributeError):
        return None


class NativeClient:
    """A `Client` of librdkafka's C interface."""

    def __init__(self, library: _Library, settings: Settings) -> None:
        self._library = library
        self._calls = library.client
        words = ctypes.create_string_buffer(_WORDS)
        made = self._calls.rd_kafka_new(_CONSUMER, self._configured(settings, words), words, _WORDS)
        if not made:
            raise _refused(words)
        self._handle = made
        self._gate = Gate()
        self._calls.rd_kafka_poll_set_consumer(made)
        self._queue = self._calls.rd_kafka_queue_get_consumer(made)
        self._room: Any = (_P * 0)()

    def refresh(self, topic: str, patience: float) -> None:
        """See Client."""
        with self._gate.passed():
            handle = self._calls.rd_kafka_topic_new(self._handle, topic.encode(), None)
            found, most = _P(), int(patience * 1_000)
            try:
                _checked(self._calls.rd_kafka_metadata(self._handle, 0, handle, ctypes.byref(found), most))
                self._calls.rd_kafka_metadata_destroy(found)
            finally:
                self._calls.rd_kafka_topic_destroy(handle)

    def assign(self, topic: str, at: Mapping[int, int]) -> None:
        """See Client."""
        with self._gate.passed(), self._places(topic, at) as places:
            _checked(self._calls.rd_kafka_assign(self._handle, places))

    def consume(self, most: int) -> Taken:
        """See Client."""
        with self._gate.passed():
            if len(self._room) < most:
                self._room = (_P * most)()
            count = self._calls.rd_kafka_consume_batch_queue(self._queue, int(TICK * 1_000), self._room, most)
            return self._gathered(count) if count > 0 else (None, ())

    def commit(self, topic: str, stands: Mapping[int, int]) -> None:
        """See Client."""
        with self._gate.passed(), self._places(topic, stands) as places:
            _checked(self._calls.rd_kafka_commit(self._handle, places, 0))

    def close(self) -> None:
        """See Client."""
        if self._gate.close():
            self._calls.rd_kafka_consumer_close(self._handle)
            self._calls.rd_kafka_queue_destroy(self._queue)
            self._calls.rd_kafka_destroy(self._handle)

    def _gathered(self, count: int) -> Taken:
        library, sizes = self._library, _Sizes()
        library.measure(library.handed, self._room, count, ctypes.byref(sizes))
        notices = () if sizes.kept == count else tuple(self._notices(count, count - sizes.kept))
        columns = _Columns(sizes)
        library.gather(library.handed, self._room, count, ctypes.byref(sizes), ctypes.byref(columns.pointers))
        return columns.batch() if sizes.kept else None, notices

    def _configured(self, settings: Settings, words: Any) -> int:
        made: int = self._calls.rd_kafka_conf_new()
        for name, value in settings.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if self._calls.rd_kafka_conf_set(made, name.encode(), text.encode(), words, _WORDS):
                self._calls.rd_kafka_conf_destroy(made)
                raise _refused(words)
        return made

    @contextmanager
    def _places(self, topic: str, at: Mapping[int, int]) -> Iterator[int]:
        calls, name = self._calls, topic.encode()
        made = calls.rd_kafka_topic_partition_list_new(len(at))
        try:
            for partition, offset in at.items():
                calls.rd_kafka_topic_partition_list_add(made, name, partition)
                calls.rd_kafka_topic_partition_list_set_offset(made, name, partition, offset)
            yield made
        finally:
            calls.rd_kafka_topic_partition_list_destroy(made)

    def _notices(self, count: int, errors: int) -> Iterator[Notice]:
        places = (_I64 * errors)()
        self._library.errors(self._room, count, places)
        for place in places:
            each = _Message.from_address(self._room[place])
            yield Notice(each.partition, each.offset, KafkaError(each.error, _said(each)))


def _said(message: _Message) -> str | None:
    """In an error's place of a value stand its words."""
    if not message.value:
        return None
    words = ctypes.string_at(message.value, message.value_size).decode("utf-8", "replace")
    return words.replace("\0", "")  # KafkaError takes none


class _Columns:
    """Room for so many messages, and what becomes of it; all ends begin with a zero."""

    def __init__(self, sizes: _Sizes) -> None:
        rows, headers = sizes.kept, sizes.headers
        self._sizes = sizes
        self._values = _Binary(rows, sizes.value_bytes)
        self._keys = _Binary(rows, sizes.key_bytes)
        self._partitions = np.empty(rows, dtype=np.int32)
        self._offsets, self._timestamps = (np.empty(rows, dtype=np.int64) for _ in range(2))
        self._list_bits = np.zeros(rows // 8 + 1, dtype=np.uint8)
        self._list_ends = np.zeros(rows + 1, dtype=np.int32)
        self._names = _Binary(headers, sizes.name_bytes)
        self._contents = _Binary(headers, sizes.header_bytes)
        names = self._names
        wanted = (
            *self._values.arrays,
            *self._keys.arrays,
            *(self._partitions, self._offsets, self._timestamps, self._list_bits, self._list_ends),
            *(names.data, names.ends),
            *self._contents.arrays,
        )
        self.pointers = (_P * len(wanted))(*(each.ctypes.data for each in wanted))

    def batch(self) -> pa.RecordBatch:
        """The messages (MESSAGES)."""
        sizes = self._sizes
        columns = [
            self._values.made(sizes.null_values),
            pa.array(self._partitions),
            pa.array(self._offsets),
            pa.array(self._timestamps),
            self._keys.made(sizes.null_keys),
            self._headers() if sizes.headers else pa.nulls(sizes.kept, MESSAGES.field("headers").type),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=MESSAGES)

    def _headers(self) -> pa.Array:
        kind = MESSAGES.field("headers").type
        raw, contents = self._names.made(0), self._contents.made(None).cast(pa.binary())
        try:
            return self._lists(pa.StructArray.from_arrays([raw.cast(pa.string()), contents], fields=[*kind.value_type]))
        except pa.ArrowInvalid:  # a name is not UTF-8
            pairs = pa.StructArray.from_arrays([raw, contents], names=["name", "value"])
            return pa.array([_readable(each) for each in self._lists(pairs).to_pylist()], kind)

    def _lists(self, pairs: pa.StructArray) -> pa.ListArray:
        """Those of each message; where it has none, null."""
        count, buffers = self._sizes.kept, [pa.py_buffer(each) for each in (self._list_bits, self._list_ends)]
        kind = pa.list_(pa.field("element", pairs.type))
        return pa.Array.from_buffers(kind, count, buffers, children=[pairs])


class _Binary:
    """Room for so many values of so many bytes together, and for what a decoder reads beyond the last."""

    def __init__(self, count: int, size: int) -> None:
        self.data = np.empty(size + PADDING, dtype=np.uint8)
        self.data[size:] = 0
        self._bits = np.zeros(count // 8 + 1, dtype=np.uint8)
        self.ends = np.empty(count + 1, dtype=np.int64)
        self.ends[0] = 0
        self._count = count

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """As messages.c wants them."""
        return self.data, self._bits, self.ends

    def made(self, nulls: int | None) -> pa.LargeBinaryArray:
        """The values; `nulls` of them are null, None where that is not known."""
        bits = None if nulls == 0 else pa.py_buffer(self._bits)
        buffers = [bits, pa.py_buffer(self.ends), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(pa.large_binary(), self._count, buffers)


def _readable(headers: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    try:
        return None if headers is None else [{**each, "name": each["name"].decode()} for each in headers]
    except UnicodeDecodeError:
        return [{"name": UNREADABLE, "value": None}]


def _checked(code: int) -> None:
    if code:
        raise KafkaException(KafkaError(code))


def _refused(words: Any) -> KafkaException:
    told = words.value.decode("utf-8", "replace")
    return KafkaException(KafkaError(KafkaError._INVALID_ARG, told))  # noqa: SLF001 - so it is called

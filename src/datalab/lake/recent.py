"""A small memory for what was read from files that never change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The most recently added values, shared by threads. A key names something that never changes.

    Together they weigh `most` at the most, but for the newest, which is kept whatever it weighs. Each weighs 1 unless
    `weight` says otherwise.
    """

    def __init__(self, most: int, weight: Callable[[Value], int] = lambda _: 1) -> None:
        self._most = most
        self._weight = weight
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._all = 0
        self._lock = threading.Lock()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value kept under a key, made first where there is none."""
        with self._lock:
            if key in self._values:
                return self._values[key]
        value = make()
        self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value; the oldest go where there is too much."""
        with self._lock:
            if key in self._values:
                self._all -= self._weight(self._values[key])
            self._values[key] = value
            self._all += self._weight(value)
            while self._all > self._most and len(self._values) > 1:
                _, gone = self._values.popitem(last=False)
                self._all -= self._weight(gone)

"""From a request and its features to the model's input vector, as the manifest says where each value comes from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from datalab.errors import ModelRefused

Found = Mapping[str, Mapping[str, Any] | None]
Matrix = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: a field of the request, or a feature of a view; then, perhaps, another place."""

    request: str = ""
    view: str = ""
    feature: str = ""
    default: Origin | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Origin:
        """Read the manifest's form."""
        default = record.get("default")
        return cls(
            str(record.get("request", "")),
            str(record.get("view", "")),
            str(record.get("feature", "")),
            None if default is None else cls.of(default),
        )

    def value(self, request: Mapping[str, Any], found: Found) -> Any:
        """The value, None where there is none."""
        if self.request:
            value = request.get(self.request)
        else:
            values = found.get(self.view)
            value = None if values is None else values.get(self.feature)
        return self.default.value(request, found) if value is None and self.default is not None else value

    def getter(self) -> Callable[[Mapping[str, Any], Found], Any]:
        """`value`, made for this origin: the two kinds that nearly all are of take a third of the time."""
        request, view, feature = self.request, self.view, self.feature
        if self.default is not None:
            return self.value
        if request:
            return lambda asked, _: asked.get(request)
        return lambda _, found: (found.get(view) or {}).get(feature)

    @property
    def views(self) -> tuple[tuple[str, str], ...]:
        """The views and features that may be needed."""
        own = ((self.view, self.feature),) if self.view else ()
        return own if self.default is None else (*own, *self.default.views)


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the model, in words for people as well."""

    name: str
    kind: str
    origin: Origin
    reference: Any
    group: str
    label: str
    up: str
    down: str


def inputs_of(manifest: Mapping[str, Any]) -> tuple[Input, ...]:
    """The inputs of a manifest, in order; ModelRefused where one has no sound reference."""
    inputs = tuple(_input(record) for record in manifest["inputs"])
    for part in inputs:
        if part.kind != "category" and part.reference is not None and not _is_number(part.reference):
            raise ModelRefused(f"the reference of input '{part.name}' is no {part.kind}", "train the model again")
    return inputs


class Vector:
    """Turns raw values into the arrays that the model takes: numbers with NaN, texts with "" where there is none."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self.inputs = tuple(inputs)
        self.numbers = tuple(place for place, part in enumerate(inputs) if part.kind != "category")
        self.texts = tuple(place for place, part in enumerate(inputs) if part.kind == "category")
        self.names = tuple(part.name for part in inputs)
        self._columns = tuple(inputs[place].name for place in (*self.numbers, *self.texts))
        self._getters = tuple(part.origin.getter() for part in inputs)

    def raw(self, request: Mapping[str, Any], found: Found) -> list[Any]:
        """The values of one row, as they are found."""
        return [get(request, found) for get in self._getters]

    def arrays(self, rows: Sequence[Sequence[Any]]) -> tuple[Matrix, Matrix]:
        """Numbers as float32 [inputs, rows], texts as objects [inputs, rows].

        A feature beyond float32 is infinite, which models take for a missing value.
        """
        values = [row[place] for place in self.numbers for row in rows]
        with np.errstate(over="ignore"):
            try:
                numbers = np.array(values, dtype=np.float32)  # None becomes NaN
            except (TypeError, ValueError, OverflowError):  # something that is no number
                numbers = np.array([*map(_number, values)], dtype=np.float32)
        texts = np.array([_text(row[place]) for place in self.texts for row in rows], dtype=object)
        return numbers.reshape(len(self.numbers), len(rows)), texts.reshape(len(self.texts), len(rows))

    def feeds(self, numbers: Matrix, texts: Matrix) -> dict[str, Matrix]:
        """What the model is called with: a column [rows, 1] per input."""
        return dict(zip(self._columns, (*numbers[:, :, None], *texts[:, :, None]), strict=True))


def _input(record: Mapping[str, Any]) -> Input:
    name, label = str(record["name"]), str(record.get("label") or record["name"])
    return Input(
        name,
        str(record["kind"]),
        Origin.of(record["from"]),
        record.get("reference"),
        str(record.get("group") or name),
        label,
        str(record.get("up") or f"{label} aumenta o risco"),
        str(record.get("down") or f"{label} reduz o risco"),
    )


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _text(value: Any) -> str:
    """A level as training has it: what Arrow makes of the value."""
    if value.__class__ is str:
        return str(value)
    if value is None:
        return ""
    return str(value) if value.__class__ is int else str(pa.scalar(value).cast(pa.string()).as_py())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)

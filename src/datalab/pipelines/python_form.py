"""The Python form of pipelines: decorators that record, as plain values, what a `.py` pipeline file declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, TypeVar, Unpack, get_type_hints

QueryFunction = Callable[[], str]
F = TypeVar("F", bound=Callable[..., Any])
Action = Literal["warn", "drop", "fail"]
RecordKind = Literal["streaming_table", "materialized_view", "temporary_view", "append_flow", "auto_cdc_flow"]


class TableOptions(TypedDict, total=False):
    """What a table may say of itself beside its name and query; `schema` is a list of columns as in SQL."""

    comment: str
    partition_by: Sequence[str]
    cluster_by: Sequence[str]
    table_properties: Mapping[str, str]
    schema: str
    format: str


class StreamingTableOptions(TableOptions, total=False):
    """Expectations of a table that is fed by flows: name → condition."""

    expect_all: Mapping[str, str]
    expect_all_or_drop: Mapping[str, str]
    expect_all_or_fail: Mapping[str, str]


class CdcOptions(TypedDict, total=False):
    """The optional clauses of AUTO CDC."""

    name: str
    apply_as_deletes: str
    column_list: Sequence[str]
    except_column_list: Sequence[str]
    stored_as_scd_type: int
    track_history_column_list: Sequence[str]
    track_history_except_column_list: Sequence[str]


@dataclass(frozen=True)
class Expectation:
    """A condition that rows should meet."""

    name: str
    condition: str
    action: Action


@dataclass(frozen=True)
class Record:
    """One declaration of a pipeline file and the line it stands on. `function` answers its query, where it has one."""

    kind: RecordKind
    name: str
    line: int
    function: QueryFunction | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    expectations: tuple[Expectation, ...] = ()


_collector: ContextVar[list[Record] | None] = ContextVar("datalab_pipeline_collector", default=None)
_EXPECTATIONS = "__datalab_expectations__"


@contextmanager
def collecting() -> Iterator[list[Record]]:
    """Within this block declarations are recorded into the list; outside of any they have no effect."""
    records: list[Record] = []
    token = _collector.set(records)
    try:
        yield records
    finally:
        _collector.reset(token)


def expectations_of(record: Record) -> tuple[Expectation, ...]:
    """Those given to the declaration, and those of decorators above or below it."""
    return (*record.expectations, *getattr(record.function, _EXPECTATIONS, ()))


def table(*, name: str, **options: Unpack[TableOptions]) -> Callable[[F], F]:
    """A streaming table `layer.table` over a function that answers a Spark SQL query reading `FROM STREAM …`."""
    return _recorder("streaming_table", name, _known(options, TableOptions))


def materialized_view(*, name: str, **options: Unpack[TableOptions]) -> Callable[[F], F]:
    """A stored view `layer.table` over a function that answers a Spark SQL query."""
    return _recorder("materialized_view", name, _known(options, TableOptions))


def temporary_view(*, name: str = "", comment: str = "") -> Callable[[F], F]:
    """A view that is never stored, named as its function unless told otherwise."""
    return _recorder("temporary_view", name, {"comment": comment})


def append_flow(*, target: str, name: str = "", comment: str = "") -> Callable[[F], F]:
    """A flow into a streaming table over a function that answers a query; columns are matched by name."""
    return _recorder("append_flow", name, {"target": target, "comment": comment})


def create_streaming_table(name: str, **options: Unpack[StreamingTableOptions]) -> None:
    """A streaming table that flows feed."""
    given = _known(options, StreamingTableOptions)
    actions: tuple[tuple[str, Action], ...] = (
        ("expect_all", "warn"), ("expect_all_or_drop", "drop"), ("expect_all_or_fail", "fail"),
    )  # fmt: skip
    expectations = tuple(
        Expectation(rule, condition, action)
        for key, action in actions
        for rule, condition in given.pop(key, {}).items()
    )
    _record(Record("streaming_table", name, _caller_line(), options=given, expectations=expectations))


def create_auto_cdc_flow(
    target: str, source: str, keys: Sequence[str], sequence_by: str, **options: Unpack[CdcOptions]
) -> None:
    """Upsert the stream of a table or view into `target` by key; `sequence_by` and `apply_as_deletes` are SQL."""
    given = _known(options, CdcOptions)
    name = given.pop("name", target)
    given |= {"target": target, "source": source, "keys": keys, "sequence_by": sequence_by}
    _record(Record("auto_cdc_flow", name, _caller_line(), options=given))


def expect(name: str, condition: str) -> Callable[[F], F]:
    """Count and warn of rows that break the condition."""
    return _expecting({name: condition}, "warn")


def expect_or_drop(name: str, condition: str) -> Callable[[F], F]:
    """Rows that break the condition go to quarantine."""
    return _expecting({name: condition}, "drop")


def expect_or_fail(name: str, condition: str) -> Callable[[F], F]:
    """A row that breaks the condition fails the step; the table stays as it was."""
    return _expecting({name: condition}, "fail")


def expect_all(expectations: Mapping[str, str]) -> Callable[[F], F]:
    """Several of `expect`, name → condition."""
    return _expecting(expectations, "warn")


def expect_all_or_drop(expectations: Mapping[str, str]) -> Callable[[F], F]:
    """Several of `expect_or_drop`, name → condition."""
    return _expecting(expectations, "drop")


def expect_all_or_fail(expectations: Mapping[str, str]) -> Callable[[F], F]:
    """Several of `expect_or_fail`, name → condition."""
    return _expecting(expectations, "fail")


def _recorder(kind: RecordKind, name: str, options: Mapping[str, Any]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        line = function.__code__.co_firstlineno
        _record(Record(kind, name or function.__name__, line, function, options))
        return function

    return decorate


def _expecting(rules: Mapping[str, str], action: Action) -> Callable[[F], F]:
    added = tuple(Expectation(name, condition, action) for name, condition in rules.items())

    def decorate(function: F) -> F:
        setattr(function, _EXPECTATIONS, (*added, *getattr(function, _EXPECTATIONS, ())))
        return function

    return decorate


def _record(record: Record) -> None:
    records = _collector.get()
    if records is not None:
        records.append(record)


def _known(options: Mapping[str, Any], allowed: type) -> dict[str, Any]:
    names = get_type_hints(allowed)
    for key in options:
        if key not in names:
            raise TypeError(f"unknown option '{key}'; known are {', '.join(sorted(names))}")
    return dict(options)


def _caller_line() -> int:
    """The line of the pipeline file that called the public function."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame.f_back if frame else None
    return frame.f_lineno if frame else 1

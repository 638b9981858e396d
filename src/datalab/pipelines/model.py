"""What pipeline files declare, as values: datasets, flows, constraints. Parsing makes them; the graph reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from datalab.lake.table import PartitionField
from datalab.names import TableName

if TYPE_CHECKING:
    from sqlglot import exp

DatasetKind = Literal["streaming_table", "materialized_view", "temporary_view"]
FlowKind = Literal["append", "auto_cdc", "materialize"]


@dataclass(frozen=True)
class Origin:
    """Where a declaration stands; lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Constraint:
    """CONSTRAINT name EXPECT (condition) [ON VIOLATION DROP ROW | FAIL UPDATE]."""

    name: str
    condition: exp.Expression
    action: Literal["warn", "drop", "fail"]
    origin: Origin


@dataclass(frozen=True)
class Column:
    """A declared column; `type` is the Spark type as written, or empty."""

    name: str
    type: str = ""
    comment: str = ""
    nullable: bool = True


@dataclass(frozen=True)
class Dataset:
    """A table or view that a pipeline declares. Its rows come from flows; a temporary view has a query instead.

    `name` is `layer.table` for tables; temporary views have a single-part `view` name and no table name.
    """

    kind: DatasetKind
    origin: Origin
    name: TableName | None = None
    view: str = ""
    columns: tuple[Column, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    partition: tuple[PartitionField, ...] = ()
    cluster: tuple[str, ...] = ()
    comment: str = ""
    format: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    query: exp.Query | None = None


@dataclass(frozen=True)
class AutoCdc:
    """The clauses of AUTO CDC. `columns` lists columns to keep, `except_columns` those to leave out."""

    keys: tuple[str, ...]
    sequence_by: exp.Expression
    delete_when: exp.Expression | None = None
    columns: tuple[str, ...] = ()
    except_columns: tuple[str, ...] = ()
    scd_type: Literal[1, 2] = 1
    track_history: tuple[str, ...] = ()
    track_history_except: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flow:
    """A query that feeds a table.

    `append` (STREAMING TABLE, INSERT INTO) and `auto_cdc` read new rows of their streams once; `materialize` is a
    view that equals its query. In `query` each table read as a stream is an exp.Table with `meta["stream"]` True.
    """

    name: str
    target: TableName
    kind: FlowKind
    query: exp.Query
    origin: Origin
    by_name: bool = False
    cdc: AutoCdc | None = None
    comment: str = ""


@dataclass(frozen=True)
class Declarations:
    """Everything that a project's pipeline files declare, in file order. SET statements are in `settings`."""

    datasets: tuple[Dataset, ...] = ()
    flows: tuple[Flow, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

"""AUTO CDC as a query: the source's rows with the internal columns that make an upsert independent of order."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from datalab.errors import UnsupportedStatement
from datalab.pipelines.grouping import nondeterministic
from datalab.pipelines.model import AutoCdc

SEQUENCE = "__sequence"
DELETED = "__deleted"


def cdc_query(source: exp.Query, cdc: AutoCdc) -> exp.Query:
    """Columns to keep of `source`, then `__sequence`, then `__deleted` where rows can be deletes."""
    if cdc.scd_type == 2:
        raise UnsupportedStatement(
            "STORED AS SCD TYPE 2 is not run yet", "use STORED AS SCD TYPE 1, or keep the history in bronze"
        )
    kept: list[exp.Expr] = [exp.column(name) for name in cdc.columns]
    star = exp.Star(except_=[exp.to_identifier(name) for name in cdc.except_columns])
    internal: list[exp.Expr] = [exp.alias_(cdc.sequence_by.copy(), SEQUENCE)]
    if cdc.delete_when is not None:
        deleted = exp.func("coalesce", exp.paren(cdc.delete_when.copy()), exp.false())
        internal.append(exp.alias_(deleted, DELETED))
    return exp.select(*(kept or [star]), *internal).from_(source.copy().subquery("source"))


def condition(expected: exp.Expression, cdc: AutoCdc | None) -> exp.Expression:
    """A constraint's condition over the rows of a flow; rows that only delete need not meet it."""
    if cdc is None or cdc.delete_when is None:
        return expected
    return exp.Or(this=exp.column(DELETED), expression=exp.paren(expected.copy()))


def unrepeatable_columns(query: exp.Query, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the result's columns that a clock or chance makes: a record delivered again differs in them alone.

    Between rows of one key and one sequence they decide last, so that a repeated record changes nothing.
    """
    aliases = {alias.alias.lower() for alias in query.find_all(exp.Alias) if nondeterministic(alias.this)}
    return tuple(name for name in names if name.lower() in aliases)

"""AUTO CDC as a query: the source's rows with the internal columns that make an upsert independent of order."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from datalab.engine.base import History, Upsert
from datalab.names import VERSION_COLUMNS
from datalab.pipelines.grouping import nondeterministic
from datalab.pipelines.model import AutoCdc

SEQUENCE = "__sequence"
DELETED = "__deleted"
CLOSES = "__closes"


def cdc_query(source: exp.Query, cdc: AutoCdc) -> exp.Query:
    """Columns to keep of `source`, then `__sequence`, then `__deleted` where rows can be deletes.

    With history also `__start_at`, `__end_at`, and `__closes`: the row is a delete, which ends a version. There
    `__deleted` hides rows that are no version of their own, whatever the reason.
    """
    kept: list[exp.Expr] = [exp.column(name) for name in cdc.columns]
    star = exp.Star(except_=[exp.to_identifier(name) for name in cdc.except_columns])
    internal: list[exp.Expr] = [exp.alias_(cdc.sequence_by.copy(), SEQUENCE)]
    if cdc.scd_type == 2:
        starts, ends = VERSION_COLUMNS
        never = exp.Case(ifs=[exp.If(this=exp.false(), true=cdc.sequence_by.copy())])
        internal = [exp.alias_(cdc.sequence_by.copy(), starts), exp.alias_(never, ends), *internal]
        internal += [exp.alias_(_deleted(cdc), CLOSES), exp.alias_(_deleted(cdc), DELETED)]
    elif cdc.delete_when is not None:
        internal.append(exp.alias_(_deleted(cdc), DELETED))
    return exp.select(*(kept or [star]), *internal).from_(source.copy().subquery("source"))


def _deleted(cdc: AutoCdc) -> exp.Expr:
    return exp.func("coalesce", exp.paren((cdc.delete_when or exp.false()).copy()), exp.false())


def merge_mode(cdc: AutoCdc, query: exp.Query, names: Sequence[str]) -> Upsert | History:
    """How the flow's rows meet those of its table, whose columns have these `names`."""
    changing = unrepeatable_columns(query, names)
    if cdc.scd_type == 1:
        return Upsert(cdc.keys, SEQUENCE, changing)
    exact = {name.lower(): name for name in names}
    left_out = {name.lower() for name in (*cdc.keys, *cdc.track_history_except)}
    own = [name for name in names if not name.startswith("__") and name not in changing]
    tracked = cdc.track_history or [name for name in own if name.lower() not in left_out]
    return History(cdc.keys, SEQUENCE, tuple(exact[name.lower()] for name in tracked), changing)


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

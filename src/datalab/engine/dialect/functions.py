"""Which nodes of a Spark tree mean the same in DuckDB, as they are or as calls of other functions; no others do.

`spark_…` are the macros of macros.py. An argument is written `name`, `name:conversion` or `name|default`.
"""

from __future__ import annotations

from sqlglot import exp

STRUCTURE: frozenset[type[exp.Expr]] = frozenset(
    {
        exp.From, exp.Where, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset,
        exp.Qualify, exp.Subquery, exp.With, exp.CTE, exp.Union, exp.Except, exp.Intersect, exp.Table,
        exp.TableAlias, exp.Alias, exp.Column, exp.Identifier, exp.Star, exp.Boolean, exp.Null,
        exp.RawString, exp.Paren, exp.Tuple, exp.Distinct, exp.Lambda, exp.DataType, exp.DataTypeParam, exp.Var,
        exp.Rollup, exp.Cube, exp.GroupingSets, exp.Dot, exp.PropertyEQ, exp.WindowSpec,
        exp.And, exp.Or, exp.Not, exp.NullSafeNEQ,
        exp.Is, exp.Between, exp.Mul, exp.Case, exp.If, exp.Escape, exp.Interval,
        exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript, exp.PercentileCont,
    }
)  # fmt: skip

SAME: frozenset[type[exp.Expr]] = frozenset(
    {
        exp.Sum, exp.Min, exp.Max, exp.Count, exp.Avg, exp.CountIf, exp.Stddev, exp.StddevSamp, exp.StddevPop,
        exp.Variance, exp.VariancePop, exp.CovarSamp, exp.CovarPop, exp.LogicalAnd, exp.LogicalOr, exp.AnyValue,
        exp.First, exp.Last, exp.FirstValue, exp.LastValue, exp.NthValue, exp.Lag, exp.Lead, exp.PercentRank,
        exp.CumeDist, exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile, exp.Grouping,
        exp.Coalesce, exp.Nullif, exp.Nvl2, exp.Greatest, exp.Least, exp.EqualNull,
        exp.Abs, exp.Exp, exp.Pow, exp.Cbrt, exp.Degrees, exp.Radians, exp.Sin, exp.Cos, exp.Tan, exp.Atan, exp.Pi,
        exp.Trim, exp.StartsWith, exp.EndsWith, exp.Contains, exp.Translate, exp.MD5, exp.SHA,
        exp.Array, exp.HexString, exp.VarMap, exp.Map, exp.MapKeys, exp.ArrayMax, exp.ArrayMin, exp.Uuid,
    }
)  # fmt: skip

# Aggregates whose translation is still one call, so that OVER and FILTER may follow it.
PLAIN_AGGREGATES = frozenset({"median", "quantile_cont", "quantile_disc", "any_value"})
INTEGER_WINDOWS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile)

CALLS: dict[type[exp.Expr], str] = {
    exp.Mod: "spark_remainder(this, expression)",
    exp.IntDiv: "spark_div(this, expression)",
    exp.SafeDivide: "spark_try_divide(this, expression)",
    exp.Sign: "spark_sign(this)",
    exp.Sqrt: "spark_sqrt(this)",
    exp.Ln: "spark_ln(this)",
    exp.IsNan: "spark_isnan(this)",
    exp.Nanvl: "spark_nanvl(this, expression)",
    exp.Upper: "spark_upper(this)",
    exp.Lower: "spark_lower(this)",
    exp.Length: "spark_length(this)",
    exp.Substring: "spark_substring(this, start, length|2147483647)",
    exp.Left: "spark_left(this, expression)",
    exp.Right: "spark_right(this, expression)",
    exp.Repeat: "spark_repeat(this, times)",
    exp.Replace: "replace(this, expression, replacement|'')",
    exp.StrPosition: "spark_position(this, substr)",
    exp.AddMonths: "spark_add_months(this:date, expression)",
    exp.LastDay: "spark_last_day(this:date)",
    exp.Year: "spark_year(this:date)",
    exp.Quarter: "spark_quarter(this:date)",
    exp.Month: "spark_month(this:date)",
    exp.WeekOfYear: "spark_week(this:date)",
    exp.Day: "spark_day(this:date)",
    exp.DayOfMonth: "spark_day(this:date)",
    exp.DayOfYear: "spark_dayofyear(this:date)",
    exp.DayOfWeek: "spark_dayofweek(this:date)",
    exp.Hour: "spark_hour(this:timestamp)",
    exp.Minute: "spark_minute(this:timestamp)",
    exp.Second: "spark_second(this:timestamp)",
    exp.TimeStrToTime: "(this:timestamp)",
    exp.UnixSeconds: "spark_unix_seconds(this:timestamp)",
    exp.UnixMillis: "spark_unix_millis(this:timestamp)",
    exp.UnixMicros: "spark_unix_micros(this:timestamp)",
    exp.UnixDate: "spark_unix_date(this:date)",
    exp.AtTimeZone: "spark_from_utc(this:timestamp, zone)",
    exp.FromTimeZone: "spark_to_utc(this:timestamp, zone)",
    exp.ArrayContains: "spark_array_contains(this, expression)",
    exp.ArrayToString: "spark_join(this, expression)",
    exp.Median: "median(this:double)",
    exp.Quantile: "quantile_cont(this:double, quantile)",
    exp.ApproxQuantile: "quantile_disc(this, quantile)",
    exp.Mode: "spark_mode(this)",
    exp.ArrayAgg: "spark_collect_list(this)",
    exp.ArrayUniqueAgg: "spark_collect_set(this)",
    exp.ArgMax: "spark_max_by(this, expression)",
    exp.ArgMin: "spark_min_by(this, expression)",
}

# Arguments that change nothing here: how sqlglot noted the dialect, and how exact an approximation has to be.
IGNORED_ARGUMENTS = frozenset({"safe", "typed", "nulls_excluded", "accuracy", "deterministic"})

# Functions that sqlglot does not know, by name.
NAMED: dict[str, str] = {
    "mean": "avg(0)",
    "std": "stddev(0)",
    "every": "bool_and(0)",
    "some": "bool_or(0)",
    "pmod": "spark_pmod(0, 1)",
    "positive": "(0)",
    "weekday": "spark_weekday(0:date)",
    "make_date": "spark_make_date(0, 1, 2)",
    "timestamp_seconds": "spark_timestamp_seconds(0)",
    "timestamp_millis": "spark_timestamp_millis(0)",
    "timestamp_micros": "spark_timestamp_micros(0)",
    "get": "spark_item_or_null(0, 1)",
    "map_values": "map_values(0)",
    "map_entries": "map_entries(0)",
    "tinyint": "(0:bigint)::TINYINT",
    "smallint": "(0:bigint)::SMALLINT",
    "bigint": "(0:bigint)",
}

# What may answer differently when it is computed a second time.
UNREPEATABLE = (exp.Rand, exp.Uuid, exp.First, exp.Last, exp.AnyValue, exp.RowNumber, exp.Limit)

"""Declarations to silver and gold: parse, graph, plan, run. In files: `from datalab import pipelines as dp`."""

from datalab.pipelines.python_form import (
    append_flow,
    create_auto_cdc_flow,
    create_streaming_table,
    expect,
    expect_all,
    expect_all_or_drop,
    expect_all_or_fail,
    expect_or_drop,
    expect_or_fail,
    materialized_view,
    table,
    temporary_view,
)

__all__ = [
    "append_flow",
    "create_auto_cdc_flow",
    "create_streaming_table",
    "expect",
    "expect_all",
    "expect_all_or_drop",
    "expect_all_or_fail",
    "expect_or_drop",
    "expect_or_fail",
    "materialized_view",
    "table",
    "temporary_view",
]

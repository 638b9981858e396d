"""One job: `python -m benchmarks.inside NAME JSON-ARGUMENTS`; the last line of its output is its answer as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

JOBS = {
    "bronze": "bronze:fill",
    "change": "bronze:change",
    "run": "ours:run",
    "changes": "ours:changes",
    "nothing_new": "ours:nothing_new",
    "decoding": "decoding:run",
    "ingest": "ours:ingest",
    "pending": "ours:pending",
    "simulate": "ours:simulate",
    "peer_queries": "queries:peer_queries",
    "spark_queries": "queries:spark_queries",
    "peer": "peer:run",
    "silver_files": "queries:silver_files",
    "recompute": "recompute:run",
    "training_set": "features:training_set",
    "online": "features:online",
    "kafka_fill": "kafka:fill",
    "kafka_raw": "kafka:raw",
    "kafka_common": "kafka:common",
    "kafka_ours": "kafka:ours",
    "kafka_count": "kafka:count",
    "kafka_shared": "kafka:shared",
    "trace": "tracing:trace",
    "trace_back": "tracing:back",
    "trace_by_hand": "tracing:by_hand",
    "trace_chosen": "tracing:chosen",
    "serving_project": "serving:make",
    "upserts": "upserts:ours",
    "commits": "upserts:commits",
    "delta_merges": "upsert_peer:merges",
    "spark_merges": "upsert_peer:for_spark",
    "versions": "ours:versions",
}


def main() -> None:
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    module, function = JOBS[name].split(":")
    job: Callable[..., Mapping[str, Any]] = getattr(import_module(f"benchmarks.inside.{module}"), function)
    print(json.dumps(job(**arguments), default=str))


if __name__ == "__main__":
    main()

"""A topic into a queryable table: ours, the raw consumer that limits it, and what people write in Python today."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.inside.kafka import TOPIC
from benchmarks.measure import Measured, measured, measured_spark, middle, typical
from benchmarks.peers import spark_jars, spark_python
from benchmarks.report import Goal, Result, cost
from benchmarks.scratch import Scratch

RECORDS, SIMULATED, COMMON = 2_000_000, 200_000, 300_000
CONTRACT = Path(__file__).resolve().parent.parent / "examples" / "agro" / "contracts" / "dados_produtores.avsc"


def kafka_servers() -> bool:
    """Whether a broker can be run here; a word where not."""
    found = all(shutil.which(program) for program in ("java", "mvn"))
    if not found:
        print("  kafka is left out: it needs Java 17 and Maven", flush=True)
    return found


def kafka(scratch: Scratch, table_format: str, repeat: int, records: int = RECORDS) -> Result:
    """Records of the farmers' schema in four partitions; servers are started for it and ended."""
    # Our own package is imported here: the benchmarks' other processes are measured without it.
    from datalab.platform.services.control import Control  # noqa: PLC0415
    from datalab.platform.services.describe import find_service  # noqa: PLC0415

    project = scratch.folder / "kafka"
    project.mkdir(parents=True, exist_ok=True)
    ports = {"kafka": {"broker": 29092, "controller": 29093}, "registry": {"http": 28081, "management": 29901}}
    servers = [Control(find_service(name), project, ports[name], os.environ) for name in ports]
    try:
        for server in servers:
            server.start()
        bootstrap, registry = servers[0].addresses["bootstrap"], servers[1].addresses["url"]
        return _measured(scratch, table_format, repeat, (bootstrap, registry, records))
    finally:
        for server in reversed(servers):
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)


def _measured(scratch: Scratch, table_format: str, repeat: int, cluster: tuple[str, str, int]) -> Result:
    bootstrap, registry, records = cluster
    landing = scratch.landed(SIMULATED, 12) / "landing" / "dados_produtores"
    print(f"  sending {records:,} records …", flush=True)
    measured("kafka_fill", bootstrap=bootstrap, registry=registry, contract=CONTRACT, landing=landing, records=records)
    raw = [measured("kafka_raw", bootstrap=bootstrap, records=records) for _ in range(repeat)]
    ours, pairs, peers = [], [], []
    for number in range(repeat):
        folder = scratch.folder / "kafka" / f"ours-{number}"
        asked: dict[str, Any] = {"project": folder, "bootstrap": bootstrap, "registry": registry, "fmt": table_format}
        ours.append(_counted(measured("kafka_ours", **asked), folder, table_format))
        shutil.rmtree(folder)
        pairs.append(measured("kafka_shared", **asked, records=records))
        shutil.rmtree(folder)
    for number in range(min(repeat, 2)):
        folder = scratch.folder / "kafka" / f"peer-{number}"
        peers.append(measured("kafka_common", bootstrap=bootstrap, registry=registry, folder=folder, records=COMMON))
        shutil.rmtree(folder)
    spark = _spark(scratch, bootstrap)
    lines = [
        _line("raw consume, nothing done", raw),
        _line("DataLab", ours),
        _line("DataLab, two processes of one group", pairs),
        _line(f"fastavro, from_pylist, PyIceberg ({COMMON:,})", peers),
        *spark,
    ]
    rate, each = _rate(ours), 1e6 * middle(ours).cpu / records
    goals = [
        Goal("topic to table", rate, 350_000, "records/s", at_least=True),
        Goal("CPU a record, the whole process", each, 3.0, "µs"),
        Goal("beside the fastavro path", rate / _rate(peers), 7.0, "times", at_least=True),
        Goal("memory", middle(ours).peak_all / 1e6, 500, "MB"),
    ]
    if spark:
        goals.append(Goal("beside Spark, warm", rate / float(str(spark[-1]["records/s"])), 3.0, "times", at_least=True))
    return Result(f"kafka, {records:,} records, {table_format}", lines, goals)


def _counted(run: Measured, project: Path, table_format: str) -> Measured:
    """The run with the rows that a query finds after it."""
    return replace(run, answer={**run.answer, **measured("kafka_count", project=project, fmt=table_format).answer})


def _spark(scratch: Scratch, bootstrap: str) -> list[dict[str, object]]:
    """Structured Streaming to Delta, where Spark is installed: a first run, and one with everything warm."""
    python = spark_python()
    if python is None:
        return []
    folder = scratch.folder / "kafka" / "spark"
    asked = {"bootstrap": bootstrap, "topic": TOPIC, "schema": CONTRACT.read_text(encoding="utf-8")}
    run = measured_spark(python, "stream", jars=spark_jars(), folder=folder, asked=asked)
    shutil.rmtree(folder, ignore_errors=True)
    return [
        {
            "what": f"Spark Structured Streaming to Delta, {name}",
            "work s": each["work"],
            "records/s": each["rows"] / each["work"],
            "µs CPU a record": 1e6 * each["cpu"] / each["rows"],
        }
        for name, each in zip(("cold", "warm"), run.answer["runs"], strict=True)
    ]


def _line(name: str, runs: list[Measured]) -> dict[str, object]:
    rows = int(runs[0].answer["rows"])
    return {**cost(name, middle(runs)), "records/s": _rate(runs), "µs CPU a record": 1e6 * middle(runs).cpu / rows}


def _rate(runs: list[Measured]) -> float:
    return float(runs[0].answer["rows"]) / typical(runs, "work")

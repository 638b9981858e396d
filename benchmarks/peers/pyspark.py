"""Spark with Delta and Iceberg, for an interpreter of its own: `python -P pyspark.py WORK JSON-ARGUMENTS`.

It knows nothing of ours. -P, since this file has the name of what it imports.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.functions import expr

SEQUENCE = "__sequence"
DELTA, ICEBERG = "delta-spark", "iceberg-spark-runtime"
EXTENSIONS = {
    DELTA: "io.delta.sql.DeltaSparkSessionExtension",
    ICEBERG: "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
}


def session(jars: str, folder: str, memory: str = "4g") -> SparkSession:
    settings = {
        "spark.jars": jars,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": memory,
        "spark.sql.shuffle.partitions": "8",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": f"{folder}/warehouse",
        "spark.sql.extensions": ",".join(name for jar, name in EXTENSIONS.items() if jar in jars),
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }
    if ICEBERG in jars:
        settings |= {
            "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.lake.type": "hadoop",
            "spark.sql.catalog.lake.warehouse": f"{folder}/iceberg",
        }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("ERROR")
    return made


def medallion(jars: str, folder: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Bronze files to a silver table and the gold ones over it in Delta, with the project's own Spark SQL."""
    started = time.monotonic()
    spark = session(jars, folder)
    spark.range(1).count()
    ready = time.monotonic()
    spark.read.parquet(*asked["files"]).createOrReplaceTempView("bronze_rows")
    valid = spark.sql(asked["select"].replace("bronze.dados_produtores_agro", "bronze_rows"))
    for condition in asked["where"]:
        valid = valid.where(condition)
    _newest(valid, asked["keys"]).write.format("delta").save(f"{folder}/silver")
    spark.read.format("delta").load(f"{folder}/silver").createOrReplaceTempView("silver_rows")
    for name, sql in asked["gold"].items():
        rows = spark.sql(sql.replace("silver.silver_dados_produtores_agro", "silver_rows"))
        rows.write.format("delta").save(f"{folder}/{name}")
    done = time.monotonic()
    counts = {n: spark.read.format("delta").load(f"{folder}/{n}").count() for n in ("silver", *asked["gold"])}
    spark.stop()
    return {"start": ready - started, "work": done - ready, "rows": counts}


def _newest(rows: DataFrame, keys: list[str]) -> DataFrame:
    names = ", ".join(keys)
    ranked = rows.withColumn("__rank", expr(f"row_number() OVER (PARTITION BY {names} ORDER BY {SEQUENCE} DESC)"))
    return ranked.where("__rank = 1").drop("__rank", SEQUENCE)


def merges(jars: str, folder: str, asked: dict[str, Any]) -> dict[str, Any]:
    """MERGE of batches into a table of the given rows, which Spark writes first; the first batch is cold.

    `format` is delta or iceberg; `merge_mode` Iceberg's property of that name.
    """
    spark = session(jars, folder)
    table = _table(spark, folder, asked)
    found: dict[str, list[tuple[float, float]]] = {}
    for spread, batches in asked["batches"].items():
        for batch in batches:
            spark.read.parquet(batch["path"]).createOrReplaceTempView("batch")
            before, used = time.monotonic(), _cpu()
            _merge(spark, table, asked, batch["since"])
            found.setdefault(spread, []).append((time.monotonic() - before, _cpu() - used))
    spark.stop()
    return {"runs": found}


def _table(spark: SparkSession, folder: str, asked: dict[str, Any]) -> str:
    rows = spark.read.parquet(asked["rows"])
    if asked["format"] == "delta":
        rows.write.format("delta").save(f"{folder}/table")
        return f"delta.`{folder}/table`"
    rows.writeTo("lake.silver.rows").using("iceberg").tableProperty("write.merge.mode", asked["merge_mode"]).create()
    return "lake.silver.rows"


def _merge(spark: SparkSession, table: str, asked: dict[str, Any], since: str) -> None:
    """`since`: a time before which no row of the batch is, so that files can be left out."""
    same = " AND ".join(f"t.{key} = b.{key}" for key in asked["keys"])
    bound = f" AND t.{asked['time']} >= TIMESTAMP '{since}'" if since else ""
    sequence = asked["sequence"]
    spark.sql(
        f"MERGE INTO {table} t USING batch b ON {same}{bound} "
        f"WHEN MATCHED AND b.{sequence} > t.{sequence} THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    )


def stream(jars: str, folder: str, asked: dict[str, Any]) -> dict[str, Any]:
    """A topic in Confluent's wire format to Delta by Structured Streaming; twice, the second time warm."""
    spark = session(jars, folder)
    runs = []
    for number in range(2):
        before, used = time.monotonic(), _cpu()
        source = (
            spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", asked["bootstrap"])
            .option("subscribe", asked["topic"])
            .option("startingOffsets", "earliest")
            .load()
        )
        body = expr("substring(value, 6, length(value) - 5)")
        rows = source.select(from_avro(body, asked["schema"]).alias("r"), "partition", "offset").select(
            "r.*", "partition", "offset"
        )
        query = (
            rows.writeStream.format("delta")
            .option("checkpointLocation", f"{folder}/checkpoint{number}")
            .trigger(availableNow=True)
            .start(f"{folder}/table{number}")
        )
        query.awaitTermination()
        count = spark.read.format("delta").load(f"{folder}/table{number}").count()
        runs.append({"work": time.monotonic() - before, "cpu": _cpu() - used, "rows": count})
    spark.stop()
    return {"runs": runs}


def _cpu() -> float:
    """CPU seconds of the whole tree: the JVM is a child that has not ended, so the system is asked."""
    total = 0.0
    for pid in _tree():
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / 100
    return total


def _tree() -> list[int]:
    found = [os.getpid()]
    for member in found:
        with suppress(OSError):
            for path in Path(f"/proc/{member}/task").glob("*/children"):
                found.extend(map(int, path.read_text(encoding="utf-8").split()))
    return found


if __name__ == "__main__":
    work, arguments = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps({"medallion": medallion, "merges": merges, "stream": stream}[work](**arguments)))

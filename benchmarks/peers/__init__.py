"""Peers that need an environment of their own: found where they were installed, passed over with a word where not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

FOLDER = Path(os.environ.get("DATALAB_PEERS") or Path(__file__).resolve().parents[2] / ".cache" / "peers")
SPARK = FOLDER / "spark"
JARS = SPARK / "jars"
# Only these go to Spark: what else its connectors name, it has itself, in versions that must not meet others.
WANTED = (
    "delta-spark", "delta-storage", "delta-kernel", "unitycatalog", "spark-sql-kafka", "spark-token-provider",
    "spark-avro", "kafka-clients", "commons-pool2", "iceberg-spark-runtime",
)  # fmt: skip


def spark_python(connector: str = "delta-spark") -> Path | None:
    """The interpreter that has Spark; None, and a word of why, where it or the jar of this name is not installed."""
    python = SPARK / "env" / "bin" / "python"
    if shutil.which("java") is None or not python.exists() or connector not in spark_jars():
        print("  Spark is left out: make bench-peers installs it (550 MB; needs Java 17 and Maven)", flush=True)
        return None
    return python


def spark_jars() -> str:
    """The jars that Spark needs for Delta, Iceberg, Kafka and Avro, as its setting takes them."""
    return ",".join(str(path) for path in sorted(JARS.glob("*.jar")) if path.name.startswith(WANTED))

"""`python -m benchmarks.peers`: install the peers that need an environment of their own."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

from benchmarks.peers import JARS, SPARK

PYSPARK = "pyspark==4.1.4"
# The newest that are there together: Delta 4.4.1 for Spark 4.1 is not.
DELTA = "io.delta:delta-spark_4.1_2.13:4.4.0"
ALONE = (
    "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0",
    "org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.3",
    "org.apache.spark:spark-token-provider-kafka-0-10_2.13:4.0.0",
    "org.apache.spark:spark-avro_2.13:4.1.1",
    "org.apache.kafka:kafka-clients:3.9.1",
    "org.apache.commons:commons-pool2:2.12.1",
)


def main() -> None:
    if not (SPARK / "env" / "bin" / "pip").exists():
        venv.create(SPARK / "env", with_pip=True)
    subprocess.run([SPARK / "env" / "bin" / "pip", "install", "--quiet", PYSPARK], check=True)
    JARS.mkdir(parents=True, exist_ok=True)
    pom = SPARK / "pom.xml"
    parts = [_dependency(DELTA, ("org.apache.spark", "org.scala-lang")), *(_dependency(each, ("*",)) for each in ALONE)]
    pom.write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>datalab</groupId><artifactId>peers</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{''.join(parts)}</dependencies></project>",
        encoding="utf-8",
    )
    _copy(pom)


def _dependency(artefact: str, without: tuple[str, ...]) -> str:
    group, name, version = artefact.split(":")
    excluded = "".join(
        f"<exclusion><groupId>{each}</groupId><artifactId>*</artifactId></exclusion>" for each in without
    )
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>"
        f"<exclusions>{excluded}</exclusions></dependency>"
    )


def _copy(pom: Path) -> None:
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={JARS}"]
    subprocess.run(["mvn", "--batch-mode", "--quiet", "--file", str(pom), *goal], check=True)


if __name__ == "__main__":
    main()

"""The settings as typed, frozen values. Each field's annotation carries its one-line description."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from datalab.errors import InvalidSetting
from datalab.lake.table import PartitionField
from datalab.names import TableName

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B\Z")
_DURATION = re.compile(r"\d+[smhd]\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


class Identifier(str):
    """A name of a-z, 0-9 and _ that starts with a letter."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Identifier:
        """InvalidSetting unless `text` is such a name."""
        if not _IDENTIFIER.match(text):
            raise InvalidSetting(f"'{text}' is not a name", "use a-z, 0-9 and _, starting with a letter")
        return cls(text)


class Location(str):
    """A folder or a URL. Relative folders stand in the project."""

    __slots__ = ()

    def within(self, folder: Path) -> Location:
        """The same place as an absolute path; URLs stay as they are."""
        return self if _SCHEME.match(self) else Location((folder / Path(self).expanduser()).resolve())


@dataclass(frozen=True)
class Size:
    """An amount of bytes, as written: 2GB is 2·10⁹, 2GiB is 2·2³⁰."""

    text: str

    def __post_init__(self) -> None:
        if not _SIZE.match(self.text):
            raise InvalidSetting(f"'{self.text}' is not a size", "write a number and a unit: 512MB, 2GB, 1.5GiB")

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read `512MB`; InvalidSetting."""
        return cls(text.strip())

    @property
    def bytes(self) -> int:
        """The amount as a number."""
        number, unit = re.fullmatch(_SIZE, self.text).groups()  # type: ignore[union-attr]
        power = " KMGT".index((unit or " ")[0])
        return int(float(number) * (1024 if unit and unit.endswith("i") else 1000) ** power)


@dataclass(frozen=True)
class Duration:
    """A length of time, as written: 45s, 30m, 6h, 7d."""

    text: str

    def __post_init__(self) -> None:
        if not _DURATION.match(self.text):
            raise InvalidSetting(f"'{self.text}' is not a duration", "write a number and a unit: 45s, 30m, 6h, 7d")

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read `6h`; InvalidSetting."""
        return cls(text.strip())

    @property
    def delta(self) -> timedelta:
        """The length as a value."""
        return timedelta(seconds=int(self.text[:-1]) * _SECONDS[self.text[-1]])


@dataclass(frozen=True)
class AtLeast:
    """The smallest, and perhaps the largest, allowed value of a number."""

    minimum: int
    maximum: int | None = None


_LAKE = Location("lake")


class Section:
    """Base of every group of settings."""


@dataclass(frozen=True, kw_only=True)
class LakeSettings(Section):
    """Where the tables live."""

    format: Annotated[Literal["iceberg", "delta"], "Table format of new tables."] = "iceberg"
    warehouse: Annotated[Location, "Folder or URL that holds the tables."] = _LAKE
    catalog: Annotated[Mapping[str, Any], "Iceberg catalog, passed to PyIceberg; none: SQLite beside the tables."] = (
        field(default_factory=dict)
    )


@dataclass(frozen=True, kw_only=True)
class EngineSettings(Section):
    """Who computes."""

    kind: Annotated[Literal["duckdb"], "Engine that runs the queries."] = "duckdb"
    memory_limit: Annotated[Size, "Memory of the engine; what does not fit is spilled to disk."] = Size("2GB")
    threads: Annotated[int | None, AtLeast(1), "Threads of the engine; none: one per core."] = None
    temp: Annotated[Path, "Folder for spilled data."] = Path(".datalab/tmp")


@dataclass(frozen=True, kw_only=True)
class IngestSettings(Section):
    """How sources are read."""

    workers: Annotated[int, AtLeast(1), "Processes that decode files."] = 2
    worker_memory: Annotated[Size, "Memory of one decoding process; beyond it the process is ended."] = Size("2GB")
    worker_seconds: Annotated[int, AtLeast(1), "Time for one piece of decoding; beyond it the process is ended."] = 120
    record_size: Annotated[Size, "Largest record of a text file; a larger one goes to quarantine."] = Size("8MiB")
    block_size: Annotated[Size, "Largest block of an Avro file, unpacked; a larger one goes to quarantine."] = Size(
        "128MiB"
    )
    batch_files: Annotated[int, AtLeast(1), "Most files in one commit."] = 256
    batch_size: Annotated[Size, "Most bytes of files in one commit."] = Size("256MiB")


@dataclass(frozen=True, kw_only=True)
class SourceSettings(Section):
    """One source of records and the bronze table that it feeds."""

    into: Annotated[TableName, "Bronze table that the records go to."]
    contract: Annotated[Path, "Avro schema (.avsc) of the records."]
    files: Annotated[str | None, "Files of the source, a pattern below the project: landing/pedidos/*.avro."] = None
    topic: Annotated[str | None, "Kafka topic of the source; where it is set, `files` is left aside."] = None
    dead_letter: Annotated[str | None, "Kafka topic that gets a copy of each quarantined record of the source."] = None
    push: Annotated[bool, "Whether clients may send records to POST /v1/ingest/NAME."] = False
    format: Annotated[
        Literal["avro", "csv", "jsonl", "parquet"] | None, "Format of the files; none: told by the suffix."
    ] = None
    partition_by: Annotated[
        tuple[PartitionField, ...],
        "Columns that split the bronze table: column, or years, months, days, hours of one: months(column).",
    ] = ()
    comment: Annotated[str, "What the bronze table holds, kept as its comment."] = ""


@dataclass(frozen=True, kw_only=True)
class RunSettings(Section):
    """How steps are executed."""

    parallel: Annotated[int, AtLeast(1), "Independent steps that run side by side."] = 2
    retries: Annotated[int, AtLeast(0), "How often a step is tried again after a failure that may pass."] = 3


@dataclass(frozen=True, kw_only=True)
class OnlineSettings(Section):
    """Where features are served from."""

    store: Annotated[Literal["sqlite", "redis"], "Online store of the features."] = "sqlite"
    path: Annotated[Path, "File of the SQLite store."] = Path(".datalab/online.db")
    url: Annotated[str, "Address of the Redis store."] = "redis://127.0.0.1:6379/0"
    password: Annotated[Any, "Password of the Redis store, a reference to a secret."] = None
    timeout_ms: Annotated[int, AtLeast(1), "Longest wait for an answer of the store, in milliseconds."] = 50


@dataclass(frozen=True, kw_only=True)
class LayerMaintenance(Section):
    """What maintenance aims at for the tables of one layer, where it differs."""

    file_size: Annotated[Size | None, "As maintenance.file_size, for this layer."] = None
    overlap: Annotated[int | None, AtLeast(1), "As maintenance.overlap, for this layer."] = None
    keep: Annotated[int | None, AtLeast(1), "As maintenance.keep, for this layer."] = None
    keep_for: Annotated[Duration | None, "As maintenance.keep_for, for this layer."] = None
    small_files: Annotated[int | None, AtLeast(0), "As maintenance.small_files, for this layer."] = None
    dead_bytes: Annotated[int | None, AtLeast(0), "As maintenance.dead_bytes, for this layer."] = None
    snapshots: Annotated[int | None, AtLeast(1), "As maintenance.snapshots, for this layer."] = None
    metadata: Annotated[int | None, AtLeast(1), "As maintenance.metadata, for this layer."] = None
    stale: Annotated[Duration | None, "As maintenance.stale, for this layer."] = None


@dataclass(frozen=True, kw_only=True)
class MaintenanceSettings(Section):
    """What maintenance aims at, and what the doctor finds wrong."""

    file_size: Annotated[Size, "Size that data files are merged to; files below half of it are small."] = Size("256MiB")
    overlap: Annotated[int, AtLeast(1), "Files over one value of the cluster columns; more are merged."] = 4
    keep: Annotated[int, AtLeast(1), "Newest snapshots of a table that never expire."] = 20
    keep_for: Annotated[Duration, "Time for which a snapshot stays after it was replaced."] = Duration("7d")
    readers: Annotated[Duration, "Longest time that a reader runs; no snapshot goes sooner after its replacement."] = (
        Duration("6h")
    )
    orphans: Annotated[Duration, "Age from which files that no metadata names are removed."] = Duration("3d")
    small_files: Annotated[
        int, AtLeast(0), "Doctor: most small files, in percent of a table's; up to ten are fine."
    ] = 50
    dead_bytes: Annotated[int, AtLeast(0), "Doctor: most bytes of snapshots that may go, in percent of live ones."] = (
        100
    )
    snapshots: Annotated[int, AtLeast(1), "Doctor: most snapshots of a table."] = 500
    metadata: Annotated[int, AtLeast(1), "Doctor: most manifests, or commits since a checkpoint."] = 200
    stale: Annotated[Duration, "Doctor: longest time that a table may lag behind its inputs."] = Duration("2d")
    layers: Annotated[Mapping[Identifier, LayerMaintenance], "Aims per layer, by its name."] = field(
        default_factory=dict
    )


@dataclass(frozen=True, kw_only=True)
class ServingSettings(Section):
    """How scores are served."""

    host: Annotated[str, "Address to listen on; another than loopback needs an API key, and TLS."] = "127.0.0.1"
    port: Annotated[int, AtLeast(1, 65_535), "Port to listen on."] = 8000
    certificate: Annotated[Path | None, "File of the TLS certificate; none: plain HTTP."] = None
    private_key: Annotated[Path | None, "File of the certificate's private key."] = None
    plain_http: Annotated[bool, "Serve another address than loopback without TLS, behind a proxy that has it."] = False
    model: Annotated[Identifier | None, "Model to serve; none: the only one in models/."] = None
    route: Annotated[str, "Name of the route that answers scores: /v1/NAME and /v1/NAME/batch."] = "credit-score"
    reasons: Annotated[int, AtLeast(1), "Most reasons in an answer."] = 5
    deadline_ms: Annotated[int, AtLeast(1), "Longest wait for features; then the answer goes without them."] = 50
    model_latency_ms: Annotated[int, AtLeast(1), "Slowest model that may go live, for a row with its reasons."] = 10
    poll_seconds: Annotated[int, AtLeast(1), "Time between two questions to the model registry."] = 2
    flush_seconds: Annotated[int, AtLeast(1), "Time between two moves of the score log to the lake."] = 10
    log_sync: Annotated[
        Literal["process", "disk"],
        "What a logged score survives before it is answered: the end of the process, or of the machine.",
    ] = "process"
    log_size: Annotated[Size, "Size at which the score log begins a new file."] = Size("64MiB")
    rate: Annotated[int, AtLeast(1), "Requests a second that one API key may make in the long run."] = 1000
    burst: Annotated[int, AtLeast(1), "Requests that one API key may make at once."] = 2000
    body_size: Annotated[Size, "Largest body of a request."] = Size("64KiB")
    batch_size: Annotated[Size, "Largest body of a batch."] = Size("8MiB")
    batch_rows: Annotated[int, AtLeast(1), "Most requests in a batch."] = 10_000
    depth: Annotated[int, AtLeast(2), "Most levels of nesting in a body."] = 8
    header_seconds: Annotated[int, AtLeast(1), "Time for the head of a request to come in."] = 10
    receive_seconds: Annotated[int, AtLeast(1), "Time for the body of a request to come in."] = 10
    request_seconds: Annotated[int, AtLeast(1), "Time for a whole request, its answer taken by the client."] = 60
    idle_seconds: Annotated[int, AtLeast(1), "Time that a connection may stay open without a request."] = 30
    connections: Annotated[int, AtLeast(1), "Most connections at a time."] = 1000


@dataclass(frozen=True, kw_only=True)
class RegistrySettings(Section):
    """Where versions of models are kept."""

    kind: Annotated[Literal["mlflow"], "Registry of models."] = "mlflow"
    path: Annotated[Path, "Folder of the registry's database and files, where it is no server."] = Path(
        ".datalab/mlflow"
    )
    url: Annotated[str, "Address of an MLflow server; none: the folder."] = ""


@dataclass(frozen=True, kw_only=True)
class NotifySettings(Section):
    """Where a finished run is announced."""

    file: Annotated[Path | None, "File that each notification is appended to, one line of JSON."] = None


@dataclass(frozen=True, kw_only=True)
class KafkaSettings(Section):
    """The cluster that topics are read from, and its schema registry."""

    bootstrap: Annotated[str | None, "Addresses of brokers: 127.0.0.1:9092."] = None
    registry: Annotated[str | None, "URL of the schema registry, Confluent's API."] = None
    registry_user: Annotated[Any, "User of the schema registry, where it asks for one: text, or a reference."] = None
    registry_password: Annotated[Any, "Password of that user, a reference to a secret."] = None
    registry_ca: Annotated[
        Path | None, "File of the certificates (PEM) that the registry's is to be signed by; none: those of the system."
    ] = None
    options: Annotated[Mapping[str, Any], "Further settings of the client, passed to librdkafka."] = field(
        default_factory=dict
    )
    group: Annotated[
        str | None, "Consumer group that shares a topic and tells the lag; none: datalab-NAME of the project."
    ] = None
    commit_messages: Annotated[int, AtLeast(1), "Most messages in one commit."] = 1_000_000
    commit_seconds: Annotated[int, AtLeast(1), "Longest time that messages are read for one commit."] = 5
    patience: Annotated[
        int, AtLeast(1), "Seconds without an answer after which a broker or registry counts as down."
    ] = 30


@dataclass(frozen=True, kw_only=True)
class ServiceSettings(Section):
    """One server of the stack, as this project runs it."""

    ports: Annotated[Mapping[str, Any], "Ports of a server that `datalab services` runs, where others are wanted."] = (
        field(default_factory=dict)
    )


@dataclass(frozen=True, kw_only=True)
class Settings(Section):
    """All settings of a project in one environment; paths are absolute."""

    name: Annotated[Identifier, "Name of the project."]
    lake: Annotated[LakeSettings, "Where the tables live."] = LakeSettings()
    engine: Annotated[EngineSettings, "Who computes."] = EngineSettings()
    ingest: Annotated[IngestSettings, "How sources are read."] = IngestSettings()
    sources: Annotated[Mapping[Identifier, SourceSettings], "Sources of records, by name."] = field(
        default_factory=dict
    )
    pipelines: Annotated[tuple[str, ...], "Pipeline files, patterns below the project."] = (
        "pipelines/**/*.sql",
        "pipelines/**/*.py",
    )
    features: Annotated[tuple[str, ...], "Feature views and training sets, patterns below the project."] = (
        "features/*.yaml",
    )
    online: Annotated[OnlineSettings, "Where features are served from."] = OnlineSettings()
    serving: Annotated[ServingSettings, "How scores are served."] = ServingSettings()
    models: Annotated[tuple[str, ...], "Files that declare models, patterns below the project."] = ("models/*.yaml",)
    registry: Annotated[RegistrySettings, "Where versions of models are kept."] = RegistrySettings()
    run: Annotated[RunSettings, "How steps are executed."] = RunSettings()
    maintenance: Annotated[MaintenanceSettings, "How tables are kept healthy."] = MaintenanceSettings()
    simulate: Annotated[Path | None, "Python file whose simulate() makes test data."] = None
    report: Annotated[Path | None, "Python file whose report() is called after a run that changed something."] = None
    notify: Annotated[NotifySettings, "Where a finished run is announced."] = NotifySettings()
    kafka: Annotated[KafkaSettings, "Where topics are read from."] = KafkaSettings()
    services: Annotated[Mapping[Identifier, ServiceSettings], "Servers that `datalab services` runs, by name."] = field(
        default_factory=dict
    )
    schedules: Annotated[Mapping[str, Any], "Reserved for the scheduler; nothing reads it yet."] = field(
        default_factory=dict
    )
    environments: Annotated[tuple[str, ...], "Overlays of these settings, by name; --env picks one."] = ()

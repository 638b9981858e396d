"""How much ingest may take: of a worker's memory and time, of a record, of a batch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds in bytes and seconds.

    `workers` processes decode side by side, each with `worker_memory` and at most `worker_seconds`, plus a second
    per megabyte, for one task. `record_bytes` bounds one record of text, `block_bytes` one decompressed Avro block. A
    batch (one commit) is closed at `batch_files` or `batch_bytes`; about `chunk_bytes` are decoded at once.
    `plain_bytes` bounds what a compressed file of text may unpack to.
    """

    workers: int = 2
    worker_memory: int = 2 << 30
    worker_seconds: float = 120.0
    record_bytes: int = 8 << 20
    block_bytes: int = 128 << 20
    batch_files: int = 256
    batch_bytes: int = 256 << 20
    chunk_bytes: int = 16 << 20
    plain_bytes: int = 512 << 20

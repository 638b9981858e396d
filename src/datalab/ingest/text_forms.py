"""Which contracts text formats can carry."""

from __future__ import annotations

from datalab.errors import ContractError
from datalab.ingest.avro_schema import AvroType
from datalab.ingest.contracts import Contract

_NESTED = frozenset({"record", "array", "map"})
_BINARY = frozenset({"bytes", "fixed"})


def require_text_form(contract: Contract, kind: str) -> None:
    """ContractError where a format of text has no form for a field: bytes in any, nested values in CSV."""
    without = {"csv": _NESTED | _BINARY, "jsonl": _BINARY}.get(kind.removesuffix(".gz"))
    found = _first(contract.record, without) if without else None
    if found:
        raise ContractError(
            f"field {found} of the contract has no form in {kind}", "take Avro or Parquet, or another type"
        )


def _first(record: AvroType, without: frozenset[str], path: str = "") -> str | None:
    for each in record.fields:
        inner, kind = f"{path}{each.name}", each.type
        while kind.items is not None and kind.kind not in without:
            kind = kind.items
        if kind.kind in without and kind.logical != "decimal":
            return inner
        deeper = _first(kind, without, f"{inner}.")
        if deeper:
            return deeper
    return None

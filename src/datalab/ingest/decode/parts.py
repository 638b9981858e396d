"""What decoders answer: accepted records as Arrow, rejected ones with their reason, a part of a file at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datalab.ingest.avro_schema import AvroType
from datalab.ingest.decode.conform import conform, first_faults
from datalab.ingest.reasons import WHOLE, Reason, Reject

Rows = npt.NDArray[np.int64]
Described = tuple[int, int, bytes]  # number of the first record, how many records, their bytes
Ranges = Sequence[tuple[int, int]]
Raws = Callable[[Sequence[int]], Sequence[bytes]]


@dataclass(frozen=True)
class Part:
    """Accepted records with their record numbers, and rejects.

    The former are a struct array of the contract's types; texts that recur may be dictionaries.
    """

    records: pa.StructArray | None = None
    rows: Rows | None = None
    rejects: tuple[Reject, ...] = ()

    @property
    def accepted(self) -> int:
        """How many records were accepted."""
        return 0 if self.records is None else len(self.records)

    @property
    def read(self) -> int:
        """How many source records this part stands for."""
        return self.accepted + sum(reject.records for reject in self.rejects)

    def only(self, wanted: Ranges) -> Part:
        """The same part without what lies outside the ranges of record numbers `wanted`."""
        rejects = tuple(reject for reject in self.rejects if _touches(reject, wanted))
        if self.records is None or self.rows is None:
            return Part(rejects=rejects)
        keep = np.zeros(len(self.rows), dtype=bool)
        for start, stop in wanted:
            keep |= (self.rows >= start) & (self.rows < stop)
        return Part(self.records.filter(pa.array(keep)), self.rows[keep], rejects)


def _touches(reject: Reject, wanted: Ranges) -> bool:
    if reject.row <= WHOLE:
        return True
    return any(reject.row < stop and start < reject.row + reject.records for start, stop in wanted)


def refused(row: int, reason: Reason, detail: str, raw: bytes | memoryview = b"", records: int = 1) -> Part:
    """A part that holds nothing but one reject."""
    return Part(rejects=(Reject.of(row, reason, detail, raw, records),))


def settle(wire: pa.StructArray, rows: Rows, raws: Raws, reader: AvroType, writer: AvroType | None = None) -> Part:
    """Decoded records under the contract: the faulty ones are taken out and rejected.

    `raws` answers the source bytes of records by their index in `wire`; it is asked only about faulty ones.
    """
    made, faults = conform(wire, reader, writer)
    if not faults:
        return Part(made, rows)
    found = dict(sorted(first_faults(faults, len(wire)).items()))
    bad = list(found)
    rejects = tuple(
        Reject.of(int(rows[at]), fault.reason, fault.detail, raw)
        for (at, fault), raw in zip(found.items(), raws(bad), strict=True)
    )
    keep = np.ones(len(wire), dtype=bool)
    keep[bad] = False
    return Part(made.filter(pa.array(keep)), rows[keep], rejects)

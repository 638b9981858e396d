"""Small files of a job, gathered so that many are decoded at once; where one is not good, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from datalab.ingest.contracts import Contract
from datalab.ingest.decode.parts import Part
from datalab.ingest.jobs import FileDone, FileJob
from datalab.ingest.limits import Limits
from datalab.plugins import load

_SMALL = 512 << 10
_ENOUGH = 2 << 20
_SOUND = "datalab.ingest.decode.avro_joined:sound"
_JOINED = "datalab.ingest.decode.avro_joined:decode_joined"


@dataclass(frozen=True)
class Origin:
    """Where a stretch of records came from: `first` is what must be added to their numbers."""

    name: str
    version: str
    first: int
    records: int


@dataclass(frozen=True)
class Opened:
    """A file's bytes, with what it is."""

    job: FileJob
    data: memoryview
    version: str


Add = Callable[[Part, Sequence[Origin]], None]
Alone = Callable[[Opened], FileDone]


def may_join(each: FileJob) -> bool:
    """Whether a file is small, wanted as a whole, and of a format that can be joined."""
    whole = each.span is None and each.ranges is None and each.data is None and not each.version
    return each.format == "avro" and whole and each.size <= _SMALL


@dataclass
class Together:
    """Takes opened files; decodes them with `add` once there are enough, or `alone` where that does not work."""

    contract: Contract
    limits: Limits
    add: Add
    alone: Alone
    _held: list[tuple[Opened, object]] = field(default_factory=list)
    _schema: bytes = b""
    _bytes: int = 0

    def take(self, opened: Opened) -> Iterator[FileDone]:
        """Hold a file back; answers what became of files as far as that is known now."""
        found = load(_SOUND)(opened.data, self.contract, self.limits)
        if found is None:
            yield self.alone(opened)
            return
        if self._held and (found.schema != self._schema or self._bytes >= _ENOUGH):
            yield from self.finish()
        self._held.append((opened, found))
        self._schema = found.schema
        self._bytes += len(opened.data)

    def finish(self) -> Iterator[FileDone]:
        """Decode what is held."""
        held, self._held, self._bytes = self._held, [], 0
        yield from self._decode(held) if held else ()

    def _decode(self, held: Sequence[tuple[Opened, object]]) -> Iterator[FileDone]:
        if len(held) == 1:
            yield self.alone(held[0][0])
            return
        part: Part | None = load(_JOINED)([found for _, found in held], self.contract)
        if part is None:
            half = len(held) // 2
            yield from self._decode(held[:half])
            yield from self._decode(held[half:])
            return
        origins, first = list[Origin](), 0
        for opened, found in held:
            records: int = found.records  # type: ignore[attr-defined]
            origins.append(Origin(opened.job.name, opened.version, -first, records))
            first += records
        self.add(part, origins)
        yield from (FileDone(each.name, each.version, each.records) for each in origins)

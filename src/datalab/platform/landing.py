"""Commits of one source into its table, one after the other; one may be under way while the next batch is read.

Nothing is committed before what was read before it: a batch waits for the commit that it comes after, and is let go of
where that one fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from datalab.errors import Fenced
from datalab.ingest.ingest import IngestStaged
from datalab.lake.table import TableState

Offsets = Mapping[str, Any]


@dataclass(frozen=True)
class Course:
    """What landing takes: `publish` commits a batch onto a state and answers the new one, in any thread.

    `acknowledge` is told the offsets of what has landed, `discard` removes a batch's files, `offsets_of` a state says
    where the source stands in it.
    """

    publish: Callable[[TableState, IngestStaged, int], TableState]
    acknowledge: Callable[[Offsets], None]
    discard: Callable[[IngestStaged], None]
    offsets_of: Callable[[TableState], Offsets]


class Landing:
    """Use it as a context manager: its end waits for what is under way, and raises what became of it.

    `state` is the newest state that is known, `offsets` is where the source stands once all has landed.
    """

    def __init__(self, course: Course, state: TableState) -> None:
        self._course = course
        self._pool = ThreadPoolExecutor(1, "commit")
        self._under_way: Future[TableState] | None = None
        self.state = state
        self.offsets = course.offsets_of(state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.settle()
        finally:
            self._pool.shutdown()

    def commit(self, staged: IngestStaged, left: int) -> None:
        """Commit what was staged for `offsets`; `left` records wait. Fenced where others took any of it meanwhile.

        Where more of the batch is to be read, and the commit can follow others, it goes on by itself.
        """
        before = self.offsets
        try:
            planned = self.state
            self.settle()
            ready = _onto(staged, before, planned, self)
        except BaseException:
            self._course.discard(staged)
            raise
        self._under_way = self._pool.submit(self._course.publish, self.state, ready, left)
        self.offsets = ready.provenance.offsets
        if staged.rest is None or staged.onto is None:
            self.settle()

    def settle(self) -> None:
        """Wait for what is under way; raises where it did not land."""
        if self._under_way is not None:
            commit, self._under_way = self._under_way, None
            self.renew(commit.result())
            self._course.acknowledge(self.offsets)

    def renew(self, state: TableState) -> None:
        """Go on from another state. Nothing may be under way."""
        self.state, self.offsets = state, self._course.offsets_of(state)


def _onto(staged: IngestStaged, before: Offsets, planned: TableState, landing: Landing) -> IngestStaged:
    """The batch for the state that there is now, which others may have committed to since it was planned."""
    state = landing.state
    same = planned.same_layout(state)
    if same and landing.offsets == before:
        return staged
    provenance = staged.onto(state) if same and staged.onto is not None else None
    if provenance is None:
        raise Fenced(
            f"{state.name}: another writer has consumed the same, or changed the table, while it was read",
            "nothing of the batch was written; it is planned again",
        )
    return replace(staged, provenance=provenance)

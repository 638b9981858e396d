"""Reads features within a deadline: what does not come in time is left out, and the answer says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from threading import Barrier, BrokenBarrierError

from datalab.errors import DataLabError
from datalab.features.online.base import Lookup, OnlineStore, Position
from datalab.serving.lookup import Features, Known, LookupPlan, Request, View

_THREADS = 4
_FAILURES_TO_OPEN = 5
_OPEN_SECONDS = 1.0
_CAREFUL_READS = 20
_ROWS_PER_DEADLINE = 100
_MOST_IN_PLACE = 32
_WARM_SECONDS = 2.0


class FeatureReader:
    """Reads from one store. An embedded store answers in place; it is trusted to bound its own waiting.

    A shared store, and an embedded one that was slow a few reads ago, is read in a thread that is not waited for beyond
    the deadline. After several failures in a row the store is left alone for a second.
    """

    def __init__(self, store: OnlineStore, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._deadline = deadline
        self._clock = clock
        self._pool = ThreadPoolExecutor(_THREADS, "lookup")
        self._columns: dict[str, tuple[str, ...]] = {}
        self._busy = 0
        self._failures = 0
        self._open_until = 0.0
        self._careful = _CAREFUL_READS if store.capabilities.shared else 0  # reads in a thread that are to come

    async def warm(self, plan: LookupPlan) -> None:
        """Before the first request: each thread reads once from a shared store: connections open, layouts are learnt.

        Ends soon, and raises nothing, whatever the store does.
        """
        if not plan.views or not self._store.capabilities.shared:
            return
        loop, together = asyncio.get_running_loop(), Barrier(_THREADS)
        sample = [loop.run_in_executor(self._pool, self._sample, plan)]
        if (await asyncio.wait(sample, timeout=_WARM_SECONDS))[0] and (known := sample[0].result()):
            reads = [loop.run_in_executor(self._pool, self._read_together, known, together) for _ in range(_THREADS)]
            await asyncio.wait(reads, timeout=_WARM_SECONDS)

    def _sample(self, plan: LookupPlan) -> list[Lookup]:
        """An entity of each view that has one; none where the store does not answer."""
        try:
            for view in plan.views.values():
                self._columns[view.name] = _columns_of(view, self._store.position(view.name))
            found = [(name, self._store.entries(name, 1)) for name in plan.views]
        except DataLabError:
            return []
        return [Lookup(name, entry.entity) for name, entries in found for entry in entries]

    def _read_together(self, known: Sequence[Lookup], together: Barrier) -> None:
        """At the same time in all threads: each takes a connection of its own."""
        with suppress(BrokenBarrierError, DataLabError):
            together.wait(_WARM_SECONDS)
            self._store.read(known, datetime.now(UTC))

    async def read(self, plan: LookupPlan, requests: Sequence[Request], known: Known | None = None) -> list[Features]:
        """The features of each request; never raises for what the store does. What is `known` may be taken from there.

        `known` grows by what was read, so that the parts of a batch read each entity once.
        """
        if self.reads_in_place(len(requests)):
            return self.read_now(plan, requests)
        if self._clock() < self._open_until:
            return self._without(plan, requests, "lookup_failed")
        return await self._read_in_thread(plan, requests, known)

    def reads_in_place(self, requests: int) -> bool:
        """Whether `read` would wait for no thread."""
        return requests <= _MOST_IN_PLACE and not self._careful

    def read_now(self, plan: LookupPlan, requests: Sequence[Request]) -> list[Features]:
        """The same in this thread, for as long as the store takes."""
        started = self._clock()
        if started < self._open_until:
            return self._without(plan, requests, "lookup_failed")
        try:
            found = plan.read(self._store, requests, datetime.now(UTC))
        except DataLabError:
            return self._failed(plan, requests, "lookup_failed")
        finally:
            if self._clock() - started > self._deadline:
                self._careful = _CAREFUL_READS  # slow once may have been chance: some quick ones end it
        self._failures = 0
        return found

    def columns(self, view: View) -> tuple[str, ...]:
        """The names of the view's entity columns as the store knows them, else as the model does."""
        if view.name not in self._columns:
            try:
                self._columns[view.name] = _columns_of(view, self._store.position(view.name))
            except DataLabError:
                return view.columns
        return self._columns[view.name]

    def close(self) -> None:
        """Let threads end; the store belongs to whoever opened it."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _read_in_thread(
        self, plan: LookupPlan, requests: Sequence[Request], known: Known | None
    ) -> list[Features]:
        if self._busy >= _THREADS:
            return self._failed(plan, requests, "lookup_slow")
        loop = asyncio.get_running_loop()
        self._busy += 1
        work = loop.run_in_executor(self._pool, plan.read, self._store, requests, datetime.now(UTC), known)
        work.add_done_callback(self._finished)
        try:
            found = await asyncio.wait_for(
                asyncio.shield(work), self._deadline * (1 + len(requests) / _ROWS_PER_DEADLINE)
            )
        except TimeoutError:
            return self._failed(plan, requests, "lookup_slow")
        except DataLabError:
            return self._failed(plan, requests, "lookup_failed")
        self._failures = 0
        if not self._store.capabilities.shared and self._careful:
            self._careful -= 1
        return found

    def _finished(self, work: asyncio.Future[list[Features]]) -> None:
        self._busy -= 1
        if not work.cancelled():
            work.exception()

    def _failed(self, plan: LookupPlan, requests: Sequence[Request], reason: str) -> list[Features]:
        self._failures += 1
        if self._careful:
            self._careful = _CAREFUL_READS
        if self._failures >= _FAILURES_TO_OPEN:
            self._failures = 0
            self._open_until = self._clock() + _OPEN_SECONDS
        return self._without(plan, requests, reason)

    @staticmethod
    def _without(plan: LookupPlan, requests: Sequence[Request], reason: str) -> list[Features]:
        return [plan.nothing(reason)] * len(requests) if plan.views else [Features({}, {}, {})] * len(requests)


def _columns_of(view: View, position: Position) -> tuple[str, ...]:
    return view.columns if position.layout is None else position.layout.entity

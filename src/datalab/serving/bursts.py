"""Requests that are there together are scored together: one look-up, one call of the model, one write of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from datalab.serving.guard import Call, Done, Outcome
from datalab.serving.problems import Answer

_MOST = 32


class Asked:
    """A request that waits for its answer. What is said first counts."""

    __slots__ = ("_done", "call")

    def __init__(self, call: Call, done: Done) -> None:
        self.call = call
        self._done: Done | None = done

    def answer(self, outcome: Outcome) -> None:
        """Tell whoever asked."""
        done, self._done = self._done, None
        if done is not None:
            done(outcome)


Score = Callable[[Sequence[Asked]], Awaitable[None] | None]


class Bursts:
    """Gathers the requests of one turn of the event loop. `score` answers each of them, or says that it will.

    A single request waits for nobody: its burst is it alone.
    """

    def __init__(self, score: Score) -> None:
        self._score = score
        self._waiting: list[Asked] = []
        self._later: set[asyncio.Future[None]] = set()

    def add(self, call: Call, done: Done) -> None:
        """Take a request; `done` is called once, with an answer or an error."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._go)
        self._waiting.append(Asked(call, done))

    async def ask(self, call: Call) -> Answer:
        """The same for who can wait. Problem."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.add(call, lambda outcome: None if future.done() else future.set_result(outcome))
        outcome = await future
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _go(self) -> None:
        burst, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._go)
        try:
            rest = self._score(burst)
        except Exception as error:  # noqa: BLE001 - it is told to all who wait, and by them to the log
            _fail(burst, error)
            return
        if rest is not None:
            task = asyncio.ensure_future(self._finish(burst, rest))
            self._later.add(task)
            task.add_done_callback(self._later.discard)

    @staticmethod
    async def _finish(burst: Sequence[Asked], rest: Awaitable[None]) -> None:
        try:
            await rest
        except Exception as error:  # noqa: BLE001 - as above
            _fail(burst, error)


def _fail(burst: Sequence[Asked], error: Exception) -> None:
    for asked in burst:
        asked.answer(error)

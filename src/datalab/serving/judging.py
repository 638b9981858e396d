"""The parts of a batch before the model: worked on beside whoever reads features and writes answers."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from datalab.serving.inputs import Matrix
from datalab.serving.model import LiveModel

Laid = tuple[Matrix, Matrix]


class _Part(NamedTuple):
    laid: Laid
    answers: Future[Matrix]


class Judging:
    """The model's answers to parts, in threads that hardly hold Python's lock, one core left to who asks.

    Who has to wait for a part works on the last one that nobody has begun.
    """

    def __init__(self, model: LiveModel) -> None:
        self._model = model
        self._parts: list[_Part] = []
        self._pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "judge")

    def add(self, laid: Laid) -> int:
        """Begin with a part; answers its number."""
        self._parts.append(_Part(laid, self._pool.submit(self._model.answers, *laid)))
        return len(self._parts) - 1

    def answers(self, number: int) -> Matrix:
        """The model's answers to a part. ModelFailed."""
        while not self._parts[number].answers.done() and self._helps():
            pass
        return self._parts[number].answers.result()

    def close(self) -> None:
        """Begin with no further part."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _helps(self) -> bool:
        for number, (laid, answers) in reversed([*enumerate(self._parts)]):
            if answers.cancel():
                own = Future[Matrix]()
                self._parts[number] = _Part(laid, own)
                own.set_result(self._model.answers(*laid))
                return True
        return False

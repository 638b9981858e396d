"""A batch's parts before the model: answered in order, also by who waits for them."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from datalab.serving.judging import Judging
from datalab.serving.model import ModelFailed

NOTHING = np.zeros(0)


class Model:
    """Answers what it is asked, and notes in which thread; the first part takes until the last one is answered."""

    def __init__(self, parts: int) -> None:
        self.threads: dict[int, threading.Thread] = {}
        self.last = parts - 1
        self.done = threading.Event()

    def answers(self, numbers, texts):
        part = int(numbers[0])
        self.threads[part] = threading.current_thread()
        if part == self.last:
            self.done.set()
        if part == 0:
            assert self.done.wait(10), "nobody works on the parts that wait"
        return numbers


def test_who_waits_for_a_part_works_on_those_that_nobody_has_begun(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    model = Model(5)
    judging = Judging(model)
    numbers = [judging.add((np.array([part]), NOTHING)) for part in range(5)]
    assert [int(judging.answers(number)[0]) for number in numbers] == [0, 1, 2, 3, 4]
    own = threading.current_thread()
    assert model.threads[0] is not own
    assert model.threads[4] is own
    judging.close()


def test_where_the_model_fails_whoever_asks_is_told():
    class Fails:
        def answers(self, numbers, texts):
            raise ModelFailed("no")

    judging = Judging(Fails())
    numbers = [judging.add((NOTHING, NOTHING)) for _ in range(3)]
    for number in numbers:
        with pytest.raises(ModelFailed):
            judging.answers(number)
    judging.close()

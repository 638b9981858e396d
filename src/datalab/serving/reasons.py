"""Why a score is what it is: each input replaced by the reference customer's, all in one call of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from datalab.serving.inputs import Input, Matrix, Vector

_NEGLIGIBLE = 1e-6


# An input (or group of them) and what it did, as it is answered: variavel, rotulo, efeito, sentido, texto.
Reason = dict[str, Any]


class Reasons:
    """Lays out the variations of rows for one batched call, and reads the reasons from its answers.

    The effect of an input is p(x) - p(x with the reference's value): above zero it raised the risk.
    """

    def __init__(self, vector: Vector, most: int) -> None:
        self._vector = vector
        self._most = most
        self._groups = _groups(vector.inputs)
        self._raises = [_words(name, vector.inputs[places[0]], raises=True) for name, places in self._groups]
        self._lowers = [_words(name, vector.inputs[places[0]], raises=False) for name, places in self._groups]
        place_of = {place: index for index, place in enumerate(vector.numbers)}
        text_of = {place: index for index, place in enumerate(vector.texts)}
        pairs = [(place, number + 1) for number, (_, places) in enumerate(self._groups) for place in places]
        numbers = [(place_of[place], column, place) for place, column in pairs if place in place_of]
        texts = [(text_of[place], column, place) for place, column in pairs if place in text_of]
        self._numbers = _index(numbers)
        self._texts = _index(texts)
        self._reference, self._reference_texts = self._references(numbers, texts)

    @property
    def variations(self) -> int:
        """Rows of the call per request: itself, and one for each input or group."""
        return 1 + len(self._groups)

    def spread(self, numbers: Matrix, texts: Matrix) -> tuple[Matrix, Matrix]:
        """Arrays [inputs, rows] as [inputs, rows * variations]."""
        return (
            self._spread(numbers, self._numbers, self._reference),
            self._spread(texts, self._texts, self._reference_texts),
        )

    def read(self, answers: Matrix) -> list[list[Reason]]:
        """The strongest reasons of each row, from the answers [rows, variations]; of equal ones the first input's."""
        effects = answers[:, :1] - answers[:, 1:]
        strongest = (-np.abs(effects)).argsort(axis=1, kind="stable")[:, : self._most]
        return [
            [self._reason(group, row[group]) for group in groups if abs(row[group]) > _NEGLIGIBLE]
            for row, groups in zip(effects.tolist(), strongest.tolist(), strict=True)
        ]

    def _reason(self, group: int, effect: float) -> Reason:
        reason = (self._raises if effect > 0 else self._lowers)[group].copy()
        reason["efeito"] = round(effect, 6)
        return reason

    def _spread(self, values: Matrix, places: tuple[Matrix, Matrix], reference: Matrix) -> Matrix:
        inputs, rows = values.shape
        spread = np.empty((inputs, rows, self.variations), dtype=values.dtype)
        spread[:] = values[:, :, None]
        if len(places[0]):
            spread[places[0], :, places[1]] = reference[:, None]
        return spread.reshape(inputs, -1)

    def _references(self, numbers: list[Any], texts: list[Any]) -> tuple[Matrix, Matrix]:
        row = [part.reference for part in self._vector.inputs]
        all_numbers, all_texts = self._vector.arrays([row])
        return (
            np.array([all_numbers[index, 0] for index, _, _ in numbers], dtype=np.float32),
            np.array([all_texts[index, 0] for index, _, _ in texts], dtype=object),
        )


def _words(name: str, first: Input, *, raises: bool) -> Reason:
    words = ("aumenta", first.up) if raises else ("reduz", first.down)
    return {"variavel": name, "rotulo": first.label, "efeito": 0.0, "sentido": words[0], "texto": words[1]}


def _groups(inputs: Sequence[Input]) -> list[tuple[str, list[int]]]:
    groups: dict[str, list[int]] = {}
    for place, part in enumerate(inputs):
        groups.setdefault(part.group, []).append(place)
    return list(groups.items())


def _index(cells: list[Any]) -> tuple[Matrix, Matrix]:
    return (
        np.array([index for index, _, _ in cells], dtype=np.intp),
        np.array([column for _, column, _ in cells], dtype=np.intp),
    )

"""Why a score is what it is: each input replaced by the reference customer's, all in one call of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic_core import to_json

from datalab.serving.inputs import Input, Matrix, Vector

_NEGLIGIBLE = 1e-6
_SMALL = 1e-5


class Reasons:
    """Lays out the variations of rows for one batched call, and reads the reasons from its answers.

    The effect of an input is p(x) - p(x with the reference's value): above zero it raised the risk. A reason says of an
    input, or a group of them, what it did: variavel, rotulo, efeito, sentido, texto. Reasons are JSON all along,
    with commas between them: only their numbers are encoded for a row.
    """

    def __init__(self, vector: Vector, most: int) -> None:
        self._most = most
        groups = _groups(vector.inputs)
        self._raises = [_words(name, vector.inputs[places[0]], raises=True) for name, places in groups]
        self._lowers = [_words(name, vector.inputs[places[0]], raises=False) for name, places in groups]
        replaced = np.zeros((len(vector.inputs), 1, 1 + len(groups)), dtype=bool)
        for variation, (_, places) in enumerate(groups, 1):
            replaced[places, :, variation] = True
        self._replaced = replaced[list(vector.numbers)], replaced[list(vector.texts)]
        numbers, texts = vector.arrays([[part.reference for part in vector.inputs]])
        self._reference = numbers[:, :, None], texts[:, :, None]

    @property
    def variations(self) -> int:
        """Rows of the call per request: itself, and one for each input or group."""
        return 1 + len(self._raises)

    def spread(self, numbers: Matrix, texts: Matrix) -> tuple[Matrix, Matrix]:
        """Arrays [inputs, rows] as [inputs, rows * variations]."""
        return (
            np.where(self._replaced[0], self._reference[0], numbers[:, :, None]).reshape(len(numbers), -1),
            np.where(self._replaced[1], self._reference[1], texts[:, :, None]).reshape(len(texts), -1),
        )

    def read(self, answers: Matrix) -> list[bytes]:
        """The strongest reasons of each row, from the answers [rows, variations]; of equal ones the first input's."""
        effects = answers[:, :1] - answers[:, 1:]
        strongest = (-np.abs(effects)).argsort(axis=1, kind="stable")[:, : self._most]
        return [
            b",".join([self._reason(group, row[group]) for group in groups if abs(row[group]) > _NEGLIGIBLE])
            for row, groups in zip(effects.tolist(), strongest.tolist(), strict=True)
        ]

    def read_one(self, answers: Sequence[float]) -> bytes:
        """The same for one row, from the answers [variations]."""
        whole = answers[0]
        effects = [whole - varied for varied in answers[1:]]
        sizes = [-abs(effect) for effect in effects]
        strongest = sorted(range(len(sizes)), key=sizes.__getitem__)[: self._most]
        return b",".join([self._reason(group, effects[group]) for group in strongest if sizes[group] < -_NEGLIGIBLE])

    def _reason(self, group: int, effect: float) -> bytes:
        before, after = (self._raises if effect > 0 else self._lowers)[group]
        return before + rounded(effect, 6) + after


def rounded(number: float, digits: int) -> bytes:
    """A number below 1e16 as JSON has it after `round`, which takes twice as long."""
    if -_SMALL < number < _SMALL:  # these are written with an exponent
        return to_json(round(number, digits))
    text = (b"%.*f" % (digits, number)).rstrip(b"0")
    return text + b"0" if text.endswith(b".") else text


def _words(name: str, first: Input, *, raises: bool) -> tuple[bytes, bytes]:
    """What stands before and after the number."""
    words = ("aumenta", first.up) if raises else ("reduz", first.down)
    before = to_json({"variavel": name, "rotulo": first.label})
    after = to_json({"sentido": words[0], "texto": words[1]})
    return before[:-1] + b',"efeito":', b"," + after[1:]


def _groups(inputs: Sequence[Input]) -> list[tuple[str, list[int]]]:
    groups: dict[str, list[int]] = {}
    for place, part in enumerate(inputs):
        groups.setdefault(part.group, []).append(place)
    return list(groups.items())

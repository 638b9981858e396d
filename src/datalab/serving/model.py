"""A model that is ready to answer: an ONNX session and everything around it that one version needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import onnxruntime

from datalab.errors import ModelRefused
from datalab.ml.package import Package
from datalab.serving.decision import DecisionMaker, decision_maker
from datalab.serving.inputs import Matrix, Vector, inputs_of
from datalab.serving.lookup import LookupPlan, lookup_plan
from datalab.serving.reasons import Reasons
from datalab.serving.request_form import RequestForm

OUTPUT = "probability"
Verdict = tuple[float, bytes]  # P(default), and the reasons as JSON
_SILENT = 4


class ModelFailed(Exception):
    """The model failed, or answered something that is no probability."""


@dataclass(frozen=True)
class LiveModel:
    """One version, whole: a request that begins with this object ends with it, whatever is promoted meanwhile."""

    package: Package
    since: datetime
    form: RequestForm
    vector: Vector
    reasons: Reasons
    decisions: DecisionMaker
    plan: LookupPlan
    session: Any

    @property
    def name(self) -> str:
        """Which model."""
        return self.package.name

    @property
    def version(self) -> int:
        """Which version."""
        return self.package.version

    def probabilities(self, rows: Sequence[Sequence[Any]]) -> Matrix:
        """P(default) of raw input rows, without reasons."""
        return self.answers(*self.vector.arrays(rows))

    def judge(self, row: Sequence[Any]) -> Verdict:
        """P(default) and the reasons of a raw input row; thread-safe, as what it is made of. ModelFailed."""
        return self.verdicts(self.answers(*self.laid_out([row])), 1)[0]

    def laid_out(self, rows: Sequence[Sequence[Any]]) -> tuple[Matrix, Matrix]:
        """What the model is asked about raw input rows: each of them, and its variations."""
        return self.reasons.spread(*self.vector.arrays(rows))

    def verdicts(self, answers: Matrix, rows: int) -> list[Verdict]:
        """A verdict for each of the rows that were `laid_out`. ModelFailed where an answer is no probability."""
        if rows == 1:
            return [self._alone(answers.tolist())]
        answers = answers.reshape(rows, -1)
        if not (np.minimum.reduce(answers, None) >= 0 and np.maximum.reduce(answers, None) <= 1):  # NaN is neither
            raise self._no_probability()
        whole = answers.astype(np.float64)
        return [*zip(whole[:, 0].tolist(), self.reasons.read(whole), strict=True)]

    def _alone(self, answers: list[float]) -> Verdict:
        """The verdict of one row without NumPy, which takes longer than so few numbers do."""
        if not (min(answers) >= 0 and max(answers) <= 1 and sum(answers) >= 0):  # a sum with NaN is NaN
            raise self._no_probability()
        return answers[0], self.reasons.read_one(answers)

    def _no_probability(self) -> ModelFailed:
        return ModelFailed(f"{self.name} {self.version} answered something that is no probability")

    def answers(self, numbers: Matrix, texts: Matrix) -> Matrix:
        """The model's answers [rows * variations] to what is `laid_out`; hardly holds Python's lock. ModelFailed."""
        try:
            # Past the wrapper, which compares the names of all inputs at each call, which one request feels.
            run = getattr(self.session, "_sess", self.session).run
            answers: Matrix = run([OUTPUT], self.vector.feeds(numbers, texts), None)[0]
        except Exception as error:  # ONNX Runtime's own errors have no common class
            raise ModelFailed(f"{self.name} {self.version} failed: {type(error).__name__}") from error
        return answers.reshape(-1)


def assemble(package: Package, since: datetime, batch_rows: int, most_reasons: int) -> LiveModel:
    """Everything that a package's version needs. ModelRefused where the graph or the manifest cannot be used."""
    manifest = package.manifest
    inputs = inputs_of(manifest)
    vector = Vector(inputs)
    return LiveModel(
        package,
        since,
        _form(manifest, batch_rows),
        vector,
        Reasons(vector, most_reasons),
        decision_maker(manifest),
        lookup_plan(manifest, inputs),
        _session(package),
    )


@contextmanager
def bounded(seconds: float) -> Iterator[Any]:
    """Run options for a call that is ended after so many seconds."""
    options = onnxruntime.RunOptions()
    timer = threading.Timer(seconds, lambda: setattr(options, "terminate", True))
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def _form(manifest: Any, batch_rows: int) -> RequestForm:
    try:
        return RequestForm(manifest["request"]["fields"], batch_rows)
    except Exception as error:
        raise ModelRefused(f"the request fields of the manifest cannot be used: {error}", "correct the model") from (
            error
        )


def _session(package: Package) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one row is quickest alone; many are shared out in parts
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(package.model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelRefused(
            f"the ONNX graph of {package.name} {package.version} cannot be loaded: {type(error).__name__}",
            "train the model again",
        ) from error

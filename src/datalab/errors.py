"""The error tree: every error a user can meet, with a message that names the thing and a hint that says what next."""

from __future__ import annotations


class DataLabError(Exception):
    """Root of all errors raised on purpose.

    `message` says what failed, by name; `hint` is a command or an edit that helps.
    `retryable` says whether the same call may succeed later without any change.
    """

    retryable = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidName(DataLabError):
    """A table name is not of the form layer.table."""


class MissingExtra(DataLabError):
    """An optional dependency of an adapter is not installed."""

    def __init__(self, adapter: str, extra: str) -> None:
        super().__init__(f"{adapter} needs the optional dependencies '{extra}'", f"pip install 'datalab[{extra}]'")


class NotSupported(DataLabError):
    """An adapter lacks a capability that the request needs."""

    def __init__(self, adapter: str, capability: str, hint: str = "") -> None:
        super().__init__(f"{adapter} does not support {capability}", hint)


class ConfigError(DataLabError):
    """The project's configuration is wrong."""


class ProjectNotFound(ConfigError):
    """No datalab.yaml here or in any folder above."""


class UnknownSetting(ConfigError):
    """A key in the configuration is not a setting."""


class InvalidSetting(ConfigError):
    """A setting has a value of the wrong type or outside its range."""


class SecretNotFound(ConfigError):
    """A secret reference points to nothing."""


class LakeError(DataLabError):
    """Something about a table."""


class TableNotFound(LakeError):
    """No table of that name in the lake."""


class SnapshotNotFound(LakeError):
    """The table has no such snapshot, or none that early."""


class SchemaConflict(LakeError):
    """A change of schema that would lose or reinterpret data."""


class NotAppendOnly(LakeError):
    """Rows added between two snapshots were asked for, but rows in between were changed or removed."""


class Fenced(LakeError):
    """Another writer committed first: this writer's state is outdated, and nothing of it was written."""

    retryable = True


class CommitFailed(LakeError):
    """Storage refused a commit, and reading back showed that it did not land."""

    retryable = True


class CommitUnknown(LakeError):
    """Storage failed during a commit and cannot be read back: it may or may not have landed."""

    retryable = True


class StorageFull(LakeError):
    """No space left where the table or the engine's temporary files live."""

    retryable = True


class EngineError(DataLabError):
    """The engine could not run a query."""


class OutOfMemory(EngineError):
    """A query needed more than the memory limit, and could not spill."""


class UntranslatableFunction(EngineError):
    """A function of the Spark dialect has no equal in the engine."""


class ContractError(DataLabError):
    """A data contract (.avsc) cannot be used."""


class SourceError(DataLabError):
    """A source cannot be read as a whole."""


class SourceUnavailable(SourceError):
    """A broker or schema registry does not answer. Nothing was skipped; the same call may succeed later."""

    retryable = True


class WorkerCrashed(SourceError):
    """A decoding worker died, ran out of memory or out of time."""


class PipelineError(DataLabError):
    """A pipeline declaration is wrong. The message starts with file:line:column where that is known."""


class PipelineSyntaxError(PipelineError):
    """A statement does not follow the grammar."""


class UnsupportedStatement(PipelineError):
    """A statement or clause of Spark's or Databricks' grammar that DataLab does not run."""


class UnknownTable(PipelineError):
    """A flow reads a table that nobody makes."""


class PipelineCycle(PipelineError):
    """Flows read each other in a circle."""


class PipelineTypeError(PipelineError):
    """A query names a column that is not there, or combines types that do not fit."""


class FeatureError(PipelineError):
    """A feature view or training set is wrong, or its features at a moment cannot be derived from the gold query."""


class ExpectationFailed(DataLabError):
    """Rows broke a constraint declared ON VIOLATION FAIL UPDATE; the table stays as it was."""


class RunFailed(DataLabError):
    """At least one step of a run failed; steps that do not depend on it were done."""


class IdempotencyConflict(DataLabError):
    """A pushed request has the idempotency key of an earlier one, and other records."""


class ServiceError(DataLabError):
    """A server of the stack cannot be fetched, started or reached."""


class QuarantineError(DataLabError):
    """A quarantined record cannot be shown, replayed or discarded."""


class ModelError(DataLabError):
    """A model cannot be trained, judged or promoted."""


class InvalidModel(ConfigError):
    """A declaration in models/*.yaml is wrong."""


class ModelNotFound(ModelError):
    """No model or version of that name."""


class ModelRefused(ModelError):
    """A model's package is not to be trusted: signature, hash, manifest, or what the model answers is wrong."""


class ModelUnproven(ModelRefused):
    """A model's package could not be read or judged now, for a cause that is not in it. A server tries again."""

    retryable = True


class RegistryUnavailable(ModelError):
    """The model registry cannot be reached or read."""

    retryable = True


class OnlineStoreError(DataLabError):
    """The online store does not answer, is busy, or holds what it cannot read."""


class ServingError(DataLabError):
    """The server cannot start, or a score cannot be given."""


class ApiKeyError(ServingError):
    """An API key, or the file of keys, cannot be used."""


class NoModel(ServingError):
    """No model is live."""


class InvalidRequest(ServingError):
    """A request for a score does not fit the model's form."""


class ScoreLogFailed(ServingError):
    """The log of scores cannot be written; nothing is answered that is not recorded."""

    retryable = True


class InvalidKey(DataLabError):
    """What is to be traced is not of the form column=value, FILE:ROW or layer.table.column, or names no column."""


class RecordNotFound(DataLabError):
    """No row, score or source record answers to what a trace was asked for."""

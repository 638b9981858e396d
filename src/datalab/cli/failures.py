"""Errors at the surface: the message and hint that people see, the JSON that programs see, and the exit code."""

from __future__ import annotations

import errno
import sys
import traceback

import typer
from rich.console import Console
from rich.text import Text

from datalab import errors
from datalab.cli.streams import json_line

OK = 0
UNEXPECTED = 1
USAGE = 2

# The first line that an error is an instance of decides.
EXIT_CODES: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.ProjectNotFound, 4, "no project here"),
    (errors.TableNotFound, 4, "no such table"),
    (errors.SnapshotNotFound, 4, "no such snapshot"),
    (errors.RecordNotFound, 4, "no such row, score or source record"),
    (errors.ModelNotFound, 4, "no such model or version"),
    (errors.ConfigError, 3, "the configuration is wrong"),
    (errors.MissingExtra, 3, "an optional dependency is not installed"),
    (errors.ContractError, 3, "a data contract is wrong"),
    (errors.PipelineError, 5, "a pipeline declaration is wrong"),
    (errors.UntranslatableFunction, 5, "a function has no equal in the engine"),
    (errors.SchemaConflict, 5, "a change of schema is refused"),
    (errors.RunFailed, 6, "a step of a run failed"),
    (errors.ExpectationFailed, 6, "rows broke a constraint that fails the update"),
    (errors.Fenced, 7, "another writer was faster"),
    (errors.LakeError, 8, "storage or catalog failed"),
    (errors.EngineError, 8, "the engine failed"),
    (errors.SourceError, 8, "a source cannot be read"),
    (errors.ServiceError, 8, "a server cannot be started or reached"),
    (errors.OnlineStoreError, 8, "the online store does not answer"),
    (errors.NoModel, 4, "no model is live"),
    (errors.InvalidRequest, USAGE, "a request does not fit the model's form"),
    (errors.ApiKeyError, USAGE, "an API key cannot be used"),
    (errors.ServingError, 8, "the server failed"),
    (errors.RegistryUnavailable, 8, "the model registry failed"),
    (errors.ModelError, 9, "a model was refused, or cannot be trained"),
    (errors.InvalidName, USAGE, "a name is not valid"),
    (errors.InvalidKey, USAGE, "what to trace is not said well"),
    (errors.NotSupported, USAGE, "the adapter cannot do what was asked"),
    (errors.IdempotencyConflict, USAGE, "a key was used for other records"),
    (errors.QuarantineError, USAGE, "a quarantined record cannot be treated so"),
    (typer.TyperException, USAGE, "the command line is wrong"),
    (OSError, 8, "a file or folder cannot be used"),
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def exit_code(error: BaseException) -> int:
    """The exit code of an error; 1 for one that nobody expected."""
    return next((code for kind, code, _ in EXIT_CODES if isinstance(error, kind)), UNEXPECTED)


def report(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Tell the user on stderr what failed; answers the exit code."""
    message, hint = _words(error, debug=debug)
    if debug:
        traceback.print_exception(error)
    if as_json:
        record = {"type": type(error).__name__, "message": message, "hint": hint}
        sys.stderr.write(json_line({"error": record}, sys.stderr))
        return exit_code(error)
    console = Console(stderr=True, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), message))
    if hint:
        console.print(Text.assemble(("hint:  ", "bold"), hint))
    return exit_code(error)


def _words(error: Exception, *, debug: bool) -> tuple[str, str]:
    if isinstance(error, errors.DataLabError):
        return error.message, error.hint
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        return error.format_message(), f"{context.command_path} --help" if context is not None else ""
    if isinstance(error, OSError):
        return _of_the_system(error)
    detail = str(error) or "no message"
    return f"{type(error).__name__}: {detail}", "" if debug else "this is a defect; --debug shows where"


def _of_the_system(error: OSError) -> tuple[str, str]:
    """What the system refused, by the name of the file where it has one."""
    message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    if error.errno in _FULL:
        return message, "free space, then run again"
    if error.errno in _FORBIDDEN:
        return message, "the project's folder has to be writable for this command"
    if error.errno == errno.ENOENT and not error.filename:
        return message, "is the current folder still there?"
    return message, "--debug shows where"

"""DuckDB's exceptions turned into ours, at the adapter's door."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from datalab.errors import DataLabError, EngineError, LakeError, OutOfMemory, StorageFull
from datalab.lake.whole import RESTORE_HINT

_FULL = ("no space left", "disk quota exceeded", "failed to offload data block", "max_temp_directory_size")
_ABOUT_VALUES = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException)
_VALUE = re.compile(r"'.*'|\".*\"|(?<=value )\S+|\d[\d.,:T+-]{3,}\d", re.DOTALL)
_ECHO = re.compile(r"\n+LINE \d+:.*", re.DOTALL)
# What the macros of the dialect say by a cast that fails: said in words, without the value that follows.
_OWN = {
    "division by zero": "try_divide answers NULL, and so does a divisor nullif(x, 0)",
    "index outside the array": "get answers NULL there",
    "not JSON": "correct the texts: single quotes and what follows the value are not JSON",
    "out of range": "cast to a wider type",
    "not as the pattern says": "correct the pattern, or the texts",
    **dict.fromkeys(
        (f"not {kind}" for kind in ("an integer", "a number", "a decimal", "a boolean", "a date", "a timestamp")),
        "try_cast answers NULL where a text is not of the type",
    ),
}
_OWN_WORDS = re.compile(rf"['\"](?P<words>{'|'.join(_OWN)})(?:['\"]|: )")
_DAMAGED = re.compile(
    r"failed to read file|no magic bytes|file is likely corrupted|corrupted file|don't know what type|out of buffer"
    r"|TProtocolException",
    re.IGNORECASE,
)
_DATA_FILE = re.compile(r"""(?:end of|read) file ['"](?P<path>[^'"]+\.parquet)['"]""")
_NO_EQUAL = re.compile(r"'(?P<words>no equal (?:of CAST\(|text of )[^']+)'")
_INTERRUPTED = "Query interrupted"
_MEMORY_HINT = "raise the engine's memory limit, or lower its threads"
_FORBIDDEN_HINT = (
    "the engine needs a folder that it may write: engine.temp (DATALAB__ENGINE__TEMP=/tmp/… for one command)"
)
_SPACE_HINT = "free space on the disk, then run again: nothing was committed"


@contextmanager
def translated(origin: str) -> Iterator[None]:
    """Raise what DuckDB or the operating system raises inside as one of our errors: see `fault`."""
    try:
        yield
    except _ABOUT_VALUES as error:
        raise fault(error, origin) from None  # the cause quotes a value, which may be personal data
    except (duckdb.Error, OSError) as error:
        raise fault(error, origin) from error
    except RuntimeError as error:
        if str(error) == _INTERRUPTED:  # in the place of what the signal's handler raised
            raise KeyboardInterrupt from error
        raise


def fault(error: Exception, origin: str) -> DataLabError:
    """The error of ours that says what `error` says, with `origin` in front where it is known."""
    where = f"{origin}: " if origin else ""
    if isinstance(error, _ABOUT_VALUES) and (match := _OWN_WORDS.search(str(error)) or _NO_EQUAL.search(str(error))):
        return EngineError(f"{where}{match['words']}", _OWN.get(match["words"], ""))
    if isinstance(error, duckdb.Error) and _DAMAGED.search(str(error)):
        return _damaged(str(error), where)
    text = _without_values(str(error)) if isinstance(error, _ABOUT_VALUES) else str(error).strip()
    if any(sign in text.lower() for sign in _FULL) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"{where}no space left: {text}", _SPACE_HINT)
    if isinstance(error, duckdb.OutOfMemoryException):
        return OutOfMemory(f"{where}the query needs more memory than the engine may use: {text}", _MEMORY_HINT)
    if getattr(error, "errno", None) in (errno.EROFS, errno.EACCES):
        return EngineError(f"{where}{text}", _FORBIDDEN_HINT)
    return EngineError(f"{where}{text}")


def _damaged(text: str, where: str) -> LakeError:
    """A data file that is not what it was: which one, where DuckDB says so."""
    match = _DATA_FILE.search(text)
    which = f"the data file {match['path']}" if match else "a data file of what is read"
    return LakeError(f"{where}{which} is damaged: {_without_values(text).rstrip(': ')}", RESTORE_HINT)


def _without_values(text: str) -> str:
    """A message about a value, without the value: it may be somebody's name or number."""
    return _VALUE.sub("…", _ECHO.sub("", text)).strip()

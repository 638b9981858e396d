"""Secrets are references in the configuration: resolved where they are used, never stored and never printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datalab.errors import InvalidSetting, SecretNotFound

PREFIX = "secret:"
_MASK = "•••"
_REFERENCE = re.compile(r"secret:(?:env/([A-Za-z_][A-Za-z0-9_]*)|file/(/?[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*))\Z")
_CREDENTIAL = re.compile(r"pass(word|wd|phrase)?$|secret|token|credential|access-key|api[-_.]?key|private[-_.]?key")
_USER_INFO = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]+(?=@)")


@dataclass(frozen=True)
class SecretRef:
    """Where a secret is kept: an environment variable, or a file under `.datalab/secrets` or at an absolute path."""

    store: Literal["env", "file"]
    name: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.store}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> SecretRef:
        """Read `secret:env/NAME` or `secret:file/NAME`; raise InvalidSetting for anything else."""
        match = _REFERENCE.match(text)
        if not match or ".." in text.split("/"):
            raise InvalidSetting(f"'{text}' is not a secret reference", "write secret:env/NAME or secret:file/NAME")
        variable, file = match.groups()
        return cls("env", variable) if variable else cls("file", file)


def resolve(value: Any, project: Path, environ: Mapping[str, str]) -> Any:
    """The same value with every reference inside it replaced by its secret; SecretNotFound where there is none."""
    if isinstance(value, SecretRef):
        return _read_variable(value, environ) if value.store == "env" else _read_file(value, project)
    if isinstance(value, Mapping):
        return {key: resolve(part, project, environ) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(resolve(part, project, environ) for part in value)
    return value


def masked(key: str, value: Any) -> Any:
    """The value as it may be shown: credentials written out in the configuration are hidden, references are not."""
    if isinstance(value, SecretRef):
        return str(value)
    if not isinstance(value, str):
        return value
    return _MASK if _CREDENTIAL.search(key.lower()) else _USER_INFO.sub(rf"\1:{_MASK}", value)


def is_plain_credential(key: str, value: Any) -> bool:
    """Whether a setting holds a credential as text, by its name or inside a URL, instead of a reference."""
    if not isinstance(value, str) or not value:
        return False
    return bool(_CREDENTIAL.search(key.lower()) or _USER_INFO.search(value))


def _read_variable(reference: SecretRef, environ: Mapping[str, str]) -> str:
    if reference.name not in environ:
        raise SecretNotFound(f"{reference}: the variable {reference.name} is not set", f"export {reference.name}=…")
    return environ[reference.name]


def _read_file(reference: SecretRef, project: Path) -> str:
    path = project / ".datalab" / "secrets" / reference.name
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretNotFound(
            f"{reference}: {path} cannot be read", "write the secret into that file, mode 0600"
        ) from error

"""The registry's port: who keeps a model's versions, and what is live. The reading half loads nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

Alias = Literal["champion", "challenger"]

# Tags of a model version that DataLab writes and the reader reads.
PACKAGE_TAG, SINCE_TAG, TRAINING_SET_TAG = (
    "datalab.package",
    "datalab.champion_since",
    "datalab.training_set",
)


@dataclass(frozen=True)
class Live:
    """The version under an alias: its package's folder (not yet verified), and since when it is so (UTC)."""

    version: int
    package: Path
    since: datetime


@dataclass(frozen=True)
class Training:
    """What a training leaves in the registry: a run's figures and files, and the link to its training set.

    `files` are copied as they are; their keys are paths inside the run's artifacts.
    """

    model: str
    training_set: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


class RegistryReader(Protocol):
    """What the server needs. Cheap enough to be asked every second; imports neither MLflow nor SQLAlchemy."""

    def champion(self, model: str) -> Live | None:
        """The live version; None where there is none. RegistryUnavailable where the registry cannot be asked."""
        ...

    def version(self, model: str, version: int) -> Live | None:
        """One version, live or not; `since` is when it became champion, or was made. None where there is none."""
        ...

    def alias(self, model: str, alias: Alias) -> Live | None:
        """The version under an alias."""
        ...


class Registry(RegistryReader, Protocol):
    """Both halves: training also writes. RegistryUnavailable where it cannot be reached, MissingExtra."""

    def prepare(self) -> None:
        """Begin to open what writing needs, in the background; called before long work, answers at once."""
        ...

    def close(self) -> None:
        """Wait for what is still opening. The registry must not be used afterwards."""
        ...

    def register(self, training: Training, package: Callable[[int], Path]) -> tuple[int, str]:
        """Keep a run, its files and a package as a new version; answers version and run id.

        The number is taken first, and `package` is asked for the folder of that version. Where that or anything later
        fails, the number stays unused, and no reader ever sees it.
        """
        ...

    def point(self, model: str, alias: Alias, version: int, at: datetime) -> None:
        """Let an alias name this version from now on: one atomic step of the registry."""
        ...

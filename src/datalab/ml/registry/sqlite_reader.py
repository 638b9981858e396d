"""The reading half on MLflow's own SQLite file: three small queries, no MLflow, no SQLAlchemy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from datalab.errors import RegistryUnavailable
from datalab.ml.registry.base import PACKAGE_TAG, SINCE_TAG, Alias, Live

_TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'registered_model_aliases'"
_ALIAS = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
_VERSION = "SELECT creation_time FROM model_versions WHERE name = ? AND version = ? AND current_stage <> ?"
_TAGS = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"


class SQLiteReader:
    """Reads a registry that MLflow keeps in `database`; packages are found below `artifacts` by their tag."""

    def __init__(self, database: Path, artifacts: Path, timeout: float = 2.0) -> None:
        self._database = database
        self._artifacts = artifacts
        self._timeout = timeout

    def champion(self, model: str) -> Live | None:
        """The live version; None where there is none."""
        return self.alias(model, "champion")

    def alias(self, model: str, alias: Alias) -> Live | None:
        """The version under an alias."""
        if not self._database.exists():
            return None
        try:
            with closing(self._connect()) as connection:
                if self._unfinished(connection):
                    return None
                found = connection.execute(_ALIAS, (model, alias)).fetchone()
                return None if found is None else self._live(connection, model, int(found[0]))
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def version(self, model: str, version: int) -> Live | None:
        """One version, live or not."""
        if not self._database.exists():
            return None
        try:
            with closing(self._connect()) as connection:
                return None if self._unfinished(connection) else self._live(connection, model, version)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def _unfinished(self, connection: sqlite3.Connection) -> bool:
        """Whether MLflow is still making its tables: no version can be in them."""
        return connection.execute(_TABLE).fetchone() is None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._database.resolve().as_uri()}?mode=ro", uri=True, timeout=self._timeout)

    def _live(self, connection: sqlite3.Connection, model: str, version: int) -> Live | None:
        made = connection.execute(_VERSION, (model, version, "Deleted_Internal")).fetchone()
        tags = dict(connection.execute(_TAGS, (model, version)).fetchall())
        if made is None or PACKAGE_TAG not in tags:
            return None
        since = tags.get(SINCE_TAG)
        moment = datetime.fromisoformat(since) if since else datetime.fromtimestamp(made[0] / 1000, UTC)
        return Live(version, self._artifacts / tags[PACKAGE_TAG], moment)

    def _unavailable(self, error: sqlite3.Error) -> RegistryUnavailable:
        return RegistryUnavailable(
            f"the model registry {self._database} cannot be read: {error}", "datalab model list shows its models"
        )

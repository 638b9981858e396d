"""Delta tables through delta-rs, on the local disk.

What a commit says of itself stands in its `userMetadata`. A snapshot's id is the version of its commit; versions that
only change the schema or settings are no snapshots.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import Field
from deltalake.schema import Schema as DeltaSchema
from deltalake.transaction import AddAction, RemoveAction, Transaction

from datalab.errors import CommitFailed, LakeError, NotSupported, SnapshotNotFound
from datalab.lake.formats.base import FormatCapabilities, Overtaken, require_live, require_partition_columns
from datalab.lake.formats.delta_files import Layout, LiveFiles, absolute, add_action, is_ours, remove_action
from datalab.lake.formats.delta_history import ADAPTER, moved, no_snapshot, snapshots
from datalab.lake.formats.delta_log import NOTE_KEY, all_entries, entry_path, transaction_ids
from datalab.lake.formats.delta_state import arrow_schema, is_head, is_newest, table_state
from datalab.lake.formats.delta_upkeep import DeltaUpkeep, Run
from datalab.lake.formats.traces import DELTA_LOG, delta_tables, has_delta_table, has_lost_log
from datalab.lake.local import flush, local_path
from datalab.lake.schema import difference, extend, normalise
from datalab.lake.table import Change, DataFile, Difference, Relation, Snapshot, TableSpec, TableState
from datalab.names import TableName

# Others must not clean the log by age alone: training sets and consumers may need what is old. A commit reads all that
# came since the last checkpoint.
_DEFAULTS: dict[str, str | None] = {"delta.enableExpiredLogCleanup": "false", "delta.checkpointInterval": "20"}
_ATTEMPTS = 10
_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
_PURGE = "have the writer that made them write the files again: REORG TABLE … APPLY (PURGE) in Spark"


def open_format(warehouse: str, _properties: Mapping[str, str]) -> DeltaFormat:
    """The Delta tables of a warehouse folder. NotSupported elsewhere."""
    folder = local_path(warehouse)
    if folder is None:
        raise NotSupported(ADAPTER, f"a warehouse that is not a local folder ({warehouse})", "use the iceberg format")
    if _ENCODED.search(str(folder.absolute())):
        # It decodes such a path once too often and then looks elsewhere.
        raise NotSupported(
            ADAPTER, f"a folder name with a percent-encoded character ({folder.absolute()})", "rename it"
        )
    return DeltaFormat(folder.absolute())


class DeltaFormat:
    """The format port over the tables at `<warehouse>/<layer>/<table>`."""

    name = "delta"
    capabilities = FormatCapabilities(
        field_ids=False, partition_transforms=frozenset({"identity"}), widens=False, own_tags=False, marks=False
    )

    def __init__(self, warehouse: Path) -> None:
        self._warehouse = warehouse
        self._states: dict[TableName, tuple[int, TableState]] = {}
        self.upkeep = DeltaUpkeep(self._state, self._runs)
        self._files = LiveFiles()

    def names(self) -> tuple[TableName, ...]:
        """All tables, by their folders."""
        return delta_tables(str(self._warehouse))

    def load(self, name: TableName) -> TableState | None:
        """The newest state; a table whose newest commit is still the same is not read again."""
        if not has_delta_table(str(self._warehouse), name):
            return None
        kept = self._states.get(name)
        if kept is not None and is_newest(*kept):
            return kept[1]
        try:
            table = DeltaTable(str(self._root(name)))
        except TableNotFoundError:
            return None
        except DeltaError as error:
            words, hint = str(error).splitlines()[0][:200], "restore the table's folder from a backup"
            raise LakeError(f"{name}: the table's log cannot be read: {words}", hint) from error
        return self._state(name, table)

    def define(self, name: TableName, spec: TableSpec) -> TableState:
        """Create the table, or add columns. NotSupported for wider types: delta-rs cannot widen."""
        timed = [field.name for field in spec.schema if "time64" in str(field.type)]
        if timed:
            raise NotSupported(ADAPTER, f"columns of type time ({name}: {', '.join(timed)})", "cast to text")
        problem: DeltaError | None = None
        for _ in range(_ATTEMPTS):
            state = self.load(name)
            if state is not None and _is_defined(state, spec):
                return state
            try:
                if state is None:
                    self._create(name, spec)
                else:
                    _alter(self._root(name), state, spec)
            except DeltaError as error:  # another writer was first, or storage failed: the next round shows which
                problem = error
        raise CommitFailed(f"{name} could not be defined: {problem}", "run again") from problem

    def reshape(self, state: TableState, schema: pa.Schema) -> TableState:
        """The state with other columns."""
        require_partition_columns(state, schema)
        return replace(state, schema=normalise(schema))

    def files(self, state: TableState, snapshot: int | None = None) -> Relation:
        """The live data files; with delta-rs's own scan where they cannot be read as they are."""
        current = snapshot is None or snapshot == state.snapshot
        with self._at(state, None if current else snapshot) as table:
            schema = state.schema if current else arrow_schema(table)
            files = self._live(state, table)
            foreign, version = _is_foreign(table, files, bool(state.partition)), table.version()
        return Relation(schema, files, scan=_scan(state.location, version, schema) if foreign else None)

    def diff(self, state: TableState, since: int | None, until: int) -> Difference:
        """The net difference, from the commits in between; only their files are looked up."""
        after = {file.path: file for file in self.files(state, until).files}
        if since is None:
            return Difference(Relation(state.schema, tuple(after.values())), Relation(state.schema))
        known = moved(state.name, self._root(state.name), since, until)
        before = {file.path: file for file in self.files(state, since).files} if known is None or known[1] else {}
        entered, left = known if known is not None else (after.keys() - before.keys(), before.keys() - after.keys())
        added = tuple(file for path, file in after.items() if path in entered)
        removed = tuple(file for path, file in before.items() if path in left)
        return Difference(Relation(state.schema, added), Relation(state.schema, removed))

    def history(self, state: TableState) -> tuple[Snapshot, ...]:
        """The commits to data that the log still has."""
        root = self._root(state.name)
        found: list[Snapshot] = []
        for run, first in self._runs(state):
            fresh = {absolute(path, root) for path in run[0].added}
            rows = {file.path: file.rows for file in first if file.path not in fresh}
            found.extend(snapshots(run, root, rows, after_gap=bool(found)))
        return tuple(found)

    def commit(self, state: TableState, change: Change) -> TableState:
        """One version, on top of exactly the version that was read."""
        if change.marked:
            raise NotSupported(ADAPTER, f"rows deleted by position ({state.name})", "write the file again")
        root, version = self._root(state.name), state.handle.version() + 1
        self._require_head(state)
        with state.handle.table() as table:
            self._write(state, table, change)
        flush([str(entry_path(root / DELTA_LOG, version))])
        return self._state(state.name, state.handle.handed_on(version))

    def _write(self, state: TableState, table: DeltaTable, change: Change) -> None:
        root, layout, moment = self._root(state.name), self._layout(state), int(time.time() * 1000)
        rearranged = change.provenance.kind == "compact"
        actions: list[AddAction | RemoveAction]
        actions = [add_action(file, layout, moment, rearranged=rearranged) for file in change.add]
        gone = require_live(state, self._live(state, table), change.remove) if change.remove else []
        if gone and _has_vectors(table):
            # Such a file is known by path and vector. delta-rs names the path alone, so that the file would stay.
            raise NotSupported(ADAPTER, f"removing files with deletion vectors ({state.name})", _PURGE)
        # To overwrite is the only way to change columns and files in one commit: it removes all files by itself.
        reshaped = not arrow_schema(table).equals(normalise(state.schema))
        if not reshaped:
            actions += [remove_action(file, layout, moment, rearranged=rearranged) for file in gone]
        self._require_head(state)
        try:
            table.create_write_transaction(
                actions,
                mode="overwrite" if reshaped else "append",
                schema=DeltaSchema.from_arrow(normalise(state.schema)) if reshaped else table.schema(),
                partition_by=list(layout.partition),
                commit_properties=_commit_properties(change, moment),
                post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
            )
        except CommitFailedError as error:
            version = state.handle.version()
            if not entry_path(root / DELTA_LOG, version + 1).exists():
                raise
            raise Overtaken(f"{state.name} has moved on from version {version}: {error}") from error

    def _require_head(self, state: TableState) -> None:
        """delta-rs looks for the next commit only, which is gone where the log was cleaned beyond a writer at rest."""
        if not is_head(self._root(state.name) / DELTA_LOG, state.handle.version()):
            raise Overtaken(f"{state.name} has moved on from version {state.handle.version()}")

    def _runs(self, state: TableState) -> list[Run]:
        """The log in runs without a gap, each with the files where it begins; read anew where it changes meanwhile."""
        log = self._root(state.name) / DELTA_LOG
        for attempt in range(_ATTEMPTS):
            try:
                runs = all_entries(log, state.handle.version())
                return [(run, self.files(state, run[0].version).files if run[0].version else ()) for run in runs]
            except SnapshotNotFound:  # it expired between the listing and the look
                if attempt + 1 == _ATTEMPTS:
                    raise
        raise AssertionError("the loop above answers or raises")

    def _layout(self, state: TableState) -> Layout:
        return Layout(self._root(state.name), state.schema, tuple(field.column for field in state.partition))

    def _root(self, name: TableName) -> Path:
        return self._warehouse / name.layer / name.table

    def _state(self, name: TableName, table: DeltaTable) -> TableState:
        root = self._root(name)
        state = table_state(name, root, table)
        entry = entry_path(root / DELTA_LOG, table.version())
        self._states[name] = (entry.stat().st_mtime_ns if entry.exists() else 0, state)
        return state

    @contextmanager
    def _at(self, state: TableState, snapshot: int | None) -> Iterator[DeltaTable]:
        """The table at a snapshot, or as the state has it."""
        newest = state.handle.version()
        if snapshot is not None and not 0 <= snapshot <= newest:
            raise no_snapshot(state.name, snapshot)  # delta-rs would look for each version in between
        with ExitStack() as stack:
            try:
                if snapshot is None:
                    table = stack.enter_context(state.handle.table())
                else:
                    table = DeltaTable(state.location, version=snapshot)
            except DeltaError as error:
                raise no_snapshot(state.name, newest if snapshot is None else snapshot) from error
            yield table

    def _live(self, state: TableState, table: DeltaTable) -> tuple[DataFile, ...]:
        return self._files.of(table, self._layout(state))

    def _create(self, name: TableName, spec: TableSpec) -> None:
        root = self._root(name)
        if has_lost_log(root):
            raise LakeError(
                f"{name}: {root} holds data files, and the table's log is gone",
                f"restore {DELTA_LOG} from a backup; to begin anew, with every source from its first record, "
                "move the folder away",
            )
        DeltaTable.create(
            str(root),
            DeltaSchema.from_arrow(normalise(spec.schema)),
            mode="error",
            partition_by=[field.column for field in spec.partition if field.transform == "identity"],
            description=spec.comment or None,
            configuration={**_DEFAULTS, **spec.properties},
            raise_if_key_not_exists=False,
        )


def _is_defined(state: TableState, spec: TableSpec) -> bool:
    grown = extend(state.schema, spec.schema, keep_missing=True)
    described = not spec.comment or spec.comment == state.comment
    return grown.equals(state.schema) and described and dict(spec.properties).items() <= dict(state.properties).items()


def _alter(root: Path, state: TableState, spec: TableSpec) -> None:
    grown = extend(state.schema, spec.schema, keep_missing=True)
    widened = [words for words in difference(state.schema, grown) if words.startswith("widened")]
    if widened:
        raise NotSupported(
            ADAPTER, f"wider column types ({state.name}: {'; '.join(widened)})", "use the iceberg format"
        )
    table = DeltaTable(str(root))
    present = {field.name: field.type for field in state.schema}
    fields = [Field.from_arrow(field) for field in grown if present.get(field.name) != field.type]
    if fields:
        table.alter.add_columns(fields)
    if spec.comment and spec.comment != state.comment:
        table.alter.set_table_description(spec.comment)
    if not dict(spec.properties).items() <= dict(state.properties).items():
        table.alter.set_table_properties(dict(spec.properties), raise_if_not_exists=False)


def _is_foreign(table: DeltaTable, files: tuple[DataFile, ...], partitioned: bool) -> bool:
    if partitioned and not all(is_ours(file.path) for file in files):
        return True
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        return True
    return _has_vectors(table)


def _has_vectors(table: DeltaTable) -> bool:
    """Whether another writer deleted rows of live files by deletion vectors."""
    if "deletionVectors" not in (table.protocol().reader_features or []):
        return False
    return any(batch.num_rows for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()))


def _scan(place: str, version: int, schema: pa.Schema) -> Callable[[], pa.RecordBatchReader]:
    def read() -> pa.RecordBatchReader:
        rows = DeltaTable(place, version=version).scan(columns=schema.names)
        return pa.RecordBatchReader.from_stream(rows).cast(schema)

    return read


def _commit_properties(change: Change, moment: int) -> CommitProperties:
    return CommitProperties(
        custom_metadata={NOTE_KEY: change.provenance.to_json()},
        app_transactions=[Transaction(key, value, moment) for key, value in transaction_ids(change.provenance).items()],
        max_commit_retries=0,
    )

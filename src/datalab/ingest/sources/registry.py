"""The schema registry (Confluent's API): texts of schemas by id, with their references written out, kept for ever."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from datalab.errors import SourceUnavailable
from datalab.ingest.decode.messages import Schemas

_NOT_FOUND = 404
_NAMED = ("record", "enum", "fixed", "error")


class Registry:
    """Answers by id never change, so each is asked for once. What is not there may come, and is asked for again."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._client = SchemaRegistryClient({"url": url, "timeout": seconds, "max.retries": 0})
        self._texts: dict[int, bytes] = {}

    def schemas(self, ids: Iterable[int]) -> Schemas:
        """The texts of schemas, and why there is none of the others. SourceUnavailable where nobody answers."""
        missing: dict[int, str] = {}
        wanted = sorted(set(ids))
        for schema_id in wanted:
            if schema_id not in self._texts:
                try:
                    self._texts[schema_id] = self._asked(schema_id)
                except LookupError as error:
                    missing[schema_id] = str(error.args[0])
                except (AttributeError, RecursionError, TypeError, ValueError):
                    missing[schema_id] = "it is no Avro schema that can be used"
        return Schemas({each: self._texts[each] for each in wanted if each in self._texts}, missing)

    def close(self) -> None:
        """Disconnect. What was asked for stays known."""
        self._client.close()

    def _asked(self, schema_id: int) -> bytes:
        schema = self._answer(f"schema {schema_id}", lambda: self._client.get_schema(schema_id))
        if (schema.schema_type or "AVRO") != "AVRO":
            raise LookupError(f"it is of type {schema.schema_type}, not Avro")
        found: dict[str, Any] = {}
        self._collect(schema, found, 0)
        try:
            return json.dumps(inlined(json.loads(schema.schema_str or ""), found)).encode()
        except ValueError as error:
            raise LookupError("it is not JSON") from error

    def _collect(self, schema: Schema, found: dict[str, Any], depth: int) -> None:
        """Named types of the schemas that a schema refers to, and of those that they do."""
        for each in (schema.references or ()) if depth < 32 else ():
            subject, version = str(each.subject), int(each.version or 0)
            name = f"version {version} of {subject}"
            used = self._answer(name, lambda at=(subject, version): self._client.get_version(*at).schema)
            self._collect(used, found, depth + 1)
            document = json.loads(used.schema_str or "")
            found[str(each.name)] = document

    def _answer(self, what: str, ask: Any) -> Any:
        try:
            return ask()
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                raise LookupError("the registry does not know it") from error
            raise self._unavailable(what, error) from error
        except Exception as error:
            if isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "httpcore", "requests")):
                raise self._unavailable(what, error) from error
            raise

    def _unavailable(self, what: str, error: Exception) -> SourceUnavailable:
        words = f"the schema registry at {self._url} does not give {what}: {error}"
        return SourceUnavailable(words, "is it up? datalab services health registry")


def inlined(document: Any, named: Mapping[str, Any]) -> Any:
    """A schema with each type of `named` (full names) written out where it is first used."""
    return _Inliner(named).walk(document, "")


class _Inliner:
    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._known: set[str] = set()

    def walk(self, node: Any, namespace: str) -> Any:
        if isinstance(node, list):
            return [self.walk(each, namespace) for each in node]
        if isinstance(node, str):
            full = node if node in self._named else f"{namespace}.{node}"
            if full not in self._named or full in self._known:
                return node
            self._known.add(full)
            return self.walk(self._named[full], full.rpartition(".")[0])
        return self._object(node, namespace) if isinstance(node, dict) else node

    def _object(self, node: Mapping[str, Any], namespace: str) -> Any:
        inner = namespace
        if node.get("type") in _NAMED:
            name = str(node.get("name", ""))
            inner = name.rpartition(".")[0] or node.get("namespace", namespace)
            self._known.add(name if "." in name or not inner else f"{inner}.{name}")
        made = dict(node)
        for key in ("type", "items", "values"):
            if key in node and not (key == "type" and node["type"] in _NAMED):
                made[key] = self.walk(node[key], inner)
        if isinstance(node.get("fields"), list):
            made["fields"] = [{**each, "type": self.walk(each["type"], inner)} for each in node["fields"]]
        return made

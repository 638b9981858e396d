"""The reading half on an MLflow server, over its REST interface: packages are kept beside the project once fetched."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from datalab.errors import RegistryUnavailable
from datalab.ml.package import MANIFEST, MODEL, SIGNATURE
from datalab.ml.registry.base import PACKAGE_TAG, SINCE_TAG, Alias, Live

_MODELS = "/api/2.0/mlflow/registered-models/alias"
_VERSIONS = "/api/2.0/mlflow/model-versions/get"
_FILES = "/api/2.0/mlflow-artifacts/artifacts/"
_LARGEST = 512 << 20


class HTTPReader:
    """Asks the server at `url`; `cache` holds the packages fetched so far, each version once."""

    def __init__(self, url: str, cache: Path, timeout: float = 5.0, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._cache = cache
        self._timeout = timeout
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def champion(self, model: str) -> Live | None:
        """The live version; None where there is none."""
        return self.alias(model, "champion")

    def alias(self, model: str, alias: Alias) -> Live | None:
        """The version under an alias."""
        return self._live(model, f"{_MODELS}?{urlencode({'name': model, 'alias': alias})}")

    def version(self, model: str, version: int) -> Live | None:
        """One version, live or not."""
        return self._live(model, f"{_VERSIONS}?{urlencode({'name': model, 'version': version})}")

    def _live(self, model: str, path: str) -> Live | None:
        answer = self._get(path)
        if answer is None:
            return None
        found: dict[str, Any] = json.loads(answer)["model_version"]
        tags = {tag["key"]: tag["value"] for tag in found.get("tags", ())}
        if PACKAGE_TAG not in tags:
            return None
        since = tags.get(SINCE_TAG)
        made = datetime.fromtimestamp(int(found["creation_timestamp"]) / 1000, UTC)
        package = self._fetched(model, int(found["version"]), tags[PACKAGE_TAG])
        return Live(int(found["version"]), package, datetime.fromisoformat(since) if since else made)

    def _fetched(self, model: str, version: int, place: str) -> Path:
        folder = self._cache / model / str(version)
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=folder.parent))
        try:
            for name in (MODEL, MANIFEST, SIGNATURE):
                content = self._get(f"{_FILES}{quote(place)}/{name}")
                if content is None:
                    raise RegistryUnavailable(
                        f"{self._url} has no {place}/{name}", "was the run's folder removed there?"
                    )
                (draft / name).write_bytes(content)
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # nobody else has fetched it meanwhile
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return folder

    def _get(self, path: str) -> bytes | None:
        """The body of an answer; None where the server knows no such thing."""
        request = Request(self._url + path, headers=self._headers)  # noqa: S310 - the project's own setting
        try:
            with urlopen(request, timeout=self._timeout) as answer:  # noqa: S310
                body: bytes = answer.read(_LARGEST)
                return body
        except HTTPError as error:
            words = error.read(2000).decode("utf-8", "replace")
            if error.code == 404 or "RESOURCE_DOES_NOT_EXIST" in words or "INVALID_PARAMETER_VALUE" in words:
                return None
            raise RegistryUnavailable(
                f"the model registry {self._url} answered {error.code}", "look at the server"
            ) from error
        except (URLError, TimeoutError, ConnectionError) as error:
            raise RegistryUnavailable(
                f"the model registry {self._url} cannot be reached: {error}", "is it up?"
            ) from error

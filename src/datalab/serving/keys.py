"""API keys: random, shown once, kept as hashes in a file that only its owner reads."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from datalab.errors import ApiKeyError
from datalab.lake.local import write_private
from datalab.serving.policy import ROLES, Role

KEY_FILE = Path("keys", "api.json")
_PREFIX = "dlk"


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key: never the key itself, only the SHA-256 of its 256 random bits."""

    id: str
    name: str
    role: Role
    hash: str
    created_at: str
    revoked_at: str | None = None


class KeyStore:
    """The keys of a project, in `keys/api.json` of its state folder. Changes are seen by a running server."""

    def __init__(self, state: Path) -> None:
        self._path = state / KEY_FILE
        self._read_at: tuple[int, int, int] | None = None
        self._known: dict[str, ApiKey] = {}
        self._verified: dict[bytes, ApiKey] = {}  # by the digest of the whole text; until the file changes
        self.refresh()

    def all(self) -> tuple[ApiKey, ...]:
        """Every key there ever was, the oldest first."""
        self.refresh()
        return tuple(sorted(self._known.values(), key=lambda key: (key.created_at, key.id)))

    def create(self, name: str, role: str) -> tuple[ApiKey, str]:
        """A new key, and its text, which exists nowhere afterwards. ApiKeyError for a role that is none."""
        if role not in ROLES:
            raise ApiKeyError(f"'{role}' is not a role", f"roles: {', '.join(ROLES)}")
        secret = secrets.token_urlsafe(32)
        with self._changed() as known:
            number = secrets.token_hex(4)
            key = ApiKey(number, name, role, _hash(secret), datetime.now(UTC).isoformat(timespec="seconds"))
            known[number] = key
        return key, f"{_PREFIX}_{key.id}_{secret}"

    def revoke(self, number: str) -> ApiKey:
        """End a key. ApiKeyError where there is none of that id."""
        with self._changed() as known:
            if number not in known:
                raise ApiKeyError(f"there is no key '{number}'", "datalab keys list shows their ids")
            if known[number].revoked_at is None:
                revoked = datetime.now(UTC).isoformat(timespec="seconds")
                known[number] = replace(known[number], revoked_at=revoked)
        return known[number]

    def verify(self, text: str) -> ApiKey | None:
        """The key behind a text that a caller sent; None where it is none, or was revoked."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        key = self._verified.get(digest)
        if key is None:
            key = self._checked(text)
            if key is not None:
                self._verified[digest] = key
        return key

    def _checked(self, text: str) -> ApiKey | None:
        prefix, _, rest = text.partition("_")
        number, _, secret = rest.partition("_")
        if prefix == _PREFIX and number not in self._known:
            with suppress(ApiKeyError, OSError):  # a damaged file changes nothing: the keys known so far stay
                self.refresh()  # made a moment ago, perhaps
        key = self._known.get(number)
        if prefix != _PREFIX or key is None or key.revoked_at is not None:
            return None
        return key if hmac.compare_digest(key.hash, _hash(secret)) else None

    def refresh(self) -> None:
        """Read the file again where it changed; a file that is gone has no keys. ApiKeyError, OSError."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._known, self._verified, self._read_at = {}, {}, None
            return
        except PermissionError as error:
            raise self._unreadable(error) from error
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
        if version == self._read_at:
            return
        if status.st_mode & 0o077:
            raise ApiKeyError(f"the keys in {self._path} can be read by others", f"chmod 600 {self._path}")
        self._known, self._verified, self._read_at = self._load(), {}, version

    def _load(self) -> dict[str, ApiKey]:
        try:
            records = json.loads(self._path.read_text(encoding="utf-8"))["keys"]
            return {record["id"]: ApiKey(**record) for record in records}
        except OSError as error:
            raise self._unreadable(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ApiKeyError(
                f"{self._path} does not hold API keys", "restore it, or remove it and make new ones"
            ) from (error)

    def _unreadable(self, error: OSError) -> ApiKeyError:
        hint = f"{self._path.parent} and what is in it have to belong to the user that runs datalab"
        return ApiKeyError(f"the keys in {self._path} cannot be read: {error.strerror or error}", hint)

    @contextmanager
    def _changed(self) -> Iterator[dict[str, ApiKey]]:
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / ".api.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.refresh()
            known = dict(self._known)
            yield known
            self._write(known)
            self.refresh()

    def _write(self, known: dict[str, ApiKey]) -> None:
        text = json.dumps({"keys": [asdict(key) for key in known.values()]}, indent=1, ensure_ascii=False)
        write_private(self._path, text)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

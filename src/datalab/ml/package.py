"""A model as it travels from training to the server: ONNX and a signed manifest, data only, nothing to unpickle."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datalab.errors import ModelRefused, ModelUnproven
from datalab.lake.local import flush
from datalab.ml.manifest import FORMAT, Manifest, canonical, check, schema_hash

MODEL, MANIFEST, SIGNATURE = "model.onnx", "manifest.json", "manifest.sig"
KEY_FILE = Path("keys", "signing.key")
KEY_BYTES = 32
_LARGEST = {MODEL: 512 << 20, MANIFEST: 4 << 20, SIGNATURE: 1 << 10}
_RETRAIN = "train it again (datalab model train NAME), or roll back: datalab model rollback NAME"


@dataclass(frozen=True)
class Package:
    """A package whose signature, hashes and manifest were verified. `model` holds the very bytes that were hashed."""

    folder: Path
    manifest: Manifest
    model: bytes
    hash: str

    @property
    def name(self) -> str:
        """Which model it is."""
        return str(self.manifest["model"])

    @property
    def version(self) -> int:
        """Which version of it."""
        return int(self.manifest["version"])


def signing_key(state: Path, *, create: bool = False) -> bytes:
    """The project's signing key, `keys/signing.key` in the state folder; made on first use where `create`.

    ModelRefused where there is none, it has not 32 bytes, or others may read it.
    """
    path = state / KEY_FILE
    if create and not path.exists():
        _make_key(path)
    try:
        mode, key = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise ModelRefused(
            f"the signing key {path} cannot be read: {error.strerror}",
            "copy it from where the model was trained, or train here: datalab model train NAME",
        ) from error
    if mode & 0o077:
        raise ModelRefused(f"the signing key {path} can be read by others", f"chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise ModelRefused(f"the signing key {path} has {len(key)} bytes, not {KEY_BYTES}", "restore it from a backup")
    return key


def write_package(folder: Path, model: bytes, manifest: Mapping[str, Any], key: bytes) -> Package:
    """Write a package into a new folder, whole or not at all. ModelRefused where the manifest is not sound.

    `format`, `files` and `schema_hash` of the manifest are filled in here.
    """
    files = {MODEL: {"sha256": hashlib.sha256(model).hexdigest(), "size": len(model)}}
    whole = {**manifest, "format": FORMAT, "files": files}
    whole["schema_hash"] = schema_hash(whole)
    text = canonical(check(whole, f"{folder.name}/{MANIFEST}"))
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in ((MODEL, model), (MANIFEST, text), (SIGNATURE, _signature(text, key))):
            (draft / name).write_bytes(content)
        flush(str(draft / name) for name in (MODEL, MANIFEST, SIGNATURE))
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return read_package(folder, key)


def read_package(folder: Path, key: bytes) -> Package:
    """Verify signature, sizes, hashes and manifest, in this order. ModelRefused names the first that does not hold.

    ModelUnproven where a file cannot be read.
    """
    text, signature = _read(folder, MANIFEST), _read(folder, SIGNATURE)
    if not hmac.compare_digest(signature.strip(), _signature(text, key)):
        raise ModelRefused(f"{folder / MANIFEST}: the signature is not of this project's key", _RETRAIN)
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise ModelRefused(f"{folder / MANIFEST} is not JSON", _RETRAIN) from error
    check(manifest, str(folder / MANIFEST))
    model, said = _read(folder, MODEL), manifest["files"].get(MODEL, {})
    if len(model) != said.get("size") or hashlib.sha256(model).hexdigest() != said.get("sha256"):
        raise ModelRefused(f"{folder / MODEL} is not the file that the manifest names", _RETRAIN)
    return Package(folder, manifest, model, hashlib.sha256(text).hexdigest())


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
    flush([str(draft)])
    try:
        os.link(draft, path)  # whoever came first made the key
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _signature(text: bytes, key: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).hexdigest().encode("ascii")


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        if path.stat().st_size > _LARGEST[name]:
            raise ModelRefused(f"{path} is larger than {_LARGEST[name]:,} bytes", _RETRAIN)
        return path.read_bytes()
    except OSError as error:
        raise ModelUnproven(f"{path} cannot be read: {error.strerror}", _RETRAIN) from error

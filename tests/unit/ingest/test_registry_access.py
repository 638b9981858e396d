"""A schema registry that asks who is there, and one with its own certificate: what is sent, to whom, what is said."""

from __future__ import annotations

import base64
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from datalab.errors import InvalidSetting, SourceUnavailable
from datalab.ingest.sources.registry import Access, Registry
from datalab.platform.settings import load
from datalab.platform.simulate_kafka import _register
from datalab.platform.simulate_stream import Cluster, Stream
from datalab.platform.topics import registry_access

USERS = {"ana": "s:e nh@", "bia": "fraca"}
READERS = {"ana"}


class Handler(BaseHTTPRequestHandler):
    """Answers schema 1 to ana alone; 2 is elsewhere."""

    seen: list[str | None]
    elsewhere = ""

    def __getattr__(self, name: str) -> Any:
        """POST and PUT, too: do_POST, do_PUT."""
        if name.startswith("do_"):
            return self.do_GET
        raise AttributeError(name)

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        if self.path.endswith("/2"):
            self.send_response(302)
            self.send_header("Location", f"{self.elsewhere}/schemas/ids/1")
            self.end_headers()
            return
        user, _, password = base64.b64decode((self.seen[-1] or "").removeprefix("Basic ")).decode().partition(":")
        known = bool(user) and USERS.get(user) == password
        self.answer(401 if not known else 200 if user in READERS else 403, {"schema": '"int"', "id": 1})

    def answer(self, status: int, content: Any) -> None:
        text = json.dumps(content).encode()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(handler: type[Handler], certificate: Path | None = None) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def seen() -> list[str | None]:
    return []


@pytest.fixture
def url(seen: list[str | None]) -> Iterator[str]:
    with serving(type("Asking", (Handler,), {"seen": seen})) as address:
        yield address


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate signed by nobody else, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "registry.pem"
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return path


def wired(folder: Path, address: str, **settings: Any) -> Registry:
    """The registry as the settings of a project give it."""
    lines = "".join(f"  {name}: {value}\n" for name, value in settings.items())
    (folder / "datalab.yaml").write_text(f"name: p\nkafka:\n  registry: {address}\n{lines}", encoding="utf-8")
    return Registry(address, 5, Access(**registry_access(load(folder), {"SENHA": USERS["ana"], "ERRADA": "x"})))


def test_user_and_password_come_from_the_settings(tmp_path: Path, url: str) -> None:
    registry = wired(tmp_path, url, registry_user="ana", registry_password="secret:env/SENHA")
    assert registry.schemas([1]).texts == {1: b'"int"'}


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ({}, "asks for a user and a password (HTTP 401)", "set kafka.registry_user and kafka.registry_password"),
        (
            {"registry_user": "ana", "registry_password": "secret:env/ERRADA"},
            "does not take the user ana with that password (HTTP 401)",
            "see kafka.registry_user and kafka.registry_password",
        ),
        (
            {"registry_user": "bia", "registry_password": "fraca"},
            "does not let the user bia read schemas (HTTP 403)",
            "give the user the right to read",
        ),
    ],
)
def test_who_is_refused_is_told_so_and_no_record_is_at_fault(
    tmp_path: Path, url: str, given: dict[str, str], said: str, hint: str
) -> None:
    """SourceUnavailable: ingest waits, and takes up again. A schema that is `missing` would go to quarantine."""
    with pytest.raises(SourceUnavailable) as raised:
        wired(tmp_path, url, **given).schemas([1])
    assert raised.value.message == f"the schema registry at {url} {said}"
    assert raised.value.hint == hint
    assert raised.value.retryable


def test_a_password_is_not_sent_on_to_another_host(tmp_path: Path, url: str, seen: list[str | None]) -> None:
    stranger: list[str | None] = []
    with serving(type("Stranger", (Handler,), {"seen": stranger})) as other:
        moved = type("Moved", (Handler,), {"seen": seen, "elsewhere": other})
        with serving(moved) as first, pytest.raises(SourceUnavailable, match="HTTP 401"):
            wired(tmp_path, first, registry_user="ana", registry_password="secret:env/SENHA").schemas([2])
    assert len(seen) == 1
    assert seen[0] is not None
    assert stranger == [None]


def test_only_certificates_that_are_named_are_trusted(
    tmp_path: Path, certificate: Path, seen: list[str | None]
) -> None:
    access = {"registry_user": "ana", "registry_password": "secret:env/SENHA"}
    with serving(type("Asking", (Handler,), {"seen": seen}), certificate) as url:
        with pytest.raises(SourceUnavailable, match="certificate verify failed") as raised:
            wired(tmp_path, url, **access).schemas([1])
        assert raised.value.hint == "kafka.registry_ca: FILE names the certificates that are trusted"
        assert seen == []
        found = wired(tmp_path, url, **access, registry_ca=certificate).schemas([1])
    assert found.texts == {1: b'"int"'}


def test_certificates_of_the_system_are_read_when_a_connection_needs_them(
    certificate: Path, url: str, seen: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[ssl.SSLContext] = []
    usual = ssl.create_default_context

    def reading() -> ssl.SSLContext:
        read.append(usual())
        return read[-1]

    monkeypatch.setattr(ssl, "create_default_context", reading)
    access = Access("ana", USERS["ana"])
    assert Registry(url, 5, access).schemas([1]).texts
    assert read == []
    with serving(type("Asking", (Handler,), {"seen": seen}), certificate) as secured:
        registry = Registry(secured, 5, access)
        assert read == []
        for _ in range(2):
            with pytest.raises(SourceUnavailable, match="certificate verify failed"):
                registry.schemas([1])
    assert len(read) == 1


def test_the_simulator_registers_with_the_same_access(
    tmp_path: Path, certificate: Path, seen: list[str | None]
) -> None:
    contract = tmp_path / "pedido.avsc"
    contract.write_text('{"type": "record", "name": "r", "fields": []}', encoding="utf-8")
    access = {"user": "ana", "password": USERS["ana"], "ca": certificate}
    with serving(type("Asking", (Handler,), {"seen": seen}), certificate) as url:
        ids = _register(Cluster("", url, {}, access), Stream("pedidos", contract, "*"), evolved=False)
    assert ids == (1, None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"registry_user": "ana"}, "kafka.registry_user and kafka.registry_password belong together"),
        ({"registry_user": "a:b", "registry_password": "x"}, "kafka.registry_user has a colon in it"),
        ({"registry_user": 7, "registry_password": "x"}, "kafka.registry_user is not a text"),
        ({"registry_ca": "nada.pem"}, "nada.pem cannot be read: "),
        ({"registry_ca": "datalab.yaml"}, "datalab.yaml cannot be read: "),
    ],
)
def test_what_is_set_wrongly_is_said_at_once(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        wired(tmp_path, "http://127.0.0.1:9", **settings)

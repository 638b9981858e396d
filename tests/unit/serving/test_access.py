"""Deny by default: every route without a key, with a wrong one, with every role; a route without a policy."""

from __future__ import annotations

import asyncio
import errno
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi import APIRouter, Request, Response
from tests.unit.serving.models import REQUEST

from datalab.errors import ApiKeyError, ServingError
from datalab.serving.app import Extension
from datalab.serving.keys import KeyStore
from datalab.serving.policy import ROLES, Policy, policies
from datalab.serving.server import Address, require_safe

ROUTES = policies("credit-score")
GUARDED = [endpoint for endpoint, policy in ROUTES.items() if policy.access != "open"]
OPEN = [endpoint for endpoint, policy in ROUTES.items() if policy.access == "open"]


def ask(served, endpoint, token=None, app=None):
    async def send():
        method, path = endpoint
        async with served.client(None, app) as client:
            headers = {} if token is None else {"authorization": token}
            body = None if method == "GET" else REQUEST
            return await client.request(method, path.format(score_id="x"), json=body, headers=headers)

    return asyncio.run(send())


def test_every_route_has_a_policy_and_only_the_four_are_open():
    assert {path for _, path in OPEN} == {"/health", "/ready", "/docs", "/openapi.json"}
    assert len(GUARDED) == 5


def test_nobody_gets_in_without_a_key(served):
    revoked, text = KeyStore(served.state).create("gone", "admin")
    KeyStore(served.state).revoke(revoked.id)
    valid = served.keys["admin"]
    wrong = [
        None,
        "",
        "Bearer",
        "Bearer x",
        f"Basic {valid}",
        f"Bearer {valid}x",
        f"Bearer {valid[:-1]}",
        f"Bearer {text}",
    ]
    for endpoint in GUARDED:
        for token in wrong:
            answer = ask(served, endpoint, token)
            assert answer.status_code == 401, (endpoint, token)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_its_own_routes_alone(served, role):
    for endpoint in GUARDED:
        allowed = role == "admin" or ROUTES[endpoint].access == role
        status = ask(served, endpoint, f"Bearer {served.keys[role]}").status_code
        assert (status == 403) is (not allowed), (endpoint, role, status)
        assert status != 401


def test_open_routes_answer_without_a_key_on_loopback(served):
    assert [ask(served, endpoint).status_code for endpoint in OPEN] == [200] * len(OPEN)


def test_no_route_is_open_on_another_address(serve):
    served = serve(host="0.0.0.0")
    for endpoint in ROUTES:
        assert ask(served, endpoint).status_code == 401
    for endpoint in OPEN:
        assert ask(served, endpoint, f"Bearer {served.keys['read']}").status_code == 200
        assert ask(served, endpoint, f"Bearer {served.keys['score']}").status_code == 403


def test_what_is_not_there_is_told_only_to_who_has_a_key(served):
    assert ask(served, ("GET", "/nowhere")).status_code == 401
    key = f"Bearer {served.keys['score']}"
    assert ask(served, ("GET", "/nowhere"), key).status_code == 404
    refused = ask(served, ("DELETE", "/v1/credit-score"), key)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def router():
    added = APIRouter()

    @added.get("/v1/extra/{name}")
    async def extra(request: Request) -> Response:
        call = request.scope["datalab.call"]
        return Response(f"{call.key.role} {call.params['name']}")

    return added


def test_a_route_without_a_policy_keeps_the_server_from_starting(serve):
    read = Policy("read")
    with pytest.raises(AssertionError, match=r"GET /v1/extra/\{name\} has no policy"):
        serve(extensions=[Extension(router())])
    both = {("GET", "/v1/extra/{name}"): read, ("GET", "/v1/other"): read}
    with pytest.raises(AssertionError, match="the policy of GET /v1/other has no route"):
        serve(extensions=[Extension(router(), both)])


def test_an_added_route_is_guarded_like_the_others(serve):
    served = serve(extensions=[Extension(router(), {("GET", "/v1/extra/{name}"): Policy("read")})])
    endpoint = ("GET", "/v1/extra/x")
    assert ask(served, endpoint).status_code == 401
    assert ask(served, endpoint, f"Bearer {served.keys['score']}").status_code == 403
    assert ask(served, endpoint, f"Bearer {served.keys['read']}").text == "read x"


def test_keys_are_kept_as_hashes_in_a_file_for_the_owner(tmp_path):
    store = KeyStore(tmp_path)
    key, text = store.create("aplicativo", "score")
    path = tmp_path / "keys" / "api.json"
    assert text.rsplit("_", 1)[-1] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert store.verify(text) == key
    path.chmod(0o644)
    with pytest.raises(ApiKeyError, match="can be read by others"):
        KeyStore(tmp_path)


def test_a_running_server_sees_new_and_revoked_keys(tmp_path):
    running, elsewhere = KeyStore(tmp_path), KeyStore(tmp_path)
    key, text = elsewhere.create("aplicativo", "read")
    assert running.verify(text) == key, "a new key works at once"
    elsewhere.revoke(key.id)
    running.refresh()
    assert running.verify(text) is None
    with pytest.raises(ApiKeyError, match="there is no key"):
        elsewhere.revoke("nobody")
    with pytest.raises(ApiKeyError, match="'root' is not a role"):
        elsewhere.create("x", "root")


def test_keys_that_cannot_be_read_for_a_while_change_nothing(tmp_path):
    """Whatever is wrong with the folder: a server looks again a second later, and a key that was revoked is refused."""
    running, folder = KeyStore(tmp_path), tmp_path / "keys"
    key, text = running.create("aplicativo", "read")
    folder.rename(tmp_path / "elsewhere")
    folder.write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        running.refresh()
    assert running.verify(text) == key
    assert running.verify("dlk_00000000_x") is None
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    KeyStore(tmp_path).revoke(key.id)
    running.refresh()
    assert running.verify(text) is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("a.org", False),
    ],
)
def test_another_address_needs_a_key_and_tls(tmp_path, host, loopback):
    keys = KeyStore(tmp_path)
    assert Address(host, 1).loopback is loopback
    if loopback:
        require_safe(Address(host, 1), keys)
        return
    with pytest.raises(ServingError, match="no API key"):
        require_safe(Address(host, 1, plain=True), keys)
    key, _ = keys.create("aplicativo", "score")
    with pytest.raises(ServingError, match="without TLS"):
        require_safe(Address(host, 1), keys)
    require_safe(Address(host, 1, plain=True), keys)
    require_safe(Address(host, 1, tmp_path / "c.pem", tmp_path / "k.pem"), keys)
    keys.revoke(key.id)
    with pytest.raises(ServingError, match="no API key"):
        require_safe(Address(host, 1, plain=True), keys)


@pytest.mark.parametrize("call", ["stat", "read_text"], ids=["folder", "file"])
@pytest.mark.parametrize("command", [("keys", "list"), ("keys", "create", "b"), ("keys", "revoke", "x"), ("serve",)])
def test_keys_without_permission_are_said_to_be_so(datalab, project, monkeypatch, call, command):
    """The folder, or the file, belongs to somebody else: nobody is told to remove it."""
    datalab("keys", "create", "aplicativo")
    path, real = project / ".datalab" / "keys" / "api.json", getattr(Path, call)

    def refused(self, *args, **options):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, *args, **options)

    monkeypatch.setattr(Path, call, refused)
    answer = datalab(*command, "--json")
    error = json.loads(answer.err.splitlines()[-1])["error"]
    assert (answer.code, error["type"]) == (2, "ApiKeyError")
    assert error["message"] == f"the keys in {path} cannot be read: Permission denied"
    assert "belong to the user" in error["hint"]


def test_key_commands(datalab, project):
    created = datalab("keys", "create", "aplicativo", "--role", "read", "--json").json
    assert created["role"] == "read"
    assert KeyStore(project / ".datalab").verify(created["key"]).id == created["id"]
    listed = datalab("keys", "list")
    assert created["id"] in listed.out
    assert created["key"] not in listed.out
    assert datalab("keys", "revoke", created["id"]).code == 0
    (row,) = datalab("keys", "list", "--json").json
    assert datetime.fromisoformat(row["revoked_at"]) <= datetime.now(UTC)
    assert datalab("keys", "revoke", "x").code == 2

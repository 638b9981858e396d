"""The online store that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from datalab.errors import InvalidSetting
from datalab.features.online.base import OnlineStore
from datalab.platform.secrets import resolve
from datalab.platform.settings import Configuration
from datalab.plugins import Adapter, adapter

STORES = {
    "sqlite": Adapter("datalab.features.online.sqlite:SqliteStore"),
    "redis": Adapter("datalab.features.online.redis:RedisStore", "redis"),
}


def wire_online_store(configuration: Configuration, environ: Mapping[str, str]) -> OnlineStore:
    """The store, not yet connected. MissingExtra, SecretNotFound."""
    chosen = configuration.settings.online
    make: Callable[..., OnlineStore] = adapter("online store", chosen.store, STORES)
    timeout = chosen.timeout_ms / 1000
    if chosen.store == "sqlite":
        return make(chosen.path, timeout)
    password = resolve(chosen.password, configuration.folder, environ)
    if password is not None and not isinstance(password, str):
        raise InvalidSetting("online.password is not a text", "online: {password: secret:env/REDIS_PASSWORD}")
    return make(chosen.url, password, configuration.settings.name, timeout)

"""Rows of keys. Functions over a connection; commits nothing itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.core.limits import read_limits, shown_concurrency, shown_rate
from podium.domain.limit import Limits
from podium.domain.principal import ApiKey, Role
from podium.store.schema import api_keys


def put(connection: Connection, *keys: ApiKey) -> None:
    """Insert or replace by id."""
    for key in keys:
        values = {
            "name": key.name,
            "role": key.role.value,
            "digest": key.digest,
            "scopes": json.dumps(_scopes(key)),
            "created_at": key.created_at,
            "created_by": key.created_by,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
            "replaced_by": key.replaced_by,
            "last_used_at": key.last_used_at,
            "limits": json.dumps(_limits(key.limits)),
        }
        statement = upsert(api_keys).values(id=key.id, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def _scopes(key: ApiKey) -> list[str]:
    tasks, models = sorted(key.tasks or ()), sorted(key.models or ())
    return [*(f"task:{name}" for name in tasks), *(f"model:{name}" for name in models)]


def _limits(limits: Limits) -> dict[str, str | int]:
    said = {
        "requests": shown_rate(limits.requests),
        "tokens": shown_rate(limits.tokens),
        "concurrency": shown_concurrency(limits.concurrency),
    }
    return {name: value for name, value in said.items() if value is not None}


def every(connection: Connection) -> tuple[ApiKey, ...]:
    """Oldest first, revoked ones too."""
    found = []
    for row in connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)):
        scopes = [scope.split(":", 1) for scope in json.loads(row.scopes)]
        found.append(
            ApiKey(
                id=row.id,
                name=row.name,
                role=Role(row.role),
                digest=bytes(row.digest),
                tasks=frozenset(name for kind, name in scopes if kind == "task") or None,
                models=frozenset(name for kind, name in scopes if kind == "model") or None,
                created_at=row.created_at,
                created_by=row.created_by,
                expires_at=row.expires_at,
                revoked_at=row.revoked_at,
                replaced_by=row.replaced_by,
                last_used_at=row.last_used_at,
                limits=read_limits(**json.loads(row.limits or "{}")),
            )
        )
    return tuple(found)


def used(connection: Connection, seen: Mapping[str, float]) -> None:
    """When keys were last used, by id."""
    if seen:
        statement = update(api_keys).where(api_keys.c.id == bindparam("key")).values(last_used_at=bindparam("at"))
        connection.execute(statement, [{"key": key, "at": at} for key, at in seen.items()])

"""Who may do what: the role every route needs, scopes, and what is wrong with a key. Pure; knows no HTTP and no store.

A route that is not listed may be used by an admin only, and a test fails on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from podium.domain.principal import ApiKey, Principal, Role
from podium.errors import Forbidden, InvalidRequest, Unauthenticated

SCOPE_KINDS = ("task", "model")
MOST_SCOPES = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/-]{0,127}")

_READ = Role.VIEWER
_USE = Role.USER
_ORDER = Role.OPERATOR
_OWN = Role.ADMIN

PUBLIC = frozenset({"/livez", "/readyz"})
"""Asked by machines that have no key; they say nothing about anybody's work."""

USERS_POSTS = frozenset(
    {
        "/api/v1/feedback",
        "/api/v1/executions",
        "/api/v1/executions/batch",
        "/api/v1/executions/{execution_id}/complete",
        "/api/v1/tasks/{task}/choose",
        "/api/v1/tasks/classify",
    }
)
"""What users do about their own work, beside asking models."""

ADMINS = (
    "/api/v1/keys",
    "/api/v1/reload",
    "/api/v1/export",
    "/api/v1/budgets",
    "/api/v1/audit",
    "/api/v1/secrets",
    "/api/v1/config",
)
"""Changes under these need an admin; so does reading keys, the export, the audit, secrets and configurations."""
ADMINS_READ = ("/api/v1/keys", "/api/v1/export", "/api/v1/audit", "/api/v1/secrets", "/api/v1/config")


def needed(method: str, template: str) -> Role | None:
    """The role that ``method`` on a route needs; ``None`` for what everybody may ask.

    ``template`` is the path with its parameters in braces, as the OpenAPI document has it.
    """
    reads = method in ("GET", "HEAD")
    if reads and template in PUBLIC:
        return None
    if template.startswith("/v1/"):
        return _USE if not reads else _READ
    if template.startswith(ADMINS_READ if reads else ADMINS):
        return _OWN
    if reads:
        return _READ
    return _USE if template in USERS_POSTS else _ORDER if template.startswith("/api/v1/") else _OWN


def check(principal: Principal, role: Role, what: str) -> None:
    """Raises ``Forbidden`` when ``principal`` may not do ``what``."""
    if principal.role.rank < role.rank:
        raise Forbidden(
            f"{what} needs the role {role.value}; the key {principal.name!r} has {principal.role.value}. "
            "Ask an admin for another key: podium keys create --role " + role.value
        )


def check_task(principal: Principal, task: str) -> None:
    """Raises ``Forbidden`` for a task outside the key's scope."""
    if principal.tasks is not None and task not in principal.tasks:
        listed = ", ".join(sorted(principal.tasks))
        raise Forbidden(f"the key {principal.name!r} is for {listed}, not for the task {task!r}; name one of them")


def may_use(principal: Principal | None, ref: str) -> bool:
    """Whether the version ``name@version`` is within the key's scope, by its name or whole."""
    models = None if principal is None else principal.models
    return models is None or ref in models or ref.partition("@")[0] in models


def check_model(principal: Principal, ref: str) -> None:
    """Raises ``Forbidden`` for a version outside the key's scope."""
    if principal.models is not None and not may_use(principal, ref):
        listed = ", ".join(sorted(principal.models))
        raise Forbidden(f"the key {principal.name!r} is for the models {listed}, not for {ref}; name one of them")


def read_scopes(scopes: tuple[str, ...]) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """(tasks, models) out of ``task:NAME`` and ``model:NAME``. Raises ``InvalidRequest``."""
    if len(scopes) > MOST_SCOPES:
        raise InvalidRequest(f"a key may have {MOST_SCOPES} scopes at most", param="scopes")
    found: Mapping[str, set[str]] = {kind: set() for kind in SCOPE_KINDS}
    for scope in scopes:
        kind, mark, name = scope.partition(":")
        if not mark or kind not in found or not _NAME.fullmatch(name):
            raise InvalidRequest(f"{scope[:100]!r} is no scope; write task:NAME or model:NAME", param="scopes")
        found[kind].add(name)
    return tuple(frozenset(found[kind]) or None for kind in SCOPE_KINDS)  # type: ignore[return-value] # two kinds


def usable(key: ApiKey, now: float) -> None:
    """Raises ``Unauthenticated`` for a key that is revoked or past its time; says which, as its holder has proven it."""
    if key.revoked_at is not None:
        raise Unauthenticated(f"the key {key.id} was revoked; ask for a new one")
    if key.expires_at is not None and now >= key.expires_at and key.replaced_by is not None:
        raise Unauthenticated(f"the key {key.id} was replaced by {key.replaced_by} and has expired; use that one")
    if key.expires_at is not None and now >= key.expires_at:
        raise Unauthenticated(f"the key {key.id} has expired; ask for a new one: podium keys rotate {key.id}")

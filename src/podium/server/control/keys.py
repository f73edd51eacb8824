"""Routes of keys. A key is told once, when it is made; afterwards only its id, name, rights and times are."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from podium.core.limits import read_limits, shown_concurrency, shown_rate
from podium.domain.limit import Limits
from podium.domain.principal import ApiKey
from podium.server import views
from podium.server.control.access import Actor, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.keys import OVERLAP_S
from podium.services.plane import Services

router = guarded(tag="keys")


class KeyBody(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid")
    role: str = Field(description="viewer, user, operator or admin")
    name: str = Field(default="", description="whose it is or what for; the role when left out")
    scopes: list[str] = Field(default=[], description="task:NAME or model:NAME, for the role user; none: no limit")
    expires_in_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="how long it lasts; for ever when left out"
    )
    limits: LimitsBody | None = Field(default=None, description="its own limits; those of its role when left out")


_WORD = {"examples": ["60/min", "100k/min", "none", "default"]}
Rated = Annotated[str | None, Field(max_length=40, json_schema_extra=_WORD)]


class LimitsBody(BaseModel):
    """What a key may do at a time. ``none``: no limit; ``default`` or null: what its role has; left out: as before."""

    model_config = ConfigDict(extra="forbid")
    requests: Rated = Field(default=None, description="requests in a time, such as 60/min")
    tokens: Rated = Field(default=None, description="tokens read and written in a time, such as 100k/min")
    concurrency: int | str | None = Field(default=None, description="requests under way at a time")


class RotateBody(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid")
    overlap_s: float = Field(
        default=OVERLAP_S, ge=0, allow_inf_nan=False, description="how long the old one still works"
    )


def view(services: Services, key: ApiKey) -> views.Json:
    """Everything but the secret, which nobody has. ``limits`` are what is said of it, ``in_force`` what applies."""
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role.value,
        "scopes": [
            *(f"task:{name}" for name in sorted(key.tasks or ())),
            *(f"model:{n}" for n in sorted(key.models or ())),
        ],
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "replaced_by": key.replaced_by,
        "last_used_at": key.last_used_at,
        "account": services.keys.account(key.id),
        "limits": _limits(key.limits),
        "limits_in_force": _limits(services.limiter.in_force(key.role, key.limits)),
    }


def _limits(limits: Limits) -> views.Json:
    return {
        "requests": shown_rate(limits.requests),
        "tokens": shown_rate(limits.tokens),
        "concurrency": shown_concurrency(limits.concurrency),
    }


@router.get("/keys")
async def list_keys(services: ServicesDep) -> views.Json:
    """Every key there ever was, oldest first."""
    return {"keys": [view(services, key) for key in services.keys.all()]}


@router.post("/keys", status_code=201, responses=errors(e400="a field makes no sense"))
async def create_key(body: KeyBody, services: ServicesDep, actor: Actor) -> views.Json:
    """Make a key. ``key`` is told here and never again; from the first key on every request needs one."""
    made, secret = await services.keys.create(
        body.name or body.role,
        body.role,
        by=actor,
        scopes=body.scopes,
        expires_in_s=body.expires_in_s,
        limits=read_limits(**(body.limits or LimitsBody()).model_dump()),
    )
    return {"key": secret, **view(services, made)}


@router.patch(
    "/keys/{key_id}",
    responses=errors(e400="a limit makes no sense", e404="there is no such key"),
)
async def limit_key(key_id: str, body: LimitsBody, services: ServicesDep) -> views.Json:
    """Other limits for a key, in force at once; what was used of them stays used."""
    before = _limits(services.keys.find(key_id).limits)
    limits = read_limits(**{**before, **body.model_dump(exclude_unset=True)})
    return view(services, await services.keys.limit(key_id, limits))


@router.post(
    "/keys/{key_id}/rotate",
    status_code=201,
    responses=errors(e404="there is no such key", e409="it has ended or was replaced already"),
)
async def rotate_key(key_id: str, body: RotateBody, services: ServicesDep, actor: Actor) -> views.Json:
    """A key with the same rights in its place; the old one still works for a while."""
    made, secret = await services.keys.rotate(key_id, by=actor, overlap_s=body.overlap_s)
    return {"key": secret, **view(services, made)}


@router.delete("/keys/{key_id}", responses=errors(e404="there is no such key"))
async def revoke_key(key_id: str, services: ServicesDep) -> views.Json:
    """End a key at once."""
    return view(services, await services.keys.revoke(key_id))

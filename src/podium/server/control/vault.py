"""Routes of secrets: told once by whoever sets them, and by this server to nobody again."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from podium.domain.secret import Secret
from podium.server import views
from podium.server.control.access import Actor, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.vault import MOST_CHARS, SecretView

router = guarded(tag="secrets")


class SecretBody(BaseModel):
    """A secret to seal."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    value: str = Field(
        min_length=1,
        max_length=MOST_CHARS,
        repr=False,
        description="the secret itself, one word; it is sealed and never shown again",
    )


def view(secret: SecretView) -> views.Json:
    """Everything but the secret."""
    return {name: getattr(secret, name) for name in SecretView.__slots__}


@router.get("/secrets")
async def list_secrets(services: ServicesDep) -> views.Json:
    """Names, times, and why one cannot be opened; never the secrets."""
    return {"secrets": [view(secret) for secret in services.vault.all()]}


@router.put(
    "/secrets/{name}", responses=errors(e400="no such name can be given, or the value is no key", e409="too many")
)
async def set_secret(name: str, body: SecretBody, services: ServicesDep, actor: Actor) -> views.Json:
    """Seal a secret under a name, in place of the one there was; the next call to its provider uses it."""
    return view(await services.vault.set(name, Secret(body.value), by=actor))


@router.delete("/secrets/{name}", responses=errors(e404="there is no such secret"))
async def remove_secret(name: str, services: ServicesDep) -> views.Json:
    """Forget a secret. Models that name it cannot be called until it is set again."""
    await services.vault.remove(name)
    return {"removed": [name]}


@router.post(
    "/secrets/rekey", responses=errors(e409="the new master key is not there, or some secret cannot be opened")
)
async def rekey(services: ServicesDep) -> views.Json:
    """Seal all secrets under a new master key, all or none; both keys open them until that is done."""
    count, retired = await services.vault.rekey()
    return {"resealed": count, "old_key_gone": retired}


@router.post("/secrets/reset", responses=errors())
async def reset(services: ServicesDep) -> views.Json:
    """Forget the secrets that no master key here opens; the others stay."""
    return {"removed": list(await services.vault.reset())}

"""What every control route needs: the services, and who is asking."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from podium.domain.principal import Principal
from podium.server.doorman import OWNER
from podium.services.plane import Services


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _actor(request: Request) -> str:
    """Who to name in the record: whose key it is, else the client's own word."""
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is not None and principal is not OWNER:
        return f"{principal.name} ({principal.id})"
    return (request.headers.get("x-podium-actor") or "api")[:64]


def _asking(request: Request) -> Principal:
    """Whose key it is; the owner where nobody needs one."""
    return getattr(request.state, "principal", None) or OWNER


MOST = 2**53 - 1
"""The largest whole number that every reader of JSON can hold, and the record as well."""
ServicesDep = Annotated[Services, Depends(_services)]
Actor = Annotated[str, Depends(_actor)]
Asking = Annotated[Principal, Depends(_asking)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=MOST)]
Many = Annotated[list[str] | None, Query()]

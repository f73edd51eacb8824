"""Makes the routers of the control plane: under its prefix, guarded and audited.

Prefix and guard are given to the router itself, and its routes are put into the application as they are: what is given when
a router is included has FastAPI build every route a second time, at the first request and in the event loop.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends

from podium.server.control.auditing import audited
from podium.server.control.guard import PREFIX, authorise


def guarded(*, tag: str, prefix: str = "") -> APIRouter:
    """A router for routes under ``/api/v1`` and ``prefix``, listed under ``tag``."""
    return APIRouter(prefix=PREFIX + prefix, tags=[tag], dependencies=[Depends(authorise), Depends(audited)])

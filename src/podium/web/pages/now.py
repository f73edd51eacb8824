"""What is going on this moment."""

from __future__ import annotations

from podium.server.control import instances
from podium.web.page import Data, Look, Page


async def data(look: Look) -> Data:
    """The pool and who waits."""
    return {"pool": await instances.list_instances(look.services)}


PAGE = Page(path="/", title="Now", template="now.html", data=data, tab="now", live=("pool",))

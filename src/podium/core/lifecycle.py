"""Which lifecycle changes of a version are legal. Pure: it judges, the registry and the database record.

    registered → ready → active → deprecated → retired     the way of every version
    deprecated → active                                    a rollback, or a change of mind
    retired → active                                       a rollback only, with a reason
    registered, ready → retired                            given up before it served

The same table is enforced by triggers in the database (``store/schema``); a test compares the two.
"""

from __future__ import annotations

from podium.domain.model import Lifecycle
from podium.errors import Conflict, InvalidRequest

LEGAL: dict[Lifecycle, tuple[Lifecycle, ...]] = {
    Lifecycle.REGISTERED: (Lifecycle.READY, Lifecycle.RETIRED),
    Lifecycle.READY: (Lifecycle.ACTIVE, Lifecycle.RETIRED),
    Lifecycle.ACTIVE: (Lifecycle.DEPRECATED,),
    Lifecycle.DEPRECATED: (Lifecycle.ACTIVE, Lifecycle.RETIRED),
    Lifecycle.RETIRED: (),
}
"""What may follow each status in ordinary life."""

ROLLBACK_ONLY: dict[Lifecycle, tuple[Lifecycle, ...]] = {Lifecycle.RETIRED: (Lifecycle.ACTIVE,)}
"""What only a rollback may do, and only with a reason."""


def check(before: Lifecycle, after: Lifecycle, *, rollback: bool = False, reason: str = "") -> None:
    """Return when ``before → after`` is legal.

    Raises ``Conflict`` naming what is legal instead, or ``InvalidRequest`` when a rollback lacks its reason.
    """
    if after in LEGAL[before]:
        return
    if after in ROLLBACK_ONLY.get(before, ()):
        if not rollback:
            raise Conflict(
                f"a {before} version becomes {after} only through a rollback; "
                f"use `podium rollback TASK`, or register the model as a new version"
            )
        if not reason.strip():
            raise InvalidRequest(f"bringing a {before} version back needs a reason; give one", param="reason")
        return
    legal = " or ".join(LEGAL[before]) or "nothing but active, by a rollback"
    raise Conflict(f"a version that is {before} cannot become {after}; from {before} it may become {legal}")

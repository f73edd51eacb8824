"""Legal steps of a version's life, written out once more by hand."""

from __future__ import annotations

from itertools import product

import pytest

from podium.core.lifecycle import check
from podium.domain.model import Lifecycle
from podium.errors import Conflict, InvalidRequest

L = Lifecycle

LEGAL = {
    (L.REGISTERED, L.READY),
    (L.REGISTERED, L.RETIRED),
    (L.READY, L.ACTIVE),
    (L.READY, L.RETIRED),
    (L.ACTIVE, L.DEPRECATED),
    (L.DEPRECATED, L.ACTIVE),
    (L.DEPRECATED, L.RETIRED),
}


@pytest.mark.requirement("REG-3")
@pytest.mark.parametrize(("before", "after"), [*product(L, L)])
def test_only_the_legal_steps_pass(before: Lifecycle, after: Lifecycle) -> None:
    if (before, after) in LEGAL:
        check(before, after)
    else:
        with pytest.raises(Conflict, match=str(before)):
            check(before, after)


def test_the_refusal_names_what_is_legal() -> None:
    with pytest.raises(Conflict, match="may become ready or retired"):
        check(L.REGISTERED, L.ACTIVE)


def test_a_retired_version_returns_only_by_a_rollback_with_a_reason() -> None:
    check(L.RETIRED, L.ACTIVE, rollback=True, reason="the new one is worse")
    with pytest.raises(Conflict, match="rollback"):
        check(L.RETIRED, L.ACTIVE, reason="please")
    with pytest.raises(InvalidRequest, match="reason"):
        check(L.RETIRED, L.ACTIVE, rollback=True, reason=" ")

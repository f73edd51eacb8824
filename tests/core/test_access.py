"""Which role a route needs, and what a scope lets through."""

from __future__ import annotations

import pytest

from podium.core.access import check, check_model, check_task, may_use, needed, read_scopes
from podium.domain.principal import Principal, Role
from podium.errors import Forbidden, InvalidRequest

pytestmark = pytest.mark.requirement("OPS-1")


def principal(role: Role = Role.USER, **limits: frozenset[str]) -> Principal:
    return Principal(id="k", name="k", role=role, **limits)


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/livez", None),
        ("GET", "/v1/models", Role.VIEWER),
        ("POST", "/v1/chat/completions", Role.USER),
        ("GET", "/api/v1/tasks", Role.VIEWER),
        ("POST", "/api/v1/feedback", Role.USER),
        ("POST", "/api/v1/tasks/{task}/swap", Role.OPERATOR),
        ("GET", "/api/v1/keys", Role.ADMIN),
        ("POST", "/api/v1/keys", Role.ADMIN),
        ("DELETE", "/api/v1/keys/{key_id}", Role.ADMIN),
        ("GET", "/api/v1/export", Role.ADMIN),
        ("PUT", "/api/v1/budgets/{name}", Role.ADMIN),
        ("GET", "/api/v1/budgets", Role.VIEWER),
        ("DELETE", "/anything/else", Role.ADMIN),
    ],
)
def test_every_kind_of_route_needs_its_role(method: str, path: str, role: Role | None) -> None:
    assert needed(method, path) is role


def test_each_role_may_do_what_those_before_it_may_and_nothing_more() -> None:
    for holds in Role:
        for asks in Role:
            if holds.rank >= asks.rank:
                check(principal(holds), asks, "this")
            else:
                with pytest.raises(Forbidden, match=f"needs the role {asks.value}"):
                    check(principal(holds), asks, "this")


def test_a_scope_lets_through_what_it_names_and_nothing_else() -> None:
    limited = principal(tasks=frozenset({"code"}), models=frozenset({"small", "big@2"}))
    check_task(limited, "code")
    for ref in ("small@1", "small@9", "big@2"):
        check_model(limited, ref)
    with pytest.raises(Forbidden, match="not for the task 'chat'"):
        check_task(limited, "chat")
    for ref in ("big@1", "smaller@1"):
        assert not may_use(limited, ref)
        with pytest.raises(Forbidden, match="not for"):
            check_model(limited, ref)
    check_task(principal(), "anything")
    assert may_use(principal(), "any@1")
    assert may_use(None, "any@1")


def test_scopes_are_read_or_refused_with_how_to_write_them() -> None:
    assert read_scopes(("task:code", "model:a@1", "task:math")) == (frozenset({"code", "math"}), frozenset({"a@1"}))
    assert read_scopes(()) == (None, None)
    for bad in ("code", "tasks:code", "task:", "task:a b", "task:\n", "x:" * 100):
        with pytest.raises(InvalidRequest, match="write task:NAME"):
            read_scopes((bad,))
    with pytest.raises(InvalidRequest, match="100 scopes"):
        read_scopes(tuple(f"task:t{number}" for number in range(101)))

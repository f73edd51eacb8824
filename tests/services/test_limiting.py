"""Limits in force: by key, by role, by account, and what a request holds of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from podium.core.limits import read_limits
from podium.domain.principal import Principal, Role
from podium.errors import InvalidRequest, RateLimited
from podium.services.keys import Keys
from podium.services.limiting import ANONYMOUS, Grant, Limiter
from podium.store import open_store

pytestmark = pytest.mark.requirement("OPS-3")


class Clock:
    """Two clocks that are moved by hand."""

    wall = 1_000_000.0
    run = 500.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.run


def who(**said: object) -> Principal:
    return Principal(id="k1", name="ci", role=Role.USER, limits=read_limits(**said))


def grant(limiter: Limiter, principal: Principal | None) -> Grant:
    found = limiter.grant(principal)
    assert found is not None
    return found


def test_without_any_limit_nothing_is_counted_at_all() -> None:
    limiter = Limiter(Clock())
    assert limiter.grant(None) is None
    assert limiter.grant(who()) is None
    assert limiter.grant(who(requests="none", concurrency="none")) is None


def test_a_role_limits_its_keys_each_for_itself_and_a_key_may_have_its_own() -> None:
    limiter = Limiter(Clock(), {"user": read_limits("1/min")})
    first, second = who(), replace(who(), id="k2")
    grant(limiter, first).enter()
    with pytest.raises(RateLimited) as refused:
        grant(limiter, first).enter()
    assert "the key 'ci' may use 1/min of requests" in refused.value.message
    assert "come back in 60 s" in refused.value.message
    assert refused.value.retry_after_s == 60
    assert refused.value.code == "rate_limit_exceeded"
    grant(limiter, second).enter()
    assert limiter.grant(replace(first, limits=read_limits("none"))) is None


def test_those_without_a_key_share_one_meter_when_the_file_says_so() -> None:
    limiter = Limiter(Clock(), {ANONYMOUS: read_limits(concurrency=1)})
    held = grant(limiter, None)
    held.enter()
    with pytest.raises(RateLimited, match="requests without a key may have 1 requests under way"):
        grant(limiter, None).enter()
    held.leave()
    held.leave()
    again = grant(limiter, None)
    again.enter()
    assert again.meter.under_way == 1, "leaving twice gives back one place"


def test_a_wall_clock_that_is_set_means_nothing() -> None:
    clock = Clock()
    limiter = Limiter(clock, {"user": read_limits("2/min")})
    for _ in range(2):
        grant(limiter, who()).enter()
    for wall in (0.0, 9e9):
        clock.wall = wall
        with pytest.raises(RateLimited):
            grant(limiter, who()).enter()
    clock.run += 30
    grant(limiter, who()).enter()


def test_a_reload_keeps_what_was_used_and_applies_at_once() -> None:
    limiter = Limiter(Clock(), {"user": read_limits("3/min")})
    for _ in range(2):
        grant(limiter, who()).enter()
    limiter.configure({"user": read_limits("3/min", concurrency=9)})
    grant(limiter, who()).enter()
    with pytest.raises(RateLimited):
        grant(limiter, who()).enter()
    limiter.configure({"user": read_limits("5/min")})
    for _ in range(2):
        grant(limiter, who()).enter()
    with pytest.raises(RateLimited):
        grant(limiter, who()).enter()
    limiter.configure({"user": read_limits(concurrency=5)})
    with pytest.raises(RateLimited):
        grant(limiter, who()).enter()
    limiter.configure({})
    assert limiter.grant(replace(who(), id="other")) is None


def test_tokens_are_settled_and_given_back_by_whatever_happens() -> None:
    limiter = Limiter(Clock())
    key = who(tokens="1000/min")

    def left() -> float:
        bucket = grant(limiter, key).meter.tokens
        assert bucket is not None
        return bucket.level

    one = grant(limiter, key)
    one.enter()
    one.take(100, 300, known=True)
    assert left() == 600
    one.spent(150)
    assert left() == 850
    one.take(100, 900, known=True)
    assert left() == -150, "what comes after a failed attempt is not refused half-way"
    one.leave()
    assert left() == 850, "nobody said anything about it"
    two = grant(limiter, key)
    two.enter()
    two.take(100, 1024, known=False)
    two.spent(None)
    assert left() == 0, "what nobody can tell counts as reserved"
    with pytest.raises(RateLimited, match="1000/min of tokens and has used them"):
        grant(limiter, key).enter()
    two.leave()


def test_a_request_larger_than_the_limit_is_told_that_waiting_is_in_vain() -> None:
    one = grant(Limiter(Clock()), who(tokens="1k/min"))
    one.enter()
    with pytest.raises(RateLimited, match="it can never have as many; send less, or ask for fewer max_tokens") as never:
        one.take(500, 501, known=True)
    assert never.value.retry_after_s is None
    with pytest.raises(RateLimited, match="it can never"):
        grant(Limiter(Clock()), who(tokens="1k/min")).take(1200, 1024, known=False)
    other = grant(Limiter(Clock()), who(tokens="1k/min"))
    other.enter()
    other.take(10, 500, known=True)
    with pytest.raises(
        RateLimited, match=r"may need 600 tokens, and of the 1000/min .* 490 are left; come back in 7 s"
    ):
        Grant(other.meter, "the key 'ci'", Clock()).take(100, 500, known=True)


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[Keys]:
    store = open_store(tmp_path / "podium.db")
    yield Keys(store, Clock())
    await store.close()


async def test_limits_of_a_key_are_on_record_and_a_rotated_key_uses_the_same(keys: Keys) -> None:
    made, secret = await keys.create("ci", "user", by="me", limits=read_limits("2/min", "none", 3))
    limiter = Limiter(Clock())
    grant(limiter, keys.principal(secret)).enter()
    new, other = await keys.rotate(made.id, by="me")
    third, last = await keys.rotate(new.id, by="me")
    assert {keys.account(key) for key in (made.id, new.id, third.id)} == {made.id}
    grant(limiter, keys.principal(other)).enter()
    with pytest.raises(RateLimited):
        grant(limiter, keys.principal(last)).enter()
    again = Keys(keys._store, Clock())
    await again.load()
    assert again.principal(last).account == made.id
    assert again.principal(last).limits == read_limits("2/min", "none", 3)
    await again.limit(third.id, read_limits("9/min"))
    assert {key.limits for key in again.all()} == {read_limits("9/min")}
    grant(limiter, again.principal(secret)).enter()


async def test_a_limit_that_makes_no_sense_makes_no_key(keys: Keys) -> None:
    with pytest.raises(InvalidRequest):
        await keys.create("ci", "user", by="me", limits=read_limits("0/min"))
    assert keys.all() == ()

"""Finished responses in memory: bounded in bytes and time, each for its own caller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import NotFound
from podium.services.conversations import Conversations

pytestmark = pytest.mark.requirement("API-1")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_response_is_found_by_its_caller_until_it_is_too_old():
    clock = Clock()
    kept = Conversations(clock, kept_s=60)
    kept.keep("resp_1", "a", b"body", [b"one", b"two"], [b"one"])
    assert kept.find("resp_1", "a").items == (b"one", b"two")
    with pytest.raises(NotFound, match="1 minutes"):
        kept.find("resp_1", "b")
    clock.now += 61
    with pytest.raises(NotFound):
        kept.find("resp_1", "a")
    assert (kept.size, len(kept)) == (0, 0)


def test_what_was_used_last_stays_when_there_is_no_room():
    kept = Conversations(Clock(), kept_bytes=3000)
    for name in ("a", "b", "c"):
        kept.keep(name, "", b"x" * 500, [], [])
    kept.find("a", "")
    kept.keep("d", "", b"x" * 500, [], [])
    assert kept.find("a", "").body
    with pytest.raises(NotFound):
        kept.find("b", "")


def test_a_conversation_that_goes_on_counts_its_beginning_once():
    kept = Conversations(Clock())
    items = [b"x" * 10_000]
    kept.keep("1", "", b"", items, [])
    for number in range(2, 30):
        items = [*kept.find(str(number - 1), "").items, b"y" * 10]
        kept.keep(str(number), "", b"", items, [])
    assert 10_000 < kept.size < 35_000


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 900), st.booleans()), max_size=60))
def test_the_bytes_counted_are_those_held_and_never_over_the_limit(orders):
    kept = Conversations(Clock(), kept_bytes=4000)
    for name, size, delete in orders:
        if delete:
            try:
                kept.delete(str(name), "")
            except NotFound:
                continue
        else:
            kept.keep(str(name), "", b"b" * size, [b"i" * size], [])
        assert 0 <= kept.size <= 4000
    for name in range(6):
        try:
            kept.delete(str(name), "")
        except NotFound:
            continue
    assert kept.size == 0

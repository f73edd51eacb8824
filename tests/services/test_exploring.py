"""Draws: as often as stated, only among what is loaded, never against a session or inside a tool loop."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from podium.domain.decision import Candidate, Choice
from podium.domain.request import Endpoint, RequestHead
from podium.services import wire
from podium.services.exploring import Explorer
from podium.services.sessions import Sessions

REFS = ("a@1", "b@1", "c@1")


def choice(exploration: float = 0.1) -> Choice:
    return Choice(
        task="jobs",
        strategy="default",
        chosen="a@1",
        propensity=1 - 2 * exploration,
        fallbacks=("b@1", "c@1"),
        reason="a@1 is best",
        confidence=0.5,
        candidates=tuple(Candidate(ref=ref) for ref in REFS),
        alternatives=("b@1", "c@1"),
        exploration=exploration,
    )


def head(session: str | None = None, **more) -> RequestHead:
    body = {"messages": [{"role": "user", "content": "hi"}], **more}
    return wire.parse(Endpoint.CHAT, json.dumps(body).encode(), request_id="r", session=session)


@pytest.mark.requirement("LRN-3", "SEL-4")
@pytest.mark.parametrize("loaded", [{"b@1", "c@1"}, {"c@1"}, set()])
@pytest.mark.no_cover
def test_what_is_drawn_comes_as_often_as_its_propensity_says(loaded):
    # 40,000 draws, seed 7: a frequency of .1 has a standard error of .0015; five of them are allowed.
    explorer = Explorer(random.Random(7).random, lambda ref: int(ref in loaded))
    picked = [explorer.settle(choice(), head()) for _ in range(40_000)]
    counts = Counter(one.chosen for one in picked)
    assert set(counts) == {"a@1", *loaded}
    for one in {id(one): one for one in picked}.values():
        assert counts[one.chosen] / len(picked) == pytest.approx(one.propensity, abs=0.0075)


@pytest.mark.requirement("SEL-8")
def test_a_session_stays_where_it_was_and_says_so():
    explorer = Explorer(lambda: 0.0, lambda ref: 1)
    first = explorer.settle(choice(), head("s1"))
    assert first.chosen == "b@1"  # drawn: the first draw of a session is free
    explorer.served("jobs", "s1", first.chosen)
    again = explorer.settle(choice(), head("s1"))
    assert (again.chosen, again.strategy, again.propensity) == ("b@1", "session", 1.0)
    assert "the session was served by b@1" in again.reason
    explorer.served("jobs", "s2", "a@1")
    other = explorer.settle(choice(), head("s2"))
    assert (other.chosen, other.propensity, other.alternatives) == ("a@1", 1.0, ())


def test_a_session_whose_version_cannot_serve_any_more_moves():
    explorer = Explorer(lambda: 0.99, lambda ref: 1)
    explorer.served("jobs", "s", "gone@1")
    assert explorer.settle(choice(), head("s")).chosen == "a@1"


@pytest.mark.requirement("LRN-3")
def test_inside_a_tool_loop_nothing_is_drawn():
    explorer = Explorer(lambda: 0.0, lambda ref: 1)
    results = {"role": "tool", "tool_call_id": "c1", "content": "4"}
    asked = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function"}]}
    request = head(messages=[{"role": "user", "content": "2+2"}, asked, results])
    assert explorer.settle(choice(), request).chosen == "a@1"
    assert explorer.settle(choice(), request).propensity == 1.0


def test_requests_share_one_value_per_outcome_of_the_draw():
    explorer = Explorer(lambda: 0.9, lambda ref: 1)
    shared = choice()
    assert explorer.settle(shared, head()) is explorer.settle(shared, head())


def test_only_the_newest_sessions_are_kept():
    sessions = Sessions(most=3)
    for number in range(5):
        sessions.note("jobs", f"s{number}", "a@1")
    sessions.note("jobs", "s2", "b@1")
    sessions.note("jobs", "s9", "c@1")
    assert [sessions.served("jobs", f"s{number}") for number in (0, 1, 2, 3, 4, 9)] == [
        None, None, "b@1", None, "a@1", "c@1",
    ]  # fmt: skip

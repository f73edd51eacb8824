"""A rollout's share of the traffic: as large as stated, the same for a whole conversation, growing without moving it."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from podium.core.constraints import Option
from podium.core.selection import CANARY, PolicySnapshot, Query, choose
from podium.domain.model import Lifecycle
from podium.domain.request import Endpoint, RequestHead
from podium.domain.rollout import Split
from podium.domain.task import Binding
from podium.errors import NoCandidate
from podium.services import wire
from podium.services.exploring import Explorer

OLD, NEW, OTHER = "old@1", "new@1", "other@1"


def snapshot(share: float = 0.2, *, status: Lifecycle = Lifecycle.READY, needs: str = "chat") -> PolicySnapshot:
    def option(ref: str, status: Lifecycle = Lifecycle.ACTIVE, can: str = "chat") -> Option:
        return Option(ref=ref, status=status, capabilities=frozenset({"chat", can}), created_at=1.0)

    return PolicySnapshot(
        options=(option(OLD, can=needs), option(OTHER), option(NEW, status)),
        splits={"jobs": Split(rollout="roll_1", baseline=OLD, candidate=NEW, share=share)},
    )


def divided(share: float = 0.2, **more):
    return choose(snapshot(share, **more), Query(task="jobs"))


def head(session: str | None = None, messages: list[dict[str, object]] | None = None) -> RequestHead:
    body = {"messages": messages or [{"role": "user", "content": "hi"}]}
    return wire.parse(Endpoint.CHAT, json.dumps(body).encode(), request_id="r", session=session)


def explorer(seed: int = 3) -> Explorer:
    return Explorer(random.Random(seed).random, lambda ref: 1)


@pytest.mark.requirement("SWP-4", "SEL-4")
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_candidate_gets_its_share_and_the_propensity_says_so(share):
    # 20,000 draws: the standard error of a share of .5 is .0035; five of them are allowed.
    settled = [explorer_.settle(choice, head()) for explorer_ in [explorer()] for choice in [divided(share)] * 20_000]
    counts = Counter(one.chosen for one in settled)
    assert counts[NEW] / 20_000 == pytest.approx(share, abs=0.0177)
    for one in settled:
        assert one.strategy == CANARY
        assert one.propensity == pytest.approx(share if one.chosen == NEW else 1 - share)
    fallbacks = {one.chosen: one.fallbacks for one in settled}
    assert fallbacks[NEW][0] == OLD, "a candidate that fails is answered for by the version it wants to replace"


@pytest.mark.requirement("SWP-4", "SEL-8")
@pytest.mark.no_cover
def test_sessions_are_split_by_the_share_and_only_ever_move_to_the_candidate_as_it_grows():
    sessions = [f"session-{number}" for number in range(4_000)]
    had: set[str] = set()
    for share in (0.1, 0.2, 0.5, 1.0):
        one = explorer()  # nothing is remembered, as after a restart
        have = {s for s in sessions if one.settle(divided(share), head(s)).chosen == NEW}
        assert len(have) / 4_000 == pytest.approx(share, abs=0.04)
        assert had <= have
        had = have


@pytest.mark.requirement("SWP-4", "SEL-8")
def test_a_session_that_was_answered_stays_with_its_arm_whatever_the_share():
    one = explorer()
    one.served("jobs", "s", OLD)
    kept = one.settle(divided(1.0), head("s"))
    assert (kept.chosen, kept.strategy, kept.propensity) == (OLD, "session", 1.0)
    one.served("jobs", "t", NEW)
    paused = one.settle(divided(0.0), head("t"))
    assert (paused.chosen, paused.strategy) == (NEW, "session")


@pytest.mark.requirement("SWP-4", "SEL-8")
@pytest.mark.parametrize(
    "turn",
    [
        [{"role": "assistant", "content": "hello"}, {"role": "user", "content": "more"}],
        [
            {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function"}]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ],
    ],
)
def test_a_conversation_without_a_session_is_recognised_by_how_it_began(turn):
    one, choice = explorer(), divided(0.5)
    arms = set()
    for number in range(60):
        first = {"role": "user", "content": f"question {number}"}
        began = one.settle(choice, head(messages=[first]))
        goes_on = one.settle(choice, head(messages=[first, *turn]))
        assert goes_on.chosen == began.chosen
        arms.add(began.chosen)
    assert arms == {OLD, NEW}


@pytest.mark.requirement("SEL-8")
def test_a_tool_loop_that_began_before_the_rollout_stays_with_the_old_version():
    messages = [
        {"role": "user", "content": "sum"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    assert {explorer(seed).settle(divided(0.9), head(messages=messages)).chosen for seed in range(30)} == {OLD}


@pytest.mark.requirement("SWP-4")
def test_a_candidate_that_cannot_serve_a_request_is_left_out_and_the_reason_says_why():
    choice = choose(snapshot(0.5, needs="tools"), Query(task="jobs", needs=frozenset({"tools"})))
    assert (choice.chosen, choice.propensity, choice.alternatives) == (OLD, 1.0, ())
    assert "new@1 cannot serve this request (lacks capability tools" in choice.reason


@pytest.mark.requirement("SWP-4")
def test_a_ready_candidate_serves_its_rollout_and_nothing_else():
    assert NEW not in [c.ref for c in choose(snapshot(), Query(task="elsewhere")).candidates if c.dropped is None]
    with pytest.raises(NoCandidate, match="not active"):
        choose(snapshot(), Query(task="jobs", refs=(NEW,)))


@pytest.mark.requirement("SWP-2")
def test_a_split_overrules_the_binding_and_a_lost_baseline_overrules_the_split():
    bound = snapshot().with_binding("jobs", Binding(task="jobs", ref=OTHER))
    assert choose(bound, Query(task="jobs")).chosen == OLD
    gone = PolicySnapshot(options=bound.options[1:], splits=bound.splits, bindings=bound.bindings)
    assert choose(gone, Query(task="jobs")).chosen == OTHER
    assert choose(bound.with_split("jobs", None), Query(task="jobs")).chosen == OTHER

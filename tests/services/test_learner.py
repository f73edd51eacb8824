"""The learner: what reaches it, what it publishes, and that it survives being stopped, whole."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from fakes import version
from ledger_samples import attempt
from podium.core import belief_file, posterior
from podium.core.bandit import Bandit
from podium.core.belief_file import UnreadableBeliefs
from podium.core.selection import ANY_TASK
from podium.domain.belief import Belief
from podium.domain.decision import Feedback
from podium.services.learner import Learner

REFS = ["a@1", "b@1"]


def made(refs=REFS) -> tuple[Learner, dict[str, dict[str, Belief]]]:
    known: dict[str, dict[str, Belief]] = {}
    learner = Learner(lambda found: known.update({task: dict(row) for task, row in found.items()}), lambda: refs)
    learner.meet([version(ref) for ref in refs])
    return learner, known


def scored(ref: str, score: float | None, source: str = "user") -> Feedback:
    return Feedback(request_id="r", decision_id="d", task="jobs", ref=ref, score=score, at=1.0, source=source)


@pytest.mark.requirement("LRN-1", "LRN-3")
def test_scores_move_belief_on_their_task_and_a_little_elsewhere():
    learner, known = made()
    for _ in range(20):
        learner.feedback(scored("a@1", 0.9))
        learner.feedback(scored("b@1", 0.2))
    learner.publish()
    assert known["jobs"]["a@1"].mean > 0.8
    assert known["jobs"]["b@1"].mean < 0.35
    assert known["jobs"]["a@1"].weight == pytest.approx(20, rel=0.1)
    assert known[ANY_TASK]["a@1"].mean > known[ANY_TASK]["b@1"].mean


def test_nothing_is_published_when_nothing_was_learned():
    learner, known = made()
    learner.publish()
    known.clear()
    learner.publish()
    assert not known


def test_words_without_a_score_teach_nothing_and_rubbish_is_counted():
    learner, _ = made()
    learner.feedback(scored("a@1", None))
    for wrong in (float("nan"), float("inf"), -0.1, 1.1):
        learner.score("jobs", "a@1", wrong)
    assert (learner.observations, learner.refused) == (0, 4)


def test_a_score_put_right_counts_as_what_it_is_now():
    learner, known = made()
    for _ in range(5):
        learner.feedback(scored("a@1", 0.0))
        learner.revised(scored("a@1", 1.0), scored("a@1", 0.0))
    learner.publish()
    assert known["jobs"]["a@1"].mean > 0.7


def test_a_version_that_fails_is_worth_less_and_one_failure_does_not_condemn():
    learner, known = made()
    good = replace(attempt()[1], task="jobs", ref="a@1", success=True, error=None)
    learner.outcomes([good] * 30)
    learner.outcomes([replace(good, success=False, error="provider_error")])
    learner.publish()
    once = known["jobs"]["a@1"].success
    assert 0.9 < once < 1.0
    learner.outcomes([replace(good, success=False, error="provider_error")] * 30)
    learner.publish()
    assert known["jobs"]["a@1"].success < 0.6
    learner.outcomes([replace(good, success=False, error="client_left")] * 30)
    assert learner._share_answered("jobs", "a@1") < 0.6


@pytest.mark.requirement("LRN-4")
def test_what_was_learned_comes_back_bit_for_bit():
    learner, known = made()
    for number in range(50):
        learner.feedback(scored(REFS[number % 2], (number * 7 % 10) / 10))
    learner.outcomes([replace(attempt()[1], task="jobs", ref="a@1", success=False, error="x")])
    learner.publish()
    again, read = made()
    again.resume(learner.state())
    again.publish()
    assert read == known
    assert learner.saved
    learner.feedback(scored("a@1", 0.5))
    again.feedback(scored("a@1", 0.5))
    assert not learner.saved
    learner.publish()
    again.publish()
    assert read == known
    assert learner.state() == again.state()


def test_a_state_of_the_format_before_is_read_and_kept_in_the_new_one():
    bandit = Bandit()
    for _ in range(20):
        bandit.observe("jobs", "a@1", 0.9)
    old = msgspec.msgpack.encode((1, belief_file.dump(bandit), [("jobs", "a@1", 12.0, 40.0)], 20))
    learner, known = made()
    learner.resume(old)
    learner.publish()
    assert learner.observations == 20
    assert known["jobs"]["a@1"].mean > 0.8
    assert known["jobs"]["a@1"].success == pytest.approx(22 / 50)
    assert known["jobs"]["a@1"].performance.latency_ms is None
    again, read = made()
    again.resume(learner.state())
    again.publish()
    assert read == known


@pytest.mark.requirement("LRN-1")
def test_what_is_measured_is_published_with_the_beliefs_and_survives_a_restart():
    learner, known = made()
    one = replace(attempt()[1], task="jobs", ref="a@1")
    learner.outcomes([replace(one, latency_ms=200.0 + at, at=1e9 + at) for at in range(40)])
    learner.publish()
    measured = known["jobs"]["a@1"].performance
    assert posterior.mean(measured.latency_ms) == pytest.approx(220, rel=0.05)
    assert posterior.mean(measured.memory_mb) == pytest.approx(90, rel=0.05)
    assert measured.energy_mwh is None
    assert known["jobs"]["b@1"].performance is None
    again, read = made()
    again.resume(learner.state())
    again.publish()
    assert read == known
    for each in (learner, again):
        each.outcomes([replace(one, latency_ms=900.0, at=1e9 + 9_000)])
        each.publish()
    assert read == known
    assert learner.state() == again.state()


def test_an_outcome_makes_only_its_own_pair_anew():
    learner, known = made()
    one = replace(attempt()[1], task="jobs", ref="a@1")
    learner.outcomes([one])
    learner.publish()
    before = known["jobs"]
    learner.outcomes([one])
    learner.publish()
    assert known["jobs"]["b@1"] is before["b@1"]
    assert known["jobs"]["a@1"] is not before["a@1"]


def test_a_publication_of_many_tasks_is_spread_over_calls_and_complete_in_the_end():
    learner, known = made()
    one = replace(attempt()[1], ref="a@1")
    for number in range(20):
        learner.score(f"task-{number}", "a@1", 0.7)
        learner.outcomes([replace(one, task=f"task-{number + 10}")])
    rounds = []
    while len(known) < 31:
        learner.publish(most=8)
        rounds.append(len(known))
    assert len(rounds) >= 4
    assert known["task-29"]["a@1"].performance is not None
    whole, all_at_once = made()
    whole.resume(learner.state())
    whole.publish()
    assert all_at_once == known


def test_an_hour_among_the_outcomes_makes_old_measurements_count_for_less():
    learner, known = made()
    one = replace(attempt()[1], task="jobs", ref="a@1", at=1e9)
    learner.outcomes([one] * 40)
    learner.publish()
    fresh = known["jobs"]["a@1"].performance.latency_ms.weight
    learner.outcomes([replace(one, task="else", at=1e9 + 2 * posterior.HALF_LIFE_S)])
    learner.publish()
    assert known["jobs"]["a@1"].performance.latency_ms.weight == pytest.approx(fresh / 4, rel=0.05)


@pytest.mark.parametrize("content", [b"", b"\x93\x01\xc4\x00\x90", b"rubbish", b"\x94\x63\xc4\x00\x90\x00"])
def test_a_state_that_cannot_be_read_says_so(content):
    learner, _ = made()
    with pytest.raises(UnreadableBeliefs):
        learner.resume(content)


@pytest.mark.requirement("LRN-3")
def test_a_new_version_begins_where_its_predecessor_is():
    refs = ["a@1", "b@1"]
    learner, known = made(refs)
    for _ in range(40):
        learner.feedback(scored("a@1", 0.95))
        learner.feedback(scored("b@1", 0.2))
    refs += ["a@2", "b@2"]
    learner.meet([replace(version(ref), created_at=float(at)) for at, ref in enumerate(refs)])
    learner.publish()
    assert known["jobs"]["a@2"].mean > known["jobs"]["b@2"].mean + 0.2
    assert known["jobs"]["a@2"].weight == 0.0


@pytest.mark.requirement("LRN-6", "LRN-3")
def test_internal_benchmarks_are_a_claim_that_shapes_the_first_belief():
    learner, known = made(["a@1", "b@1", "c@1", "d@1"])
    learner.benchmarked({("qa", "a@1"): (40, 0.9), ("qa", "b@1"): (40, 0.1), ("code", "b@1"): (40, 0.3)})
    for ref, score in (("c@1", 0.5), ("d@1", 0.5)):
        learner.feedback(scored(ref, score))
    learner.publish()
    assert not learner.benchmarks_pending
    assert known["jobs"]["a@1"].mean > known["jobs"]["b@1"].mean

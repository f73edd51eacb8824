"""What is known of a task: sums that fade, lessons only with evidence, and sharpening that never drops anybody."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_samples import attempt
from podium.core import history, knowledge, learned
from podium.core.constraints import Option
from podium.core.knowledge import Centre
from podium.core.lessons import ENOUGH, Lessons, enhance_criteria, read_lessons, two_digits
from podium.core.selection import PolicySnapshot, Query, choose
from podium.domain.cost import Cost
from podium.domain.decision import Feedback, Outcome
from podium.domain.evidence import Evidence
from podium.domain.knowledge import Lesson, TaskKnowledge
from podium.domain.task import Criteria, Preference, TaskSpec
from podium.errors import NoCandidate


def outcome(ms: float = 100.0, *, ref: str = "a@1", tokens: int = 50, **other: object) -> Outcome:
    cost = Cost(wall_ms=ms, input_tokens=200, output_tokens=tokens)
    return attempt(0, latency_ms=ms, cost=cost, ref=ref, **other)[1]  # type: ignore[arg-type] # test data


def word(score: float | None, **other: object) -> Feedback:
    values: dict[str, object] = {"request_id": "r", "decision_id": "d", "task": "t", "ref": "a@1", "at": 5.0}
    return Feedback(**{**values, "score": score, **other})  # type: ignore[arg-type] # test data


def learn(rows: Iterable[tuple[str, float, int, float]]) -> TaskKnowledge:
    """(ref, latency, tokens, score) each."""
    known, centres = TaskKnowledge(), {}
    for ref, ms, tokens, score in rows:
        one = outcome(ms, ref=ref, tokens=tokens)
        known = knowledge.observe(known, [(one, False)])
        known, centres[ref] = knowledge.score(known, one, word(score), None, centres.get(ref, Centre()))
    return known


@pytest.mark.requirement("LRN-1")
def test_knowledge_holds_no_model_and_does_not_depend_on_which_one_answered() -> None:
    rows = [(100.0 + n, 40 + n, (n % 5) / 4) for n in range(60)]
    one = learn(("first@1", *row) for row in rows)
    other = learn(("second@9", *row) for row in rows)
    assert one == other
    assert "@" not in str(asdict(one))


@pytest.mark.requirement("LRN-2")
def test_users_who_mind_waiting_are_told_from_slow_models_that_are_bad() -> None:
    rng = random.Random(7)

    def rows(minding: float, slow_quality: float) -> Iterable[tuple[str, float, int, float]]:
        for n in range(400):
            slow = n % 2
            ms = (2_000.0 if slow else 200.0) * 2.0 ** rng.uniform(-1.5, 1.5)
            base = slow_quality if slow else 0.8
            wait = minding * (ms / (2_000.0 if slow else 200.0) - 1.0)
            yield ("slow@1" if slow else "fast@1", ms, 50, min(1.0, max(0.0, base - wait + rng.gauss(0, 0.05))))

    bad = read_lessons(learn(rows(0.0, 0.3)), {})
    assert bad["preference"].value == Preference.QUALITY
    assert "do not fall with waiting" in bad["preference"].says
    assert "scored well" in bad["optimal_latency_ms"].says
    impatient = read_lessons(learn(rows(0.15, 0.8)), {})
    assert impatient["preference"].value == Preference.FAST
    assert "fall with waiting" in impatient["preference"].says


@pytest.mark.requirement("LRN-2")
def test_the_point_beyond_which_scores_fall_is_found() -> None:
    rng = random.Random(3)
    rows = []
    for _ in range(600):
        ms = 2.0 ** rng.uniform(6, 12)
        rows.append(("a@1", ms, 50, float(rng.random() < (0.9 if ms <= 1_000 else 0.3))))
    lesson = read_lessons(learn(rows), {})["optimal_latency_ms"]
    assert isinstance(lesson.value, float)
    assert 800 <= lesson.value <= 1_250
    assert "scores fall" in lesson.says


@pytest.mark.requirement("LRN-2")
@pytest.mark.no_cover
def test_chance_alone_says_nothing_of_preferences() -> None:
    """100 tasks of 150 scores independent of latency and length; 1.5 wrong claims are expected of 99 % intervals."""
    wrong = 0
    for seed in range(100):
        rng = random.Random(seed)
        rows = [("ab"[n % 2] + "@1", 2.0 ** rng.uniform(6, 10), rng.randrange(9, 90), rng.random()) for n in range(150)]
        lessons = read_lessons(learn(rows), {})
        wrong += lessons["preference"].value == "fast" or lessons["preferred_length"].value is not None
    assert wrong <= 4


def test_length_is_a_preference_too() -> None:
    rng = random.Random(1)
    rows = [("a@1", 100.0, n, 1.0 - n / 800 + rng.gauss(0, 0.02)) for n in (rng.randrange(20, 400) for _ in range(200))]
    lesson = read_lessons(learn((r, ms, n, min(1.0, max(0.0, s))) for r, ms, n, s in rows), {})["preferred_length"]
    assert lesson.value == "shorter"
    assert lesson.confidence > 0.5


def test_below_enough_observations_every_lesson_says_how_many_are_missing() -> None:
    lessons = read_lessons(learn([("a@1", 100.0, 50, 0.5)] * (ENOUGH - 1)), {})
    for lesson in lessons.values():
        if lesson.name == "difficulty":
            assert lesson.says == "not known yet: 29 of 30 scores"
        assert (lesson.value, lesson.confidence) == (None, 0.0), lesson
    assert enhance_criteria(Criteria(), lessons) == (Criteria(), ())
    assert enhance_criteria(Criteria(), read_lessons(TaskKnowledge(), {})) == (Criteria(), ())


def test_answers_that_are_all_of_one_length_are_not_called_too_few() -> None:
    lessons = read_lessons(learn([("a@1", 100.0, 50, 0.5)] * (2 * ENOUGH)), {})
    assert "of 30" not in lessons["preferred_length"].says
    assert lessons["preferred_length"].says.endswith("they differ too little to tell")


def test_patterns_of_success_are_shares_of_answered_requests() -> None:
    known = TaskKnowledge()
    rows = [(outcome(at=3600.0 * 9 + n, streamed=n % 4 == 0), n % 10 == 0) for n in range(100)]
    rows += [(outcome(success=False, error="provider_error", streamed=True), True) for _ in range(50)]
    rows += [(outcome(success=False, error="client_left"), True) for _ in range(50)]
    lessons = read_lessons(knowledge.observe(known, rows), {})
    assert lessons["share_streamed"].value == 0.25
    assert lessons["share_with_tools"].value == 0.1
    assert lessons["busiest_hour_utc"].value == 9.0
    assert 200 <= (lessons["prompt_tokens"].value or 0) <= 240  # type: ignore[operator] # a number


def test_the_spread_between_models_leaves_chance_out() -> None:
    rng = random.Random(5)

    def evidence(p: float) -> Evidence:
        return Evidence(quality_sum=sum(rng.random() < p for _ in range(2_000)), quality_samples=2_000)

    same = read_lessons(TaskKnowledge(), {f"m@{n}": evidence(0.7) for n in range(6)})["spread_between_models"]
    wide = read_lessons(TaskKnowledge(), {f"m@{n}": evidence(0.2 + 0.1 * n) for n in range(6)})["spread_between_models"]
    assert isinstance(same.value, float)
    assert isinstance(wide.value, float)
    assert same.value < 0.015
    assert wide.value == pytest.approx(0.187, abs=0.04)


quarters = st.integers(0, 4).map(lambda n: n / 4)


@given(st.lists(st.tuples(quarters, quarters, st.floats(1.0, 1e6)), max_size=40))
@pytest.mark.no_cover
def test_a_replaced_score_leaves_the_knowledge_of_its_replacement(rows: list[tuple[float, float, float]]) -> None:
    revised, right = TaskKnowledge(), TaskKnowledge()
    one = two = Centre()
    for old, new, ms in rows:
        answer = outcome(ms)
        revised, one = knowledge.score(revised, answer, word(old, label="x"), None, one)
        revised, one = knowledge.score(revised, answer, word(new, label="y"), word(old, label="x"), one)
        right, two = knowledge.score(right, answer, word(new, label="y"), None, two)
    assert revised.score.n == right.score.n
    assert revised.score.total == pytest.approx(right.score.total)
    assert revised.scores == right.scores
    assert revised.labels == right.labels
    assert [row[:2] for row in revised.latencies] == [row[:2] for row in right.latencies]
    assert revised.by_latency.n == right.by_latency.n


def test_a_score_replaced_after_a_restart_moves_no_trend_around_means_that_are_gone() -> None:
    known = learn([("a@1", 100.0 + n, 40 + n, (n % 5) / 4) for n in range(60)])
    after, centre = knowledge.score(known, outcome(9_000.0), word(0.0), word(1.0), Centre())
    assert (after.by_latency, after.by_length) == (known.by_latency, known.by_length)
    assert centre == Centre()
    assert after.score.total == known.score.total - 1.0


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), st.floats(0, 1e12), st.integers(-5, 10**12)), max_size=30))
@pytest.mark.no_cover
def test_clocks_that_jump_and_absurd_measurements_break_nothing(rows: list[tuple[float, float, int]]) -> None:
    known, centre = TaskKnowledge(), Centre()
    for at, ms, tokens in rows:
        one = outcome(ms, tokens=tokens, at=at)
        known = knowledge.observe(known, [(one, False)])
        known, centre = knowledge.score(known, one, word(0.5, at=at), None, centre)
    assert known.requests == len(rows)
    read_lessons(known, {})


def test_labels_and_corrections_are_counted_and_bounded() -> None:
    known, centre = TaskKnowledge(), Centre()
    for n in range(100):
        known, centre = knowledge.score(known, outcome(), word(None, label=f"label {n}"), None, centre)
    known, centre = knowledge.score(known, outcome(), word(0.0, label="label 3", correction_hash="ab"), None, centre)
    labels = dict(known.labels)
    assert len(labels) == knowledge.LABELS_KEPT + 1
    assert labels[knowledge.OTHER_LABELS] == 100 - knowledge.LABELS_KEPT
    assert labels["label 3"] == 2
    assert known.corrections == 1


@pytest.mark.no_cover
def test_old_observations_fade_and_the_knowledge_stays_small() -> None:
    known, centre = TaskKnowledge(), Centre()
    for n in range(5_000):
        one = outcome(50.0 + n % 977, tokens=1 + n % 900, at=float(n))
        known = knowledge.observe(known, [(one, False)])
        known, centre = knowledge.score(known, one, word(0.0 if n < 2_500 else 1.0), None, centre)
    assert known.requests <= knowledge.REQUESTS_KEPT
    assert known.score.n <= knowledge.SCORES_KEPT
    assert known.score.total / known.score.n > 0.8
    assert len(str(asdict(known))) < 8_000


def lessons(**values: float | str) -> Lessons:
    return {
        name: Lesson(name=name, value=value, unit="", n=400, confidence=0.9, says="because")
        for name, value in values.items()
    }


@pytest.mark.requirement("LRN-2")
def test_only_what_was_left_open_is_sharpened_and_each_change_is_explained() -> None:
    found = lessons(usual_quality=0.8, optimal_latency_ms=1234.0, preference="fast")
    sharper, said = enhance_criteria(Criteria(), found)
    assert sharper.min_quality == pytest.approx(0.74, abs=0.02)
    assert (sharper.max_latency_ms, sharper.preference) == (1300.0, Preference.FAST)
    assert sharper.soft == {"min_quality", "max_latency_ms"}
    assert len(said) == 3
    by_hand = Criteria(min_quality=0.2, max_latency_ms=9.0, preference=Preference.QUALITY)
    assert enhance_criteria(by_hand, found) == (by_hand, ())


options = st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1), st.floats(1, 1e6)), min_size=1, max_size=5)


@settings(max_examples=150)
@given(
    options,
    st.floats(0, 1),
    st.floats(1, 1e6),
    st.sampled_from(["fast", "quality", "low_memory"]),
    st.sampled_from(["default", "balanced", "classic"]),
)
@pytest.mark.requirement("LRN-2")
@pytest.mark.no_cover
def test_sharpening_never_takes_the_last_candidate_nor_any_other(
    versions: list[tuple[int, float, float]], quality: float, latency: float, wish: str, strategy: str
) -> None:
    row = {}
    for n, (samples, mean, ms) in enumerate(versions):
        one = history.fold_all(Evidence(), [outcome(ms)] * samples)
        row[f"m@{n}"] = replace(one, quality_sum=mean * samples, quality_samples=samples)
    plain = PolicySnapshot(
        options=tuple(Option(ref=ref) for ref in row),
        tasks={"t": TaskSpec(name="t", strategy=strategy)},
        evidence={"t": row},
    )
    found = lessons(usual_quality=quality, optimal_latency_ms=latency, preference=wish)
    sharp = replace(plain, lessons={"t": found})
    before, after = choose(plain, Query(task="t")), choose(sharp, Query(task="t"))
    assert {c.ref for c in after.candidates if c.dropped is None} == {
        c.ref for c in before.candidates if c.dropped is None
    }
    assert "learned: " in after.reason
    assert choose(sharp, Query(task="t", refs=("m@0",))) == choose(plain, Query(task="t", refs=("m@0",)))


@pytest.mark.requirement("LRN-2")
def test_a_hard_limit_of_task_or_request_stays_hard() -> None:
    slow = history.fold_all(Evidence(), [outcome(5_000.0)] * 20)
    found = lessons(optimal_latency_ms=100.0)
    snapshot = PolicySnapshot(
        options=(Option(ref="m@1"),),
        tasks={"t": TaskSpec(name="t", criteria=Criteria(max_latency_ms=1_000.0))},
        evidence={"t": {"m@1": slow}},
        lessons={"t": found},
    )
    with pytest.raises(NoCandidate):
        choose(snapshot, Query(task="t"))
    free = replace(snapshot, tasks={"t": TaskSpec(name="t")})
    with pytest.raises(NoCandidate):
        choose(free, Query(task="t", criteria=Criteria(max_latency_ms=1_000.0)))
    assert "a soft limit" in choose(free, Query(task="t")).reason


@pytest.mark.requirement("LRN-2")
def test_a_task_set_to_balanced_by_hand_gets_no_learned_preference() -> None:
    options = (Option(ref="m@1"), Option(ref="m@2"))
    spec = TaskSpec(name="t", criteria=Criteria(preference=Preference.BALANCED))
    snapshot = PolicySnapshot(options=options, tasks={"t": spec}, lessons={"t": lessons(preference="fast")})
    assert "learned" not in choose(snapshot, Query(task="t")).reason


@pytest.mark.requirement("LRN-2")
def test_a_soft_latency_prefers_the_timely_one_of_near_equals_only() -> None:
    def row(ref: str, ms: float) -> Evidence:
        return history.fold_all(Evidence(), [outcome(ms, ref=ref)] * 20)

    evidence = {"slow@1": row("slow@1", 3_000.0), "fast@1": row("fast@1", 300.0)}
    opts = {ref: Option(ref=ref) for ref in evidence}
    criteria = Criteria(max_latency_ms=1_000.0, soft=frozenset({"max_latency_ms"}))

    def ranked(slow: float, fast: float) -> list[learned.Candidate]:
        return [learned.Candidate(ref="slow@1", score=slow), learned.Candidate(ref="fast@1", score=fast)]

    near, why = learned.trade(ranked(0.80, 0.79), criteria, evidence, opts)
    assert near.ref == "fast@1"
    assert "soft limit" in why
    assert learned.trade(ranked(0.80, 0.60), criteria, evidence, opts)[0].ref == "slow@1"


def test_rounding_goes_up_to_two_digits() -> None:
    assert [two_digits(x) for x in (0.0, 1.0, 99.1, 1234.0, 1200.0)] == [0.0, 1.0, 100.0, 1300.0, 1200.0]

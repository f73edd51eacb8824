"""Routing by prompt: it helps where prompts tell, says nothing where they do not, and proves it on prompts left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from podium.core import prompt_routing
from podium.core.difficulty import counts
from podium.core.ngrams import features
from podium.core.prompt_routing import Prompt, train

KINDS = {
    "sum": "Compute the sum of {} and {} and then the integral of x^{} = {}",
    "tale": "Tell a short tale about the {} river, the old {} bridge and a {} of {} geese",
}
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "knoll", "lagoon", "marsh"]


def prompt(text: str) -> Prompt:
    return Prompt(features(text), counts(text))


def made(number: int, rng: np.random.Generator) -> tuple[list[Prompt], np.ndarray]:
    """Prompts of two kinds in equal parts, and the kind of each."""
    kinds = rng.integers(2, size=number)
    forms = list(KINDS.values())
    return [prompt(forms[kind].format(*rng.choice(WORDS, 4))) for kind in kinds], kinds


def chances(kinds: np.ndarray, *, telling: bool) -> np.ndarray:
    """Three models: the first is best at sums, the second at tales, the third at nothing."""
    if not telling:
        return np.tile([0.6, 0.55, 0.2], (len(kinds), 1))
    return np.where(kinds[:, None] == 0, [0.8, 0.3, 0.2], [0.4, 0.75, 0.2])


@pytest.mark.requirement("SEL-8", "LRN-3")
def test_a_router_sends_each_kind_of_prompt_to_the_model_that_is_good_at_it():
    rng = np.random.default_rng(1)
    prompts, kinds = made(300, rng)
    router = train(prompts, (rng.random((300, 3)) < chances(kinds, telling=True)).astype(float))
    assert router.weights is not None
    assert router.gain > 2 * router.error
    fresh, kinds = made(300, rng)
    chosen = np.array([router.route(one) for one in fresh])
    truth = chances(kinds, telling=True)
    value = truth[np.arange(300), chosen].mean()
    assert value > truth.mean(axis=0).max() + 0.12
    assert router.gain == pytest.approx(value - truth[:, router.best].mean(), abs=3 * router.error)


@pytest.mark.requirement("SEL-8")
def test_where_prompts_tell_nothing_it_nearly_always_abstains_and_loses_nothing():
    # One standard error of proof is no certainty: about 2 of 12 pass by chance, and gain about 0.
    passed, lost = 0, []
    for seed in range(12):
        rng = np.random.default_rng([seed, 2])
        prompts, kinds = made(150, rng)
        router = train(prompts, (rng.random((150, 3)) < chances(kinds, telling=False)).astype(float))
        passed += router.weights is not None
        fresh, kinds = made(100, rng)
        truth = chances(kinds, telling=False)
        chosen = np.array([router.route(one) for one in fresh])
        lost.append(float((truth[:, router.best] - truth[np.arange(100), chosen]).mean()))
    assert passed <= 5
    assert np.mean(lost) < 0.01


def test_predictions_of_left_out_prompts_are_those_of_training_without_them():
    rng = np.random.default_rng(3)
    prompts, _ = made(40, rng)
    scores = rng.random((40, 2))
    gram = prompt_routing._gram([one.words for one in prompts])
    asked, means = np.ones((40, 2), bool), np.array([0.5, 0.4])
    _, predicted = prompt_routing._fitted(gram, scores, asked, means, 3.0)
    without = asked.copy()
    without[7] = False
    _, refitted = prompt_routing._fitted(gram, scores, without, means, 3.0)
    assert predicted[7] == pytest.approx(refitted[7], rel=1e-9)


def test_the_weights_a_prompt_is_judged_by_say_what_the_training_prompts_said():
    rng = np.random.default_rng(4)
    prompts, _ = made(60, rng)
    gram = prompt_routing._gram([one.words for one in prompts])
    dual, _ = prompt_routing._fitted(gram, rng.random((60, 2)), np.ones((60, 2), bool), np.array([0.5, 0.4]), 3.0)
    weights = prompt_routing._primal(prompts, np.zeros((60, 7)), dual)
    by_words = np.array([one.words.values @ weights[one.words.indices] for one in prompts])
    assert by_words == pytest.approx(gram @ dual, abs=1e-5)


@pytest.mark.requirement("LRN-3")
def test_with_one_score_for_each_prompt_it_learns_from_the_odds_of_asking():
    rng = np.random.default_rng(5)
    prompts, kinds = made(900, rng)
    odds = np.tile([0.6, 0.3, 0.1], (900, 1))
    draw = (rng.random(900)[:, None] > odds.cumsum(axis=1)).sum(axis=1)
    scores = (rng.random((900, 3)) < chances(kinds, telling=True)).astype(float)
    scores[np.arange(3) != draw[:, None]] = math.nan
    router = train(prompts, scores, odds)
    assert router.weights is not None
    truth = chances(kinds, telling=True)
    chosen = np.array([router.route(one) for one in prompts])
    real = truth[np.arange(900), chosen].mean() - truth[:, router.best].mean()
    assert real > 0.1
    assert router.gain == pytest.approx(real, abs=5 * router.error)


def test_no_prompt_is_too_odd_to_be_routed_and_no_table_too_small():
    rng = np.random.default_rng(6)
    prompts, kinds = made(200, rng)
    router = train(prompts, (rng.random((200, 3)) < chances(kinds, telling=True)).astype(float))
    for text in ("", "?", "\x00" * 5_000, "word " * 100_000, "\ud800\U0001f600", "=" * 3_000):
        assert router.route(prompt(text)) in range(3)
    one = train(prompts[:1], np.array([[0.3]]))
    assert (one.best, one.weights, one.gain) == (0, None, 0.0)
    with pytest.raises(ValueError, match="no score"):
        train(prompts[:2], np.full((2, 2), math.nan))

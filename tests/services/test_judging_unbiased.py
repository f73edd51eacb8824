"""What judged answers say of all: through the whole pipeline, with signs that pick bad answers and a queue that overflows."""

from __future__ import annotations

from pathlib import Path

import pytest

from judging_rig import judging
from podium.core.sampling import hajek
from podium.domain.judgment import OVERALL, Judged

ANSWERS = 300
GOOD = "The capital of France is Paris, on the river Seine."
REFUSAL = "I'm sorry, but I can't help with that."
WAITING = (
    '[judging]\nenabled = true\nsample = 0.4\nqueue = 60\njudge = "j@1"\ncompute_share = 0.0\nlooks_per_s = 100000\n'
)


@pytest.mark.requirement("JDG-5")
@pytest.mark.no_cover
async def test_the_mean_is_that_of_all_answers_whatever_picked_and_thinned_them(tmp_path: Path):
    async with judging(tmp_path, WAITING) as rig:
        await rig.add("m", text=GOOD, answers=[{"match": "poem", "text": REFUSAL}])
        await rig.add("j", text='{"score": 4}')
        scores = []
        for prompt, answer in (("What is the capital of France?", GOOD), ("Write a poem", REFUSAL)):
            item = Judged(id="x", task="qa", prompt=prompt, output=answer, finish="stop")
            ruled = (await rig.judging.rule(item, judge=None)).overall.score
            assert ruled is not None
            scores.append(ruled)
        refused = 0
        for number in range(ANSWERS):
            refused += number % 3 == 0
            await rig.ask("Write a poem" if number % 3 == 0 else "What is the capital of France?")
        truth = scores[0] + (scores[1] - scores[0]) * refused / ANSWERS
        await rig.until(lambda: rig.judging.intake.in_hand == 0 and rig.judging.intake.seen.looked > 0)
        await rig.until(lambda: 0 < len(rig.judging.queue) <= 60)
        assert rig.judging.queue.thinned > 20, "there was no room for all"
        (tmp_path / "home" / "podium.toml").write_text(WAITING.replace('"j@1"', '"none"'))
        await rig.gateway.reload()
        await rig.until(lambda: len(rig.judging.queue) == 0)
        (tally,) = [
            one for one in await rig.judging.tallies("qa", 0.0) if (one.criterion, one.judge) == (OVERALL, OVERALL)
        ]
        found = hajek(tally.sums)
        made = await rig.stored(criterion=OVERALL)
        plain = sum(one.score for one in made if one.score is not None) / len(made)
        assert found.mean is not None
        assert found.low is not None
        assert found.high is not None
        margin = found.high - found.low  # twice the interval's half: four standard errors
        assert abs(found.mean - truth) < margin
        assert plain < found.mean, "signs picked the bad ones: a plain mean is too low"
        spread = 4 * (ANSWERS * (1 / 0.11 - 1)) ** 0.5  # about a ninth was judged
        assert abs(found.stands_for - ANSWERS) < spread

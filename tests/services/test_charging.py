"""Work behind the callers' backs is charged to what caused it, with tokens that somebody counted or that say they are a guess."""

from __future__ import annotations

import asyncio

import pytest

from fakes import FakeClock
from podium.core.prices import Quote, bill
from podium.domain.cost import Cause, Method, Operation
from podium.domain.model import Facts, ModelVersion, Source
from podium.domain.unmeasured import NO_PROCESS, NO_USAGE
from podium.price_list import price_list
from podium.services.charging import Charging, charged
from podium.services.costing import Sent, Tokens, checked, cost_of, tokens_in
from podium.services.meter import Metered, unmeasured
from podium.services.pricing import Pricing

ANSWER = b'{"choices":[{"message":{"content":"four byte words here"}}]%s}'


def hosted(model: str = "gpt-4o-2024-08-06") -> ModelVersion:
    source = Source(provider="openai", location="https://api.openai.com/v1", settings={"remote": model})
    return ModelVersion(name="far", version="1", source=source, facts=Facts(digest="d"), created_at=0.0)


def pricing(own: dict[str, Quote] | None = None) -> Pricing:
    return Pricing(own or {}, price_list(), FakeClock().now)


def charging(prices: Pricing | None = None) -> tuple[Charging, list[Operation]]:
    noted: list[Operation] = []
    return Charging(noted.append, FakeClock(), lambda: f"op_{len(noted)}", prices), noted


def finish(made: Charging, body: bytes | None = ANSWER % b"", *, success: bool = True) -> None:
    made.done(hosted(), wall_s=0.5, metered=unmeasured(NO_PROCESS), sent=b"x" * 40, body=body, success=success)


@pytest.mark.requirement("COST-1")
async def test_what_is_done_inside_is_charged_also_by_tasks_begun_there() -> None:
    made, noted = charging()

    async def work() -> None:
        finish(made)

    with charged(Cause.JUDGE, "req_1", "jobs", "req_1"):
        task = asyncio.create_task(work())
    await task
    finish(made)  # nobody said why
    (one,) = noted
    assert (one.cost.cause, one.cost.charged_to, one.task, one.request_id) == (Cause.JUDGE, "req_1", "jobs", "req_1")


@pytest.mark.requirement("COST-1")
@pytest.mark.parametrize(
    ("outer", "inner", "kind"),
    [
        (Cause.SHADOW, Cause.JUDGE, Cause.JUDGE),
        (Cause.VALIDATION, Cause.BENCHMARK, Cause.VALIDATION),
        (Cause.BENCHMARK, Cause.JUDGE, Cause.JUDGE),
    ],
)
def test_a_rollout_or_a_run_pays_for_all_that_it_causes(outer: Cause, inner: Cause, kind: Cause) -> None:
    made, noted = charging()
    with charged(outer, "reason", "jobs"), charged(inner, "step", "jobs", "req"):
        finish(made)
    assert (noted[0].cost.cause, noted[0].cost.charged_to, noted[0].request_id) == (kind, "reason", "req")


def test_work_that_failed_or_was_called_off_costs_what_it_cost() -> None:
    made, noted = charging()
    with charged(Cause.SHADOW, "rol", "jobs"):
        finish(made, body=None, success=False)
    assert (noted[0].success, noted[0].cost.wall_ms, noted[0].cost.output_tokens) == (False, 500.0, None)
    assert dict(noted[0].cost.missing)["output_tokens"] == NO_USAGE


@pytest.mark.requirement("COST-1")
@pytest.mark.parametrize(
    ("usage", "read", "written", "guessed"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4}, 9, 4, ()),
        ({"prompt_tokens": 0, "completion_tokens": 0}, 10, 5, ("input_tokens", "output_tokens")),
        ({"prompt_tokens": -1, "completion_tokens": True}, 10, 5, ("input_tokens", "output_tokens")),
        ({"prompt_tokens": 10**12, "completion_tokens": "7"}, 10, 5, ("input_tokens", "output_tokens")),
        (None, 10, 5, ("input_tokens", "output_tokens")),
    ],
)
def test_usage_that_is_missing_zero_or_nonsense_is_estimated_and_the_cost_says_so(
    usage, read, written, guessed
) -> None:
    cost = cost_of(1.0, Metered(), tokens_in(usage), Sent(prompt_bytes=40, answer_bytes=20))
    assert (cost.input_tokens, cost.output_tokens, cost.estimated) == (read, written, guessed)
    assert (cost.method("output_tokens") is Method.ESTIMATED) == bool(guessed)


def test_an_answer_without_words_and_embeddings_have_no_tokens_to_guess() -> None:
    assert checked(Tokens(), Sent(prompt_bytes=40)) == (Tokens(), ())
    assert checked(Tokens(input=3), Sent(prompt_bytes=40, generates=False)) == (Tokens(input=3, output=0), ())
    assert checked(Tokens(input=3, cached=9, output=1), Sent(prompt_bytes=40))[0].cached == 3
    assert checked(Tokens(), Sent(prompt_bytes=40, pieces=7))[0].output == 7


@pytest.mark.requirement("COST-1")
def test_a_hosted_model_is_billed_by_a_table_with_a_version_and_a_local_one_is_not() -> None:
    prices = pricing()
    usage = Tokens(input=1000, cached=400, output=100)
    billed = prices.bill(hosted(), usage)
    assert billed is not None
    assert billed.microusd == round(600 * 2.5 + 400 * 1.25 + 100 * 10)
    assert billed.table == prices.version
    assert prices.bill(hosted("gpt-4o-mini-2024-07-18"), usage).microusd == round(600 * 0.15 + 400 * 0.075 + 100 * 0.6)
    local = Source(provider="llamacpp", location="/models/gpt-4o.gguf", settings={})
    assert (
        prices.bill(
            ModelVersion(name="gpt-4o", version="1", source=local, facts=Facts(digest="d"), created_at=0.0), usage
        )
        is None
    )
    assert prices.bill(hosted(), Tokens()) is None


def test_own_prices_come_first_and_name_their_table() -> None:
    own = pricing({"gpt-4o-2024-08-06": Quote(1.0, 2.0)})
    billed = own.bill(hosted(), Tokens(input=10, cached=5, output=10))
    assert billed is not None
    assert (billed.microusd, billed.table) == (30, own.version)
    assert own.version != pricing().version
    assert '"gpt-4o-2024-08-06"' in own.content()


def test_a_bill_is_rounded_to_the_nearest_millionth_and_caches_no_more_than_there_was() -> None:
    assert bill(Quote(0.05, 0.4), 1, 0, 1) == 0
    assert bill(Quote(0.05, 0.45), 1, 0, 1) == 1
    assert bill(Quote(1.0, 1.0, 0.0), 10, 99, 0) == 0


def test_a_guess_of_tokens_makes_the_price_a_guess() -> None:
    prices = pricing()
    cost = cost_of(
        1.0, Metered(), Tokens(), Sent(prompt_bytes=40, answer_bytes=20), bill=lambda t: prices.bill(hosted(), t)
    )
    assert (cost.method("price_microusd"), cost.price_table) == (Method.ESTIMATED, prices.version)

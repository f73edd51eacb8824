"""Which price of the list is a model's, when it holds, and what a long prompt makes of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from podium.core.prices import Above, Listed, PriceList, PriceTable, Quote, Rate, bill
from podium.domain.budget import Price
from podium.price_list import price_list

HOST = "api.example.com"


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def listing(*models: Listed) -> PriceList:
    return PriceList(source="list 7", hosts={HOST: models})


def one(name: str, *match: str | tuple[str, ...], price: float = 1.0) -> Listed:
    return Listed(name, match, (Rate(price, price),))


MODELS = listing(
    one("exact", "=exact-1"),
    one("begins", "^begins-with", price=2.0),
    one("ends", "$-ending", price=3.0),
    one("both", ("*mid", "*dle"), price=4.0),
    one("regular", r"~^reg-\d{8}$", price=5.0),
    one("day", "=day-2026-01-31", price=6.0),
)


@pytest.mark.parametrize(
    ("name", "found_as"),
    [
        ("exact-1", "exact"),
        ("EXACT-1", "exact"),
        ("exact-1-20260131", "exact"),
        ("exact-1-2026-01-31", "exact"),
        ("exact-1-latest", "exact"),
        ("exact-1-mini", None),
        ("begins-with-anything", "begins"),
        ("some-ending", "ends"),
        ("mid-and-dle", "both"),
        ("mid", None),
        ("reg-20260131", "regular"),
        ("day-20260131", "day"),
        ("day-2026-01-31", "day"),
    ],
)
def test_a_model_is_found_by_what_its_service_calls_it(name: str, found_as: str | None) -> None:
    found = MODELS.find(HOST, name)
    assert (None if found is None else found.id) == found_as
    assert MODELS.find("another.example.com", name) is None


def test_a_price_holds_from_its_day_and_within_its_hours() -> None:
    rates = (
        Rate(4.0, 4.0),
        Rate(2.0, 2.0, since="2026-03-13"),
        Rate(1.0, 1.0, since="2026-03-13", hours=("22:00", "04:00")),
    )
    model = Listed("m", ("=m",), rates)
    assert model.quote(moment("2026-03-12T23:59:59")).input == 4.0
    assert model.quote(moment("2026-03-13T21:59")).input == 2.0
    assert [model.quote(moment(f"2026-04-01T{clock}")).input for clock in ("22:00", "03:59", "04:00")] == [
        1.0,
        1.0,
        2.0,
    ]
    later = Listed("m", ("=m",), (Rate(3.0, 3.0, since="2026-03-13"),))
    assert later.quote(moment("2020-01-01T00:00")).input == 3.0  # the first stands in where none holds


@pytest.mark.requirement("COST-1")
def test_a_prompt_above_a_step_is_dearer_as_a_whole_for_the_bill_and_for_a_budget() -> None:
    quote = Quote(1.0, 10.0, 0.1, (Above(1000, 2.0, 15.0, 0.2), Above(5000, 4.0, 30.0)))
    assert bill(quote, 1000, 0, 10) == 1000 + 100
    assert bill(quote, 1001, 1, 10) == round(1000 * 2 + 0.2 + 150)
    assert bill(quote, 6000, 6000, 1) == 24000 + 30
    price = Price(input_per_mtok=1e6, output_per_mtok=1e7, above=((1000, 2e6, 1.5e7), (5000, 4e6, 3e7)))
    assert [price.of(tokens, 10) for tokens in (1000, 1001, 6000)] == [1100, 2152, 24300]


def test_own_prices_come_before_listed_ones_and_change_the_name_of_the_table() -> None:
    own = PriceTable({"exact-1": Quote(9.0, 9.0)}, MODELS)
    found = own.find(HOST, "exact-1", at=0.0)
    assert found is not None
    assert found.input == 9.0
    assert own.find("localhost", "x", "exact-1", at=0.0) is found
    assert own.version.startswith("list 7+")
    assert PriceTable({}, MODELS).version == "list 7"
    assert "^begins-with" in own.content()


@pytest.mark.requirement("COST-1")
def test_the_list_that_comes_with_podium_names_its_release_and_its_prices_are_prices() -> None:
    listed = price_list()
    assert listed.source.startswith("genai-prices ")
    assert {"api.openai.com", "api.anthropic.com"} <= set(listed.hosts)
    for models in listed.hosts.values():
        for model in models:
            assert model.match
            assert model.rates
            for rate in model.rates:
                steps = [(0, rate.input, rate.output), *((a.tokens, a.input, a.output) for a in rate.above)]
                assert steps == sorted(steps, key=lambda step: step[0])
                assert all(0 <= price < 2000 for _, *asked in steps for price in asked), model.id


@pytest.mark.parametrize(
    ("host", "model", "asked", "answered"),
    [
        ("api.openai.com", "gpt-4o-2024-08-06", 2.5, 10.0),
        ("api.openai.com", "gpt-4o-mini", 0.15, 0.6),
        ("api.anthropic.com", "claude-haiku-4-5-20251001", 1.0, 5.0),
    ],
)
def test_well_known_models_have_their_published_price(host: str, model: str, asked: float, answered: float) -> None:
    quote = PriceTable({}, price_list()).find(host, model, at=moment("2026-11-01T00:00"))
    assert quote is not None
    assert (quote.input, quote.output) == (asked, answered)

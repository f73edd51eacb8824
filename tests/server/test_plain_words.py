"""What validators object to is said in sentences that name the field and repeat no value."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from podium.errors import InvalidRequest
from podium.server.criteria import read_criteria
from podium.server.plain_words import said


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    name: str


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: Annotated[float, Field(ge=0, lt=10, allow_inf_nan=False)] = 1.0
    count: int = 1
    text: Annotated[str, Field(max_length=3, min_length=1, pattern="^[a-z]*$")] = "a"
    flag: bool = False
    many: Annotated[list[str], Field(max_length=2)] = []
    by_name: dict[str, int] = {}
    colour: Colour = Colour.RED
    inner: Inner | None = None


RAW = ("Input", "should", "Expected", "`", "pydantic", "msgspec", "unable to parse")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"number": -1}, "number must be at least 0"),
        ({"number": 10}, "number must be less than 10"),
        ({"number": "sk-secret"}, "number must be a number"),
        ({"number": float("inf")}, "number must be a finite number"),
        ({"count": "x"}, "count must be a whole number"),
        ({"count": 1.5}, "count must be a whole number"),
        ({"text": 5}, "text must be a text"),
        ({"text": "abcd"}, "text must be at most 3 characters long"),
        ({"text": ""}, "text must not be empty"),
        ({"text": "A"}, "text must look like ^[a-z]*$"),
        ({"flag": "sk-secret"}, "flag must be true or false"),
        ({"many": "x"}, "many must be a list"),
        ({"many": ["a", "b", "c"]}, "many must have at most 2 items"),
        ({"by_name": []}, "by_name must be an object"),
        ({"colour": "sk-secret"}, "colour must be one of 'red' or 'blue'"),
        ({"inner": 5}, "inner must be an object"),
        ({"inner": {}}, "inner.name is missing"),
    ],
)
def test_every_objection_is_a_sentence_about_its_field(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate(given)
    first = caught.value.errors()[0]
    words = said(".".join(str(part) for part in first["loc"]), first)
    assert words == sentence
    assert not any(raw in words for raw in (*RAW, "sk-secret"))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"min_quality": "high"}, "criteria.min_quality must be a number or null"),
        ({"capabilities": "chat"}, "criteria.capabilities must be a list"),
        ({"capabilities": [1]}, "criteria.capabilities[0] must be a text"),
        (b"{", "criteria is no JSON that can be read: Input data was truncated"),
        (b"[]", "criteria must be a JSON object"),
    ],
)
def test_criteria_that_cannot_be_read_are_named_in_a_sentence(given: dict[str, object] | bytes, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_criteria(given)
    assert caught.value.message == sentence

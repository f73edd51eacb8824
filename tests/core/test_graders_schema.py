from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from podium.core.graders import schema as schemas

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-3, 3) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])


def _within(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    several = st.lists(inner, min_size=1, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES,
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "additionalProperties": st.booleans(),
            "items": inner,
            "minItems": st.integers(0, 2),
            "maxLength": st.integers(0, 2),
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "enum": st.lists(st.integers(0, 2) | st.booleans(), min_size=1, max_size=2),
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "not": inner,
        },
    )


SCHEMAS = st.recursive(st.booleans() | st.builds(lambda kind: {"type": kind}, TYPES), _within, max_leaves=5)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.dictionaries(st.just("allOf"), st.lists(SCHEMAS, min_size=1, max_size=2), min_size=1))
@pytest.mark.no_cover
def test_known_keywords_decide_as_the_reference_validator_does(value: object, schema: dict[str, object]) -> None:
    assert (schemas.problem(value, schema) is None) == Draft202012Validator(schema).is_valid(value)


def test_a_local_reference_is_followed_and_an_endless_one_is_no_verdict() -> None:
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    }
    assert schemas.problem({"next": {"next": {}}}, tree) is None
    assert schemas.problem({"next": {"next": 3}}, tree) == "$.next.next: not of type object"
    with pytest.raises(schemas.Unsure):
        schemas.problem({}, {"$ref": "#"})


@pytest.mark.parametrize(
    "schema",
    [{"pattern": "x"}, {"$ref": "https://example.org/x"}, {"$ref": "#/nowhere"}, {"type": "color"}, {"if": {}}],
)
def test_what_it_cannot_check_is_never_called_valid(schema: dict[str, object]) -> None:
    with pytest.raises(schemas.Unsure):
        schemas.problem("y", schema)

"""Reading the head of a request and writing the body an instance gets."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.domain.request import Endpoint
from podium.errors import InvalidRequest
from podium.services import wire

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


def parse(body: object, endpoint: Endpoint = Endpoint.CHAT, **more: str):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.parse(endpoint, raw, request_id="r", **more)


def composed(head, model: str = "m") -> dict:
    return json.loads(wire.compose(head, model))


@pytest.mark.requirement("API-1")
def test_unknown_fields_and_tools_reach_the_provider_as_they_came():
    body = {**CHAT, "tools": [{"type": "function", "function": {"name": "f"}}], "x_new": {"a": [1.50, None]}}
    sent = composed(parse(body), "real-name")
    assert sent == {**body, "model": "real-name"}


def test_only_the_model_changes_in_a_plain_request():
    assert composed(parse(CHAT)) == {**CHAT, "model": "m"}


def test_a_key_inside_a_message_that_looks_like_the_model_is_left_alone():
    body = {"messages": [{"role": "user", "content": '"model":"auto"', "model": "auto"}], "model": "auto"}
    assert composed(parse(body))["messages"] == body["messages"]


@pytest.mark.requirement("API-4")
def test_streams_ask_for_usage_even_if_the_caller_did_not():
    assert composed(parse({**CHAT, "stream": True}))["stream_options"] == {"include_usage": True}
    odd = {**CHAT, "stream": True, "stream_options": {"include_usage": False, "x": 1}}
    head = parse(odd)
    assert not head.include_usage
    assert composed(head)["stream_options"] == {"include_usage": True, "x": 1}


def test_a_null_stream_options_is_no_stream_options():
    head = parse({**CHAT, "stream": True, "stream_options": None})
    assert composed(head)["stream_options"] == {"include_usage": True}


@pytest.mark.requirement("API-2")
def test_the_task_comes_from_the_header_before_the_metadata():
    body = {**CHAT, "metadata": {"task": "math", "user": "u"}}
    assert parse(body).task == "math"
    assert parse(body, task="poetry").task == "poetry"
    assert composed(parse(body))["metadata"] == {"user": "u"}
    assert "metadata" not in composed(parse({**CHAT, "metadata": {"task": "math"}}))


@pytest.mark.requirement("SEL-1")
def test_needed_capabilities_are_read_from_the_body():
    body = {
        **CHAT,
        "tools": [{}],
        "response_format": {"type": "json_schema", "json_schema": {}},
        "logprobs": True,
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    }
    assert parse(body).needs == {"chat", "tools", "json_schema", "logprobs", "vision"}
    assert parse({**CHAT, "tools": [], "logprobs": False}).needs == {"chat"}


@pytest.mark.requirement("API-3")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'{"messages":[],"model":"\xff"}', None),
        ({"model": "m"}, "messages"),
        ({**CHAT, "messages": []}, "messages"),
        (b'{"messages": [ ]}', "messages"),
        ({**CHAT, "model": 3}, "model"),
        ({**CHAT, "stream": "yes"}, "stream"),
        ({**CHAT, "max_tokens": -5}, "max_tokens"),
        ({**CHAT, "max_tokens": 0}, "max_tokens"),
        ({**CHAT, "max_tokens": 10**15}, "max_tokens"),
        ({**CHAT, "max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({**CHAT, "max_tokens": True}, "max_tokens"),
        ({**CHAT, "stream_options": []}, "stream_options"),
        ({**CHAT, "metadata": "x"}, "metadata"),
        ({**CHAT, "metadata": {"task": 7}}, "metadata.task"),
    ],
)
def test_a_bad_body_names_its_field(body, param):
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    assert caught.value.param == param


def test_streaming_embeddings_are_refused():
    with pytest.raises(InvalidRequest):
        parse({"input": "x", "stream": True}, Endpoint.EMBEDDING)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(raw):
    with contextlib.suppress(InvalidRequest):
        parse(raw)


def test_the_prompt_sample_is_the_last_user_message():
    body = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "last"}, {"type": "image_url"}]},
        ]
    }
    assert wire.prompt_sample(parse(body)).strip() == "last"
    assert wire.prompt_sample(parse({"prompt": ["a", "b"]}, Endpoint.COMPLETION)) == "a\nb"
    assert wire.prompt_sample(parse({"messages": 5})) == ""
    long = wire.prompt_sample(parse({"prompt": "x" * 50_000 + "end"}, Endpoint.COMPLETION))
    assert len(long) < 9000
    assert long.endswith("end")

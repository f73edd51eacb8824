"""What Ollama cannot do or refuses: told by name, told apart by whose fault it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provider_calls import chat

from podium.domain.model import ModelVersion, Source
from podium.domain.request import Endpoint
from podium.errors import (
    ContextExceeded,
    InvalidRequest,
    Overloaded,
    ProviderError,
    ProviderRejected,
)
from podium.providers import ollama_wire
from podium.providers.catalogue import ProviderContext
from podium.providers.ollama import OllamaProvider
from podium.providers.ollama_answers import Translator, refusal
from podium.providers.ollama_wire import Order, translate
from podium.services.rejection import rejection
from providers.ollama_server import Answer, Model, OllamaServer, invalid

pytestmark = pytest.mark.requirement("PRV-5")
TAG = "llama3.2:1b"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def server():
    with OllamaServer(Model(TAG, capabilities=["completion", "tools", "vision", "thinking"])) as made:
        yield made


@pytest.fixture
async def instance(context, server):
    provider = OllamaProvider(ProviderContext(home=context.home, environ={"OLLAMA_HOST": server.url}))
    where = Source(provider="ollama", location=TAG, settings={"num_ctx": 1024})
    made = await provider.load(
        ModelVersion(name="m", version="1", source=where, facts=await provider.inspect(where)), "one"
    )
    yield made
    await made.unload()
    await provider.close()


def ordered(endpoint=Endpoint.CHAT, **fields):
    """The body Ollama gets."""
    if endpoint is Endpoint.CHAT:
        fields = {"messages": [{"role": "user", "content": "hi"}], **fields}
    order = translate(endpoint, json.dumps(fields).encode(), "m:1", options={}, runner={"num_ctx": 64})
    return json.loads(order.body)


# ------------------------------------------------------------ what cannot be done


def hi(content="hi", **more):
    return [{"role": "user", "content": content, **more}]


def part(**fields):
    return {"messages": hi([fields])}


@pytest.mark.parametrize(
    ("fields", "param", "why"),
    [
        ({"n": 2}, "n", "one answer per request"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "does not support"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice", "cannot be forced"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice", "cannot be forced"),
        ({"tools": [{"type": "web_search"}]}, "tools", "type function only"),
        ({"tools": "x"}, "tools", "list"),
        ({"functions": []}, "functions", "does not support"),
        ({"options": {"num_ctx": 9}}, "options", "does not support"),
        ({"modalities": ["audio"]}, "modalities", "answers are text"),
        ({"temperature": "hot"}, "temperature", "a number"),
        ({"seed": 1.5}, "seed", "a whole number"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"stop": [1]}, "stop", "list of strings"),
        ({"top_logprobs": 3}, "top_logprobs", "needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "0 to 20"),
        ({"logprobs": 3}, "logprobs", "true or false"),
        ({"response_format": {"type": "xml"}}, "response_format", "text, json_object or json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "schema is missing"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "one of none"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0]", "role must be"),
        ({"messages": [*hi(), "x"]}, "messages[1]", "role must be"),
        ({"messages": hi(None)}, "messages[0]", "no content"),
        ({"messages": hi(5)}, "messages[0]", "text or a list"),
        (part(type="image_url", image_url={"url": "https://x/y.png"}), "messages[0]", "not by address"),
        (part(type="image_url", image_url={"url": "data:image/gif;base64,AAAA"}), "messages[0]", "png"),
        (part(type="input_audio", input_audio={}), "messages[0]", "'input_audio'"),
        ({"messages": hi("x", tool_calls=[{"function": {"name": "f"}}])}, "messages[0]", "function.name"),
        (
            {"messages": hi("x", tool_calls=[{"function": {"name": "f", "arguments": "{"}}])},
            "messages[0]",
            "JSON object",
        ),
    ],
)
def test_what_ollama_cannot_do_is_refused_by_name(fields, param, why):
    with pytest.raises(InvalidRequest, match=why) as caught:
        ordered(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("endpoint", "fields", "why"),
    [
        (Endpoint.COMPLETION, {"prompt": ["a", "b"]}, "one text"),
        (Endpoint.COMPLETION, {"prompt": [1, 2]}, "one text"),
        (Endpoint.COMPLETION, {"prompt": ""}, "not empty"),
        (Endpoint.COMPLETION, {"prompt": "a", "echo": True}, "yourself"),
        (Endpoint.COMPLETION, {"prompt": "a", "best_of": 3}, "one answer"),
        (Endpoint.COMPLETION, {"prompt": "a", "suffix": 3}, "a string"),
        (Endpoint.COMPLETION, {"prompt": "a", "messages": []}, "does not support 'messages'"),
        (Endpoint.EMBEDDING, {"input": [[1, 2]]}, "no tokens"),
        (Endpoint.EMBEDDING, {"input": ""}, "none empty"),
        (Endpoint.EMBEDDING, {"input": []}, "none empty"),
        (Endpoint.EMBEDDING, {"input": "a", "dimensions": 0}, "at least 1"),
        (Endpoint.EMBEDDING, {"input": "a", "encoding_format": "int8"}, "float or base64"),
    ],
)
def test_prompts_and_inputs_ollama_cannot_take_are_refused(endpoint, fields, why):
    with pytest.raises(InvalidRequest, match=why):
        ordered(endpoint, **fields)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"3"])
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(InvalidRequest, match="JSON"):
        translate(Endpoint.CHAT, body, "m", options={}, runner={})


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 50)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
)
WORDS = ("role", "content", "type", "text", "image_url", "url", "function", "name", "arguments", "tool_calls", "id")
WORDS += ("json_schema", "schema", "effort", "user", "assistant", "tool", "tool_call_id", "image_url")
VALUES = st.recursive(
    SCALARS | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(sorted(ollama_wire._CHAT | ollama_wire._COMPLETION | ollama_wire._EMBEDDING))


@given(st.sampled_from(list(Endpoint)), st.dictionaries(FIELDS, VALUES, max_size=5), st.booleans())
@settings(max_examples=400, deadline=None)
@pytest.mark.no_cover
def test_whatever_comes_is_translated_into_what_ollama_takes_or_refused(endpoint, fields, sensible):
    if sensible:
        fields = {"messages": hi(), "prompt": "a", "input": "a"} | fields
        fields = {name: value for name, value in fields.items() if name in ollama_wire._KNOWN[endpoint]}
    try:
        order = translate(endpoint, json.dumps(fields).encode(), "m", options={}, runner={"num_ctx": 64})
    except InvalidRequest:
        return
    body = json.loads(order.body)
    assert invalid(order.path.decode(), body) is None
    assert body["options"]["num_ctx"] == 64


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b'{"done":true}', b"{}", b"\n", b'{"error":"x"}\n'])))
@settings(max_examples=200, deadline=None)
def test_whatever_bytes_come_the_stream_ends_complete_or_failed(pieces):
    order = Order(path=b"/", body=b"", endpoint=Endpoint.CHAT, stream=True)
    translator = Translator(order, identity="r", created=1, model="m")
    out = b"".join(translator.feed(piece) for piece in pieces) + translator.end()
    assert translator.done == out.endswith(b"data: [DONE]\n\n")
    assert translator.done or translator.failed is not None


async def test_a_refusal_is_an_answer_with_status_400_and_ollama_is_not_asked(instance, server):
    asked = len(server.asked)
    reply = await instance.send(chat(instance.model, stream=True, n=2))
    body = await reply.read()
    assert reply.status == 400
    assert json.loads(body)["error"]["param"] == "n"
    error = rejection(reply.status, body, "m@1")
    assert isinstance(error, ProviderRejected)
    assert (error.code, error.param, error.status) == ("unsupported_parameter", "n", 400)
    assert len(server.asked) == asked


@pytest.mark.parametrize(
    ("status", "said_by_ollama", "kind", "code"),
    [
        (
            400,
            "the prompt is longer than the context length currently available",
            ContextExceeded,
            "context_length_exceeded",
        ),
        (
            500,
            "request (99 tokens) exceeds the available context size (64 tokens)",
            ContextExceeded,
            "context_length_exceeded",
        ),
        (400, '"m" does not support thinking', ProviderRejected, "provider_rejected"),
        (404, "model 'm' not found", ProviderError, "provider_error"),
        (499, "request canceled", ProviderError, "provider_error"),
        (500, "llama runner process has terminated: signal: killed", ProviderError, "provider_error"),
        (503, "server busy, please try again.  maximum pending requests exceeded", Overloaded, "overloaded"),
    ],
)
async def test_errors_of_ollama_are_told_apart_by_whose_fault_they_are(
    instance, server, status, said_by_ollama, kind, code
):
    server.answer = Answer(error=(status, said_by_ollama))
    for stream in (False, True):
        reply = await instance.send(chat(instance.model, stream=stream))
        error = rejection(reply.status, await reply.read(), "m@1")
        assert type(error) is kind
        assert error.code == code
        assert said_by_ollama in error.message


def test_an_error_that_is_no_json_is_told_all_the_same():
    assert refusal(502, b"<html>bad gateway</html>")[0] == 502
    assert b"bad gateway" in refusal(502, b"<html>bad gateway</html>")[1]
    assert b"HTTP 500 without a message" in refusal(500, b"")[1]

"""Anthropic's API behind OpenAI's chat: requests, answers, streams, tools, usage and errors, on a real socket."""

from __future__ import annotations

import json

import pytest
from anthropic_server import MODEL, USAGE, Anthropic, call, events, message, sse, text, thought
from provider_calls import chat, said, version_of

from podium.domain.model import Source
from podium.domain.request import Endpoint
from podium.errors import InvalidRequest, ProviderError, ProviderUnreachable
from podium.ports import Call
from podium.providers.anthropic import LOCATION, AnthropicProvider
from podium.providers.anthropic_answers import Translator, whole
from podium.providers.anthropic_request import translate
from podium.providers.catalogue import ProviderContext
from podium.services.sse import StreamRelay

pytestmark = pytest.mark.requirement("PRV-6")


@pytest.fixture(scope="module")
def module_server():
    server = Anthropic()
    yield server
    server.stop()


@pytest.fixture
def server(module_server):
    fresh = {"answer": (200, message({"type": "text", "text": "Hello."})), "streamed": events(text("Hel", "lo."))}
    vars(module_server).update(fresh, asked=[], gets=[])
    return module_server


@pytest.fixture
def provider(home):
    return AnthropicProvider(ProviderContext(home=home, environ={"ANTHROPIC_API_KEY": "sk-ant-test", "BAD": "x"}))


def at(server, **settings):
    return Source(provider="anthropic", location=server.url, settings={"remote": MODEL, **settings})


@pytest.fixture
async def load(provider, server):
    made = []

    async def one(**settings):
        version = version_of(at(server, **settings), await provider.inspect(at(server, **settings)))
        made.append(await provider.load(version, "one"))
        return made[-1]

    yield one
    for each in made:
        await each.unload()


def ordered(**fields):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.loads(translate(json.dumps(body).encode(), MODEL, max_tokens=100).body)


def chunks(raw):
    return [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]


# ------------------------------------------------------------ facts


async def test_facts_are_what_the_models_api_says_and_nothing_is_generated(provider, server):
    facts = await provider.inspect(at(server))
    assert facts.context_length == 200_000
    assert facts.capabilities == {"chat", "tools", "json_schema", "vision"}
    assert dict(facts.evidence)["vision"] == "GET /v1/models: capabilities.image_input"
    assert server.asked == []
    assert provider.footprint(version_of(at(server), facts)) == 0
    assert (await provider.inspect(at(server))).digest == facts.digest


async def test_a_model_or_a_key_that_is_not_there_is_told_apart(provider, server):
    with pytest.raises(InvalidRequest, match="has no model 'claude-none'"):
        await provider.inspect(at(server, remote="claude-none"))
    with pytest.raises(ProviderError, match="refuses our key"):
        await provider.inspect(at(server, api_key_env="BAD"))
    with pytest.raises(InvalidRequest, match="UNSET is not set"):
        await provider.inspect(at(server, api_key_env="UNSET"))
    with pytest.raises(InvalidRequest, match="--remote"):
        await provider.inspect(Source(provider="anthropic", location=LOCATION))


async def test_it_is_hosted_and_says_why_it_cannot_be_called(provider, server):
    version = version_of(at(server), await provider.inspect(at(server)))
    assert provider.hosted(version)
    assert provider.locked(version) is None
    assert "NO_KEY is not set" in provider.locked(version_of(at(server, api_key_env="NO_KEY"), version.facts))


# ------------------------------------------------------------ answers


async def test_it_answers_and_streams_like_any_chat_and_is_never_warmed_by_a_generation(load, server):
    instance = await load()
    await instance.warm_up()
    await instance.health()
    assert server.asked == []
    reply = await instance.send(chat("any", temperature=0.5))
    answer = json.loads(await reply.read())
    assert answer["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "Hello."},
        "logprobs": None,
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 17, "completion_tokens": 7, "total_tokens": 24}
    assert answer["usage"] == {**usage, "prompt_tokens_details": {"cached_tokens": 5}}
    assert server.asked[0] == {
        "model": MODEL,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "temperature": 0.5,
    }
    parts = []
    reply = await instance.send(chat("any", stream=True, stream_options={"include_usage": True}))
    await reply.relay(parts.append)
    assert reply.content_type == "text/event-stream"
    assert said(b"".join(parts)) == "Hello."
    assert server.asked[1]["stream"] is True
    assert "stream_options" not in server.asked[1]


async def test_a_stream_passes_the_gateways_relay_with_its_usage(load, server):
    instance = await load()
    relay = StreamRelay(hide_usage=True)
    out = []
    reply = await instance.send(chat("any", stream=True, stream_options={"include_usage": True}))
    await reply.relay(lambda data: out.append(relay.feed(data)))
    relay.end()
    assert (relay.done, relay.broken, relay.input_tokens, relay.output_tokens) == (True, None, 17, 7)
    assert said(b"".join(out)) == "Hello."


async def test_tools_arrive_whole_and_in_fragments(load, server):
    instance = await load()
    server.answer = (
        200,
        message(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sea"}},
            stop="tool_use",
        ),
    )
    answer = json.loads(await (await instance.send(chat("any"))).read())
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["message"]["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sea"}'}}
    ]
    server.streamed = events(
        thought("h", "m"), text("I look"), call("look", '{"a', 't": "sea"}'), call("wait"), stop="tool_use"
    )
    raw = await (await instance.send(chat("any", stream=True))).read()
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(raw)]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "hm"
    made = {}
    for part in (part for delta in deltas for part in delta.get("tool_calls", ())):
        known = made.setdefault(part["index"], {"name": "", "arguments": "", "id": None})
        known["id"] = part.get("id", known["id"])
        for field in ("name", "arguments"):
            known[field] += part["function"].get(field, "")
    assert made == {
        0: {"name": "look", "arguments": '{"at": "sea"}', "id": "toolu_look"},
        1: {"name": "wait", "arguments": "{}", "id": "toolu_wait"},
    }
    assert chunks(raw)[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("status", "kind", "words", "expected", "code"),
    [
        (400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000", 400, "context_length_exceeded"),
        (400, "invalid_request_error", "max_tokens: must be positive", 400, None),
        (401, "authentication_error", "invalid x-api-key", 401, None),
        (404, "not_found_error", "model: x", 404, "model_not_found"),
        (429, "rate_limit_error", "slow down", 429, None),
        (500, "api_error", "oh", 500, None),
        (529, "overloaded_error", "Overloaded", 503, None),
    ],
)
async def test_errors_keep_whose_fault_they_are(load, server, status, kind, words, expected, code):
    instance = await load()
    server.answer = (status, {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"})
    reply = await instance.send(chat("any", stream=True))
    assert reply.status == expected
    error = json.loads(await reply.read())["error"]
    assert (error["message"], error["type"], error["code"]) == (words, kind, code)


async def test_an_error_in_the_middle_of_a_stream_ends_it_after_what_came(load, server):
    instance = await load()
    begun = events(text("Half"))
    failed = sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    server.streamed = begun[: begun.index(b"event: content_block_stop")] + failed
    parts = []
    with pytest.raises(ProviderError, match="in the middle of the answer: Overloaded"):
        await (await instance.send(chat("any", stream=True))).relay(parts.append)
    assert "Half" in b"".join(parts).decode()
    server.streamed = begun[: begun.index(b"event: message_stop")]
    with pytest.raises(ProviderError, match="before the answer was complete"):
        await (await instance.send(chat("any", stream=True))).read()


async def test_what_it_cannot_do_is_an_answer_that_names_the_field(load, server):
    instance = await load()
    reply = await instance.send(chat("any", logprobs=True))
    assert reply.status == 400
    assert json.loads(await reply.read())["error"]["param"] == "logprobs"
    embedding = Call(endpoint=Endpoint.EMBEDDING, body=b"{}", stream=False, request_id="r")
    assert (await instance.send(embedding)).status == 400
    assert server.asked == []
    await instance.unload()
    with pytest.raises(ProviderUnreachable):
        await instance.send(chat("any"))


# ------------------------------------------------------------ requests


def test_a_conversation_with_tools_becomes_turns_that_alternate():
    made = ordered(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "w", "arguments": '{"city": "Oslo"}'}},
                    {"id": "c2", "type": "function", "function": {"name": "w", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "sun"}]},
            {"role": "user", "content": "and?"},
            {"role": "assistant", "content": ""},
        ]
    )
    assert made["system"] == "Be brief.\n\nBe kind."
    roles = [turn["role"] for turn in made["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert [block["type"] for block in made["messages"][1]["content"]] == ["tool_use", "tool_use"]
    assert made["messages"][1]["content"][0]["input"] == {"city": "Oslo"}
    assert [block["type"] for block in made["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert made["messages"][2]["content"][0] == {"type": "tool_result", "tool_use_id": "c1", "content": "rain"}


TOOL = {
    "type": "function",
    "function": {"name": "w", "description": "d", "strict": True, "parameters": {"type": "object"}},
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6, "max_tokens": 5}, {"max_tokens": 6}),
        ({"stop": "x"}, {"stop_sequences": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop_sequences": ["x", "y"]}),
        ({"top_p": 0.5, "top_k": 3}, {"top_p": 0.5, "top_k": 3}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"tools": [TOOL]}, {"tools": [{"name": "w", "description": "d", "strict": True, "input_schema": {"type": "object"}}]}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        ({"tools": [TOOL], "tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "w"}}},
            {"tool_choice": {"type": "tool", "name": "w"}},
        ),
        (
            {"tools": [TOOL], "parallel_tool_calls": False},
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"seed": 3, "n": 1, "logit_bias": {}, "presence_penalty": 0, "reasoning_effort": "none"}, {}),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}]},
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}]}]},
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]},
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]}]},
        ),
    ],
)  # fmt: skip
def test_fields_go_where_the_api_has_them(given, expected):
    made = ordered(**given)
    plain = ordered()
    assert {name: made.get(name) for name in expected} == expected
    assert set(made) - set(plain) <= {*expected, "tools"}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"n": 2}, "n"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"temperature": 1.5}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tools": [{"type": "web"}]}, "tools[0]"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [3]}, "messages[0]"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
            "messages[0].content[0]",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "w", "arguments": "{"}}]}]},
            "messages[0].tool_calls[0]",
        ),
    ],
)
def test_what_the_api_has_no_place_for_is_refused_by_name(given, param):
    with pytest.raises(InvalidRequest) as caught:
        ordered(**given)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("stop_sequence", "stop"), ("refusal", "content_filter"),
     ("model_context_window_exceeded", "length"), ("pause_turn", "stop"), ("new_reason", "stop"), (None, "stop")],
)  # fmt: skip
def test_stop_reasons_are_told_in_openais_words(reason, finish):
    answer = json.loads(
        whole(json.dumps(message({"type": "text", "text": "x"}, stop=reason)).encode(), created=1, model="m")
    )
    assert answer["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"type":"message"}', b'{"type":"message","content":3}'])
def test_what_is_no_message_is_a_provider_error(body):
    with pytest.raises(ProviderError, match="does not answer like"):
        whole(body, created=1, model="m")


def test_events_split_anywhere_give_the_same_chunks():
    raw = events(text("Ünï", "cödé"), call("w", '{"a', '":1}'), stop="tool_use").replace(b"data: ", b"data:")
    want = Translator(created=1, model="m", include_usage=True).feed(raw)
    for size in (1, 2, 3, 7, 50):
        made = Translator(created=1, model="m", include_usage=True)
        assert b"".join(made.feed(raw[at : at + size]) for at in range(0, len(raw), size)) == want
        assert (made.end(), made.done, made.failed) == (b"", True, None)
    assert chunks(want)[-1]["usage"]["prompt_tokens"] == sum(USAGE.values()) - USAGE["output_tokens"]

"""OpenAI's format to Ollama's and back: through a real socket where bytes matter, pure where fields do."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provider_calls import chat, said
from waiting import until_async

from podium.domain.model import ModelVersion, Source
from podium.domain.request import Endpoint
from podium.errors import (
    ProviderError,
    ProviderUnreachable,
)
from podium.ports import Call, Deadlines
from podium.providers.catalogue import ProviderContext
from podium.providers.ollama import OllamaProvider
from podium.providers.ollama_answers import Translator
from podium.providers.ollama_wire import Order, translate
from podium.services.sse import StreamRelay
from providers.ollama_server import TIMES, Answer, Model, OllamaServer

pytestmark = pytest.mark.requirement("PRV-5")
TAG = "llama3.2:1b"
PNG = "iVBORw0KGgo="


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


def call(endpoint, *, stream=False, **fields):
    body = json.dumps({"model": TAG, "stream": stream, **fields}).encode()
    limits = Deadlines(connect_s=2, first_token_s=10, total_s=20)
    return Call(endpoint=endpoint, body=body, stream=stream, request_id="r", deadlines=limits)


def events(raw):
    found = [line[6:] for line in raw.decode().split("\n") if line.startswith("data: ")]
    assert found.pop() == "[DONE]"
    return [json.loads(event) for event in found]


async def streamed(instance, request):
    parts = []
    reply = await instance.send(request)
    assert (reply.status, reply.content_type) == (200, "text/event-stream")
    await reply.relay(parts.append)
    return b"".join(parts)


# ------------------------------------------------------------ whole answers


async def test_an_answer_has_openais_shape_and_ollamas_tokens_and_durations(instance):
    reply = await instance.send(chat(instance.model, "one two"))
    made = json.loads(await reply.read())
    assert made["object"] == "chat.completion"
    assert made["model"] == TAG
    (choice,) = made["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello there, friend."}
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    read = made["usage"]["prompt_tokens"]
    assert read > 0
    assert made["usage"] == {"prompt_tokens": read, "completion_tokens": 3, "total_tokens": read + 3}
    assert made["timings"] == {
        "prompt_n": read,
        "prompt_ms": 300.0,
        "prompt_per_second": pytest.approx(read / 0.3),
        "predicted_n": 3,
        "predicted_ms": 500.0,
        "predicted_per_second": 6.0,
        "load_ms": 100.0,
        "total_ms": TIMES["total_duration"] / 1e6,
    }


async def test_an_answer_that_was_cut_short_says_so(instance):
    made = json.loads(await (await instance.send(chat(instance.model, max_completion_tokens=2))).read())
    assert made["choices"][0]["finish_reason"] == "length"
    assert made["choices"][0]["message"]["content"] == "Hello there, "


async def test_a_completion_continues_the_prompt_as_it_is(instance, server):
    reply = await instance.send(call(Endpoint.COMPLETION, prompt="Once upon"))
    made = json.loads(await reply.read())
    assert (made["object"], made["choices"][0]["text"]) == ("text_completion", "Hello there, friend.")
    assert made["usage"]["completion_tokens"] == 3
    asked = server.last("/api/generate")
    assert (asked["prompt"], asked["raw"], asked["think"]) == ("Once upon", True, False)
    raw = await streamed(instance, call(Endpoint.COMPLETION, stream=True, prompt=["Once upon"]))
    chunks = events(raw)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Hello there, friend."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    reply = await instance.send(call(Endpoint.COMPLETION, prompt="def f(", suffix="return 1"))
    await reply.read()
    asked = server.last("/api/generate")
    assert asked["suffix"] == "return 1"
    assert "raw" not in asked


async def test_embeddings_come_as_numbers_or_packed(instance, server):
    reply = await instance.send(call(Endpoint.EMBEDDING, input=["a b", "cde"], dimensions=2))
    made = json.loads(await reply.read())
    assert [row["embedding"] for row in made["data"]] == [[3.0, 4.0], [3.0, 4.0]]
    assert [row["index"] for row in made["data"]] == [0, 1]
    assert made["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    reply = await instance.send(call(Endpoint.EMBEDDING, input="a", encoding_format="base64"))
    packed = base64.b64decode(json.loads(await reply.read())["data"][0]["embedding"])
    assert struct.unpack("<4f", packed) == (1.0, 2.0, 3.0, 4.0)
    assert server.last("/api/embed")["truncate"] is False


# ------------------------------------------------------------ streams


async def test_a_stream_says_who_speaks_first_why_it_ended_last_and_the_tokens_once(instance):
    request = chat(instance.model, stream=True, stream_options={"include_usage": True})
    raw = await streamed(instance, request)
    assert said(raw) == "Hello there, friend."
    chunks = events(raw)
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks[:-1]] == ["assistant", None, None, None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, None, "stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    counted = [chunk for chunk in chunks if "usage" in chunk]
    assert counted == chunks[-1:]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert chunks[-2]["timings"]["predicted_per_second"] == 6.0
    relay = StreamRelay(hide_usage=True)
    kept = relay.feed(raw)
    relay.end()
    assert (relay.done, relay.broken, relay.output_tokens) == (True, None, 3)
    assert b'"usage"' not in kept


async def test_without_being_asked_no_usage_is_sent(instance):
    assert b'"usage"' not in await streamed(instance, chat(instance.model, stream=True))


@pytest.mark.parametrize("piece", [1, 2, 7, 64, 100_000])
async def test_a_stream_arrives_whole_wherever_its_bytes_are_split(instance, server, piece):
    server.answer = Answer(text="Grüße, 世界 — “quoted” \\n\n done", piece=piece)
    assert said(await streamed(instance, chat(instance.model, stream=True))) == server.answer.text


@given(st.lists(st.text(max_size=8), max_size=6), st.lists(st.integers(1, 40), max_size=30), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_same_lines_make_the_same_events_however_they_are_split(words, cuts, newline):
    lines = [{"message": {"role": "assistant", "content": word}, "done": False} for word in words]
    lines.append({"message": {"role": "assistant", "content": ""}, "done": True, "eval_count": len(words)})
    data = b"\n".join(json.dumps(line).encode() for line in lines) + (b"\n" if newline else b"")
    order = Order(path=b"/", body=b"", endpoint=Endpoint.CHAT, stream=True, include_usage=True)
    whole, split = (Translator(order, identity="r", created=1, model="m") for _ in range(2))
    expected = whole.feed(data) + whole.end()
    out = b""
    for cut in cuts:
        out += split.feed(data[:cut])
        data = data[cut:]
    out += split.feed(data) + split.end()
    assert out == expected
    heard = [chunk["choices"][0]["delta"].get("content", "") for chunk in events(out) if chunk["choices"]]
    assert "".join(heard) == "".join(words)
    assert expected.count(b'"usage"') == 1
    assert whole.feed(b'{"error":"after the end"}\n') == b""


async def test_an_answer_without_a_word_is_still_an_answer(instance, server):
    server.answer = Answer(text="")
    raw = await streamed(instance, chat(instance.model, stream=True))
    assert said(raw) == ""
    assert events(raw)[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    made = json.loads(await (await instance.send(chat(instance.model))).read())
    assert made["choices"][0]["message"]["content"] == ""
    assert made["usage"]["completion_tokens"] == 0


async def test_a_stream_that_is_cut_in_the_middle_is_an_error_after_what_came(instance, server):
    server.answer = Answer(cut_after=200)
    parts = []
    reply = await instance.send(chat(instance.model, stream=True))
    with pytest.raises(ProviderUnreachable, match="in the middle"):
        await reply.relay(parts.append)
    assert b"[DONE]" not in b"".join(parts)


async def test_a_stream_that_ends_without_its_last_line_is_an_error(instance, server):
    head = {"model": TAG, "created_at": "2026-01-02T03:04:05Z"}
    server.answer = Answer(lines=[{**head, "message": {"role": "assistant", "content": "Hel"}, "done": False}])
    with pytest.raises(ProviderError, match="before the answer was complete") as caught:
        await streamed(instance, chat(instance.model, stream=True))
    assert caught.value.code == "stream_broken"
    with pytest.raises(ProviderError, match="not complete"):
        await (await instance.send(chat(instance.model))).read()


async def test_an_error_line_in_the_middle_is_an_error_with_ollamas_words(instance, server):
    server.answer = Answer(error_line="an error was encountered while running the model: GGML_ASSERT")
    parts = []
    reply = await instance.send(chat(instance.model, stream=True))
    with pytest.raises(ProviderError, match="GGML_ASSERT"):
        await reply.relay(parts.append)
    assert b'"content":"Hello "' in b"".join(parts)


@pytest.mark.parametrize(
    "line", [{"message": 3}, {"message": {"content": 5}}, {"done": "yes"}, {"prompt_eval_count": "x"}]
)
async def test_what_is_not_ollamas_api_is_an_error(instance, server, line):
    server.answer = Answer(lines=[line])
    with pytest.raises(ProviderError, match="does not answer like Ollama"):
        await streamed(instance, chat(instance.model, stream=True))


def test_a_line_without_end_is_given_up():
    order = Order(path=b"/", body=b"", endpoint=Endpoint.CHAT, stream=True)
    translator = Translator(order, identity="r", created=1, model="m")
    for _ in range(8):
        translator.feed(b"x" * 1024 * 1024)
    assert translator.failed is None
    translator.feed(b"x")
    assert "without end" in str(translator.failed)


async def test_a_client_that_leaves_stops_the_generation(instance, server):
    gate = threading.Event()
    server.answer = Answer(gate=gate)
    parts = []
    reply = await instance.send(chat(instance.model, stream=True))
    relaying = asyncio.create_task(reply.relay(parts.append))
    await until_async(lambda: parts)
    relaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await relaying
    reply.close()
    await until_async(lambda: server.left == 1)
    gate.set()
    assert server.generated == 0
    server.answer = Answer()
    assert said(await (await instance.send(chat(instance.model))).read()) == "Hello there, friend."


async def test_a_slow_client_can_stop_and_go_on(instance, server):
    server.answer = Answer(text="word " * 2000)
    reply = await instance.send(chat(instance.model, stream=True))
    parts = []

    def sink(data):
        parts.append(data)
        if len(parts) == 1:
            reply.pause()
            asyncio.get_running_loop().call_later(0.05, reply.resume)

    await reply.relay(sink)
    assert said(b"".join(parts)) == server.answer.text


# ------------------------------------------------------------ thoughts, tools, formats, logprobs


async def test_thoughts_are_kept_apart_from_the_answer(instance, server):
    server.answer = Answer(text="4", thinking="2 and 2 …")
    raw = await streamed(instance, chat(instance.model, stream=True, reasoning_effort="high"))
    assert server.last("/api/chat")["think"] == "high"
    assert said(raw) == "4"
    assert events(raw)[0]["choices"][0]["delta"] == {"role": "assistant", "reasoning_content": "2 and 2 …"}
    made = json.loads(await (await instance.send(chat(instance.model, reasoning_effort="none"))).read())
    assert server.last("/api/chat")["think"] is False
    assert made["choices"][0]["message"]["reasoning_content"] == "2 and 2 …"
    await (await instance.send(chat(instance.model))).read()
    assert "think" not in server.last("/api/chat")


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALLS = [
    {"id": "call_a1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Köln", "days": 2}}},
    {"function": {"index": 1, "name": "weather", "arguments": {}}},
]


async def test_tool_calls_come_back_as_openai_has_them(instance, server):
    server.answer = Answer(text="", tool_calls=CALLS)
    raw = await streamed(instance, chat(instance.model, stream=True, tools=[TOOL]))
    assert server.last("/api/chat")["tools"] == [TOOL]
    chunks = events(raw)
    first, second = chunks[0]["choices"][0]["delta"]["tool_calls"]
    assert (first["index"], first["id"], first["type"]) == (0, "call_a1", "function")
    assert first["function"]["name"] == "weather"
    assert json.loads(first["function"]["arguments"]) == {"city": "Köln", "days": 2}
    assert (second["index"], second["function"]["arguments"]) == (1, "{}")
    assert second["id"]
    assert second["id"] != first["id"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    made = json.loads(await (await instance.send(chat(instance.model, tools=[TOOL]))).read())
    (choice,) = made["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["weather", "weather"]


async def test_one_tool_call_at_a_time_is_kept_to(instance, server):
    server.answer = Answer(text="", tool_calls=CALLS)
    for stream in (False, True):
        request = chat(instance.model, stream=stream, tools=[TOOL], parallel_tool_calls=False)
        raw = await (await instance.send(request)).read()
        assert raw.count(b'"weather"') == 1


def test_tool_calls_and_results_of_earlier_turns_are_told_as_ollama_wants_them():
    made = ordered(
        messages=[
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
                    {"id": "c2", "type": "function", "function": {"name": "time", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "c2", "content": "noon"},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
            {"role": "assistant", "content": "Sunny.", "reasoning_content": "It said sunny."},
        ]
    )["messages"]
    assert made[0] == {"role": "system", "content": "Be short."}
    assert made[2]["tool_calls"] == [
        {"id": "c1", "function": {"name": "weather", "arguments": {"city": "Rome"}}},
        {"id": "c2", "function": {"name": "time", "arguments": {}}},
    ]
    assert made[3] == {"role": "tool", "content": "noon", "tool_name": "time", "tool_call_id": "c2"}
    assert made[4] == {"role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "c1"}
    assert made[5] == {"role": "assistant", "content": "Sunny.", "thinking": "It said sunny."}


def test_images_travel_beside_the_text():
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "text", "text": "this?"},
        {"type": "image_url", "image_url": f"data:;base64,{PNG}"},
    ]
    (made,) = ordered(messages=[{"role": "user", "content": parts}])["messages"]
    assert made == {"role": "user", "content": "What is\nthis?", "images": [PNG, PNG]}


def test_formats_are_told_as_ollama_wants_them():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    assert ordered(response_format=wanted)["format"] == schema
    assert ordered(response_format={"type": "json_object"})["format"] == "json"
    assert "format" not in ordered(response_format={"type": "text"})
    assert "format" not in ordered(response_format=None)


async def test_log_probabilities_come_back_as_openai_has_them(instance, server):
    request = chat(instance.model, logprobs=True, top_logprobs=2)
    made = json.loads(await (await instance.send(request)).read())
    found = made["choices"][0]["logprobs"]["content"]
    assert [one["token"] for one in found] == ["Hello ", "there, ", "friend."]
    assert found[0]["bytes"] == list(b"Hello ")
    assert [top["token"] for top in found[0]["top_logprobs"]] == ["Hello ", "Hello "]
    raw = await streamed(instance, chat(instance.model, stream=True, logprobs=True))
    tokens = [one for chunk in events(raw) for one in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert [one["token"] for one in tokens] == ["Hello ", "there, ", "friend."]
    assert tokens[0]["top_logprobs"] == []
    reply = await instance.send(call(Endpoint.COMPLETION, prompt="x", logprobs=1))
    found = json.loads(await reply.read())["choices"][0]["logprobs"]
    assert found["tokens"] == ["Hello ", "there, ", "friend."]
    assert found["text_offset"] == [0, 6, 13]
    assert found["top_logprobs"][2] == {"friend.": -0.5}


def test_sampling_is_told_as_options_and_the_runners_options_win():
    fields = {"temperature": 0.5, "top_p": 0.9, "min_p": 0.1, "typical_p": 1, "seed": 7, "top_k": 3, "stop": ["a", "b"]}
    fields |= {"frequency_penalty": 0.1, "presence_penalty": -0.2, "repeat_penalty": 1.1, "repeat_last_n": 32}
    made = ordered(**fields, max_tokens=5, max_completion_tokens=6, user="u", n=1, logit_bias={}, store=False)
    assert made["options"] == {**fields, "num_predict": 6, "num_ctx": 64}
    assert (made["keep_alive"], made["truncate"], made["stream"]) == (-1, False, False)
    assert set(made) == {"model", "keep_alive", "stream", "truncate", "options", "messages"}

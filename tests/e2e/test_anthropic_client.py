"""The official ``anthropic`` client, unmodified, against the real model and against what servers have been seen to send."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import anthropic
import pytest

from played_server import ARGUMENTS, PlayedServer
from podium.config import Config
from podium.domain.model import Source
from podium.runtime import Gateway
from podium.services.onboarding import Registration
from server import Server

WEATHER = {
    "name": "weather",
    "description": "Tells the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
TIME = {"name": "time", "input_schema": {"type": "object", "properties": {}}}
CALLED = json.loads(ARGUMENTS)


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedServer]:
    with PlayedServer() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, played: PlayedServer) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("anthropic") / "home").start()
    started.add("played@1", "openai", played.url, capabilities=["chat", "tools", "json_schema", "logprobs"])
    yield started
    started.stop()


@pytest.fixture
def client(gateway: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="none", max_retries=0) as made:
        yield made


def ask(client: anthropic.Anthropic, name: str, **more):
    asked = {"model": "played@1", "max_tokens": 50, "tools": [WEATHER, TIME]} | more
    return client.messages.create(messages=[{"role": "user", "content": f"play:{name}"}], **asked)


def stream(client: anthropic.Anthropic, name: str, **more):
    asked = {"model": "played@1", "max_tokens": 50, "tools": [WEATHER, TIME]} | more
    with client.messages.stream(messages=[{"role": "user", "content": f"play:{name}"}], **asked) as made:
        events = list(made)
        return events, made.get_final_message()


def in_order(events) -> None:
    """Blocks are numbered from 0, each starts, grows and stops once, and nothing follows the end of the message."""
    raw = [event for event in events if not hasattr(event, "snapshot")]
    assert raw[0].type == "message_start"
    assert [event.type for event in raw[-2:]] == ["message_delta", "message_stop"]
    started, open_ = 0, set()
    for event in raw[1:-2]:
        if event.type == "content_block_start":
            assert event.index == started
            started += 1
            open_.add(event.index)
        elif event.type == "content_block_delta":
            assert event.index in open_
        elif event.type == "content_block_stop":
            open_.remove(event.index)
    assert not open_


@pytest.mark.model
@pytest.mark.requirement("API-1", "API-2")
def test_a_message_is_answered_by_the_real_model_streamed_and_not(model_server: Server):
    asked = {
        "model": "smollm2@a",
        "max_tokens": 24,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    }
    asked |= {"messages": [{"role": "user", "content": "What is 2+2?"}], "extra_body": {"temperature": 0}}
    with anthropic.Anthropic(base_url=model_server.url, api_key="none", max_retries=0) as client:
        raw = client.messages.with_raw_response.create(**asked)
        whole = raw.parse()
        assert raw.headers["x-podium-model"] == whole.model == "smollm2@a"
        assert raw.headers["x-podium-decision"].startswith("dec_")
        assert raw.headers["request-id"] == raw.headers["x-request-id"]
        assert whole.stop_reason in {"end_turn", "max_tokens"}
        assert whole.usage.output_tokens > 0
        with client.messages.stream(**asked) as streamed:
            events = list(streamed)
            final = streamed.get_final_message()
        in_order(events)
        assert final.content[0].text == whole.content[0].text
        usages = [m.usage.input_tokens + m.usage.cache_read_input_tokens for m in (final, whole)]
        assert usages[0] == usages[1] > 0
        assert final.usage.output_tokens == whole.usage.output_tokens
        explained = model_server.ok("GET", f"/api/v1/decisions/{raw.headers['x-request-id']}")
        assert explained["attempts"][0]["served"] == "smollm2@a"
        shaped = client.messages.create(
            **asked
            | {
                "max_tokens": 40,
                "output_config": {
                    "format": {
                        "type": "json_schema",
                        "schema": {
                            "type": "object",
                            "properties": {"sum": {"type": "integer"}},
                            "required": ["sum"],
                            "additionalProperties": False,
                        },
                    }
                },
            }
        )
        assert isinstance(json.loads(shaped.content[0].text)["sum"], int)


@pytest.mark.model
@pytest.mark.requirement("API-1")
def test_tokens_are_counted_by_the_models_own_tokenizer_and_are_what_the_answer_says(model_server: Server):
    asked = {"model": "smollm2@tools", "messages": [{"role": "user", "content": "What is 2+2?"}], "tools": [WEATHER]}
    with anthropic.Anthropic(base_url=model_server.url, api_key="none", max_retries=0) as client:
        answered = client.messages.create(max_tokens=2, **asked).usage
        counted = client.messages.with_raw_response.count_tokens(**asked)
        assert counted.headers["x-podium-count"] == "counted"
        assert counted.parse().input_tokens == answered.input_tokens + answered.cache_read_input_tokens


@pytest.mark.requirement("API-1")
def test_a_count_nobody_can_make_is_an_estimate_and_says_so(client, gateway: Server):
    raw = client.messages.with_raw_response.count_tokens(
        model="played@1", system="Be brief.", messages=[{"role": "user", "content": "word " * 100}]
    )
    assert raw.headers["x-podium-count"] == "estimated"
    assert raw.json()["estimated"] is True
    assert 100 <= raw.parse().input_tokens <= 150
    reply = gateway.call(
        "POST", "/v1/messages/count_tokens", {"model": "nope", "messages": [{"role": "user", "content": "hi"}]}
    )
    assert (reply.status, reply.error["type"]) == (404, "not_found_error")


@pytest.mark.requirement("API-1", "API-4")
@pytest.mark.parametrize(
    "name",
    ["tool", "object_arguments", "stop_says_stop", "no_space/tool", "crlf/tool", "no_done/tool", "bytewise/tool"],
)
def test_a_tool_call_in_fragments_comes_out_whole(client, name: str):
    events, final = stream(client, name)
    in_order(events)
    assert [(block.type, block.id, block.name, block.input) for block in final.content] == [
        ("tool_use", "call_a", "weather", CALLED)
    ]
    assert final.stop_reason == "tool_use"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (11, 7)


@pytest.mark.requirement("API-1")
@pytest.mark.parametrize("name", ["two_tools", "interleaved_tools", "same_index_tools", "no_index_tools"])
def test_several_calls_are_told_apart_however_the_server_numbers_them(client, name: str):
    events, final = stream(client, name)
    in_order(events)
    calls = [(block.id, block.input) for block in final.content if block.type == "tool_use"]
    assert calls == [("call_a", CALLED), ("call_b", CALLED if name == "interleaved_tools" else {})]
    whole = [block for block in ask(client, name).content if block.type == "tool_use"]
    assert [(block.id, block.input) for block in whole] == calls


@pytest.mark.requirement("API-1")
def test_arguments_that_are_no_json_are_handed_over_as_they_are(client):
    assert ask(client, "bad_arguments").content[0].input == {"INVALID_JSON": '{"city": "Be'}
    assert stream(client, "bad_arguments")[1].stop_reason == "tool_use"


@pytest.mark.requirement("API-1")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("words", "end_turn"),
        ("cut_by_length", "max_tokens"),
        ("filtered", "refusal"),
        ("tool", "tool_use"),
        ("lying_model", "end_turn"),
    ],
)
def test_stop_reasons_are_anthropics_streamed_and_not(client, name: str, reason: str):
    assert (ask(client, name).stop_reason, stream(client, name)[1].stop_reason) == (reason, reason)


@pytest.mark.requirement("API-1")
def test_a_stop_sequence_is_named_where_the_server_names_it(client, played: PlayedServer):
    for message in (
        ask(client, "stop_sequence", stop_sequences=["END"]),
        stream(client, "stop_sequence", stop_sequences=["END"])[1],
    ):
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert played.last["stop"] == ["END"]


@pytest.mark.requirement("API-1", "API-4")
def test_usage_is_the_largest_the_server_said_and_said_to_be_missing_where_it_said_none(client):
    for name in ("counting_usage", "words"):
        usage = stream(client, name)[1].usage
        assert (usage.input_tokens, usage.output_tokens) == (11, 7)
    cached = ask(client, "cached").usage
    assert (cached.input_tokens, cached.cache_read_input_tokens, cached.output_tokens) == (3, 8, 7)
    zero = ask(client, "zero_usage").usage
    assert (zero.input_tokens, zero.output_tokens) == (0, 0)
    assert ask(client, "no_usage").usage.model_extra == {"reported": False}


@pytest.mark.requirement("API-1")
@pytest.mark.parametrize("name", ["thinking", "reasoning"])
def test_thinking_is_shown_to_those_who_ask_for_it(client, played: PlayedServer, name: str):
    shown = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    events, final = stream(client, name, **shown)
    in_order(events)
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert played.last["reasoning_effort"] == "low"
    assert [block.type for block in ask(client, name, **shown).content] == ["thinking", "text"]
    assert [block.type for block in ask(client, name).content] == ["text"]
    assert [block.type for block in stream(client, name)[1].content] == ["text"]


@pytest.mark.requirement("API-1")
def test_a_conversation_with_results_of_tools_reaches_the_server_as_a_chat(client, played: PlayedServer):
    client.messages.create(
        model="played@1",
        max_tokens=5,
        system="You help.",
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        metadata={"user_id": "u1"},
        messages=[
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bern"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "is_error": True,
                        "content": [{"type": "text", "text": "no data"}],
                    },
                    {"type": "text", "text": "Well?"},
                ],
            },
            {"role": "user", "content": "Hello?"},
        ],
    )
    sent = played.last
    assert sent["messages"] == [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
            ],
            "reasoning_content": "Hm.",
        },
        {"role": "tool", "tool_call_id": "t1", "content": "Error: no data"},
        {"role": "user", "content": "Well?\nHello?"},
    ]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert (sent["parallel_tool_calls"], sent["user"], "metadata" in sent) == (False, "u1", False)


@pytest.mark.requirement("API-2")
def test_tasks_headers_criteria_and_executions_work_as_everywhere(client, gateway: Server):
    raw = client.messages.with_raw_response.create(
        model="auto",
        max_tokens=5,
        messages=[{"role": "user", "content": "hi"}],
        extra_headers={
            "x-podium-task": "sums",
            "x-podium-criteria": '{"max_latency_ms": 60000}',
            "x-podium-session": "s1",
        },
    )
    assert raw.headers["x-podium-task"] == "sums"
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(
            model="auto",
            max_tokens=5,
            messages=[{"role": "user", "content": "hi"}],
            extra_headers={"x-podium-criteria": '{"nonsense": 1}'},
        )
    assert caught.value.status_code == 400


@pytest.mark.requirement("API-3")
def test_images_for_a_model_that_sees_none_are_refused_with_the_reason(client):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    with pytest.raises(anthropic.UnprocessableEntityError, match="vision") as caught:
        client.messages.create(model="played@1", max_tokens=5, messages=[{"role": "user", "content": [image]}])
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert caught.value.body["error"]["fault"] == "policy"


REFUSED = {
    "a hosted tool": ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
    "a PDF": ({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "x"}}]}]}, "PDF"),
    "no limit": ({"max_tokens": None}, "max_tokens"),
    "no messages": ({"messages": []}, "messages"),
    "an unknown role": ({"messages": [{"role": "wizard", "content": "x"}]}, r"messages\[0\].role"),
    "an unknown block": ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "hologram"),
    "MCP servers": ({"mcp_servers": [{"type": "url", "url": "http://x", "name": "x"}]}, "mcp_servers"),
}  # fmt: skip


@pytest.mark.requirement("API-3")
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_or_not_offered_is_refused_by_name(gateway: Server, what: str):
    change, says = REFUSED[what]
    body = {"model": "played@1", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], **change}
    reply = gateway.call("POST", "/v1/messages", body)
    assert (reply.status, reply.json["type"], reply.error["type"]) == (400, "error", "invalid_request_error")
    assert reply.json["request_id"] == reply.headers["request-id"]
    assert re.search(says, reply.error["message"])


@pytest.mark.requirement("API-3")
@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/nothing", 404, "not_found_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("DELETE", "/v1/messages/count_tokens", 405, "invalid_request_error"),
    ],
)
def test_unknown_paths_and_methods_are_answered_in_anthropics_shape(
    gateway: Server, method: str, path: str, status: int, kind: str
):
    reply = gateway.call(method, path, {} if method != "GET" else None)
    assert (reply.status, reply.json["type"], reply.error["type"]) == (status, "error", kind)


@pytest.mark.requirement("API-3")
def test_errors_are_the_clients_own_classes(client, gateway: Server):
    with pytest.raises(anthropic.NotFoundError, match="nope") as missing:
        client.messages.create(model="nope", max_tokens=5, messages=[{"role": "user", "content": "hi"}])
    assert missing.value.request_id is not None
    with pytest.raises(anthropic.BadRequestError, match="no such thing"):
        ask(client, "refuses")
    with pytest.raises(anthropic.InternalServerError) as nonsense:
        ask(client, "nonsense")
    assert nonsense.value.body["error"]["type"] == "api_error"
    old = gateway.call("POST", "/v1/messages", {}, {"anthropic-version": "2023-01-01"})
    assert (old.status, "2026-10-21" in old.error["message"]) == (400, True)
    headers = {"host": "evil.example"}
    foreign = gateway.call("POST", "/v1/messages", {}, headers)
    assert (foreign.status, foreign.json["type"], foreign.error["type"]) == (403, "error", "permission_error")


@pytest.mark.requirement("API-4")
@pytest.mark.parametrize("name", ["ends_early", "error_event", "wrong_types", "nameless_tool"])
def test_a_stream_that_breaks_ends_with_exactly_one_error_event(gateway: Server, client, name: str):
    with pytest.raises(anthropic.APIStatusError):
        stream(client, name)
    body = {
        "model": "played@1",
        "max_tokens": 5,
        "stream": True,
        "messages": [{"role": "user", "content": f"play:{name}"}],
    }
    reply = gateway.call("POST", "/v1/messages", body)
    assert reply.body.count(b"event: error") == 1
    last = reply.body.strip().split(b"\n\n")[-1]
    error = json.loads(last.partition(b"data: ")[2])
    assert (error["type"], error["error"]["type"], error["error"]["fault"]) == ("error", "api_error", "provider")
    assert b"message_stop" not in reply.body


@pytest.mark.requirement("API-4")
async def test_a_model_that_loads_keeps_the_connection_alive_with_pings(tmp_path: Path):
    script = tmp_path / "slow.json"
    script.write_text(json.dumps({"text": "at last", "load_ms": 500}))
    async with Gateway.open(Config(home=tmp_path / "home")) as runtime:
        front = runtime.services.gateway
        front.limits = replace(front.limits, heartbeat_s=0.05)
        source = Source(provider="scripted", location=str(script), settings=MappingProxyType({}))
        await runtime.services.onboarding.add(
            Registration(name="slow", version="1", source=source, activate=True), "test"
        )
        url = await runtime.serve(port=0)
        await runtime.services.pool.unload("slow@1")
        asked = {"model": "slow@1", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
            async with client.messages.with_streaming_response.create(stream=True, **asked) as raw:
                lines = [line async for line in raw.iter_lines()]
            await runtime.services.pool.unload("slow@1")
            async with client.messages.stream(**asked) as made:
                assert await made.get_final_text() == "at last"
    kinds = [line[7:] for line in lines if line.startswith("event: ")]
    assert kinds[0] == "message_start"
    assert kinds.count("ping") >= 3
    assert kinds[-1] == "message_stop"


@pytest.mark.requirement("API-4")
def test_a_client_that_leaves_stops_the_generation(client, played: PlayedServer):
    made = client.messages.create(
        model="played@1", max_tokens=50, stream=True, messages=[{"role": "user", "content": "play:endless"}]
    )
    for _ in range(4):
        next(iter(made))
    assert played.running == 1
    made.close()
    deadline = time.monotonic() + 5
    while played.running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert played.running == 0


@pytest.mark.requirement("API-1")
def test_models_are_listed_in_anthropics_shape(client):
    listed = [model.id for model in client.models.list()]
    assert listed[0] == "auto"
    assert "played@1" in listed
    assert client.models.retrieve("played@1").id == "played@1"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nope")

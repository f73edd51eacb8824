"""The official ``openai`` client's responses, unmodified, against the real model and what servers have been seen to send."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import openai
import pytest
from pydantic import BaseModel

from played_server import ARGUMENTS, PlayedServer
from server import Server

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    "strict": False,
}
TIME = {"type": "function", "name": "time", "parameters": {"type": "object", "properties": {}}, "strict": False}


class Sum(BaseModel):
    sum: int


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedServer]:
    with PlayedServer() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, played: PlayedServer) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("responses") / "home").start()
    started.add("played@1", "openai", played.url, capabilities=["chat", "tools", "json_schema", "logprobs"])
    yield started
    started.stop()


@pytest.fixture
def client(gateway: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, name: str, **more):
    return client.responses.create(model="played@1", input=f"play:{name}", tools=[WEATHER, TIME], **more)


def stream(client: openai.OpenAI, name: str, **more):
    events = list(ask(client, name, stream=True, **more))
    return events, events[-1].response


def in_order(events) -> None:
    """Numbered from 0; every item and part begins, grows and ends once; the last event holds what the others said."""
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    open_: dict[int, str] = {}
    said: dict[int, str] = {}
    for event in events[2:-1]:
        if event.type == "response.output_item.added":
            open_[event.output_index] = event.item.id
            said[event.output_index] = ""
        elif event.type == "response.output_item.done":
            assert open_.pop(event.output_index) == event.item.id
        elif event.type.endswith(".delta"):
            assert open_[event.output_index] == event.item_id
            said[event.output_index] += event.delta
        elif event.type.endswith("_text.done"):
            assert said[event.output_index] == event.text
        elif event.type.endswith("arguments.done"):
            assert said[event.output_index] == event.arguments
    assert not open_
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert sorted(item.id for item in done) == sorted(item.id for item in events[-1].response.output)


@pytest.mark.model
@pytest.mark.requirement("API-1", "API-2")
def test_a_response_is_given_by_the_real_model_streamed_and_not(model_server: Server):
    asked = {"model": "smollm2@a", "instructions": "Be brief.", "input": "What is 2+2?", "temperature": 0}
    with openai.OpenAI(base_url=model_server.url + "/v1", api_key="none", max_retries=0) as client:
        raw = client.responses.with_raw_response.create(**asked, max_output_tokens=24)
        whole = raw.parse()
        assert raw.headers["x-podium-model"] == whole.model == "smollm2@a"
        assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens > 0
        events = list(client.responses.create(**asked, max_output_tokens=24, stream=True))
        in_order(events)
        final = events[-1].response
        assert final.output_text == whole.output_text != ""
        assert final.status == whole.status
        assert final.usage.output_tokens == whole.usage.output_tokens
        following = client.responses.create(
            model="smollm2@a", input="And 3+3?", previous_response_id=whole.id, max_output_tokens=4
        )
        assert following.usage.input_tokens > whole.usage.input_tokens
        counted = client.responses.input_tokens.count(model="smollm2@a", instructions="Be brief.", input="What is 2+2?")
        assert counted.input_tokens == whole.usage.input_tokens
        shaped = client.responses.parse(
            model="smollm2@a", input="What is 2+2?", text_format=Sum, max_output_tokens=40, temperature=0
        )
        assert isinstance(shaped.output_parsed, Sum)
        explained = model_server.ok("GET", f"/api/v1/decisions/{raw.headers['x-request-id']}")
        assert explained["attempts"][0]["outcome"]["success"] is True


@pytest.mark.requirement("API-1", "API-4")
@pytest.mark.parametrize(
    "name", ["tool", "object_arguments", "no_space/tool", "crlf/tool", "no_done/tool", "bytewise/tool"]
)
def test_a_function_call_in_fragments_comes_out_whole(client, name: str):
    events, final = stream(client, name)
    in_order(events)
    (call,) = final.output
    assert (call.type, call.call_id, call.name, json.loads(call.arguments)) == (
        "function_call",
        "call_a",
        "weather",
        json.loads(ARGUMENTS),
    )
    assert (final.status, final.usage.input_tokens, final.usage.output_tokens) == ("completed", 11, 7)


@pytest.mark.requirement("API-1")
@pytest.mark.parametrize("name", ["two_tools", "interleaved_tools", "same_index_tools", "no_index_tools"])
def test_several_calls_are_told_apart_however_the_server_numbers_them(client, name: str):
    events, final = stream(client, name)
    in_order(events)
    calls = [(item.call_id, json.loads(item.arguments)) for item in final.output if item.type == "function_call"]
    given = json.loads(ARGUMENTS)
    assert calls == [("call_a", given), ("call_b", given if name == "interleaved_tools" else {})]
    whole = [
        (item.call_id, json.loads(item.arguments)) for item in ask(client, name).output if item.type == "function_call"
    ]
    assert whole == calls


@pytest.mark.requirement("API-1")
@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("words", "completed", None),
        ("cut_by_length", "incomplete", "max_output_tokens"),
        ("filtered", "incomplete", "content_filter"),
    ],
)
def test_an_answer_that_was_cut_is_incomplete_and_says_why(client, name: str, status: str, reason: str | None):
    events, final = stream(client, name)
    assert events[-1].type == f"response.{status}"
    for made in (final, ask(client, name)):
        assert made.status == status
        assert (made.incomplete_details.reason if made.incomplete_details else None) == reason


@pytest.mark.requirement("API-1")
@pytest.mark.parametrize("name", ["thinking", "reasoning"])
def test_reasoning_is_an_item_of_its_own(client, played: PlayedServer, name: str):
    events, final = stream(client, name, reasoning={"effort": "low"})
    in_order(events)
    assert (
        [item.type for item in final.output]
        == [item.type for item in ask(client, name).output]
        == ["reasoning", "message"]
    )
    assert final.output[0].content[0].text == ("Let me think." if name == "thinking" else "Hm.")
    stream(client, name, reasoning={"effort": "low"})
    assert played.last["reasoning_effort"] == "low"
    client.responses.create(
        model="played@1", input=[*(item.to_dict() for item in final.output), {"role": "user", "content": "Go on."}]
    )
    assert played.last["messages"][0]["reasoning_content"]


@pytest.mark.requirement("API-1")
def test_logprobs_come_where_they_are_asked_for(client, played: PlayedServer):
    events, final = stream(client, "logprobs", include=["message.output_text.logprobs"], top_logprobs=1)
    assert (played.last["logprobs"], played.last["top_logprobs"]) == (True, 1)
    assert final.output[0].content[0].logprobs[0].token == "yes"
    assert next(event for event in events if event.type.endswith("text.delta")).logprobs[0].logprob == -0.1


@pytest.mark.requirement("API-1")
def test_usage_is_left_out_where_the_server_said_none(client):
    assert ask(client, "no_usage").usage is None
    assert stream(client, "no_usage")[1].usage is None
    assert ask(client, "zero_usage").usage.total_tokens == 0
    cached = ask(client, "cached").usage
    assert (cached.input_tokens_details.cached_tokens, cached.output_tokens_details.reasoning_tokens) == (8, 3)


@pytest.mark.requirement("API-1")
def test_items_become_one_conversation_with_one_system_message(client, played: PlayedServer):
    client.responses.create(
        model="played@1",
        instructions="You help.",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": True}},
        input=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        ],
    )
    sent = played.last
    assert sent["messages"] == [
        {"role": "system", "content": "You help.\n\nBe brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent["response_format"]["json_schema"] == {"name": "s", "schema": {"type": "object"}, "strict": True}
    assert sent["parallel_tool_calls"] is False


@pytest.mark.requirement("API-1")
def test_a_conversation_goes_on_by_its_last_response_and_only_for_the_same_key(
    client, gateway: Server, played: PlayedServer
):
    first = client.responses.create(model="played@1", instructions="Once only.", input="My name is Ada.")
    second = client.responses.create(model="played@1", input="Who am I?", previous_response_id=first.id)
    third = list(client.responses.create(model="played@1", input="Sure?", previous_response_id=second.id, stream=True))[
        -1
    ].response
    assert [m["content"] for m in played.last["messages"]] == [
        "My name is Ada.",
        "one two three four",
        "Who am I?",
        "one two three four",
        "Sure?",
    ]
    assert client.responses.retrieve(third.id).output_text == third.output_text
    listed = [item.content[0].text for item in client.responses.input_items.list(third.id)]
    assert listed == ["Sure?", "one two three four", "Who am I?", "one two three four", "My name is Ada."]
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key="other", max_retries=0) as stranger,
        pytest.raises(openai.NotFoundError),
    ):
        stranger.responses.retrieve(third.id)
    client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="played@1", input="?", previous_response_id=second.id)
    assert caught.value.param == "previous_response_id"
    unkept = client.responses.create(model="played@1", input="secret", store=False)
    assert unkept.store is False
    with pytest.raises(openai.NotFoundError, match="kept in memory"):
        client.responses.retrieve(unkept.id)
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(third.id)
    stored = b"".join(file.read_bytes() for file in gateway.home.rglob("*") if file.is_file())
    assert b"My name is Ada" not in stored


REFUSED = {
    "web_search": {"tools": [{"type": "web_search"}]},
    "file_search": {"tools": [{"type": "file_search", "vector_store_ids": ["x"]}]},
    "mcp": {"tools": [{"type": "mcp", "server_label": "x", "server_url": "http://x"}]},
    "custom": {"tools": [{"type": "custom", "name": "x"}]},
    "conversation": {"conversation": "conv_1"},
    "background": {"background": True},
    "prompt": {"prompt": {"id": "pmpt_1"}},
    "truncation": {"truncation": "auto"},
    "item_reference": {"input": [{"type": "item_reference", "id": "x"}]},
    "computer_call": {"input": [{"type": "computer_call", "id": "x"}]},
    "input_file": {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
    "file_search_call.results": {"include": ["file_search_call.results"]},
}  # fmt: skip


@pytest.mark.requirement("API-3")
@pytest.mark.parametrize("what", REFUSED)
def test_what_only_the_hosted_service_has_is_refused_by_name(client, what: str):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{"model": "played@1", "input": "hi", **REFUSED[what]})
    assert caught.value.code == "unsupported_parameter"
    assert what in caught.value.message
    assert caught.value.body["fault"] == "caller"


@pytest.mark.requirement("API-3")
def test_images_for_a_model_that_sees_none_are_refused_with_the_reason(client):
    image = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    with pytest.raises(openai.UnprocessableEntityError, match="vision"):
        client.responses.create(model="played@1", input=[{"role": "user", "content": [image]}])


@pytest.mark.requirement("API-4")
@pytest.mark.parametrize("name", ["ends_early", "error_event", "wrong_types", "nameless_tool"])
def test_a_stream_that_breaks_ends_with_exactly_one_error_event(client, name: str):
    events = list(ask(client, name, stream=True))
    assert [event.type for event in events].count("error") == 1
    assert events[-1].type == "error"
    assert events[-1].code
    assert not any(event.type in {"response.completed", "response.incomplete"} for event in events)


@pytest.mark.requirement("API-3")
def test_unknown_paths_methods_and_nonsense_are_openais_errors(client, gateway: Server):
    assert gateway.call("GET", "/v1/responses").status == 405
    assert gateway.call("PUT", "/v1/responses/resp_x").status == 405
    assert gateway.call("GET", "/v1/responses/resp_x").error["code"] == "response_not_found"
    assert gateway.call("GET", "/v1/responses/a/b").error["type"] == "invalid_request_error"
    with pytest.raises(openai.InternalServerError, match="without a message"):
        ask(client, "nonsense")


@pytest.mark.requirement("API-4")
def test_a_client_that_leaves_stops_the_generation(client, played: PlayedServer):
    made = ask(client, "endless", stream=True)
    for _ in range(6):
        next(iter(made))
    assert played.running == 1
    made.close()
    deadline = time.monotonic() + 5
    while played.running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert played.running == 0


@pytest.mark.requirement("API-1")
def test_how_much_is_kept_for_how_long_is_configured(tmp_path) -> None:
    gateway = Server(
        tmp_path / "home", env={"PODIUM_RESPONSES__MEMORY_MB": "0", "PODIUM_RESPONSES__MINUTES": "5"}
    ).start()
    try:
        gateway.script("s@1", text="hello")
        with openai.OpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0) as client:
            first = client.responses.create(model="s@1", input="Hi.")
            assert first.output_text == "hello"
            with pytest.raises(openai.NotFoundError, match="kept in memory for 5 minutes"):
                client.responses.create(model="s@1", input="Again.", previous_response_id=first.id)
    finally:
        gateway.stop()

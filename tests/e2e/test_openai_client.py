"""The official ``openai`` client, unmodified, against the real model."""

from __future__ import annotations

import json
import time

import openai
import pytest

from server import Server

pytestmark = pytest.mark.model
QUESTION = [{"role": "user", "content": "What is 2+2?"}]


@pytest.fixture
def client(model_server: Server):
    with openai.OpenAI(base_url=model_server.url + "/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.mark.requirement("API-1")
def test_a_chat_is_answered_by_the_real_model(client):
    reply = client.chat.completions.create(model="smollm2@a", messages=QUESTION, max_tokens=24, temperature=0)
    assert "4" in reply.choices[0].message.content
    assert reply.usage.completion_tokens > 0


@pytest.mark.requirement("API-2")
def test_the_reply_says_what_served_it(client):
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=QUESTION, max_tokens=4, extra_headers={"x-podium-task": "arithmetic"}
    )
    assert raw.headers["x-podium-model"].startswith("smollm2@")
    assert raw.headers["x-podium-task"] == "arithmetic"
    assert raw.headers["x-podium-decision"].startswith("dec_")
    assert raw.headers["x-request-id"].startswith("req_")


@pytest.mark.requirement("API-1", "API-4")
def test_a_stream_gives_the_same_text_as_the_whole_answer(client):
    asked = {"model": "smollm2@a", "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}


@pytest.mark.requirement("API-4")
def test_usage_comes_once_in_a_stream_that_asks_for_it(client):
    chunks = list(
        client.chat.completions.create(
            model="smollm2@a",
            messages=QUESTION,
            max_tokens=6,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usages) == 1
    assert 0 < usages[0].completion_tokens <= 6
    assert chunks[-1].choices == []


@pytest.mark.requirement("API-1")
def test_a_json_schema_is_enforced(client):
    schema = {
        "type": "object",
        "properties": {"sum": {"type": "integer"}},
        "required": ["sum"],
        "additionalProperties": False,
    }
    reply = client.chat.completions.create(
        model="smollm2@a",
        messages=QUESTION,
        max_tokens=40,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": True}},
    )
    assert isinstance(json.loads(reply.choices[0].message.content)["sum"], int)


@pytest.mark.requirement("API-1")
def test_logprobs_pass_through(client):
    reply = client.chat.completions.create(
        model="smollm2@a", messages=QUESTION, max_tokens=3, logprobs=True, top_logprobs=2
    )
    first = reply.choices[0].logprobs.content[0]
    assert first.logprob <= 0
    assert len(first.top_logprobs) == 2


@pytest.mark.requirement("API-1")
def test_tools_pass_through(client):
    tool = {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
        },
    }
    asked = {"model": "smollm2@tools", "messages": QUESTION, "max_tokens": 8, "temperature": 0}
    plain = client.chat.completions.create(**asked)
    with_tool = client.chat.completions.create(**asked, tools=[tool], tool_choice="auto")
    rendered = with_tool.usage.prompt_tokens - plain.usage.prompt_tokens
    assert rendered > 60, "the tool's signature did not reach the model's prompt"


@pytest.mark.requirement("SEL-2", "API-3")
def test_tools_for_a_model_whose_template_drops_them_are_refused_with_the_reason(client):
    with pytest.raises(openai.UnprocessableEntityError, match="lacks capability tools"):
        client.chat.completions.create(
            model="smollm2@a", messages=QUESTION, tools=[{"type": "function", "function": {"name": "f"}}]
        )


@pytest.mark.requirement("API-1")
def test_text_completion_works_streamed_and_not(client):
    asked = {"model": "smollm2@a", "prompt": "Once upon a time", "max_tokens": 5, "temperature": 0}
    whole = client.completions.create(**asked)
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True))
    assert streamed == whole.choices[0].text != ""


@pytest.mark.requirement("API-1", "API-3")
def test_embeddings_of_a_chat_model_are_refused_with_the_reason(client):
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model="smollm2@a", input="hello")
    assert caught.value.status_code in {400, 422}
    assert "embedding" in caught.value.message


@pytest.mark.requirement("API-1")
def test_models_are_listed_and_shown(client):
    assert {"auto", "smollm2@a", "smollm2@b"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("smollm2@a").id == "smollm2@a"


@pytest.mark.requirement("API-3")
def test_an_unknown_model_is_openais_error(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="smolm2@a", messages=QUESTION)
    assert caught.value.code == "model_not_found"
    assert "smollm2" in caught.value.message


@pytest.mark.requirement("API-3")
def test_a_prompt_longer_than_the_context_is_openais_error(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="smollm2@a", messages=[{"role": "user", "content": "word " * 3000}])
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.requirement("PRV-11", "API-4")
def test_a_client_that_leaves_stops_the_generation_within_half_a_second(client, model_server):
    before = _cpu(model_server)
    stream = client.chat.completions.create(
        model="smollm2@b",
        messages=[{"role": "user", "content": "Count to one thousand, writing every number in words."}],
        max_tokens=900,
        temperature=1.2,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    for _ in range(5):
        next(stream)
    stream.close()
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline and _active(model_server):
        time.sleep(0.02)
    assert not _active(model_server)
    time_spent = _cpu(model_server)
    time.sleep(0.3)
    assert _cpu(model_server) - time_spent < 0.1, "the worker goes on computing"
    assert time_spent > before


def _view(server: Server) -> dict:
    return next(i for i in server.ok("GET", "/api/v1/instances")["instances"] if i["ref"] == "smollm2@b")


def _active(server: Server) -> int:
    return _view(server)["active"]


def _cpu(server: Server) -> float:
    return _view(server)["cpu_s"]

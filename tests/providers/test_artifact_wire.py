"""The worker's own side of OpenAI's wire format, over a real socket with a backend that echoes."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading
from pathlib import Path

import pytest
from echo_worker import Echo
from waiting import until_async

from podium.providers.artifact_worker.engine import Engine
from podium.providers.artifact_worker.listener import BODY_BYTES, listen
from podium.providers.artifact_worker.serving import Routes
from podium.transport.client import HttpClient, Origin

pytestmark = pytest.mark.requirement("PRV-7")
KEY = "the-key"
ORDER = {"alias": "m@1", "path": "", "context": 64, "embedding": False, "temperature": 0.5, "seed": None}


class Running:
    """Engine, socket and client on this loop."""

    def __init__(self, engine: Engine, socket: Path) -> None:
        self.engine = engine
        self.socket = socket
        self.client = HttpClient(Origin(unix_path=socket))

    @property
    def backend(self) -> Echo:
        return self.engine.backend

    async def post(self, path: str, key: str = KEY, **body):
        raw = json.dumps(body).encode()
        return await self.raw(b"POST", path, raw, key)

    async def raw(self, method: bytes, path: str, raw: bytes = b"", key: str = KEY):
        headers = ((b"authorization", b"Bearer " + key.encode()),)
        reply = await self.client.request(
            method, path.encode(), headers=headers, body=raw, connect_s=5, first_byte_s=10, total_s=20
        )
        return reply.status, await reply.read()

    async def chat(self, text="hello", **body):
        status, raw = await self.post("/v1/chat/completions", messages=[{"role": "user", "content": text}], **body)
        return status, json.loads(raw)

    async def events(self, text="hello", **body):
        messages = [{"role": "user", "content": text}]
        status, raw = await self.post("/v1/chat/completions", messages=messages, stream=True, **body)
        assert status == 200, raw
        lines = raw.decode().split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


@pytest.fixture
async def make(tmp_path):
    made = []

    async def start(**order):
        engine = Engine()
        order = {**ORDER, **order}
        await engine.load(lambda: Echo(order))
        running = Running(engine, tmp_path / f"{len(made)}.sock")
        made.append((running, await listen(running.socket, KEY, Routes(engine, order).handle)))
        return running

    yield start
    for running, server in made:
        await running.client.aclose()
        server.close()
        await server.wait_closed()
        running.engine._thread.shutdown()


@pytest.fixture
async def echo(make):
    return await make()


async def test_an_answer_carries_text_reason_and_tokens_counted_by_the_tokenizer(echo):
    status, body = await echo.chat("héllo")
    assert status == 200
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "héllo"}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 6, "completion_tokens": 7, "total_tokens": 13}
    assert body["model"] == "m@1"
    assert body["timings"]["predicted_n"] == 7


async def test_a_stream_says_the_same_and_never_half_a_character(echo):
    events = await echo.events("grüße 日本", stream_options={"include_usage": True})
    pieces = [each["choices"][0]["delta"].get("content", "") for each in events if each["choices"]]
    assert "".join(pieces) == "grüße 日本"
    assert pieces[:5] == ["g", "r", "ü", "ß", "e"]
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [each["choices"][0]["finish_reason"] for each in events if each["choices"]][-1] == "stop"
    assert events[-1]["usage"]["completion_tokens"] == len("grüße 日本".encode()) + 1
    assert not any("usage" in each for each in events[:-1])
    assert not any("usage" in each for each in await echo.events("hi"))


async def test_max_tokens_end_an_answer_with_length(echo):
    _, body = await echo.chat("hello", max_tokens=2)
    assert body["choices"][0]["message"]["content"] == "he"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 2
    _, newer = await echo.chat("hello", max_completion_tokens=3)
    assert newer["choices"][0]["message"]["content"] == "hel"


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        ("lo", "hel"),
        (["w", "l"], "he"),
        ("o w", "hell"),
        ("xyz", "hello world"),
        ("ld!", "hello world"),
        ("", "hello world"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_of_a_stop_text_is_ever_said(echo, stop, said, stream):
    if stream:
        events = await echo.events("hello world", stop=stop)
        assert "".join(each["choices"][0]["delta"].get("content", "") for each in events) == said
        assert events[-1]["choices"][0]["finish_reason"] == "stop"
    else:
        _, body = await echo.chat("hello world", stop=stop)
        assert body["choices"][0]["message"]["content"] == said
        assert body["choices"][0]["finish_reason"] == "stop"


async def test_completions_take_a_text_or_tokens(echo):
    for prompt in ("abc", ["abc"], [97, 98, 99], [[97, 98, 99]]):
        status, raw = await echo.post("/v1/completions", prompt=prompt, logprobs=1)
        body = json.loads(raw)
        assert (status, body["choices"][0]["text"]) == (200, "abc"), body
        assert body["object"] == "text_completion"
        assert body["choices"][0]["logprobs"]["tokens"] == ["a", "b", "c"]
        assert body["choices"][0]["logprobs"]["text_offset"] == [0, 1, 2]
    status, _ = await echo.post("/v1/completions", prompt=["a", "b"])
    assert status == 400


async def test_log_probabilities_come_with_each_token_and_its_alternatives(echo):
    _, body = await echo.chat("ab", logprobs=True, top_logprobs=2)
    first = body["choices"][0]["logprobs"]["content"][0]
    assert (first["token"], first["logprob"], first["bytes"]) == ("a", -0.5, [97])
    assert [each["logprob"] for each in first["top_logprobs"]] == [-0.5, -1.5]
    events = await echo.events("ab", logprobs=True)
    listed = [one for each in events for one in (each["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert [one["token"] for one in listed] == ["a", "b"]
    assert listed[0]["top_logprobs"] == []


async def test_settings_are_used_where_a_request_does_not_say(echo):
    await echo.chat("a")
    await echo.chat("a", temperature=0, seed=7, top_p=0.9, top_k=3)
    assert (echo.backend.asked[0].temperature, echo.backend.asked[0].seed) == (0.5, None)
    asked = echo.backend.asked[1]
    assert (asked.temperature, asked.seed, asked.top_p, asked.top_k) == (0, 7, 0.9, 3)


async def test_parts_of_text_and_the_developer_role_are_taken(echo):
    messages = [
        {"role": "developer", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
        {"role": "assistant", "content": None},
    ]
    status, raw = await echo.post("/v1/chat/completions", messages=messages)
    assert (status, json.loads(raw)["choices"][0]["message"]["content"]) == (200, "abc")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": 1.5}, "seed"),
        ({"stop": [1]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"top_logprobs": 99, "logprobs": True}, "top_logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),  # this backend does not know it
        ({"min_p": 0.1}, "min_p"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
    ],
)
async def test_what_it_cannot_do_is_refused_by_name(echo, body, param):
    status, answer = await echo.chat(**body) if "messages" not in body else await _messages(echo, body)
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert answer["error"]["type"] == "invalid_request_error"
    assert (await echo.chat("still here"))[0] == 200


async def _messages(echo, body):
    status, raw = await echo.post("/v1/chat/completions", **body)
    return status, json.loads(raw)


async def test_neutral_fields_are_no_reason_to_refuse(echo):
    fields = {"n": 1, "tools": [], "tool_choice": "auto", "response_format": {"type": "text"}, "user": "me"}
    assert (await echo.chat("hi", frequency_penalty=0, **fields))[0] == 200


async def test_a_prompt_that_does_not_fit_is_told_with_both_numbers(echo):
    status, body = await echo.chat("x" * 64)
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    assert "64 tokens; this model's context length is 64" in body["error"]["message"]
    status, body = await echo.chat("x" * 60)  # room for four
    assert (body["usage"]["completion_tokens"], body["choices"][0]["finish_reason"]) == (4, "length")


async def test_an_error_of_the_framework_is_a_500_before_the_stream_and_an_event_in_it(echo, capsys):
    status, body = await echo.chat("explode")
    assert (status, body["error"]["message"]) == (500, "RuntimeError: out of memory")
    status, raw = await echo.post(
        "/v1/chat/completions", messages=[{"role": "user", "content": "stumble"}], stream=True
    )
    assert status == 200
    assert b"[DONE]" not in raw
    assert "stumbled" in json.loads(raw.decode().strip().rpartition("data: ")[2])["error"]["message"]
    assert (await echo.chat("hi"))[0] == 200
    assert "RuntimeError" in capsys.readouterr().err  # for the log


async def test_requests_are_worked_on_one_after_the_other_and_all_are_answered(echo):
    echo.backend.pause_s = 0.001
    answers = await asyncio.gather(*(echo.chat(f"number {n}") for n in range(6)))
    assert [body["choices"][0]["message"]["content"] for _, body in answers] == [f"number {n}" for n in range(6)]
    assert threading.active_count() < 20


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_that_leaves_ends_the_generation_at_the_next_token(echo, stream):
    echo.backend.pause_s = 0.02
    body = {"messages": [{"role": "user", "content": "x" * 40}], "stream": stream}
    leaver = HttpClient(Origin(unix_path=echo.socket))
    asked = asyncio.create_task(
        leaver.request(
            b"POST",
            b"/v1/chat/completions",
            headers=((b"authorization", b"Bearer " + KEY.encode()),),
            body=json.dumps(body).encode(),
            connect_s=5,
            first_byte_s=5,
            total_s=5,
        )
    )
    await until_async(lambda: echo.backend.made >= 3)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await leaver.aclose()
    echo.backend.pause_s = 0.0
    assert (await echo.chat("next"))[0] == 200
    assert echo.backend.made < 30  # 41 tokens were asked for, and 5 for the next


async def test_one_that_left_before_its_turn_is_not_worked_on(echo):
    echo.backend.pause_s = 0.01
    first = asyncio.create_task(echo.chat("y" * 20))
    await asyncio.sleep(0)
    leaver = Running(echo.engine, echo.socket)
    second = asyncio.create_task(leaver.chat("z" * 40))
    await until_async(lambda: echo.backend.made >= 3)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await leaver.client.aclose()
    assert (await first)[0] == 200
    assert (await echo.chat("a"))[0] == 200
    assert echo.backend.made == 21 + 2


async def test_embeddings_are_numbers_or_base64_in_the_order_asked(make):
    embedder = await make(embedding=True)
    status, raw = await embedder.post("/v1/embeddings", input=["a", "abc", [1, 2]])
    body = json.loads(raw)
    assert status == 200
    assert [row["embedding"][0] for row in body["data"]] == [1.0, 3.0, 2.0]
    assert body["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    _, raw = await embedder.post("/v1/embeddings", input="abc", encoding_format="base64")
    packed = json.loads(raw)["data"][0]["embedding"]
    assert struct.unpack("<3f", base64.b64decode(packed)) == (3.0, 0.5, -1.0)
    for wrong in ({"input": []}, {"input": [""]}, {"input": 5}, {"input": "a", "encoding_format": "x"}):
        assert (await embedder.post("/v1/embeddings", **wrong))[0] == 400
    status, raw = await embedder.post("/v1/embeddings", input="a", dimensions=2)
    assert (status, json.loads(raw)["error"]["param"]) == (400, "dimensions")
    status, raw = await embedder.post("/v1/embeddings", input="a" * 65)
    assert json.loads(raw)["error"]["code"] == "context_length_exceeded"
    status, raw = await embedder.post("/v1/chat/completions", messages=[])
    assert (status, "only makes embeddings" in json.loads(raw)["error"]["message"]) == (400, True)


async def test_health_models_and_what_runs_are_told(echo):
    assert await echo.raw(b"GET", "/health") == (200, b'{"status":"ok"}')
    _, raw = await echo.raw(b"GET", "/v1/models")
    assert [each["id"] for each in json.loads(raw)["data"]] == ["m@1"]
    _, raw = await echo.raw(b"GET", "/props")
    assert json.loads(raw) == {"total_slots": 1, "framework": "echo", "device": "cpu"}
    assert (await echo.raw(b"GET", "/v1/nothing"))[0] == 404
    assert (await echo.post("/v1/embeddings", input="a"))[0] == 400


@pytest.mark.parametrize("key", ["", "wrong", KEY + "x"])
async def test_without_the_key_nothing_is_told(echo, key):
    for path in ("/health", "/v1/models", "/v1/chat/completions"):
        assert (await echo.raw(b"GET", path, key=key))[0] == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a":' * 50_000])
async def test_a_body_that_is_no_request_is_refused(echo, body):
    status, _ = await echo.raw(b"POST", "/v1/chat/completions", body)
    assert status == 400


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nauthorization: Bearer the-key\r\ncontent-length: %d\r\n\r\n" % (BODY_BYTES + 1), b"413"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, b"400"),
    ],
)
async def test_what_is_no_http_is_refused_and_the_connection_closed(echo, sent, status):
    reader, writer = await asyncio.open_unix_connection(str(echo.socket))
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.split(b" ")[1] == status


async def test_a_request_in_pieces_and_two_at_once_are_understood(echo):
    head = b"GET /health HTTP/1.1\r\nAuthorization: Bearer the-key\r\n\r\n"
    reader, writer = await asyncio.open_unix_connection(str(echo.socket))
    for at in range(0, len(head), 7):
        writer.write(head[at : at + 7])
        await writer.drain()
    writer.write(head + head)
    answers = b""
    while answers.count(b"HTTP/1.1 200 OK") < 3:
        answers += await asyncio.wait_for(reader.read(4096), 5)
    writer.close()
    await writer.wait_closed()

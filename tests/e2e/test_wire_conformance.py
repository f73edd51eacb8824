"""The official clients through every kind of provider: the same question gets the same answer in each format."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import played_server
from played_server import ARGUMENTS, PlayedServer
from providers.ollama_server import Answer, Model, OllamaServer
from server import Server
from tool_template import TOOL_TEMPLATE

pytestmark = [pytest.mark.model, pytest.mark.requirement("API-1", "API-3", "API-4")]
PROVIDERS = ("scripted", "openai", "command", "ollama", "llamacpp")
PLAYED = ("openai", "command")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Bern", "Basel"]}, "days": {"enum": [1, 2]}},
    "required": ["city", "days"],
}
CALLED = json.loads(ARGUMENTS)
IMAGE = "iVBORw0KGgo="


@dataclass
class Said:
    """An answer, whatever the format."""

    text: str
    stop: str
    calls: list[tuple[str, dict[str, Any]]]
    given: int | None
    written: int | None


class Rig:
    """A gateway with one version of every provider, and the clients."""

    def __init__(self, server: Server, ollama: OllamaServer) -> None:
        self.server = server
        self.ollama = ollama
        self.openai = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)

    def chat(self, model: str, prompt: str, limit: int, *, stream: bool, tools: bool = False, **more: Any) -> Said:
        asked: dict[str, Any] = {
            "model": model,
            "max_tokens": limit,
            "messages": [{"role": "user", "content": prompt}],
            **more,
        }
        if tools:
            asked["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
        if not stream:
            reply = self.openai.chat.completions.create(**asked)
            choice = reply.choices[0]
            calls = [(c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or ()]
            usage = reply.usage
            return Said(
                choice.message.content or "", choice.finish_reason, calls, usage.prompt_tokens, usage.completion_tokens
            )
        words, stop, usage = "", "", None
        found: dict[int, list[str]] = {}
        for chunk in self.openai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                words, stop = words + (choice.delta.content or ""), choice.finish_reason or stop
                for call in choice.delta.tool_calls or ():
                    parts = found.setdefault(call.index, ["", ""])
                    parts[0] += call.function.name or ""
                    parts[1] += call.function.arguments or ""
        calls = [(name, json.loads(given)) for name, given in found.values()]
        return Said(words, stop, calls, usage.prompt_tokens, usage.completion_tokens)

    def responses(self, model: str, prompt: str, limit: int, *, stream: bool, tools: bool = False, **more: Any) -> Said:
        asked: dict[str, Any] = {"model": model, "max_output_tokens": limit, "input": prompt, **more}
        if tools:
            asked["tools"] = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
        made = self.openai.responses.create(**asked, stream=stream)
        reply = list(made)[-1].response if stream else made
        calls = [(item.name, json.loads(item.arguments)) for item in reply.output if item.type == "function_call"]
        stop = "length" if reply.status == "incomplete" else "tool_calls" if calls else "stop"
        return Said(reply.output_text, stop, calls, reply.usage.input_tokens, reply.usage.output_tokens)

    def messages(self, model: str, prompt: str, limit: int, *, stream: bool, tools: bool = False, **more: Any) -> Said:
        asked: dict[str, Any] = {"model": model, "max_tokens": limit, "messages": [{"role": "user", "content": prompt}]}
        if tools:
            asked["tools"] = [{"name": "weather", "input_schema": SCHEMA}]
            if more.get("tool_choice") == "required":
                more["tool_choice"] = {"type": "any"}
        asked["extra_body"] = more
        if stream:
            with self.anthropic.messages.stream(**asked) as made:
                reply = made.get_final_message()
        else:
            reply = self.anthropic.messages.create(**asked)
        said = "".join(block.text for block in reply.content if block.type == "text")
        calls = [(block.name, block.input) for block in reply.content if block.type == "tool_use"]
        stop = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}[reply.stop_reason]
        given = reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0)
        return Said(said, stop, calls, given, reply.usage.output_tokens)

    def every(self, provider: str, prompt: str, limit: int = 40, **more: Any) -> list[Said]:
        """The answer in every format, whole and streamed."""
        ways = (self.chat, self.responses, self.messages)
        return [way(f"{provider}@1", prompt, limit, stream=stream, **more) for way in ways for stream in (False, True)]

    def busy(self, provider: str) -> int:
        rows = self.server.ok("GET", "/api/v1/instances")["instances"]
        return sum(row["active"] for row in rows if row["ref"] == f"{provider}@1")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, smollm_path: Path) -> Iterator[Rig]:
    command = shlex.join([sys.executable, played_server.__file__]) + " --port ${PORT}"
    abilities = ["chat", "tools", "json_schema", "logprobs"]
    with PlayedServer() as played, OllamaServer(Model("llama3.2:1b")) as ollama:
        server = Server(tmp_path_factory.mktemp("wire") / "home", env={"OLLAMA_HOST": ollama.url}).start()
        try:
            server.script("scripted@1", text="one two three four")
            server.add("openai@1", "openai", played.url, capabilities=abilities)
            server.add("command@1", "command", command, capabilities=abilities)
            server.add("ollama@1", "ollama", "llama3.2:1b")
            settings = {"slots": 2, "context": 1024, "threads": 1, "chat_template": TOOL_TEMPLATE}
            server.add("llamacpp@1", "llamacpp", str(smollm_path), **settings)
            made = Rig(server, ollama)
            yield made
            made.openai.close()
            made.anthropic.close()
        finally:
            server.stop()


@pytest.fixture(autouse=True)
def calm(rig: Rig) -> None:
    rig.ollama.answer = Answer()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_format_gives_the_same_words_and_usage_whole_and_streamed(rig: Rig, provider: str):
    said = rig.every(provider, "What is 2+2?", limit=12, temperature=0)
    assert len({one.text for one in said}) == 1, said
    assert said[0].text
    assert len({(one.given, one.written, one.stop) for one in said}) == 1, said
    assert min(one.given or 0 for one in said) > 0
    assert min(one.written or 0 for one in said) > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_that_hit_its_limit_says_so_in_every_format(rig: Rig, provider: str):
    text = "play:cut_by_length" if provider in PLAYED else "Count to one hundred, in words."
    rig.ollama.answer = Answer(done_reason="length")
    assert [one.stop for one in rig.every(provider, text, limit=3)] == ["length"] * 6


@pytest.mark.parametrize("provider", [*PLAYED, "ollama", "llamacpp"])
def test_tools_are_called_in_every_format(rig: Rig, provider: str):
    rig.ollama.answer = Answer(text="", tool_calls=[{"function": {"name": "weather", "arguments": CALLED}}])
    if (
        provider == "llamacpp"
    ):  # whether so small a model calls at all is its own affair; every format must show the same
        said = rig.every(provider, "Weather in Bern?", limit=12, tools=True, temperature=0)
        assert len({(one.text, str(one.calls), one.given) for one in said}) == 1, said
        assert said[0].given > rig.chat("llamacpp@1", "Weather in Bern?", 1, stream=False).given + 40
        return
    said = rig.every(provider, "play:tool" if provider in PLAYED else "Weather in Bern?", tools=True)
    assert [(one.calls, one.stop) for one in said] == [([("weather", CALLED)], "tool_calls")] * 6


@pytest.mark.parametrize("provider", ["llamacpp", *PLAYED])
def test_schemas_and_logprobs_reach_the_model(rig: Rig, provider: str):
    model, text = f"{provider}@1", "What is the weather in Bern?" if provider == "llamacpp" else "play:logprobs"
    named = {"name": "s", "schema": {**SCHEMA, "additionalProperties": False}}
    shaped = [
        rig.chat(
            model, text, 60, stream=True, temperature=0, response_format={"type": "json_schema", "json_schema": named}
        ),
        rig.responses(model, text, 60, stream=True, temperature=0, text={"format": {"type": "json_schema", **named}}),
        rig.messages(
            model,
            text,
            60,
            stream=True,
            temperature=0,
            output_config={"format": {"type": "json_schema", "schema": named["schema"]}},
        ),
    ]
    assert len({one.text for one in shaped}) == 1
    if provider == "llamacpp":
        assert set(json.loads(shaped[0].text)) == {"city", "days"}
    reply = rig.openai.chat.completions.create(
        model=model, max_tokens=2, logprobs=True, top_logprobs=1, messages=[{"role": "user", "content": text}]
    )
    assert reply.choices[0].logprobs.content[0].logprob <= 0
    events = list(
        rig.openai.responses.create(
            model=model, max_output_tokens=2, input=text, include=["message.output_text.logprobs"], stream=True
        )
    )
    assert any(event.logprobs for event in events if event.type == "response.output_text.delta")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_images_are_refused_with_the_reason_in_every_format(rig: Rig, provider: str):
    url, model = f"data:image/png;base64,{IMAGE}", f"{provider}@1"
    content: list[Any] = [{"type": "image_url", "image_url": {"url": url}}]
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
    with pytest.raises(openai.UnprocessableEntityError, match="vision"):
        rig.openai.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    with pytest.raises(openai.UnprocessableEntityError, match="vision"):
        rig.openai.responses.create(
            model=model,
            input=[{"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": "auto"}]}],
        )
    with pytest.raises(anthropic.UnprocessableEntityError, match="vision"):
        rig.anthropic.messages.create(
            model=model, max_tokens=5, messages=[{"role": "user", "content": [{"type": "image", "source": source}]}]
        )


@pytest.mark.parametrize("provider", ["scripted", "openai", "command", "llamacpp"])
def test_a_client_that_leaves_frees_the_place_in_every_format(rig: Rig, provider: str):
    text = "play:endless" if provider in PLAYED else "Count to one thousand, in words."
    model = f"{provider}@1"
    if provider == "scripted":
        model = "patient@1"
        rig.server.script(model, text="word " * 2000, chunk_gap_ms=5)
    common: dict[str, Any] = {"model": model, "stream": True}
    streams = (
        lambda: rig.openai.chat.completions.create(
            **common, messages=[{"role": "user", "content": text}], extra_body={"ignore_eos": True}
        ),
        lambda: rig.openai.responses.create(**common, input=text, extra_body={"ignore_eos": True}),
        lambda: rig.anthropic.messages.create(**common, max_tokens=900, messages=[{"role": "user", "content": text}]),
    )
    for begin in streams:
        stream = begin()
        for _ in range(5):
            next(iter(stream))
        stream.close()
        deadline = time.monotonic() + 10
        while rig.busy(model.partition("@")[0]) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not rig.busy(model.partition("@")[0])

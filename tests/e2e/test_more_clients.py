"""Clients that are too heavy for every run: LangChain's ChatOpenAI, ``llm``, and OpenAI's client for Node.

They live in an environment of their own (`make conformance`), so each test runs a small program there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from played_server import ARGUMENTS, PlayedServer
from server import Server

pytestmark = [pytest.mark.slow, pytest.mark.requirement("API-1", "API-3", "API-4")]
ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".conformance"
CALLED = json.loads(ARGUMENTS)

LANGCHAIN = """
import json, os
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

class Weather(BaseModel):
    "Tells the weather"
    city: str
    days: int

def made(name, **more):
    return ChatOpenAI(model="played@1", base_url=os.environ["BASE"], api_key="none", max_retries=0, **more)

said = {}
for responses in (False, True):
    kind = "responses" if responses else "chat"
    plain = made("x", use_responses_api=responses)
    whole = plain.invoke("play:words")
    pieces = list(plain.stream("play:words"))
    total = pieces[0]
    for piece in pieces[1:]:
        total += piece
    tools = plain.bind_tools([Weather])
    called = tools.invoke("play:tool")
    streamed = None
    for piece in tools.stream("play:tool"):
        streamed = piece if streamed is None else streamed + piece
    after = tools.invoke([HumanMessage("play:tool"), called, ToolMessage("rain", tool_call_id="call_a")])
    said[kind] = {
        "whole": whole.text, "streamed": total.text, "usage": whole.usage_metadata["total_tokens"],
        "called": [(c["name"], c["args"]) for c in called.tool_calls],
        "streamed_call": [(c["name"], c["args"]) for c in streamed.tool_calls],
        "after": bool(after.tool_calls or after.text),
    }
probs = made("x").bind(logprobs=True, top_logprobs=1).invoke("play:logprobs")
said["logprobs"] = probs.response_metadata["logprobs"]["content"][0]["token"]
try:
    made("x").invoke([HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])])
except Exception as error:
    said["image"] = [type(error).__name__, str(error)]
print(json.dumps(said))
"""

NODE = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.env.BASE, apiKey: "none", maxRetries: 0 });
const said = {};
const ask = (text, more = {}) => ({ model: "played@1", messages: [{ role: "user", content: text }], ...more });
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
said.whole = (await client.chat.completions.create(ask("play:words"))).choices[0].message.content;
said.streamed = "";
for await (const chunk of await client.chat.completions.create(ask("play:words", { stream: true, stream_options: { include_usage: true } }))) {
  said.streamed += chunk.choices[0]?.delta?.content ?? "";
  if (chunk.usage) said.usage = chunk.usage.total_tokens;
}
const final = await client.chat.completions.stream(ask("play:tool", { tools })).finalChatCompletion();
said.call = final.choices[0].message.tool_calls[0].function;
said.stop = final.choices[0].finish_reason;
const response = await client.responses.create({ model: "played@1", input: "play:words" });
said.response = response.output_text;
said.kept = (await client.responses.retrieve(response.id)).id === response.id;
const events = [];
for await (const event of await client.responses.create({ model: "played@1", input: "play:tool", stream: true })) events.push(event.type);
said.last = events.at(-1);
said.probs = (await client.chat.completions.create(ask("play:logprobs", { logprobs: true, top_logprobs: 1 }))).choices[0].logprobs.content[0].token;
try { await client.chat.completions.create(ask("hi", { model: "nope" })); } catch (error) { said.error = [error.constructor.name, error.status, error.code]; }
try {
  for await (const chunk of await client.chat.completions.create(ask("play:ends_early", { stream: true }))) void chunk;
} catch (error) { said.broken = error.constructor.name; }
const stream = await client.chat.completions.create(ask("play:endless", { stream: true }));
let count = 0;
for await (const chunk of stream) { void chunk; if (++count === 5) break; }
console.log(JSON.stringify(said));
"""


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedServer]:
    with PlayedServer() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, played: PlayedServer) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("clients") / "home").start()
    started.add("played@1", "openai", played.url, capabilities=["chat", "tools", "json_schema", "logprobs"])
    yield started
    started.stop()


def run(arguments: list[str], server: Server, **more: str) -> str:
    environment = {
        **os.environ,
        "BASE": server.url + "/v1",
        "NO_PROXY": "127.0.0.1",
        "LANGSMITH_TRACING": "false",
        **more,
    }
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def python() -> str:
    found = PLACE / "bin" / "python"
    assert found.exists(), "run `make conformance` first"
    return str(found)


def test_langchains_chat_model_works_by_chat_and_by_responses(gateway: Server):
    said = json.loads(run([python(), "-c", LANGCHAIN], gateway))
    for kind in ("chat", "responses"):
        assert said[kind] == {
            "whole": "one two three four",
            "streamed": "one two three four",
            "usage": 18,
            "called": [["weather", CALLED]],
            "streamed_call": [["weather", CALLED]],
            "after": True,
        }
    assert said["logprobs"] == "yes"
    assert said["image"][0] == "UnprocessableEntityError"
    assert "vision" in said["image"][1]


def test_llm_answers_at_the_command_line(gateway: Server, tmp_path: Path):
    text = f"- model_id: played\n  model_name: played@1\n  api_base: {gateway.url}/v1\n  can_stream: true\n  supports_schema: true\n"
    (tmp_path / "extra-openai-models.yaml").write_text(text)
    for way in ([], ["--no-stream"]):
        out = run(
            [python(), "-m", "llm", "-m", "played", "play:words", *way],
            gateway,
            LLM_USER_PATH=str(tmp_path),
            OPENAI_API_KEY="none",
        )
        assert out.strip() == "one two three four"
    asked = [python(), "-m", "llm", "-m", "played", "play:words", "--schema", "city, days int", "--no-stream"]
    assert run(asked, gateway, LLM_USER_PATH=str(tmp_path), OPENAI_API_KEY="none").strip() == "one two three four"


def test_openais_client_for_node_works(gateway: Server, played: PlayedServer):
    node = shutil.which("node")
    assert node is not None, "node is needed for this test (Debian: apt install nodejs npm)"
    module = PLACE / "node" / "conformance.mjs"
    module.parent.mkdir(exist_ok=True)
    module.write_text(NODE)
    said = json.loads(run([node, str(module)], gateway))
    assert json.loads(said.pop("call")["arguments"]) == CALLED
    assert said == {
        "whole": "one two three four",
        "streamed": "one two three four",
        "usage": 18,
        "stop": "tool_calls",
        "response": "one two three four",
        "kept": True,
        "last": "response.completed",
        "probs": "yes",
        "error": ["NotFoundError", 404, "model_not_found"],
        "broken": "APIError",
    }

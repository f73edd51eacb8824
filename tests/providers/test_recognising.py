"""A running server is told by its answers, and what it says of its models is read where that server tells it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from server_answers import ANSWERS, MODEL, Fake

from podium.errors import InvalidRequest
from podium.importing.litellm import HOSTED
from podium.price_list import price_list
from podium.providers.recognising import recognise
from podium.providers.servers import hosted_at, kinds

pytestmark = pytest.mark.requirement("PRV-4", "REG-7")
CASES = {
    "lm-studio": {"version": None, "context_length": 4096, "quantization": "4bit", "architecture": "qwen2_vl",
                  "loaded": True, "told": {"tools", "vision"}},
    "lm-studio newer": {"context_length": 8192, "quantization": "Q4_K_M", "size_bytes": 6_548_927_017,
                        "told": {"tools", "vision"}},
    "vllm": {"version": "0.11.2", "context_length": 32768},
    "sglang": {"version": "0.5.4", "context_length": 16384, "concurrency": 48},
    "tgi": {"version": "3.3.4", "context_length": 2048, "concurrency": 128},
    "llama-server": {"version": "b8681-Debian", "context_length": 2048, "concurrency": 4, "parameters": 135_000_000},
    "koboldcpp": {"version": "1.122.1", "context_length": 6144, "told": {"vision"}},
    "localai": {"version": "2.26.0 (a1b2c3d4)", "loaded": True, "context_length": None},
    "mlx-lm": {"version": None, "context_length": None},
    "jan": {"context_length": 4096},
    "ollama": {"version": "0.12.11", "quantization": "Q4_K_M", "size_bytes": 815_319_791},
    "podium": {},
    "openai-compatible": {"context_length": None, "told": set()},
}  # fmt: skip


@pytest.fixture
def fake():
    made = []

    def start(name, **chat):
        made.append(Fake(name, **chat))
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.mark.parametrize("name", CASES)
async def test_every_server_of_the_catalogue_is_recognised_by_its_answers_alone(fake, name):
    server = fake(name)
    found = await recognise(f"http://127.0.0.1:{server.port}")
    assert found.kind == name.removesuffix(" newer")
    assert found.provider == ("ollama" if name == "ollama" else "openai")
    assert found.url == (server.url.removesuffix("/v1") if name == "ollama" else server.url)
    (model,) = found.models
    assert model.id == MODEL
    for what, value in CASES[name].items():
        assert getattr(found if what == "version" else model, what) == value, what
    assert server.paths("POST") == []  # nothing was generated to find out
    assert len(server.asked) == len(set(server.paths("GET")))  # and nothing asked twice


def test_every_local_server_of_the_catalogue_has_recorded_answers_and_a_port():
    local = {each.kind for each in kinds() if not each.hosted}
    assert local == {name.removesuffix(" newer") for name in ANSWERS} - {"openai-compatible"}
    for each in kinds():
        assert each.hosted or (each.ports and each.signs)


async def test_what_told_a_fact_is_said(fake):
    found = await recognise(fake("lm-studio").url)
    evidence = dict(found.models[0].evidence)
    assert evidence["context_length"] == "GET /api/v0/models: data.@.loaded_context_length"
    assert evidence["vision"] == "GET /api/v0/models: data.@.type"


async def test_a_server_that_wants_a_key_is_seen_and_its_models_are_not(fake):
    server = fake("vllm", key="k")
    found = await recognise(server.url)
    assert (found.locked, found.models, found.kind) == (True, (), "openai-compatible")
    found = await recognise(server.url, ((b"authorization", b"Bearer k"),))
    assert (found.locked, found.kind) == (False, "vllm")


async def test_hosted_services_are_told_by_their_host_and_not_asked(monkeypatch):
    monkeypatch.setattr("podium.providers.recognising.HttpClient", None)
    found = await recognise("https://api.openai.com/v1")
    assert (found.kind, found.provider, found.models) == ("openai", "openai", ())
    assert (await recognise("https://API.anthropic.com")).provider == "anthropic"
    assert hosted_at("api.openai.com.example.org") is None


def test_every_service_with_listed_prices_or_that_another_tool_names_is_known_to_be_paid():
    hosts = {*price_list().hosts, *(urlsplit(address).hostname for address, _ in HOSTED.values())}
    assert {host for host in hosts if (kind := hosted_at(host)) is None or not kind.hosted} == set()


async def test_nothing_is_recognised_where_nothing_serves_models(fake):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert await recognise(f"http://127.0.0.1:{port}") is None
    other = fake("openai-compatible")
    other.answers = {"/v1/models": {"data": "no list"}, "/health": {"status": "ok"}}
    assert await recognise(other.url) is None
    other.answers = {}
    assert await recognise(other.url) is None
    with pytest.raises(InvalidRequest):
        await recognise("file:///etc/passwd")


@pytest.mark.parametrize("value", [None, [], {}, 7, "x", {"data": [1, None, {"id": 3}]}, {"data": {"id": "m"}}])
async def test_nonsense_on_every_path_is_no_server(fake, value):
    server = fake("openai-compatible")
    server.answers = {path: value for answers in ANSWERS.values() for path in answers}
    found = await recognise(server.url)
    assert found is None or found.models == ()

"""An endpoint somebody else runs: asked what it serves, told apart when it fails, left alone otherwise."""

from __future__ import annotations

import asyncio
import socket

import pytest
from provider_calls import chat, said, version_of
from waiting import until_async

from podium.domain.model import Capability, Source
from podium.errors import InvalidRequest, ProviderError, ProviderTimeout, ProviderUnreachable
from podium.providers.catalogue import ProviderContext
from podium.providers.openai_compatible import OpenAICompatibleProvider, facts_of, parse_url

pytestmark = pytest.mark.requirement("PRV-4")


@pytest.fixture
def provider(context):
    return OpenAICompatibleProvider(context)


@pytest.fixture
async def connect(provider):
    made = []

    async def load(url, **settings):
        source = Source(provider="openai", location=url, settings=settings)
        instance = await provider.load(version_of(source, await provider.inspect(source)), "one")
        made.append(instance)
        return instance

    yield load
    for each in made:
        await each.unload()


def at(url, **settings):
    return Source(provider="openai", location=url, settings=settings)


async def test_the_only_model_of_a_server_is_taken_and_its_facts_are_what_it_says(provider, running):
    server = running(context_length=4321)
    facts = await provider.inspect(at(server.url))
    assert facts.context_length == 4321
    assert facts.size_bytes == len(b'{"context_length": 4321}')
    assert facts.capabilities >= {Capability.CHAT, Capability.COMPLETION}
    assert Capability.EMBEDDING not in facts.capabilities
    version = version_of(at(server.url), facts)
    assert provider.footprint(version) == 0
    assert provider.context_length(version) == 4321
    assert provider.context_length(version_of(at(server.url, context=99), facts)) == 99
    assert server.stats()["requests"] == 0  # nothing was generated to find out


async def test_it_answers_and_streams_and_leaves_the_server_running(connect, running):
    server = running(text="one two three")
    instance = await connect(server.url)
    assert instance.model == "served"
    assert instance.pid is None
    assert instance.usage() is None
    await instance.health()
    assert said(await (await instance.send(chat(instance.model))).read()) == "one two three"
    parts = []
    await (await instance.send(chat(instance.model, stream=True))).relay(parts.append)
    assert said(b"".join(parts)) == "one two three"
    await instance.unload()
    assert not instance.alive()
    assert server.stats()["requests"] == 2


async def test_one_of_several_models_is_asked_by_its_name(connect, running, script):
    server = running(script("small", text="I am small"), script("large", text="I am large"))
    for name in ("large", "small"):
        instance = await connect(server.url, remote=name)
        assert said(await (await instance.send(chat(instance.model))).read()) == f"I am {name}"


async def test_without_a_name_the_models_of_a_server_are_listed(provider, running, script):
    server = running(script("small"), script("large"))
    with pytest.raises(InvalidRequest, match="small, large") as caught:
        await provider.inspect(at(server.url))
    assert caught.value.param == "source.settings.remote"


async def test_a_name_the_server_does_not_list_is_believed_until_it_generates(connect, running, script):
    server = running(script("small"), script("large"))
    instance = await connect(server.url, remote="adapter")
    with pytest.raises(ProviderError, match="adapter cannot generate: HTTP 404"):
        await instance.warm_up()


async def test_the_digest_follows_the_model_that_is_served(provider, running):
    server = running(text="one")
    before = (await provider.inspect(at(server.url))).digest
    assert (await provider.inspect(at(server.url))).digest == before
    server.kill()
    changed = running("--port", server.port, text="one", context_length=99)
    assert changed.url == server.url
    assert (await provider.inspect(at(server.url))).digest != before


async def test_a_key_is_read_from_the_environment_and_never_stored(home, running):
    server = running("--key", "s3cret", text="with key")
    for environ, why in (({}, "not set"), ({"KEY": ""}, "not set")):
        provider = OpenAICompatibleProvider(ProviderContext(home=home, environ=environ))
        with pytest.raises(InvalidRequest, match=why) as caught:
            await provider.inspect(at(server.url, api_key_env="KEY"))
        assert "KEY" in caught.value.message
    for source, key in ((at(server.url), "s3cret"), (at(server.url, api_key_env="KEY"), "wrong")):
        provider = OpenAICompatibleProvider(ProviderContext(home=home, environ={"KEY": key}))
        with pytest.raises(ProviderError, match="refuses our key"):
            await provider.inspect(source)
    provider = OpenAICompatibleProvider(ProviderContext(home=home, environ={"KEY": "s3cret"}))
    source = at(server.url, api_key_env="KEY")
    version = version_of(source, await provider.inspect(source))
    assert "s3cret" not in repr(version)
    instance = await provider.load(version, "one")
    try:
        await instance.health()
        assert said(await (await instance.send(chat(instance.model))).read()) == "with key"
    finally:
        await instance.unload()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:8000", "is no URL"),
        ("ftp://host/v1", "is no URL"),
        ("http://", "is no URL"),
        ("http://host:99999/v1", "is no URL"),
        ("http://user:pass@host/v1", "no key into a URL"),
        ("", "is no URL"),
    ],
)
async def test_what_is_no_url_is_refused(provider, url, why):
    with pytest.raises(InvalidRequest, match=why):
        await provider.inspect(at(url))


def test_a_url_without_a_path_means_v1_and_ports_follow_the_scheme():
    origin, base = parse_url("http://host")
    assert (origin.port, origin.tls, base) == (80, None, "/v1")
    origin, base = parse_url("https://[::1]/api/openai/")
    assert (origin.host, origin.port, base) == ("::1", 443, "/api/openai")
    assert origin.tls is not None


async def test_a_wrong_path_and_a_dead_port_say_what_to_check(provider, running):
    server = running()
    with pytest.raises(ProviderError, match=r"/wrong/models answers HTTP 404; is this an OpenAI-compatible URL"):
        await provider.inspect(at(server.url.replace("/v1", "/wrong")))
    server.kill()
    with pytest.raises(ProviderUnreachable, match=f"127.0.0.1:{server.port}"):
        await provider.inspect(at(server.url))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\xff\xfe\xfd\xfc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"data":null}',
        b'HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{"data":[{"a":1}',
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
)
async def test_what_does_not_answer_like_such_a_server_is_a_provider_error_that_names_it(provider, answer):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ProviderError, match=str(port)):
            await provider.inspect(at(f"http://127.0.0.1:{port}/v1"))


async def test_a_server_that_accepts_and_says_nothing_is_given_up(provider, monkeypatch):
    monkeypatch.setattr("podium.providers.openai_compatible._LIMIT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ProviderTimeout, match="in time"):
        await provider.inspect(at(f"http://127.0.0.1:{silent.getsockname()[1]}/v1"))


async def test_a_server_that_dies_between_two_requests_is_unreachable_and_found_again(connect, running):
    server = running(text="first")
    instance = await connect(server.url)
    assert said(await (await instance.send(chat(instance.model))).read()) == "first"
    server.kill()
    with pytest.raises(ProviderUnreachable):
        await instance.send(chat(instance.model))
    with pytest.raises(ProviderUnreachable):
        await instance.health()
    running("--port", server.port, text="again")
    await instance.health()
    assert said(await (await instance.send(chat(instance.model))).read()) == "again"


async def test_failures_in_the_middle_of_an_answer_are_told_apart(connect, running):
    kinds = [{"kind": kind, "match": kind} for kind in ("cut", "hang")]
    server = running(text="a b c d", faults=kinds)
    instance = await connect(server.url)
    heard = []
    with pytest.raises(ProviderUnreachable, match="in the middle"):
        await (await instance.send(chat(instance.model, "cut", stream=True))).relay(heard.append)
    with pytest.raises(ProviderTimeout, match="sent nothing"):
        await instance.send(chat(instance.model, "hang", first_token_s=0.2))
    await until_async(lambda: server.stats()["active"] == 0)


def test_facts_are_read_from_every_dialect():
    llama = {"id": "m", "meta": {"n_params": 135, "n_ctx": 512, "size": 99, "ftype": "Q4_1", "size_loaded": 5}}
    facts = facts_of(llama, None, "x")
    assert (facts.parameters, facts.context_length, facts.size_bytes, facts.quantization) == (135, 512, 99, "Q4_1")
    again = {**llama, "created": 7, "meta": {**llama["meta"], "size_loaded": 6}}
    assert facts_of(again, None, "x").digest == facts.digest  # what changes with every start is not identity
    assert facts_of(llama, None, "y").digest != facts.digest
    studio = {"id": "e", "type": "embeddings", "arch": "bert", "quantization": "F16", "max_context_length": 256}
    facts = facts_of(studio, None, "x")
    assert facts.capabilities == {Capability.EMBEDDING}
    assert (facts.architecture, facts.quantization, facts.context_length) == ("bert", "F16", 256)
    odd = {"id": "o", "meta": [1], "max_model_len": "many", "quantization": 4, "context_length": True}
    facts = facts_of(odd, ("chat",), "x")
    assert (facts.context_length, facts.quantization, facts.capabilities) == (None, None, {"chat"})

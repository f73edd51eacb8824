"""What Podium relies on in Ollama's API, on the scripted server and on a real one where ``OLLAMA_HOST`` answers.

The real one needs a model that generates; ``PODIUM_OLLAMA_MODEL`` names it, else the smallest is taken. Nothing is pulled
or deleted there.
"""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from provider_calls import chat, said, version_of

from podium.domain.model import Source
from podium.errors import InvalidRequest, PodiumError
from podium.providers.catalogue import ProviderContext
from podium.providers.ollama import OllamaProvider
from podium.providers.ollama_api import OllamaServer as Client
from podium.providers.ollama_api import host_url
from providers.ollama_server import Model, OllamaServer

pytestmark = pytest.mark.requirement("PRV-5")


async def _smallest(url: str) -> str:
    client = Client(url)
    try:
        async with asyncio.timeout(5):
            rows = [
                row for row in await client.tags() if "completion" in ((await client.show(row.name)).capabilities or ())
            ]
    finally:
        await client.aclose()
    return min(rows, key=lambda row: row.size).name if rows else ""


@pytest.fixture(params=["scripted", "real"])
async def place(request):
    """(address of a server, a model there that generates)."""
    if request.param == "scripted":
        with OllamaServer(Model("llama3.2:1b")) as server:
            yield server.url, "llama3.2:1b"
        return
    if not os.environ.get("OLLAMA_HOST"):
        pytest.skip("OLLAMA_HOST is not set")
    url = host_url(None, os.environ)
    try:
        tag = os.environ.get("PODIUM_OLLAMA_MODEL") or await _smallest(url)
    except (PodiumError, TimeoutError) as error:
        pytest.skip(f"no Ollama answers at {url}: {error}")
    if not tag:
        pytest.skip(f"Ollama at {url} has no model that generates")
    yield url, tag


@pytest.fixture
async def loaded(place, home):
    url, tag = place
    provider = OllamaProvider(ProviderContext(home=home, environ={"OLLAMA_HOST": url}))
    source = Source(provider="ollama", location=tag, settings={"num_ctx": 1024})
    version = version_of(source, await provider.inspect(source))
    instance = await provider.load(version, "one")
    yield provider, instance, version
    await instance.unload()
    await provider.close()


async def test_facts_memory_and_health_of_a_loaded_model(loaded):
    provider, instance, version = loaded
    facts = version.facts
    assert facts.digest.startswith("sha256:")
    assert facts.capabilities >= {"chat", "completion"}
    assert facts.parameters
    assert facts.context_length
    assert facts.quantization
    await instance.health()
    held = [row for row in await provider.running() if row.digest in facts.digest]
    assert [row.context_length for row in held] == [1024]
    assert provider.footprint(version) > 0


async def test_it_answers_streams_and_counts(loaded):
    _, instance, _ = loaded
    body = json.loads(await (await instance.send(chat(instance.model, "Say hi.", max_tokens=8, temperature=0))).read())
    assert body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] in ("stop", "length")
    assert 0 < body["usage"]["completion_tokens"] <= 8
    assert body["usage"]["prompt_tokens"] > 0
    assert body["timings"]["predicted_ms"] > 0
    parts = []
    reply = await instance.send(chat(instance.model, "Say hi.", stream=True, max_tokens=8, temperature=0))
    await reply.relay(parts.append)
    assert said(b"".join(parts))


async def test_a_stream_that_nobody_wants_ends_and_the_next_request_is_answered(loaded):
    _, instance, _ = loaded
    reply = await instance.send(chat(instance.model, "Count to a thousand.", stream=True))
    reply.close()
    assert said(await (await instance.send(chat(instance.model, "hi", max_tokens=4))).read()) is not None


async def test_an_unload_is_over_when_ps_no_longer_lists_it(loaded):
    provider, instance, version = loaded
    await instance.unload()
    assert [row for row in await provider.running() if row.digest in version.facts.digest] == []


async def test_a_model_that_is_not_there_is_named_with_how_to_get_it(place, home):
    url, _ = place
    provider = OllamaProvider(ProviderContext(home=home, environ={"OLLAMA_HOST": url}))
    with pytest.raises(InvalidRequest, match="podium models pull no-such-model:1b"):
        await provider.inspect(Source(provider="ollama", location="no-such-model:1b"))
    await provider.close()

"""One place in memory per file of weights: one ``num_ctx`` per version, shared or used in turns."""

from __future__ import annotations

import asyncio
import threading

import pytest
from provider_calls import chat, said
from waiting import until_async

from podium.domain.model import ModelVersion, Source
from podium.domain.request import Endpoint
from podium.errors import LoadFailed, ProviderTimeout, ProviderUnreachable
from podium.ports import Call
from podium.providers.catalogue import ProviderContext
from podium.providers.ollama import OllamaProvider
from providers.ollama_server import Answer, Model, OllamaServer

pytestmark = pytest.mark.requirement("PRV-5")
TAG = "llama3.2:1b"


@pytest.fixture
def server():
    with OllamaServer(Model(TAG), Model("nomic-embed-text:latest", capabilities=["embedding"], trained=2048)) as made:
        yield made


@pytest.fixture
async def provider(context, server):
    made = OllamaProvider(ProviderContext(home=context.home, environ={"OLLAMA_HOST": server.url}))
    yield made
    await made.close()


def source(location=TAG, **settings):
    return Source(provider="ollama", location=location, settings=settings)


async def version(provider, ref="m@1", location=TAG, **settings):
    name, _, number = ref.partition("@")
    where = source(location, **settings)
    return ModelVersion(name=name, version=number, source=where, facts=await provider.inspect(where))


async def load(provider, *arguments, **settings):
    return await provider.load(await version(provider, *arguments, **settings), "one")


async def read(instance, text="hi", **more):
    return said(await (await instance.send(chat(instance.model, text, **more))).read())


async def test_every_request_carries_the_same_num_ctx_so_that_nothing_is_loaded_again(provider, server):
    options = {"num_thread": 3, "temperature": 0.25, "top_k": 7}
    instance = await load(provider, num_ctx=1024, options=options)
    await instance.warm_up()
    await read(instance, temperature=1.5, max_tokens=9, stop="x", seed=4)
    for endpoint, body in ((Endpoint.COMPLETION, b'{"prompt":"a"}'), (Endpoint.EMBEDDING, b'{"input":"a"}')):
        reply = await instance.send(Call(endpoint=endpoint, body=body, stream=False, request_id="r"))
        assert reply.status == 200
        await reply.read()
    assert server.loads == [(TAG, 1024)]
    sent = server.last("/api/chat")["options"]
    assert sent == {
        "num_ctx": 1024, "num_thread": 3, "temperature": 1.5, "top_k": 7, "num_predict": 9, "stop": ["x"], "seed": 4,
    }  # fmt: skip
    assert server.last("/api/generate")["options"]["temperature"] == 0.25
    assert server.last("/api/embed")["options"] == {"num_ctx": 1024, "num_thread": 3}
    assert all(body["keep_alive"] == -1 for path, body in server.asked if path in ("/api/chat", "/api/embed"))
    await instance.unload()


async def test_without_a_setting_num_ctx_is_fixed_too(provider, server):
    server.models[TAG].trained = 1536
    instance = await load(provider)
    assert server.loads == [(TAG, 1536)]
    await instance.unload()
    server.models[TAG].trained = 131_072
    instance = await load(provider)
    assert server.loads[-1] == (TAG, 4096)
    await instance.unload()


async def test_versions_with_the_same_options_share_the_place_and_the_last_one_unloads(provider, server):
    one = await load(provider, "m@1", num_ctx=1024, options={"temperature": 0})
    two = await load(provider, "m@2", num_ctx=1024, options={"temperature": 1})
    await one.unload()
    assert server.unloads == []
    assert await read(two) == "Hello there, friend."
    assert server.last("/api/chat")["options"]["temperature"] == 1
    await two.unload()
    assert server.unloads == [TAG]
    assert server.loads == [(TAG, 1024)]


async def test_versions_with_another_num_ctx_take_turns_in_the_one_place(provider, server):
    one = await load(provider, "m@1", num_ctx=1024)
    two = await load(provider, "m@2", num_ctx=2048)
    assert server.loads == [(TAG, 1024), (TAG, 2048)]
    for instance in (two, two, one, one, two):
        assert await read(instance) == "Hello there, friend."
        await one.health()
        await two.health()
        assert (one.alive(), two.alive()) == (True, True)
    assert [number for _, number in server.loads] == [1024, 2048, 1024, 2048]
    await one.unload()  # it is not its turn, so it takes nothing away
    assert [runner.options["num_ctx"] for runner in server.running.values()] == [2048]
    with pytest.raises(ProviderUnreachable, match="was unloaded"):
        await one.send(chat(one.model))
    await two.unload()
    assert server.running == {}


async def test_many_callers_of_two_such_versions_are_all_answered_and_nobody_starves(provider, server):
    settings = {"parallel": 4}
    one = await load(provider, "m@1", num_ctx=1024, **settings)
    two = await load(provider, "m@2", num_ctx=2048, **settings)
    answers = await asyncio.gather(*(read(one if number % 3 else two, stream=bool(number % 2)) for number in range(60)))
    assert answers == ["Hello there, friend."] * 60
    sent = [body["options"]["num_ctx"] for path, body in server.asked if path == "/api/chat"]
    assert sent.count(1024) == 40
    assert len(server.loads) <= 2 + 60  # never more than one load for a request
    for instance in (one, two):
        await instance.unload()
    assert server.running == {}


async def test_a_load_with_another_num_ctx_waits_for_answers_under_way_and_cuts_none(provider, server):
    gate = threading.Event()
    server.answer = Answer(gate=gate)
    one = await load(provider, "m@1", num_ctx=1024)
    parts = []
    reply = await one.send(chat(one.model, stream=True))
    relaying = asyncio.create_task(reply.relay(parts.append))
    await until_async(lambda: parts)
    loading = asyncio.create_task(load(provider, "m@2", num_ctx=2048))
    late = asyncio.create_task(read(one))
    await until_async(lambda: server.paths().count("/api/show") == 4)
    assert server.loads == [(TAG, 1024)]
    gate.set()
    await relaying
    two = await loading
    assert said(b"".join(parts)) == "Hello there, friend."
    assert await late == "Hello there, friend."
    assert server.loads[:2] == [(TAG, 1024), (TAG, 2048)]
    for instance in (one, two):
        await instance.unload()
    assert server.running == {}


async def test_whoever_does_not_get_its_turn_in_time_is_told_what_to_do(provider, server):
    gate = threading.Event()
    server.answer = Answer(gate=gate)
    one = await load(provider, "m@1", num_ctx=1024)
    two = await load(provider, "m@2", num_ctx=2048)
    parts = []
    reply = await two.send(chat(two.model, stream=True))
    relaying = asyncio.create_task(reply.relay(parts.append))
    await until_async(lambda: parts)
    with pytest.raises(ProviderTimeout, match=r"did not get its turn .* same num_ctx"):
        await one.send(chat(one.model, first_token_s=0.05))
    gate.set()
    await relaying
    assert await read(one) == "Hello there, friend."
    for instance in (one, two):
        await instance.unload()


async def test_a_turn_that_cannot_be_loaded_is_an_error_and_the_next_one_can(provider, server):
    one = await load(provider, "m@1", num_ctx=1024)
    two = await load(provider, "m@2", num_ctx=2048)
    server.load_error = (500, "model requires more system memory")
    with pytest.raises(LoadFailed, match="more system memory"):
        await one.send(chat(one.model))
    server.load_error = None
    assert await read(two) == "Hello there, friend."
    assert await read(one) == "Hello there, friend."
    for instance in (one, two):
        await instance.unload()
    assert server.running == {}


async def test_tags_with_the_same_weights_share_one_place_under_one_name(provider, server):
    server.models["pirate:latest"] = Model("pirate:latest", weights=TAG)
    one = await load(provider, "m@1", num_ctx=1024)
    two = await load(provider, "p@1", "pirate", num_ctx=1024)
    assert len(server.running) == 1
    await two.health()
    await one.unload()
    await two.health()
    await two.unload()
    assert server.running == {}


async def test_an_adapter_on_the_same_weights_takes_turns_with_the_model_without_it(provider, server):
    server.models["tuned:latest"] = Model("tuned:latest", weights=TAG, adapter="/models/blobs/sha256-ada")
    one = await load(provider, "m@1", num_ctx=1024)
    two = await load(provider, "t@1", "tuned", num_ctx=1024)
    for instance in (one, two):
        assert await read(instance) == "Hello there, friend."
        await instance.health()
    assert [tag for tag, _ in server.loads] == [TAG, "tuned:latest", TAG, "tuned:latest"]
    for instance in (one, two):
        await instance.unload()
    assert server.running == {}

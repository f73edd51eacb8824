"""Ollama by its own API, on a scripted server with a real socket: facts, memory, loading, unloading, pulling."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading

import pytest
from provider_calls import chat, said
from waiting import until_async

from podium.domain.model import Capability, Facts, ModelVersion, Source
from podium.errors import InvalidRequest, LoadFailed, ProviderError, ProviderTimeout, ProviderUnreachable
from podium.ports import AtEndpoint, Provider
from podium.providers import ollama_residence
from podium.providers.catalogue import Catalogue, ProviderContext
from podium.providers.ollama import OVERHEAD_BYTES, OllamaProvider
from podium.providers.ollama_api import Listed, Progress, Shown, host_url, is_local, same
from podium.providers.ollama_facts import facts_of
from providers.ollama_server import Answer, Model, OllamaServer, Runner

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


# ------------------------------------------------------------ facts


async def test_facts_are_what_ollama_says_of_the_model_and_nothing_is_generated_to_find_out(provider, server):
    facts = await provider.inspect(source())
    model = server.models[TAG]
    assert facts.digest == f"sha256:{model.digest}"
    assert (facts.architecture, facts.parameters, facts.quantization) == ("llama", 1_235_814_432, "Q4_K_M")
    assert (facts.context_length, facts.size_bytes, facts.licence) == (8192, 500_000_000, "Apache License")
    assert facts.kv_bytes_per_token == 16 * 8 * (64 + 64) * 2
    assert facts.capabilities == {"chat", "completion", "tools", "json_schema", "logprobs"}
    assert server.loads == []
    assert not {"/api/chat", "/api/generate", "/api/embed"} & set(server.paths())


async def test_an_embedding_model_embeds_and_nothing_else(provider):
    facts = await provider.inspect(source("nomic-embed-text"))
    assert facts.capabilities == {Capability.EMBEDDING}
    assert (facts.architecture, facts.context_length) == ("bert", 2048)


async def test_what_an_old_server_cannot_do_is_not_promised(provider, server):
    server.version = "0.4.7"
    server.models[TAG].capabilities = None
    assert (await provider.inspect(source())).capabilities == {"chat", "completion", "tools"}
    server.version = "0.0.0"  # built from source
    assert "logprobs" in (await provider.inspect(source())).capabilities


def test_metadata_that_ollama_leaves_out_is_unknown_and_not_none():
    info = {"general.architecture": "llama", "llama.block_count": 2, "llama.attention.head_count_kv": []}
    facts = facts_of(Listed(name="m", digest="0" * 64, size=0), Shown(model_info=info), "0.12.11")
    assert facts.kv_bytes_per_token is None
    assert (facts.size_bytes, facts.parameters, facts.licence, facts.context_length) == (None, None, None, None)
    per_layer = info | {"llama.attention.head_count_kv": [1, 2], "llama.attention.key_length": 4}
    per_layer |= {"llama.attention.value_length": 6}
    facts = facts_of(Listed(name="m", digest="0" * 64, size=9), Shown(model_info=per_layer), "0.12.11")
    assert facts.kv_bytes_per_token == (1 + 2) * (4 + 6) * 2


async def test_a_model_that_is_not_there_says_how_to_get_it(provider):
    with pytest.raises(InvalidRequest, match=r"podium models pull qwen3:8b.*ollama pull qwen3:8b") as caught:
        await provider.inspect(source("qwen3:8b"))
    assert caught.value.param == "source.location"


async def test_an_ollama_that_is_not_running_says_how_to_start_it(provider, server):
    known = await version(provider)
    server.stop()
    with pytest.raises(ProviderUnreachable, match=r"127\.0\.0\.1.*ollama serve"):
        await provider.inspect(source())
    with pytest.raises(LoadFailed, match="ollama serve"):
        await provider.load(known, "one")


async def test_a_model_that_ollama_runs_in_its_cloud_is_refused(provider, server):
    server.models["big:cloud"] = Model("big:cloud", remote_host="https://ollama.com")
    with pytest.raises(InvalidRequest, match=r"not on this machine.*ollama\.com"):
        await provider.inspect(source("big:cloud"))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"num_ctx": 9000}, "more than the 8192 tokens"),
        ({"num_ctx": 0}, ">= 4"),
        ({"num_ctxs": 9}, "did you mean 'num_ctx'"),
        ({"parallel": 0}, ">= 1"),
        ({"options": {"num_ctx": 4}}, "a setting of its own"),
        ({"options": {"temprature": 1}}, "no option 'temprature'"),
        ({"host": "http://:99999"}, "no address"),
    ],
)
async def test_settings_that_cannot_be_are_refused(provider, settings, why):
    with pytest.raises(InvalidRequest, match=why):
        await provider.inspect(source(**settings))


@pytest.mark.parametrize("location", ["", "  ", "two words"])
async def test_what_is_no_name_of_a_model_is_refused(provider, location):
    with pytest.raises(InvalidRequest, match="no name of a model"):
        await provider.inspect(source(location))


async def test_a_server_that_is_not_ollama_is_told_apart(provider, running):
    other = running(text="x")
    with pytest.raises(ProviderError, match=r"HTTP 404|does not answer like Ollama"):
        await provider.inspect(source(host=other.url.removesuffix("/v1")))


# ------------------------------------------------------------ memory


async def test_memory_is_estimated_before_and_told_by_ollama_after_a_load(provider, server):
    one = await version(provider, num_ctx=2048, parallel=2)
    cache = 16 * 8 * 128 * 2 * 2048 * 2
    assert provider.footprint(one) == 500_000_000 + cache + OVERHEAD_BYTES
    instance = await provider.load(one, "one")
    assert provider.footprint(one) == 500_000_000 + 2048 * 1000
    await instance.unload()
    assert provider.footprint(one) == 500_000_000 + 2048 * 1000  # known from now on
    assert instance.usage() is None
    assert provider.context_length(one) == 2048


async def test_memory_on_another_machine_is_not_ours(provider):
    facts = Facts(digest="sha256:" + "0" * 64, size_bytes=5)
    where = source(host="http://192.0.2.1:11434")
    assert provider.footprint(ModelVersion(name="m", version="1", source=where, facts=facts)) == 0
    assert provider.endpoint(ModelVersion(name="m", version="1", source=where, facts=facts)) == "http://192.0.2.1:11434"
    unknown = ModelVersion(name="m", version="1", source=source(), facts=Facts(digest="sha256:" + "0" * 64))
    assert provider.footprint(unknown) is None
    assert provider.context_length(unknown) == 4096


# ------------------------------------------------------------ load, unload


async def test_a_load_returns_once_ollama_holds_the_model_and_an_unload_once_it_does_not(provider, server):
    instance = await load(provider, num_ctx=1024)
    assert server.last("/api/generate")["keep_alive"] == -1
    assert [row["context_length"] for row in (each.row() for each in server.running.values())] == [1024]
    assert instance.alive()
    await instance.health()
    await instance.unload()
    assert server.running == {}
    assert server.unloads == [TAG]
    assert not instance.alive()
    asked = len(server.asked)
    await instance.unload()  # again: nothing is asked
    assert len(server.asked) == asked


async def test_an_embedding_model_is_loaded_by_embedding_nothing(provider, server):
    instance = await load(provider, "e@1", "nomic-embed-text")
    assert server.last("/api/embed")["input"] == []
    assert server.loads == [("nomic-embed-text:latest", 2048)]
    await instance.warm_up()
    await instance.unload()
    assert server.running == {}


async def test_an_unload_waits_for_the_memory_and_says_when_it_does_not_come_back(provider, server, monkeypatch):
    monkeypatch.setattr(ollama_residence, "UNLOAD_S", 0.1)
    instance = await load(provider)
    server.stuck = True
    with pytest.raises(ProviderTimeout, match=r"still holds llama3.2:1b.*ollama ps"):
        await instance.unload()
    server.stuck = False
    await instance.unload()
    assert server.running == {}


async def test_an_unload_ends_what_is_still_running(provider, server):
    gate = threading.Event()
    server.answer = Answer(gate=gate)
    instance = await load(provider)
    parts = []
    reply = await instance.send(chat(instance.model, stream=True))
    relaying = asyncio.create_task(reply.relay(parts.append))
    await until_async(lambda: parts)
    await instance.unload()
    with pytest.raises(ProviderError, match="closed"):
        await relaying
    assert server.running == {}
    assert (server.left, server.generated) == (1, 0)


async def test_an_unload_of_a_dead_server_is_done(provider, server):
    instance = await load(provider)
    server.stop()
    await instance.unload()
    assert not instance.alive()


async def test_a_load_that_fails_says_what_ollama_says(provider, server):
    server.load_error = (500, "model requires more system memory (9.0 GiB) than is available (2.1 GiB)")
    with pytest.raises(LoadFailed, match=r"llama3\.2:1b: .*more system memory \(9\.0 GiB\)"):
        await load(provider)
    server.load_error = None
    instance = await load(provider)
    assert await read(instance) == "Hello there, friend."
    await instance.unload()


async def test_a_load_that_is_given_up_leaves_nothing_in_memory(provider, server):
    server.load_gate = threading.Event()
    loading = asyncio.create_task(load(provider))
    await until_async(lambda: server.loading)
    loading.cancel()
    server.load_gate.set()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert server.running == {}


async def test_a_model_that_was_pulled_again_is_not_taken_for_the_registered_one(provider, server):
    one = await version(provider)
    server.models[TAG].revision = 2
    with pytest.raises(LoadFailed, match="pulled again since m@1 was registered"):
        await provider.load(one, "one")
    del server.models[TAG]
    with pytest.raises(LoadFailed, match="has no model"):
        await provider.load(one, "one")
    assert server.loads == []


async def test_a_model_that_is_pulled_again_while_it_is_loaded_answers_no_more(provider, server):
    instance = await load(provider)
    assert await read(instance) == "Hello there, friend."
    server.models[TAG].revision += 1
    for stream in (False, True):
        with pytest.raises(ProviderUnreachable, match=r"pulled again since it was registered.*new version"):
            await instance.send(chat(instance.model, stream=stream))
    assert not instance.alive()
    with pytest.raises(ProviderUnreachable, match="pulled again"):
        await instance.health()
    await until_async(lambda: all(not runner.busy for runner in server.running.values()))
    await instance.unload()
    assert server.running == {}
    fresh = await version(provider, "m@2")
    again = await provider.load(fresh, "two")
    assert await read(again) == "Hello there, friend."
    await again.unload()


async def test_requests_at_the_same_time_share_a_look_at_the_tags(provider, server):
    instance = await load(provider, parallel=8)
    before = server.paths().count("/api/tags")
    await asyncio.gather(*(read(instance) for _ in range(8)))
    assert 1 <= server.paths().count("/api/tags") - before <= 8
    await instance.unload()


async def test_the_runner_of_an_ollama_on_this_machine_is_measured(provider, server):
    """Its command line is Ollama's; the process burns some CPU time and holds 30 MB."""
    work = "x = b'1' * 30_000_000; sum(range(3_000_000)); print(flush=True); input()"
    path = f"/models/blobs/sha256-{server.models[TAG].blob}"
    command = [sys.executable, "-c", work, "--model", path, "--port", "39211"]
    runner = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        await runner.stdout.readline()
        instance = await load(provider, "m@1", num_ctx=1024)
        usage = instance.usage()
        assert usage.cpu_s > 0.01
        assert usage.private_bytes > 30_000_000
        assert instance.pid is None  # not ours to end
        second = await load(provider, "m@2", num_ctx=1024)
        assert instance.usage() is None  # shared: nobody could say whose part is whose
        await second.unload()
        assert instance.usage().cpu_s >= usage.cpu_s
        await instance.unload()
        assert instance.usage() is None
    finally:
        runner.kill()
        await runner.communicate()


def killed(home, left):
    """As a gateway that was killed leaves its home."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (home / "run").mkdir(exist_ok=True)
    note = {"gateway": ended.pid, "mark": "0@some-other-boot", "models": left}
    (home / "run" / "ollama.held").write_text(json.dumps(note))


async def test_what_a_killed_gateway_left_in_memory_goes_when_the_next_one_loads(provider, server, context):
    other = Model("qwen3:4b")
    server.models[other.tag] = other
    server.running[other.blob] = Runner(other.tag, other.digest, {"num_ctx": 9}, 9, 5)
    killed(context.home, [[server.url, other.tag], ["http://127.0.0.1:9", "gone"]])
    instance = await load(provider)
    assert server.unloads == [other.tag]
    note = context.home / "run" / "ollama.held"
    assert json.loads(note.read_text())["models"] == [[server.url, TAG]]
    await instance.unload()
    assert json.loads(note.read_text())["models"] == []


async def test_what_a_killed_gateway_left_is_used_if_it_is_wanted_again(provider, server, context):
    first = await load(provider, num_ctx=1024)
    killed(context.home, [[server.url, TAG]])
    again = OllamaProvider(ProviderContext(home=context.home, environ={"OLLAMA_HOST": server.url}))
    instance = await load(again, num_ctx=1024)
    assert (server.loads, server.unloads) == ([(TAG, 1024)], [])
    await instance.unload()
    await again.close()
    await first.unload()


async def test_what_a_gateway_that_still_runs_holds_is_left_alone(provider, server, context):
    one = await load(provider)
    again = OllamaProvider(ProviderContext(home=context.home, environ={"OLLAMA_HOST": server.url}))
    two = await load(again, "e@1", "nomic-embed-text")
    assert server.unloads == []
    await two.unload()
    await again.close()
    await one.unload()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"gateway": 1}'])
async def test_a_note_that_cannot_be_read_is_no_note(provider, server, context, text):
    (context.home / "run").mkdir()
    (context.home / "run" / "ollama.held").write_text(text)
    await (await load(provider)).unload()
    assert server.running == {}


# ------------------------------------------------------------ others use the server, too


async def test_a_model_that_somebody_else_unloaded_is_noticed(provider, server):
    instance = await load(provider)
    server.running.clear()
    with pytest.raises(ProviderUnreachable, match="no longer holds"):
        await instance.health()
    assert not instance.alive()


async def test_a_model_that_somebody_else_loaded_with_another_num_ctx_is_noticed_and_left_to_them(provider, server):
    instance = await load(provider, num_ctx=1024)
    (runner,) = server.running.values()
    runner.options = {"num_ctx": 9}
    with pytest.raises(ProviderUnreachable, match="context of 9 tokens instead of 1024"):
        await instance.health()
    assert not instance.alive()
    await instance.unload()
    assert len(server.running) == 1


async def test_a_server_that_dies_is_noticed_by_the_next_request(provider, server):
    instance = await load(provider)
    server.stop()
    assert instance.alive()
    with pytest.raises(ProviderUnreachable, match="ollama serve"):
        await instance.send(chat(instance.model))
    assert not instance.alive()
    with OllamaServer(Model(TAG), port=server.port) as restarted:
        again = await load(provider)
        assert await read(again) == "Hello there, friend."
        assert restarted.loads == [(TAG, 4096)]
        await again.unload()


# ------------------------------------------------------------ list, ps, pull


async def test_models_and_what_is_in_memory_are_listed(provider, server):
    instance = await load(provider, num_ctx=512)
    assert [row.name for row in await provider.models()] == [TAG, "nomic-embed-text:latest"]
    (row,) = await provider.running()
    assert (row.name, row.size, row.context_length) == (TAG, 500_000_000 + 512_000, 512)
    await instance.unload()
    assert await provider.running() == []


async def test_a_pull_tells_every_step_and_the_model_is_there_afterwards(provider, server):
    layer = {"status": "pulling 74701a8c35f6", "digest": "sha256:74701a8c35f6", "total": 1000}
    server.pull_lines = [
        {"status": "pulling manifest"},
        layer,
        {**layer, "completed": 400},
        {**layer, "completed": 1000},
        {"status": "verifying sha256 digest"},
        {"status": "writing manifest"},
        {"status": "success"},
    ]
    server.pulled = lambda: server.models.setdefault("new:latest", Model("new:latest"))
    steps = []
    await provider.pull("new", steps.append)
    assert [step.completed for step in steps if step.digest] == [None, 400, 1000]
    assert steps[0] == Progress(status="pulling manifest")
    assert steps[-1].status == "success"
    assert (await provider.inspect(source("new"))).context_length == 8192


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}],
            "file does not exist",
        ),
        ([{"error": "pull model manifest: file does not exist"}], "HTTP 500.*file does not exist"),
        ([{"status": "pulling manifest"}], "after 'pulling manifest'; pull again"),
    ],
)
async def test_a_pull_that_fails_says_why(provider, server, lines, why):
    server.pull_lines = lines
    with pytest.raises(ProviderError, match=why):
        await provider.pull("new", lambda step: None)


# ------------------------------------------------------------ names and addresses


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::]:11500", "http://[::1]:11500"),
        ("::1", "http://[::1]:11434"),
        (":11500", "http://127.0.0.1:11500"),
        ("gpu.example", "http://gpu.example:11434"),
        ("gpu.example:1", "http://gpu.example:1"),
        ("http://gpu.example", "http://gpu.example:80"),
        ("https://gpu.example/ollama/", "https://gpu.example:443/ollama"),
    ],
)
def test_addresses_are_read_as_ollamas_own_client_reads_them(host, url):
    assert host_url(host, {}) == url
    assert host_url(None, {"OLLAMA_HOST": host or ""}) == url
    assert host_url(host or url, {"OLLAMA_HOST": "elsewhere:9"}) == url


@pytest.mark.parametrize("host", ["ftp://x", "http://a b", "x:0", "x:70000", "user:pw@host", "http://u@h:1"])
def test_what_is_no_address_is_refused(host):
    with pytest.raises(InvalidRequest, match="no address"):
        host_url(host, {})


def test_names_are_compared_as_ollama_does():
    assert same("gemma3", "gemma3:latest")
    assert same("Library/Gemma3:1B", "gemma3:1b")
    assert same("registry.ollama.ai/library/gemma3", "gemma3")
    assert same("hf.co/a/b:Q4", "HF.co/a/b:q4")
    assert not same("gemma3:1b", "gemma3:4b")
    assert not same("localhost:5000/m", "localhost:5000/m:1")
    assert is_local("localhost")
    assert is_local("127.8.8.8")
    assert not is_local("10.0.0.1")
    assert not is_local("gpu.example")


def test_it_is_an_installed_provider(context):
    made = Catalogue(context).get("ollama")
    assert isinstance(made, OllamaProvider)
    assert isinstance(made, AtEndpoint)
    assert made.characteristics.local
    assert not made.characteristics.owns_process
    checked: Provider = made
    assert checked.name == "ollama"

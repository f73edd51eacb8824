"""The embedded llama.cpp with the real model: private, measured, cancelled, killed, and given back."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from provider_calls import chat, said, version_of
from waiting import until_async

from podium.domain.model import Facts, Source
from podium.errors import InvalidRequest, LoadFailed, ProviderError
from podium.providers import procfs
from podium.providers.llamacpp import LlamaCppProvider, default_threads
from podium.providers.slots import slots_of

pytestmark = [pytest.mark.model, pytest.mark.requirement("PRV-2")]
SMALL = {"slots": 1, "context": 512, "threads": 1, "temperature": 0, "seed": 1}


@pytest.fixture
def provider(context):
    return LlamaCppProvider(context)


@pytest.fixture
async def load(provider, smollm_path):
    loaded = []

    async def start(instance_id="one", **settings):
        source = Source(provider="llamacpp", location=str(smollm_path), settings={**SMALL, **settings})
        version = version_of(source, await provider.inspect(source))
        loaded.append(await provider.load(version, instance_id))
        return loaded[-1]

    yield start
    for each in loaded:
        await each.unload()


async def get(instance, path, headers=None):
    reply = await instance._client.request(
        b"GET",
        path,
        headers=instance._headers if headers is None else headers,
        connect_s=5,
        first_byte_s=5,
        total_s=5,
    )
    return reply.status, await reply.read()


def folder_of(instance) -> Path:
    return instance._client.origin.unix_path.parent


def told_everybody(pid: int) -> list[bytes]:
    return [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_only_this_user_with_the_key_reaches_a_worker(load):
    instance = await load()
    folder = folder_of(instance)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for headers in ((), ((b"authorization", b"Bearer wrong"),)):
        reply = await instance._client.request(
            b"POST",
            b"/v1/chat/completions",
            headers=headers,
            body=chat("m@1").body,
            connect_s=5,
            first_byte_s=5,
            total_s=5,
        )
        await reply.read()
        assert reply.status == 401
    key = instance._headers[0][1].removeprefix(b"Bearer ")
    assert not any(key in each for each in told_everybody(instance.pid))
    await instance.health()
    await instance.unload()
    assert not folder.exists()


async def test_two_workers_run_at_once_and_unloading_gives_processes_and_memory_back(load, home):
    first, second = await load("first"), await load("second")
    assert first.pid != second.pid
    for each in (first, second):
        assert said(await (await each.send(chat(each.model, "Say hello.", max_tokens=4))).read())
        usage = each.usage()
        assert usage.cpu_s > 0
        assert usage.memory_bytes > 90 << 20
    await first.unload()
    assert procfs.start_mark(first.pid) is None
    assert first.usage() is None
    await second.health()
    await second.unload()
    assert not list((home / "run").iterdir())


@pytest.mark.requirement("POOL-2")
@pytest.mark.parametrize(("slots", "tokens"), [(1, 1024), pytest.param(2, 4096, marks=pytest.mark.slow)])
@pytest.mark.no_cover
async def test_the_estimate_is_within_fifteen_percent_of_the_child_and_hardly_below(
    load, provider, smollm_path, slots, tokens
):
    settings = {**SMALL, "slots": slots, "context": tokens}
    source = Source(provider="llamacpp", location=str(smollm_path), settings=settings)
    version = version_of(source, await provider.inspect(source))
    estimate = provider.footprint(version)
    instance = await load(**settings)
    fresh = instance.usage()
    reply = await instance.send(chat(instance.model, "Say hello. " * 200, max_tokens=2, first_token_s=100))
    assert reply.status == 200
    await reply.read()
    used = instance.usage()
    for measured in (fresh, used):
        assert 0.95 <= estimate / measured.memory_bytes <= 1.15, (estimate, measured)
        assert measured.file_bytes >= version.facts.size_bytes  # the weights are mapped, with the libraries
    assert provider.context_length(version) == tokens


@pytest.mark.requirement("POOL-7")
async def test_llama_cpp_itself_says_how_many_slots_it_has(load):
    instance = await load(slots=3)
    assert instance.concurrency == 3
    assert await slots_of(instance._client, "/v1", instance._headers) == 3
    assert await slots_of(instance._client, "/v1") is None  # without the key it tells nothing


async def test_a_client_that_leaves_frees_the_slot_within_half_a_second(load):
    instance = await load()

    async def busy():
        status, body = await get(instance, b"/slots")
        assert status == 200
        return any(slot["is_processing"] for slot in json.loads(body))

    heard, generating = [], asyncio.Event()

    def sink(data):
        heard.append(data)
        if len(heard) > 2:
            generating.set()

    reply = await instance.send(chat(instance.model, "Count to a thousand.", stream=True, max_tokens=450))
    relaying = asyncio.create_task(reply.relay(sink))
    async with asyncio.timeout(20):
        await generating.wait()
    assert await busy()
    relaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await relaying
    async with asyncio.timeout(0.5):
        while await busy():
            pass  # each look is a round trip to the worker
    heard.clear()
    await (await instance.send(chat(instance.model, "Hi", stream=True, max_tokens=2))).relay(heard.append)
    assert heard


async def test_a_worker_that_is_killed_is_noticed_and_the_next_request_says_so(load):
    instance = await load()
    os.kill(instance.pid, 9)
    await until_async(lambda: procfs.start_mark(instance.pid) is None)
    await instance._process.wait()
    assert not instance.alive()
    with pytest.raises(ProviderError, match=r"\w"):
        await (await instance.send(chat(instance.model))).read()
    with pytest.raises(ProviderError):
        await instance.health()


@pytest.mark.no_cover
async def test_a_system_prompt_changes_the_answer_and_gives_way_to_the_callers_own(load):
    plain = await load("plain")
    prompted = await load("prompted", system_prompt='Answer in French. Begin with "Bonjour".')
    ask = {"text": "What is the capital of Italy?", "max_tokens": 12}
    answers = [said(await (await each.send(chat(each.model, **ask))).read()) for each in (plain, prompted)]
    assert answers[0] != answers[1]
    own = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the capital of Italy?"}]
    answers = [
        said(await (await each.send(chat(each.model, messages=own, max_tokens=12))).read())
        for each in (plain, prompted)
    ]
    assert answers[0] == answers[1]


async def test_the_same_seed_at_temperature_zero_repeats_itself(load):
    instance = await load()
    answers = {
        said(await (await instance.send(chat(instance.model, "Name a colour.", max_tokens=8))).read()) for _ in range(2)
    }
    assert len(answers) == 1


async def test_a_file_that_is_gone_is_a_load_failure(provider, smollm_path, tmp_path):
    link = tmp_path / "model.gguf"
    link.symlink_to(smollm_path)
    source = Source(provider="llamacpp", location=str(link), settings=SMALL)
    version = version_of(source, await provider.inspect(source))
    link.unlink()
    with pytest.raises(LoadFailed, match=r"model\.gguf is gone"):
        await provider.load(version, "one")


async def test_a_worker_that_takes_too_long_to_load_is_ended(load, home):
    with pytest.raises(LoadFailed, match=r"m@1 was not loaded within 0\.001 s"):
        await load(ready_timeout_s=0.001)
    assert not list((home / "run").iterdir())


async def test_a_worker_that_dies_while_loading_is_named_by_its_signal(load, home):
    loading = asyncio.create_task(load())
    note = await until_async(
        lambda: next(iter((home / "run").glob("*.json")), None) if (home / "run").is_dir() else None
    )
    guard = json.loads(note.read_bytes())["guard"]
    (worker,) = await until_async(lambda: procfs.descendants(guard))
    os.kill(worker, 9)
    with pytest.raises(LoadFailed, match="could not be loaded: its command was killed by SIGKILL before it was ready"):
        await loading
    assert not list((home / "run").iterdir())


async def test_a_file_llama_cpp_cannot_load_shows_its_log_and_leaves_nothing(provider, tmp_path, home):
    path = tmp_path / "noise.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 1000)
    source = Source(provider="llamacpp", location=str(path), settings=SMALL)
    before = open_files()
    with pytest.raises(
        LoadFailed, match=r"could not be loaded: its command ended \(exit 1\).*; the end of its log:\n.+"
    ):
        await provider.load(version_of(source, Facts(digest="sha256:0")), "one")
    assert not list((home / "run").iterdir())
    assert open_files() <= before + 1  # the loop may keep one to watch children


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"thread": 2}, "did you mean 'threads'"),
        ({"slots": 0}, "slots"),
        ({"context": "many"}, "context"),
        ({"context": 9000}, "more than the 8192 tokens"),
        ({"temperature": -1}, "temperature"),
    ],
)
async def test_settings_that_cannot_be_are_refused_by_name(provider, smollm_path, settings, why):
    with pytest.raises(InvalidRequest, match=why) as caught:
        await provider.inspect(Source(provider="llamacpp", location=str(smollm_path), settings=settings))
    assert caught.value.param.startswith("source.settings")


async def test_capabilities_follow_template_and_purpose(provider, smollm_path):
    async def of(**settings):
        source = Source(provider="llamacpp", location=str(smollm_path), settings=settings)
        return (await provider.inspect(source)).capabilities

    assert "tools" not in await of()
    assert "tools" in await of(chat_template="{{ tools }}{{ messages }}")
    assert await of(embedding=True) == {"embedding"}


def test_threads_leave_room_for_a_second_model():
    assert [default_threads(cores) for cores in (1, 2, 4, 16, 64)] == [1, 1, 2, 8, 8]

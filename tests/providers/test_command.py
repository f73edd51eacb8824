"""A command is started, watched and stopped; whatever is wrong with it is said with the end of its log."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time

import pytest
from provider_calls import chat, said, stats_at, version_of
from waiting import until_async

from podium.domain.model import Capability, Source
from podium.errors import InvalidRequest, LoadFailed, ProviderError, ProviderTimeout, ProviderUnreachable
from podium.providers import procfs
from podium.providers.command import CommandProvider, expand

pytestmark = pytest.mark.requirement("PRV-3")
SERVER = f"{shlex.quote(sys.executable)} -m podium.providers.scripted_server"


@pytest.fixture
def provider(context):
    return CommandProvider(context)


@pytest.fixture
async def load(provider, script):
    """``await load(settings, **script)``: an instance of a scripted server started by command."""
    loaded = []

    async def start(settings=None, command=None, **fields):
        location = command or f"{SERVER} {shlex.quote(str(script(**fields)))} --port ${{PORT}}"
        source = Source(provider="command", location=location, settings=settings or {})
        instance = await provider.load(version_of(source, await provider.inspect(source)), "one")
        loaded.append(instance)
        return instance

    yield start
    for each in loaded:
        await each.unload()


async def test_a_server_started_by_command_answers_streams_and_is_gone_after_unload(load, home):
    instance = await load(text="one two three")
    await instance.health()
    await instance.warm_up()
    assert said(await (await instance.send(chat(instance.model))).read()) == "one two three"
    parts = []
    reply = await instance.send(chat(instance.model, stream=True))
    await reply.relay(parts.append)
    assert reply.content_type == "text/event-stream"
    assert said(b"".join(parts)) == "one two three"
    usage = instance.usage()
    assert usage is not None
    assert usage.memory_bytes > 1 << 20
    assert instance.pid
    assert procfs.start_mark(instance.pid)
    await instance.unload()
    assert not instance.alive()
    assert procfs.start_mark(instance.pid) is None
    assert not list((home / "run").iterdir())
    with pytest.raises(ProviderUnreachable):
        await instance.send(chat(instance.model))
    await instance.unload()


async def test_two_servers_get_ports_of_their_own(provider, script):
    instances = []
    for name in ("first", "second"):
        location = f"{SERVER} {shlex.quote(str(script(name, text=name)))} --port ${{PORT}}"
        source = Source(provider="command", location=location)
        instances.append(await provider.load(version_of(source, await provider.inspect(source)), name))
    try:
        assert [said(await (await each.send(chat("m"))).read()) for each in instances] == ["first", "second"]
    finally:
        for each in instances:
            await each.unload()


async def test_a_slow_start_is_waited_for(load):
    started = time.monotonic()
    await load({"ready_timeout_s": 30}, load_ms=700)
    assert time.monotonic() - started >= 0.7


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("some-server --port 8000", "PORT"),
        ("", "empty"),
        ("server 'open --port ${PORT}", "words"),
        ("/nowhere/llama-server --port ${PORT}", "/nowhere/llama-server"),
        ("no-such-program-here --port ${PORT}", "no-such-program-here"),
    ],
)
async def test_a_command_that_cannot_work_is_refused_before_it_is_registered(provider, command, why):
    with pytest.raises(InvalidRequest, match=why) as caught:
        await provider.inspect(Source(provider="command", location=command))
    assert caught.value.param == "source.location"


async def test_a_misspelt_setting_is_refused_with_the_nearest_name(provider):
    with pytest.raises(InvalidRequest, match="did you mean 'ready_timeout_s'"):
        await provider.inspect(Source(provider="command", location="sh ${PORT}", settings={"ready_timeout": 3}))


def test_words_of_the_command_are_never_given_to_a_shell():
    words = expand("sh -c 'echo $HOME; exit' --port=$PORT --host ${HOST} $(id)", "81")
    assert words == ["sh", "-c", "echo $HOME; exit", "--port=81", "--host", "127.0.0.1", "$(id)"]
    assert expand("sh -c 'echo $$ $$PORT ${PORT:-1} $PORTS $PORT' ${DEVICE}", "81", "cuda:1")[2:] == [
        "echo $$ $$PORT ${PORT:-1} $PORTS 81",
        "cuda:1",
    ]


async def test_what_was_declared_are_its_facts_and_the_digest_follows_command_and_settings(provider):
    settings = {"context": 2048, "capabilities": ["embedding"], "memory_mb": 512}
    source = Source(provider="command", location="sh ${PORT}", settings=settings)
    facts = await provider.inspect(source)
    assert facts.context_length == 2048
    assert facts.capabilities == {Capability.EMBEDDING}
    assert provider.footprint(version_of(source, facts)) == 512 << 20
    same = Source(provider="command", location="sh ${PORT}", settings=dict(reversed(settings.items())))
    assert (await provider.inspect(same)).digest == facts.digest
    for other in (
        Source(provider="command", location="sh -x ${PORT}", settings=settings),
        Source(provider="command", location="sh ${PORT}", settings={**settings, "context": 1024}),
    ):
        assert (await provider.inspect(other)).digest != facts.digest


@pytest.mark.requirement("POOL-2")
async def test_until_it_was_measured_a_command_needs_the_weights_it_names(provider, tmp_path):
    first, second = tmp_path / "a b.gguf", tmp_path / "b.safetensors"
    first.write_bytes(b"x" * 3000)
    second.write_bytes(b"x" * 400)

    async def footprint(command, **settings):
        source = Source(provider="command", location=command, settings=settings)
        return provider.footprint(version_of(source, await provider.inspect(source)))

    assert await footprint(f"sh -m '{first}' --draft={second} --again '{first}' ${{PORT}}") == 3400
    assert await footprint(f"sh -m '{first}' ${{PORT}}", memory_mb=1) == 1 << 20
    assert await footprint(f"sh -m '{first}' ${{PORT}}", memory_mb=0) == 0
    assert await footprint("sh -m gone.gguf ${PORT}") is None


async def test_a_command_that_ends_at_once_shows_the_end_of_its_log(load, home):
    started = time.monotonic()
    with pytest.raises(LoadFailed, match=r"ended \(exit 1\)") as caught:
        await load({"ready_timeout_s": 60}, load_error="out of video memory, use a smaller model")
    assert "out of video memory" in caught.value.message
    assert time.monotonic() - started < 10
    assert not list((home / "run").iterdir())


async def test_a_command_that_is_never_ready_is_ended_with_the_end_of_its_log(load, home):
    command = f"sh -c {shlex.quote('echo still loading; exec sleep 600')} ${{PORT}}"
    with pytest.raises(LoadFailed, match=r"not ready within 0\.4 s") as caught:
        await load({"ready_timeout_s": 0.4, "stop_timeout_s": 1}, command)
    assert "still loading" in caught.value.message
    assert not list((home / "run").iterdir())


async def test_environment_settings_reach_the_command(load):
    code = "import os, sys; sys.exit(' '.join([os.environ['FROM_SETTINGS'], os.environ['PORT'], sys.argv[1]]))"
    with pytest.raises(LoadFailed) as caught:
        await load(
            {"env": {"FROM_SETTINGS": "given"}}, f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} ${{PORT}}"
        )
    word, in_environment, in_arguments = caught.value.message.splitlines()[-1].split()
    assert word == "given"
    assert in_environment == in_arguments != "0"


async def test_a_server_killed_from_outside_is_noticed(load):
    instance = await load()
    os.kill(instance.pid, 9)
    await until_async(lambda: procfs.start_mark(instance.pid) is None)
    with pytest.raises(ProviderUnreachable):
        await (await instance.send(chat("m"))).read()
    await instance._process.wait()
    assert not instance.alive()
    assert instance.usage() is None


async def test_a_client_that_leaves_stops_the_generation(load):
    instance = await load(text="word " * 500, chunk_gap_ms=5)
    url = instance._client.name
    reply = await instance.send(chat("m", stream=True))
    await until_async(lambda: stats_at(url)["written_chunks"] > 3)
    assert stats_at(url)["active"] == 1
    reply.close()
    await until_async(lambda: stats_at(url)["active"] == 0, within_s=0.5)
    written = stats_at(url)["written_chunks"]
    assert written < 400
    assert said(await (await instance.send(chat("m", max_tokens=1))).read()) == "word"
    assert stats_at(url)["written_chunks"] == written + 1


FAULTS = [{"kind": kind, "match": kind} for kind in ("cut", "hang", "silence", "garbage", "error", "half_event")]


async def test_every_way_a_server_fails_is_told_apart(load):
    instance = await load(text="a b c d e f", faults=FAULTS, embedding_size=3)
    for stream in (True, False):
        with pytest.raises(ProviderUnreachable, match="in the middle"):
            await (await instance.send(chat("m", "cut", stream=stream))).read()
    with pytest.raises(ProviderTimeout, match=r"sent nothing for 0\.2 s"):
        await instance.send(chat("m", "hang", first_token_s=0.2))
    heard = []
    reply = await instance.send(chat("m", "silence", stream=True))
    await until_async(lambda: stats_at(instance._client.name)["active"] == 1)
    reply.close()
    await until_async(lambda: stats_at(instance._client.name)["active"] == 0)
    broken = await (await instance.send(chat("m", "garbage"))).read()
    with pytest.raises(ValueError, match="decode"):
        json.loads(broken)
    refused = await instance.send(chat("m", "error"))
    assert refused.status == 500
    assert json.loads(await refused.read())["error"]["message"] == "scripted failure"
    reply = await instance.send(chat("m", "half_event", stream=True))
    await reply.relay(heard.append)
    assert not b"".join(heard).endswith(b"\n\n")
    assert said(await (await instance.send(chat("m", "fine"))).read()) == "a b c d e f"


async def test_a_server_that_cannot_generate_fails_its_warm_up(load):
    instance = await load(faults=[{"kind": "error", "status": 503}])
    await instance.health()
    with pytest.raises(ProviderError, match=r"cannot generate: HTTP 503: .*scripted failure"):
        await instance.warm_up()

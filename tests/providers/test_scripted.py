"""The scripted provider repeats itself exactly, and fails in every way a server can."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from provider_calls import chat, said, version_of

from podium.domain.model import Source
from podium.domain.request import Endpoint
from podium.errors import InvalidRequest, LoadFailed, ProviderTimeout, ProviderUnreachable
from podium.providers.script import plan, read_script
from podium.providers.scripted import ScriptedProvider

pytestmark = pytest.mark.requirement("PRV-10")


@pytest.fixture
def load(script):
    async def start(**fields):
        provider = ScriptedProvider()
        source = Source(provider="scripted", location=str(script(**fields)))
        return await provider.load(version_of(source, await provider.inspect(source)), "one")

    return start


def test_the_same_script_and_requests_give_the_same_plans():
    raw = b'{"text": "a b c d", "chunk_gap_ms": 10, "ttft_ms": 50, "jitter": 0.5, "seed": 7}'
    body = {"stream": True, "messages": [{"role": "user", "content": "x"}]}
    runs = [[plan(read_script(raw, "s"), Endpoint.CHAT, body, number) for number in range(1, 6)] for _ in range(2)]
    assert runs[0] == runs[1]
    pauses = [pause for made in runs[0] for pause, _ in made.pieces if pause]
    assert len(set(pauses)) == len(pauses)  # jitter really varies
    assert all(0.005 <= pause <= 0.075 for pause in pauses)


async def test_answers_follow_the_prompt_and_the_limit(load):
    instance = await load(text="one two three", answers=[{"match": "^sum", "text": "four"}])
    assert said(await (await instance.send(chat("m", "hi"))).read()) == "one two three"
    assert said(await (await instance.send(chat("m", "sum 2 2", stream=True))).read()) == "four"
    cut = json.loads(await (await instance.send(chat("m", "hi", max_tokens=2))).read())
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("text", ["one two", ""])
def test_the_first_piece_of_a_stream_says_who_speaks_and_no_other(text):
    script = read_script(json.dumps({"text": text}).encode(), "s")
    made = plan(script, Endpoint.CHAT, {"stream": True, "messages": [{"role": "user", "content": "x"}]}, 1)
    deltas = [json.loads(piece[6:])["choices"][0]["delta"] for _, piece in made.pieces[:-1]]
    assert [delta.get("role") for delta in deltas] == ["assistant", *[None] * (len(deltas) - 1)]
    assert "".join(delta.get("content", "") for delta in deltas) == text


async def test_faults_come_when_the_script_says(load):
    faults = [{"kind": "error", "every": 3, "status": 503}, {"kind": "cut", "match": "cut"}]
    instance = await load(text="a b c", faults=[*faults, {"kind": "hang", "match": "hang"}])
    statuses = [(await instance.send(chat("m"))).status for _ in range(6)]
    assert statuses == [200, 200, 503, 200, 200, 503]
    with pytest.raises(ProviderUnreachable):
        await (await instance.send(chat("m", "cut", stream=True))).read()
    with pytest.raises(ProviderTimeout):
        await (await instance.send(chat("m", "hang", first_token_s=0.05))).read()


async def test_loading_takes_as_long_as_the_script_says_and_fails_when_it_says(load):
    started = time.monotonic()
    instance = await load(load_ms=100)
    assert time.monotonic() - started >= 0.1
    await instance.unload()
    assert not instance.alive()
    with pytest.raises(ProviderUnreachable):
        await instance.send(chat("m"))
    with pytest.raises(LoadFailed, match="no memory"):
        await load(load_error="no memory")


async def test_a_script_that_changed_or_is_wrong_is_refused(script):
    provider = ScriptedProvider()
    source = Source(provider="scripted", location=str(script(text="one")))
    version = version_of(source, await provider.inspect(source))
    script(text="two")
    with pytest.raises(LoadFailed, match="has changed"):
        await provider.load(version, "one")
    for fields in ({"txt": "a"}, {"answers": [{"match": "(", "text": "x"}]}, {"jitter": 2}):
        with pytest.raises(InvalidRequest, match=r"served\.json"):
            await provider.inspect(Source(provider="scripted", location=str(await asyncio.to_thread(script, **fields))))

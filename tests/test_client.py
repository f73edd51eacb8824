"""The Python client: embedded and remote behave the same, streams end cleanly, errors keep their class."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podium import Criteria, Podium, errors
from podium.client import find_server
from podium.client.failures import from_reply, rebuild
from podium.client.streaming import Events
from podium.client.wire import origin_of
from podium.errors import InvalidRequest, NoCandidate, NotFound, PodiumError, ProviderUnreachable


def script(folder: Path, name: str, **content: object) -> str:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
async def podium(home: Path) -> AsyncIterator[Podium]:
    """An embedded gateway with two versions of ``echo``."""
    async with Podium.open(home=home) as opened:
        for version, text in (("1", "one two three"), ("2", "four five six")):
            location = script(home.parent, version, text=text, chunk_gap_ms=1)
            await opened.add_model("echo", provider="scripted", location=location, version=version, activate=True)
        yield opened


@pytest.mark.requirement("SEL-1", "SEL-4")
async def test_execute_says_who_answered_why_and_at_what_cost(podium):
    result = await podium.execute("hi", task="counting", criteria=Criteria(max_latency_ms=60_000), max_tokens=8)
    assert result.text in ("one two three", "four five six")
    assert result.version in ("echo@1", "echo@2")
    assert result.task == "counting"
    assert result.decision.served == result.version
    assert {one.ref for one in result.decision.candidates} == {"echo@1", "echo@2"}
    assert result.decision.reason
    assert 0 < result.decision.propensity <= 1
    assert result.cost.wall_ms > 0
    for field, reason in result.cost.missing:
        assert getattr(result.cost, field, None) is None
        assert reason
    assert result.raw["choices"][0]["message"]["content"] == result.text


async def test_criteria_that_nobody_meets_list_every_model(podium):
    with pytest.raises(NoCandidate) as caught:
        await podium.execute("hi", criteria=Criteria(capabilities=frozenset({"vision"})))
    assert set(caught.value.details["dropped"]) == {"echo@1", "echo@2"}


async def test_a_stream_yields_text_and_counts_tokens(podium):
    async with podium.stream([{"role": "user", "content": "hi"}], model="echo@1") as stream:
        assert stream.version == "echo@1"
        text = "".join([piece async for piece in stream])
    assert text == "one two three"
    assert stream.usage
    assert stream.usage["completion_tokens"] > 0
    assert (await podium.explain(stream.request_id)).attempts[0].success


async def test_leaving_a_stream_early_stops_the_answer(podium, home):
    location = script(home.parent, "slow", text="word " * 5000, chunk_gap_ms=20)
    await podium.add_model("slow", provider="scripted", location=location, version="1", activate=False)
    location = script(home.parent, "slower", text="word " * 500, chunk_gap_ms=20)
    await podium.add_model("slow", provider="scripted", location=location, version="2", activate=True)
    async with podium.stream("hi", model="slow@2") as stream:
        async for _ in stream:
            break
    found = await podium.recorded(stream.request_id)
    assert found.attempts[0].error == "client_left"
    assert [one["active"] for one in await podium.instances() if one["ref"] == "slow@2"] == [0]


async def test_an_error_in_mid_stream_is_raised(podium, home):
    location = script(
        home.parent, "cut", text="a b c d", faults=[{"kind": "cut", "match": "please", "after_chunks": 2}]
    )
    await podium.add_model("cut", provider="scripted", location=location, version="1", activate=True)
    with pytest.raises(PodiumError):
        async with podium.stream("please", model="cut@1") as stream:
            assert [piece async for piece in stream]


@pytest.mark.requirement("SWP-1", "SWP-7")
async def test_swap_and_rollback_return_records(podium):
    assert (await podium.swap("counting", "echo@1"))["ok"]
    assert (await podium.swap("counting", "echo@2"))["before"] == "echo@1"
    assert (await podium.execute("hi", task="counting")).version == "echo@2"
    assert (await podium.rollback("counting"))["after"] == "echo@1"
    assert [one["kind"] for one in await podium.swaps("counting")] == ["rollback", "swap", "swap"]
    assert (await podium.task("counting"))["bound_to"] == "echo@1"


@pytest.mark.requirement("REG-7")
async def test_the_rest_of_the_control_api_is_reachable(podium):
    await podium.set_alias("@champion", "echo@2")
    assert (await podium.execute("hi", model="@champion")).version == "echo@2"
    assert (await podium.pin("echo@1"))["pinned"] is True
    assert (await podium.load_model("echo@1"))["ref"] == "echo@1"
    assert (await podium.unload_model("echo@1"))["unloaded"] is True
    embedded = await podium.embed(["a", "b"], model="echo@1")
    assert len(embedded["data"]) == 2
    result = await podium.execute("hi", task="counting")
    assert (await podium.feedback(result.request_id, 0.5))["score"] == 0.5
    assert (await podium.explain(result.request_id)).feedback[0]["score"] == 0.5
    assert (await podium.stats())["stats"]
    assert (await podium.costs())["costs"]
    assert (await podium.doctor())["active_models"] == 2
    assert {"echo@1", "echo@2"} <= {event["subject"] for event in await podium.events()}
    assert (await podium.set_task("counting", keywords=["count"]))["keywords"] == ["count"]
    assert "counting" in [one["task"] for one in await podium.tasks()]


async def test_errors_keep_their_class_and_code(podium):
    with pytest.raises(NotFound) as caught:
        await podium.execute("hi", model="nobody@1")
    assert caught.value.code == "model_not_found"
    with pytest.raises(InvalidRequest):
        await podium.execute("hi", model="echo@1", max_tokens=-1)


@pytest.mark.requirement("OPS-6")
async def test_a_bad_file_is_refused_at_reload_and_a_good_one_applied(podium, home):
    (home / "podium.toml").write_text("[pool]\nqueue_limits = 1\n")
    with pytest.raises(errors.ConfigError, match="queue_limit"):
        await podium.reload()
    (home / "podium.toml").write_text("[tasks.new]\nmin_context = 16\n")
    assert (await podium.reload())["tasks_added"] == ["new"]
    assert (await podium.task("new"))["criteria"]["min_context"] == 16
    assert (await podium.execute("hi", model="echo@1")).version == "echo@1"


async def test_two_gateways_do_not_share_a_home(podium, home):
    with pytest.raises(PodiumError, match=str(home)):
        async with Podium.open(home=home):
            pass


async def test_connect_finds_the_server_of_the_home(home):
    """A real ``podium serve`` is found through its record, answers, and takes its record away at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "podium", "serve", "--port", "0", "--json"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        first = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        assert first["pid"] == process.pid
        assert find_server() == first["url"]
        async with Podium.connect() as found:
            assert await found.models() == []
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert find_server() is None


async def test_connect_without_a_server_says_what_to_do(home):
    with pytest.raises(ProviderUnreachable, match="podium serve"):
        async with Podium.connect():
            pass


def test_the_server_of_a_dead_process_is_ignored(home, monkeypatch):
    done = subprocess.Popen([sys.executable, "-c", ""])
    record = home / "run" / "server.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"pid": done.pid, "url": "http://127.0.0.1:1"}))
    os.waitid(os.P_PID, done.pid, os.WEXITED | os.WNOWAIT)
    assert find_server() is None, "a zombie serves nobody"
    done.wait()
    assert find_server() is None
    record.write_text(json.dumps({"pid": os.getpid(), "url": "http://127.0.0.1:1"}))
    assert find_server() == "http://127.0.0.1:1"
    record.write_text("{")
    assert find_server() is None
    monkeypatch.setenv("PODIUM_URL", "http://127.0.0.1:2")
    assert find_server() == "http://127.0.0.1:2"


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:7636", "http://", "http://x:port"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InvalidRequest, match="not the address of a server"):
        origin_of(url)


def test_addresses_are_understood():
    assert str(origin_of("http://127.0.0.1:7636")) == "http://127.0.0.1:7636"
    assert str(origin_of("http://[::1]:1/")) == "http://[::1]:1"
    assert origin_of("https://example.org").port == 443
    assert origin_of("unix:/run/x.sock").unix_path == Path("/run/x.sock")


def every_error(cls: type[PodiumError] = PodiumError) -> list[type[PodiumError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in every_error(child))]


@pytest.mark.requirement("API-3")
@pytest.mark.parametrize(
    "cls",
    [
        cls
        for cls in every_error()
        if cls.__module__ == errors.__name__ and ("code" in vars(cls) or cls is InvalidRequest)
        if cls not in (PodiumError, errors.CallerError)
    ],
)
def test_every_error_comes_back_as_its_class(cls):
    sent = {"message": "m", "type": cls.type, "code": cls.code, "param": "p", "details": {"a": 1}}
    found = rebuild(sent, cls.status, "2")
    assert type(found) is cls
    assert (found.message, found.param, found.details, found.retry_after_s) == ("m", "p", {"a": 1}, 2.0)


def test_an_unknown_code_falls_to_the_class_of_its_status():
    assert type(rebuild({"message": "m", "type": "invalid_request_error", "code": "model_not_found"}, 404)) is NotFound
    assert type(rebuild({"message": "m", "code": "new"}, 418)) is errors.CallerError
    assert type(rebuild({}, 599)) is errors.InternalError


def test_a_reply_that_is_no_podium_error_is_shown():
    assert "is this a Podium server?" in from_reply(404, b"<html>nothing here</html>").message
    assert "an empty body" in from_reply(500, b"").message


def test_events_are_cut_at_blank_lines_wherever_the_bytes_break():
    text = b": beat\n\ndata: 1\r\n\r\nevent: error\ndata: a\ndata: b\n\ndata: [DONE]\n\n"
    for size in range(1, len(text)):
        events = Events()
        found = [event for at in range(0, len(text), size) for event in events.feed(text[at : at + size])]
        assert found == [("message", b"1"), ("error", b"a\nb"), ("message", b"[DONE]")], size

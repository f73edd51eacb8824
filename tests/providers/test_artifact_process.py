"""The worker as a process of its own: private, measured, killed, given back, and clear about why it cannot start."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import stat
import sys
from pathlib import Path

import echo_worker
import pytest
from artifact_files import llama, onnx
from provider_calls import chat, said, version_of
from waiting import until_async

from podium.domain.model import Source
from podium.errors import LoadFailed, ProviderError
from podium.providers import procfs
from podium.providers.artifact import ArtifactProvider

pytestmark = pytest.mark.requirement("PRV-7")


@pytest.fixture
def provider(context):
    return ArtifactProvider(context)


@pytest.fixture
def echo(tmp_path):
    """An interpreter that runs the echoing worker, whatever it is told to run."""
    script = tmp_path / "echo-python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {echo_worker.__file__} "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
async def load(provider, tmp_path, echo):
    loaded = []

    async def start(instance_id="one", folder="mine", **settings):
        made = Source(
            provider="artifact",
            location=str(llama(tmp_path / folder)),
            settings={"python": str(echo), "context": 4096, "threads": 1, **settings},
        )
        version = version_of(made, await provider.inspect(made))
        loaded.append(await provider.load(version, instance_id))
        return loaded[-1]

    yield start
    for each in loaded:
        await each.unload()


def told_everybody(pid: int) -> list[bytes]:
    return [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]


async def test_a_worker_answers_streams_and_is_measured(load):
    instance = await load()
    await instance.health()
    await instance.warm_up()
    assert instance.concurrency == 1
    assert said(await (await instance.send(chat(instance.model, "hello"))).read()) == "hello"
    heard: list[bytes] = []
    await (await instance.send(chat(instance.model, "hello", stream=True))).relay(heard.append)
    assert said(b"".join(heard)) == "hello"
    usage = instance.usage()
    assert usage.cpu_s > 0
    assert usage.memory_bytes > 5 << 20


async def test_only_this_user_with_the_key_reaches_it_and_the_key_is_nowhere_to_be_read(load, home):
    instance = await load()
    folder = instance._client.origin.unix_path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    key = instance._headers[0][1].removeprefix(b"Bearer ")
    told = told_everybody(instance.pid)
    assert not any(key in each for each in told)
    assert b"PYTHONPATH=" not in told[1]  # another environment gets nothing of this one
    assert key.decode() not in (home / "logs" / "one.log").read_text()
    await instance.unload()
    assert not folder.exists()


async def test_two_workers_live_apart_and_unloading_leaves_no_process_and_no_note(load, home):
    first, second = await load("first"), await load("second", folder="other")
    await first.unload()
    assert procfs.start_mark(first.pid) is None
    assert first.usage() is None
    assert not first.alive()
    assert said(await (await second.send(chat(second.model, "on"))).read()) == "on"
    await second.unload()
    assert not list((home / "run").iterdir())


@pytest.mark.parametrize("how", ["kill -9", "its own end"])
async def test_a_worker_that_dies_fails_its_answer_and_is_known_to_be_dead(load, how):
    instance = await load()
    if how == "kill -9":
        os.kill(instance.pid, signal.SIGKILL)
        await until_async(lambda: not instance.alive())
        with pytest.raises(ProviderError):
            await instance.send(chat(instance.model, "hello"))
    else:
        with pytest.raises(ProviderError):
            await (await instance.send(chat(instance.model, "die"))).read()
        await until_async(lambda: not instance.alive())


async def test_a_worker_stops_at_once_even_while_it_generates(load, tmp_path, echo):
    echo.write_text(echo.read_text().replace("exec ", "PAUSE_S=0.05 exec "))
    instance = await load()
    reply = await instance.send(chat(instance.model, "x" * 1000, stream=True))
    heard = asyncio.Event()
    listening = asyncio.create_task(reply.relay(lambda data: heard.set()))
    await asyncio.wait_for(heard.wait(), 20)
    began = asyncio.get_running_loop().time()
    await instance.unload()
    assert asyncio.get_running_loop().time() - began < 2
    await asyncio.gather(listening, return_exceptions=True)
    assert procfs.start_mark(instance.pid) is None


async def test_a_worker_whose_device_is_lost_tells_it_and_ends(load):
    instance = await load()
    reply = await instance.send(chat(instance.model, "device"))
    assert reply.status == 500
    assert b"device-side assert" in await reply.read()
    await until_async(lambda: not instance.alive())


@pytest.mark.parametrize(
    ("folder", "why", "status"), [("cannot", "made of cheese", 3), ("crash", "a bug of the framework", 1)]
)
async def test_a_model_that_cannot_be_loaded_says_why(load, home, folder, why, status):
    with pytest.raises(LoadFailed, match=why) as failed:
        await load(folder=folder)
    assert f"m@1 could not be loaded: its command ended (exit {status})" in failed.value.message
    assert not list((home / "run").iterdir())


async def test_an_interpreter_that_never_gets_ready_is_ended_in_time(load, echo):
    echo.write_text("#!/bin/sh\nsleep 60\n")
    with pytest.raises(LoadFailed, match=r"not loaded within 0\.5 s"):
        await load(ready_timeout_s=0.5)


@pytest.mark.parametrize("framework", ["pytorch", "onnx"])
async def test_the_real_worker_names_the_package_its_interpreter_lacks(provider, tmp_path, framework):
    module = {"pytorch": "torch", "onnx": "onnxruntime_genai"}[framework]
    assert importlib.util.find_spec(module) is None, "this environment must be without it"
    folder = llama(tmp_path / "mine") if framework == "pytorch" else onnx(tmp_path / "mine")
    made = Source(provider="artifact", location=str(folder), settings={"python": sys.executable})
    version = version_of(made, await provider.inspect(made))
    with pytest.raises(LoadFailed) as failed:
        await provider.load(version, "one")
    assert f"has no package '{module}'" in failed.value.message
    assert f"{sys.executable} -m pip install" in failed.value.message


async def test_the_worker_hides_no_module_of_the_framework(tmp_path):
    """Its own modules have names such as ``onnx``; run by its path they must not stand in for the packages."""
    fake = tmp_path / "site" / "onnxruntime_genai"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("import onnx\nraise ImportError('found ' + onnx.WHO, name='seen')\n")
    (tmp_path / "site" / "onnx.py").write_text("WHO = 'the real onnx'\n")
    worker = Path(echo_worker.serving.__file__).parent
    order = {"framework": "onnx", "threads": 1, "python": "p", "install": "i", "path": "", "device": "cpu"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(worker),
        "1",
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": os.environ["PATH"]},
    )
    _, told = await asyncio.wait_for(process.communicate(json.dumps(order).encode() + b"\n"), 20)
    assert b"found the real onnx" in told, told
    assert process.returncode == 3

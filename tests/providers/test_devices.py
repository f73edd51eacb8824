"""A command runs where it was told to and sees that device alone. The GPUs are scripted: no test here has one."""

from __future__ import annotations

import json
import shlex
import sys

import pytest
from provider_calls import version_of

from podium import nvml
from podium.domain.model import Facts, Source
from podium.errors import InvalidRequest, LoadFailed
from podium.ports import RAM, AtEndpoint, OnDevices
from podium.providers.command import CommandProvider
from podium.providers.llamacpp import LlamaCppProvider
from podium.providers.openai_compatible import OpenAICompatibleProvider
from scripted_nvml import GB, Gpu, library

pytestmark = pytest.mark.requirement("POOL-2", "PRV-8")
TELL = """
import json, os, sys
names = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "DEVICE")
sys.exit(json.dumps({"argv": sys.argv[2:], **{name: os.environ.get(name) for name in names}}))
"""
"""Says where it was told to run, and ends."""


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    made = library(Gpu("small", 8 * GB, "GPU-a"), Gpu("large", 80 * GB, "GPU-b"))
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(nvml, "has_driver", lambda: bool(made.gpus))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml.opened.cache_clear()
    yield made
    nvml.opened.cache_clear()


@pytest.fixture
def provider(context):
    return CommandProvider(context)


def source(device: str | None = None, *words: str) -> Source:
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(TELL)} ${{PORT}} {' '.join(words)}"
    return Source(provider="command", location=command, settings={} if device is None else {"device": device})


@pytest.mark.parametrize(
    ("device", "places"),
    [(None, (RAM,)), ("ram", (RAM,)), ("cuda:0", ("cuda:0",)), ("cuda:1", ("cuda:1",)), ("gpu", ("cuda:1", "cuda:0"))],
)
async def test_a_command_runs_where_it_was_told_to_the_largest_gpu_first(provider, device, places):
    version = version_of(source(device), await provider.inspect(source(device)))
    assert provider.devices(version) == places


@pytest.mark.parametrize(
    ("device", "seen"),
    [
        (RAM, {"CUDA_VISIBLE_DEVICES": None, "CUDA_DEVICE_ORDER": None, "DEVICE": "ram"}),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "DEVICE": "cuda:1"}),
    ],
)
async def test_a_command_sees_its_device_alone(provider, device, seen):
    given = source("gpu", "--on=${DEVICE}")
    version = version_of(given, await provider.inspect(given))
    with pytest.raises(LoadFailed) as caught:
        await provider.load(version, "one", **({} if device == RAM else {"device": device}))
    assert json.loads(caught.value.message.splitlines()[-1]) == {**seen, "argv": [f"--on={device}"]}


@pytest.mark.parametrize(("device", "said"), [("cuda:2", "ram, cuda:0, cuda:1"), ("cuda", "device"), ("tpu", "device")])
async def test_a_device_that_is_not_there_is_refused(provider, device, said):
    with pytest.raises(InvalidRequest, match=said):
        await provider.inspect(source(device))


async def test_without_a_gpu_only_memory_is_offered_and_nothing_falls_back_to_it(provider, driver):
    version = version_of(source("gpu"), await provider.inspect(source("gpu")))
    driver.gpus.clear()
    nvml.opened.cache_clear()
    assert RAM not in provider.devices(version)
    with pytest.raises(InvalidRequest, match="no device 'gpu' here; there is ram "):
        await provider.inspect(source("gpu"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:1234/v1", "http://localhost:1234"),
        ("http://localhost:1234/other/v1", "http://localhost:1234"),
        ("https://api.example.com/v1", "https://api.example.com:443"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("no url", None),
    ],
)
def test_versions_on_one_server_share_its_endpoint(context, url, expected):
    version = version_of(Source(provider="openai", location=url), Facts(digest="sha256:0"))
    assert OpenAICompatibleProvider(context).endpoint(version) == expected


def test_the_optional_parts_are_told_by_what_a_provider_has(context, provider):
    assert isinstance(provider, OnDevices)
    assert not isinstance(provider, AtEndpoint)
    assert isinstance(OpenAICompatibleProvider(context), AtEndpoint)
    assert not isinstance(LlamaCppProvider(context), OnDevices)

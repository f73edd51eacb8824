"""Files and servers that are there already: found within bounds, each once, and what cannot be looked into is said."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from podium.importing import Proposal, Report
from podium.importing.files import find_files, usual_folders
from podium.importing.registering import mark, register
from podium.importing.report import usable_name
from podium.importing.running import find_servers, usual_addresses
from providers.gguf_files import PAIRS, whole
from providers.ollama_server import Model, OllamaServer

pytestmark = pytest.mark.requirement("REG-7")


def found(*folders: Path) -> Report:
    report = Report()
    find_files({folder: str(folder) for folder in folders}, report)
    return report


def said(report: Report) -> str:
    return "\n".join(f"{note.where}: {note.said}" for note in report.notes)


def names(report: Report) -> list[str]:
    return sorted(one.name for one in report.proposals)


def test_each_model_is_found_once_however_it_is_linked(tmp_path: Path):
    deep = tmp_path / "publisher" / "repo"
    deep.mkdir(parents=True)
    (deep / "Tiny Q4.gguf").write_bytes(whole())
    (tmp_path / "again.gguf").symlink_to(deep / "Tiny Q4.gguf")
    (deep / "loop").symlink_to(tmp_path)
    (deep / "self").symlink_to(deep / "self")
    (deep / "broken.gguf").symlink_to(tmp_path / "nowhere")
    report = found(tmp_path, deep)
    (one,) = report.proposals
    assert one.provider == "llamacpp"
    assert one.about.startswith("llama, ")
    assert one.name in ("again", "Tiny-Q4")


def test_parts_and_projectors_are_no_models_of_their_own(tmp_path: Path):
    for part in (1, 2, 3):
        (tmp_path / f"big-0000{part}-of-00003.gguf").write_bytes(whole())
    (tmp_path / "mmproj-x.gguf").write_bytes(whole())
    clip = (("general.architecture", "clip"), *PAIRS[1:])
    (tmp_path / "vision.gguf").write_bytes(whole(pairs=clip))
    assert names(found(tmp_path)) == ["big"]


def test_what_is_no_model_is_said(tmp_path: Path):
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "text.gguf").write_text("hello")
    (tmp_path / "cut.gguf").write_bytes(whole()[:40])
    report = found(tmp_path)
    assert report.proposals == []
    assert said(report).count("is no GGUF file that can be used") == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_said_and_the_others_are(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "m.gguf").write_bytes(whole())
    closed.chmod(0)
    try:
        report = found(tmp_path)
    finally:
        closed.chmod(0o700)
    assert names(report) == ["m"]
    assert "cannot be looked into" in said(report)


def test_a_folder_that_fails_while_it_is_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bad").mkdir()
    (tmp_path / "m.gguf").write_bytes(whole())
    real = os.scandir

    def scandir(path: Path) -> Any:
        if Path(path).name == "bad":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = found(tmp_path)
    assert names(report) == ["m"]
    assert "cannot be looked into: Permission denied" in said(report)


def test_looking_ends_by_depth_and_by_time(tmp_path: Path):
    deep = tmp_path
    for number in range(12):
        deep = deep / f"d{number}"
    deep.mkdir(parents=True)
    (deep / "m.gguf").write_bytes(whole())
    assert found(tmp_path).proposals == []
    report = Report()
    ticks = itertools.count()
    find_files({tmp_path: "x"}, report, clock=lambda: 3.0 * next(ticks))
    assert "looking was given up" in said(report)


def test_the_usual_folders_follow_the_environment(tmp_path: Path):
    environ = {"LLAMA_CACHE": "/a", "HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}
    folders = usual_folders(environ, Path("/home/ann"), tmp_path)
    assert folders[Path("/a")] == "llama.cpp"
    assert folders[Path("/b/hub")] == "Hugging Face"
    assert folders[Path("/c/lm-studio/models")] == "LM Studio"
    assert folders[tmp_path] == "this folder"


@pytest.mark.parametrize("text", ["a b", "ä", "..", "auto", "task:x", "//", "x" * 300, "a//b", "-x-", "@", ""])
def test_every_name_becomes_one_that_can_be_used(text: str):
    from podium.core.naming import check_name

    check_name(usable_name(text))


# ------------------------------------------------------------ servers


@contextmanager
def answering(answers: dict[str, object], status: int = 200) -> Iterator[str]:
    """A server with fixed JSON answers by path; 404 else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(status if self.path in answers else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def asked(*addresses: str) -> Report:
    report = Report()
    await find_servers(addresses, report)
    return report


async def test_models_of_a_running_ollama_are_proposed_by_their_tags():
    with OllamaServer(Model("gemma3:1b"), Model("llama3:latest")) as ollama:
        report = await asked(ollama.url)
    one = {proposal.location: proposal for proposal in report.proposals}
    assert set(one) == {"gemma3:1b", "llama3:latest"}
    assert one["llama3:latest"].name == "llama3"
    assert one["gemma3:1b"].settings == {"host": ollama.url}
    assert one["gemma3:1b"].origin.startswith("Ollama")
    assert one["gemma3:1b"].commands()[0].startswith("podium models add gemma3:1b --ollama gemma3:1b --set host=http")


async def test_models_of_openai_compatible_servers_are_proposed_by_their_ids():
    with answering({"/v1/models": {"object": "list", "data": [{"id": "Qwen/Qwen2", "owned_by": "vllm"}]}}) as url:
        report = await asked(url)
    (one,) = report.proposals
    assert (one.provider, one.name, dict(one.settings)) == ("openai", "Qwen2", {"remote": "Qwen/Qwen2"})
    assert one.location.startswith(url)
    assert one.origin.startswith("vLLM")


async def test_silence_is_told_of_an_address_that_was_named_and_of_no_other():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        assert (await asked(address)).notes == []
        report = Report()
        await find_servers((), report, [address])
    (note,) = report.notes
    assert (note.where, note.said) == (address, "no model server answers here")


async def test_podium_itself_nothing_and_nonsense_are_no_proposals():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with (
            answering({"/v1/models": {"data": [{"id": "auto", "owned_by": "podium"}]}}) as own,
            answering({"/v1/models": [1, 2]}) as nonsense,
        ):
            report = await asked(own, nonsense, f"http://127.0.0.1:{port}")
    assert report.proposals == []


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("podium.importing.running.ASK_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        report = await asked(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "did not answer within" in said(report)


async def test_a_server_that_wants_a_key_is_said():
    with answering({"/v1/models": {"error": "no key"}}, status=401) as url:
        report = await asked(url)
    assert report.proposals == []
    assert "wants a key" in said(report)


def test_the_usual_addresses_hold_the_known_ports_and_ollamas_own():
    addresses = usual_addresses({"OLLAMA_HOST": "127.0.0.1:4711"})
    for port in (1234, 8000, 8080, 11434, 30000, 4711):
        assert any(address.endswith(f":{port}") for address in addresses)


# ------------------------------------------------------------ registering


class Registry:
    """What a gateway would answer."""

    def __init__(self, *known: dict[str, Any]) -> None:
        self.known = list(known)
        self.done: list[tuple[object, ...]] = []

    async def models(self, **_: Any) -> list[dict[str, Any]]:
        return self.known

    async def add_model(self, name: str, **order: Any) -> dict[str, Any]:
        from podium.errors import InvalidRequest

        if name == "bad":
            raise InvalidRequest("no such file")
        self.done.append(("add", name, order["location"]))
        return {"ref": f"{name}@1", "problem": None}

    async def set_alias(self, alias: str, target: str) -> dict[str, Any]:
        self.done.append(("alias", alias, target))
        return {}

    async def keep(self, ref: str, **orders: Any) -> dict[str, Any]:
        self.done.append(("keep", ref, tuple(orders.items())))
        return {}

    async def pin(self, ref: str, *, pinned: bool = True) -> dict[str, Any]:
        self.done.append(("pin", ref, pinned))
        return {}


def known(provider: str, location: str, status: str = "active", **settings: Any) -> dict[str, Any]:
    return {
        "ref": "k@1",
        "status": status,
        "provider": provider,
        "source": {"location": location, "settings": settings},
    }


async def test_what_is_registered_already_is_marked_and_left_alone(tmp_path: Path):
    (tmp_path / "link.gguf").symlink_to(tmp_path / "m.gguf")
    registry = Registry(
        known("llamacpp", str(tmp_path / "m.gguf")),
        known("ollama", "gemma3:1b", num_ctx=4096),
        known("openai", "http://h/v1/", remote="a"),
        known("ollama", "old:1", status="retired"),
    )
    report = Report()
    for name, provider, location, settings in (
        ("a", "llamacpp", str(tmp_path / "link.gguf"), {}),
        ("b", "ollama", "gemma3:1b", {}),
        ("c", "openai", "http://h/v1", {"remote": "a"}),
        ("d", "openai", "http://h/v1", {"remote": "b"}),
        ("e", "ollama", "old:1", {}),
        ("bad", "ollama", "x:1", {}),
    ):
        report.add(Proposal(name=name, provider=provider, location=location, origin="o", settings=settings))
    await mark(report, registry)
    assert [one.registered for one in report.proposals] == ["k@1", "k@1", "k@1", None, None, None]
    done = await register(report.proposals, registry, lambda _: None)
    assert [(one.name, one.ref, one.problem) for one in done] == [
        ("d", "d@1", None), ("e", "e@1", None), ("bad", None, "no such file"),
    ]  # fmt: skip


async def test_aliases_and_standing_orders_go_with_it():
    registry = Registry()
    one = Proposal(
        name="m",
        provider="command",
        location="x ${PORT}",
        origin="o",
        aliases=("n",),
        keep_alive_s=60.0,
        preload=True,
        pinned=True,
    )
    await register([one], registry, lambda _: None)
    assert registry.done[1:] == [
        ("alias", "n", "m@1"), ("keep", "m@1", (("keep_alive", 60.0), ("preload", True))), ("pin", "m@1", True),
    ]  # fmt: skip

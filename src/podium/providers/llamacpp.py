"""Embedded llama.cpp: runs a GGUF with no other server installed, one child process per instance.

The child serves on a unix socket in a private directory and demands a random key, so neither another user nor
another process of this user reaches it by accident.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import psutil

from podium.domain.model import Capability, Facts, ModelVersion, Source
from podium.errors import InvalidRequest, LoadFailed
from podium.ports import Characteristics
from podium.providers.catalogue import ProviderContext
from podium.providers.gguf_facts import read_facts
from podium.providers.gguf_memory import overhead
from podium.providers.http_instance import HttpInstance
from podium.providers.own_worker import environment, start_worker
from podium.providers.settings import read_settings

DEFAULT_CONTEXT = 4096
MAX_THREADS = 8


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``context`` is per slot, in tokens; ``slots`` requests run in parallel."""

    context: Annotated[int, msgspec.Meta(ge=16)] | None = None
    slots: Annotated[int, msgspec.Meta(ge=1, le=256)] = 2
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] | None = None
    chat_template: str | None = None
    system_prompt: str | None = None
    embedding: bool | None = None
    ready_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 600.0


def create(context: ProviderContext) -> LlamaCppProvider:
    """Entry point of the provider ``llamacpp``."""
    return LlamaCppProvider(context)


class LlamaCppProvider:
    """Runs GGUF files."""

    name = "llamacpp"
    characteristics = Characteristics(owns_process=True, streaming=True, continuous_batching=True, local=True)

    def __init__(self, context: ProviderContext) -> None:
        self._context = context

    async def inspect(self, source: Source) -> Facts:
        """Read the file and check the settings. Raises ``InvalidRequest``."""
        settings = read_settings(source, Settings)
        facts = await read_facts(_path(source))
        trained = facts.context_length
        if settings.context is not None and trained is not None and settings.context > trained:
            raise InvalidRequest(
                f"context {settings.context} is more than the {trained} tokens the model was trained on",
                param="source.settings.context",
            )
        capabilities = set(facts.capabilities)
        if settings.chat_template is not None:
            # llama.cpp drops the tools of a request when the template does not render them.
            renders = "tools" in settings.chat_template
            capabilities = (capabilities - {Capability.TOOLS}) | {Capability.CHAT.value}
            capabilities |= {Capability.TOOLS.value} if renders else set()
        if settings.embedding:
            capabilities = {Capability.EMBEDDING.value}
        return replace(facts, capabilities=frozenset(capabilities))

    def context_length(self, version: ModelVersion) -> int | None:
        """Tokens of one slot."""
        return _context(read_settings(version.source, Settings), version.facts)

    def footprint(self, version: ModelVersion) -> int | None:
        """Weights, key-value cache for all slots, vocabulary and buffers, in bytes.

        llama.cpp fills the cache with zeros when it starts, so all of it is in memory before the first token.
        """
        facts = version.facts
        if facts.size_bytes is None:
            return None
        settings = read_settings(version.source, Settings)
        cache = (facts.kv_bytes_per_token or 0) * _context(settings, facts) * settings.slots
        return facts.size_bytes + cache + overhead(_path(version.source), facts.digest, facts.size_bytes)

    def ready_within(self, version: ModelVersion) -> float | None:
        """What was set, if it was."""
        if "ready_timeout_s" not in version.source.settings:
            return None
        return read_settings(version.source, Settings).ready_timeout_s

    async def load(self, version: ModelVersion, instance_id: str) -> HttpInstance:
        """Start the worker; returns when it listens. Raises ``LoadFailed`` with the end of its log."""
        if importlib.util.find_spec("xllamacpp") is None:
            raise LoadFailed("the embedded llama.cpp is not installed: pip install 'podium[llamacpp]'")
        path = _path(version.source)
        if not path.is_file():
            raise LoadFailed(f"{path} is gone; restore it, or retire {version.ref}")
        settings = read_settings(version.source, Settings)
        worker = await start_worker(
            self._context.home,
            instance_id,
            [sys.executable, "-m", "podium.providers.llamacpp_worker"],
            _order(version, settings, path),
            env=environment(self._context.environ),
            ref=version.ref,
            timeout_s=settings.ready_timeout_s,
        )
        return HttpInstance(
            worker.client,
            model=version.ref,
            concurrency=settings.slots,
            capabilities=version.facts.capabilities,
            headers=worker.headers,
            process=worker.process,
        )


def default_threads(cores: int) -> int:
    """Half of the physical cores: llama.cpp's threads wait for each other by spinning, and two models that
    together have more threads than there are cores slow each other down tenfold and more.
    """
    return max(1, min(MAX_THREADS, cores // 2))


def _path(source: Source) -> Path:
    return Path(source.location).expanduser().absolute()


def _context(settings: Settings, facts: Facts) -> int:
    if settings.context is not None:
        return settings.context
    return min(DEFAULT_CONTEXT, facts.context_length or DEFAULT_CONTEXT)


def _order(version: ModelVersion, settings: Settings, path: Path) -> dict[str, object]:
    threads = settings.threads or default_threads(psutil.cpu_count(logical=False) or 1)
    return {
        "path": str(path),
        "alias": version.ref,
        "context": _context(settings, version.facts),
        "slots": settings.slots,
        "threads": threads,
        "embedding": version.facts.capabilities == {Capability.EMBEDDING},
        "chat_template": _template(settings, version.facts),
        "temperature": settings.temperature,
        "top_k": settings.top_k,
        "top_p": settings.top_p,
        "min_p": settings.min_p,
        "seed": settings.seed,
    }


def _template(settings: Settings, facts: Facts) -> str | None:
    """The chat template in force; a system prompt is put before conversations that bring none of their own."""
    template = settings.chat_template
    if settings.system_prompt is None:
        return template
    text = msgspec.json.encode(settings.system_prompt).decode()
    return (
        "{%- if messages[0]['role'] != 'system' -%}{%- set messages = [{'role': 'system', 'content': "
        + text
        + "}] + messages -%}{%- endif -%}"
        + (template or facts.chat_template or "")
    )

"""Ollama by its own API: facts, loading and unloading under the pool's command, pulling.

Its OpenAI-compatible endpoint would be simpler, but takes no ``num_ctx`` (so requests of others reload the model),
reports no durations, and drops what it does not know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec

from podium.domain.model import Capability, Facts, ModelVersion, Source
from podium.errors import InvalidRequest, LoadFailed, PodiumError, ProviderError
from podium.ports import Characteristics
from podium.providers.catalogue import ProviderContext
from podium.providers.ollama_api import Listed, OllamaServer, Progress, Running, Shown, host_url, same
from podium.providers.ollama_facts import facts_of
from podium.providers.ollama_held import Held
from podium.providers.ollama_instance import OllamaInstance
from podium.providers.ollama_residence import Residence, Wanted
from podium.providers.ollama_watch import Watch
from podium.providers.ollama_wire import RUNNER_OPTIONS, SAMPLING_OPTIONS
from podium.providers.settings import read_settings

MB = 1024 * 1024
DEFAULT_CONTEXT = 4096
OVERHEAD_BYTES = 300 * MB
"""Buffers and the runner itself; replaced by what ``/api/ps`` says once it was loaded."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``num_ctx`` is in tokens per request; ``options`` are Ollama's, used where a request does not say."""

    host: str | None = None
    num_ctx: Annotated[int, msgspec.Meta(ge=4)] | None = None
    parallel: Annotated[int, msgspec.Meta(ge=1)] | None = None
    options: dict[str, Any] = {}


def create(context: ProviderContext) -> OllamaProvider:
    """Entry point of the provider ``ollama``."""
    return OllamaProvider(context)


class OllamaProvider:
    """Runs the models of Ollama servers."""

    name = "ollama"
    characteristics = Characteristics(owns_process=False, streaming=True, continuous_batching=True, local=True)

    def __init__(self, context: ProviderContext) -> None:
        self._context = context
        self._servers: dict[str, OllamaServer] = {}
        self._watches: dict[str, Watch] = {}
        self._residences: dict[tuple[str, str], Residence] = {}
        self._measured: dict[bytes, int] = {}
        self._held = Held(context.home)

    async def inspect(self, source: Source) -> Facts:
        """Ask the server. Raises ``InvalidRequest`` for a model it does not have, ``ProviderError``."""
        settings = _settings(source)
        server, tag = self._server(settings), _tag(source)
        version = await server.version()
        row = await server.find(tag)
        if row is None:
            raise InvalidRequest(_missing(tag, server), param="source.location")
        shown = await server.show(row.name)
        if shown.remote_host:
            raise InvalidRequest(
                f"{tag} is not on this machine, Ollama would send everything to {shown.remote_host}; register that "
                "service by its URL if that is what you want",
                param="source.location",
            )
        facts = facts_of(row, shown, version)
        trained = facts.context_length
        if settings.num_ctx is not None and trained is not None and settings.num_ctx > trained:
            raise InvalidRequest(
                f"num_ctx {settings.num_ctx} is more than the {trained} tokens the model was trained on",
                param="source.settings.num_ctx",
            )
        if not facts.capabilities:
            raise InvalidRequest(f"{tag} neither generates text nor embeds", param="source.location")
        return facts

    def context_length(self, version: ModelVersion) -> int | None:
        """The ``num_ctx`` of this version: fixed, as another one would reload the model."""
        return _num_ctx(_settings(version.source), version.facts)

    def footprint(self, version: ModelVersion) -> int | None:
        """What Ollama said when it was loaded, else weights, key-value cache and overhead; 0 on another machine."""
        settings = _settings(version.source)
        if not self._server(settings).local:
            return 0
        measured = self._measured.get(self._key(version))
        if measured is not None:
            return measured
        facts = version.facts
        if facts.size_bytes is None:
            return None
        cache = (facts.kv_bytes_per_token or 0) * _num_ctx(settings, facts) * (settings.parallel or 1)
        return facts.size_bytes + cache + OVERHEAD_BYTES

    def endpoint(self, version: ModelVersion) -> str | None:
        """The server's address."""
        return self._server(_settings(version.source)).url

    async def load(self, version: ModelVersion, instance_id: str) -> OllamaInstance:
        """Have it in the server's memory, and in its list of what is there. Raises ``LoadFailed``."""
        settings = _settings(version.source)
        server, tag = self._server(settings), _tag(version.source)
        await self._clear(server.url, tag)
        name, shown, weights = await self._found(version, server, tag)
        residence = self._residences.setdefault((server.url, weights), Residence(server, self._held))
        capabilities = version.facts.capabilities
        wanted = Wanted(
            tag=name,
            weights=weights,
            runner=_runner(settings, version.facts),
            loading=shown.loading,
            embeds=Capability.COMPLETION not in capabilities,
        )
        instance = OllamaInstance(
            residence,
            wanted,
            options={name: value for name, value in settings.options.items() if name in SAMPLING_OPTIONS},
            concurrency=settings.parallel or 1,
            capabilities=capabilities,
            watch=self._watches.setdefault(server.url, Watch(server)),
            digest=version.facts.digest,
        )
        size = await instance.begin()
        if size > 0:
            self._measured[self._key(version)] = size
        return instance

    async def _clear(self, url: str, tag: str) -> None:
        """Once: unload what a gateway that was killed had loaded, but for what is loaded now."""
        for where, left in self._held.leftovers():
            if where != url or not same(left, tag):
                with contextlib.suppress(PodiumError):
                    await self._at(where).expire(left)

    async def _found(self, version: ModelVersion, server: OllamaServer, tag: str) -> tuple[str, Shown, str]:
        """The server's own name of the model, what it says of it, and what identifies the weights. Raises ``LoadFailed``."""
        try:
            row = await server.find(tag)
            shown = await server.show(row.name) if row is not None else Shown()
        except ProviderError as error:
            raise LoadFailed(error.message) from error
        if row is None:
            raise LoadFailed(_missing(tag, server))
        if f"sha256:{row.digest.removeprefix('sha256:')}" != version.facts.digest:
            raise LoadFailed(f"{tag} was pulled again since {version.ref} was registered; register it as a new version")
        return row.name, shown, shown.weights or row.digest

    async def models(self, host: str | None = None) -> list[Listed]:
        """What a server has."""
        return await self._at(host).tags()

    async def running(self, host: str | None = None) -> list[Running]:
        """What a server holds in memory, whoever loaded it."""
        return await self._at(host).ps()

    async def pull(self, tag: str, on_progress: Callable[[Progress], None], host: str | None = None) -> None:
        """Download a model, telling every step. Raises ``ProviderError``."""
        await self._at(host).pull(tag, on_progress)

    async def close(self) -> None:
        """Close the connections to all servers."""
        for server in self._servers.values():
            await server.aclose()
        self._servers.clear()
        self._watches.clear()

    def _server(self, settings: Settings) -> OllamaServer:
        return self._at(settings.host)

    def _at(self, host: str | None) -> OllamaServer:
        url = host_url(host, self._context.environ)
        server = self._servers.get(url)
        if server is None:
            server = self._servers[url] = OllamaServer(url, self._context.reach)
        return server

    def _key(self, version: ModelVersion) -> bytes:
        settings = _settings(version.source)
        runner = _runner(settings, version.facts)
        where = (self._server(settings).url, version.facts.digest, sorted(runner.items()), settings.parallel)
        return msgspec.json.encode(where)


def _settings(source: Source) -> Settings:
    settings = read_settings(source, Settings)
    for name in settings.options:
        if name == "num_ctx":
            raise InvalidRequest(
                "num_ctx is a setting of its own, not one of `options`", param="source.settings.options"
            )
        if name not in RUNNER_OPTIONS | SAMPLING_OPTIONS:
            known = ", ".join(sorted(RUNNER_OPTIONS | SAMPLING_OPTIONS))
            raise InvalidRequest(f"Ollama has no option {name!r}; it knows {known}", param="source.settings.options")
    return settings


def _runner(settings: Settings, facts: Facts) -> Mapping[str, Any]:
    """Options that have to be the same in every request, or Ollama loads the model again."""
    fixed = {name: value for name, value in settings.options.items() if name in RUNNER_OPTIONS}
    return {**fixed, "num_ctx": _num_ctx(settings, facts)}


def _num_ctx(settings: Settings, facts: Facts) -> int:
    return settings.num_ctx or min(DEFAULT_CONTEXT, facts.context_length or DEFAULT_CONTEXT)


def _tag(source: Source) -> str:
    tag = source.location.strip()
    if not tag or any(each.isspace() for each in tag):
        raise InvalidRequest(
            f"{source.location[:200]!r} is no name of a model, such as gemma3:1b", param="source.location"
        )
    return tag


def _missing(tag: str, server: OllamaServer) -> str:
    return f"Ollama at {server.url} has no model {tag!r}; `podium models pull {tag}` or `ollama pull {tag}` gets it"

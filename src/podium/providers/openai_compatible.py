"""A running OpenAI-compatible server: LM Studio, vLLM, llama-server, any, and OpenAI itself.

What it offers is asked of it; nothing is generated to find out, but what it really supports is probed before a version
is validated. A key is named by where it is, a sealed secret or an environment variable, and is part of no registration.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import msgspec

from podium.domain.model import Capability, Facts, ModelVersion, Source
from podium.errors import ConfigError, InvalidRequest, LoadFailed
from podium.ports import Characteristics
from podium.providers.catalogue import ProviderContext
from podium.providers.endpoints import parse_url
from podium.providers.http_instance import HttpInstance
from podium.providers.keys import NO_KEY, fresh, key_of
from podium.providers.listing import GENERATES, changed, facts_of, find_model, list_models, rows_of
from podium.providers.probing import Probe, conclude
from podium.providers.recognising import Served, documented, examine, served
from podium.providers.servers import GENERIC, Kind, first, hosted_at
from podium.providers.settings import read_settings
from podium.providers.slots import slots_of
from podium.transport.client import HttpClient, Origin

_LIMIT_S = 10.0
DEFAULT_CONCURRENCY = 64
Headers = tuple[tuple[bytes, bytes], ...]

__all__ = ["GENERATES", "OpenAICompatibleProvider", "Settings", "create", "facts_of", "parse_url"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``remote``: the model's id on the server. ``capabilities`` overrides what was probed. ``hosted``: somebody is paid."""

    remote: str | None = None
    api_key: str | None = None
    api_key_env: str | None = None
    concurrency: Annotated[int, msgspec.Meta(ge=1)] | None = None
    capabilities: tuple[str, ...] | None = None
    context: Annotated[int, msgspec.Meta(ge=1)] | None = None
    hosted: bool | None = None


def create(context: ProviderContext) -> OpenAICompatibleProvider:
    """Entry point of the provider ``openai``."""
    return OpenAICompatibleProvider(context)


class OpenAICompatibleProvider:
    """Talks to servers that somebody else runs."""

    name = "openai"
    characteristics = Characteristics(owns_process=False, streaming=True, continuous_batching=True, local=False)

    def __init__(self, context: ProviderContext) -> None:
        self._context = context

    async def inspect(self, source: Source) -> Facts:
        """Ask the server what it serves. Raises ``InvalidRequest`` or ``ProviderError``."""
        settings = read_settings(source, Settings)
        origin, base = parse_url(source.location)
        client = self._client(origin)
        headers = self._headers(settings)
        try:
            row = find_model(await list_models(client, base, headers, _LIMIT_S), settings.remote, source.location)
            kind, about, identity = await _about(client, origin, base, headers, row["id"])
        finally:
            await client.aclose()
        facts = facts_of(row, settings.capabilities, f"{source.location.rstrip('/')}#{row['id']}", identity)
        return _completed(facts, kind, about, overridden=settings.capabilities is not None)

    async def probe(self, source: Source, facts: Facts) -> Facts:
        """Try out what the server supports with calls of one token each. Raises ``ProviderError``."""
        settings = read_settings(source, Settings)
        if settings.capabilities is not None:
            return facts
        origin, base = parse_url(source.location)
        client = self._client(origin)
        headers = self._headers(settings)
        try:
            rows = await list_models(client, base, headers, _LIMIT_S)
            model = find_model(rows, settings.remote, source.location)["id"]
            kind, about, _ = await _about(client, origin, base, headers, model)
            promised = frozenset(kind.documented) | facts.capabilities
            found = await Probe(client, base, headers, model, kind.limit).run(promised)
        finally:
            await client.aclose()
        capabilities, evidence = conclude(about.told, promised, found)
        kept = tuple(each for each in facts.evidence if each[0] not in {name for name, _ in evidence})
        return replace(facts, capabilities=capabilities or facts.capabilities, evidence=(*kept, *evidence))

    def hosted(self, version: ModelVersion) -> bool:
        """As the settings say, else by the host: that of a service of the catalogue, such as ``api.openai.com``."""
        try:
            said = read_settings(version.source, Settings).hosted
            return said if said is not None else hosted_at(parse_url(version.source.location)[0].host) is not None
        except InvalidRequest:
            return False

    def locked(self, version: ModelVersion) -> str | None:
        """Why it cannot be called yet; ``None`` when it can."""
        settings = read_settings(version.source, Settings)
        try:
            return None if self._headers(settings) else NO_KEY
        except (InvalidRequest, ConfigError) as error:
            return error.message

    def context_length(self, version: ModelVersion) -> int | None:
        """What was set, else what the server reported."""
        return read_settings(version.source, Settings).context or version.facts.context_length

    def footprint(self, version: ModelVersion) -> int | None:
        """Nothing here: its memory is its own."""
        return 0

    def endpoint(self, version: ModelVersion) -> str | None:
        """All versions on one server fail together. ``None`` for a URL that is none."""
        try:
            origin, _ = parse_url(version.source.location)
        except InvalidRequest:
            return None
        return str(origin)

    async def load(self, version: ModelVersion, instance_id: str) -> HttpInstance:
        """Connect; the server loads its model itself. Raises ``ProviderError`` when it does not answer, ``LoadFailed``
        when it serves another model under this name.
        """
        settings = read_settings(version.source, Settings)
        origin, base = parse_url(version.source.location)
        client = self._client(origin)
        headers = self._headers(settings)
        try:
            rows = await list_models(client, base, headers, _LIMIT_S)
            row = find_model(rows, settings.remote, version.source.location)
            _refuse_other(version, row)
            slots = settings.concurrency or await slots_of(client, base, headers)
        except BaseException:
            await client.aclose()
            raise

        def check(body: bytes) -> str | None:
            listed = [each for each in rows_of(body, f"{origin}{base}/models") if each["id"] == row["id"]]
            return _other(version, listed[0]) if listed else None

        return HttpInstance(
            client,
            model=row["id"],
            concurrency=slots or DEFAULT_CONCURRENCY,
            adaptive=slots is None,
            capabilities=version.facts.capabilities,
            base=base,
            health_path=f"{base}/models",
            headers=lambda: fresh(self._headers, settings, row["id"]),
            check=check,
            generates=not self.hosted(version),
            limit_name=(hosted_at(origin.host) or GENERIC).limit.encode(),
        )

    def _client(self, origin: Origin) -> HttpClient:
        return HttpClient(origin, reach=self._context.reach)

    def _headers(self, settings: Settings) -> Headers:
        context = self._context
        key = key_of(context.environ, context.secrets, settings.api_key, settings.api_key_env)
        return () if key is None else ((b"authorization", b"Bearer " + key),)


async def _about(
    client: HttpClient, origin: Origin, base: str, headers: Headers, model: str
) -> tuple[Kind, Served, tuple[object, ...]]:
    """Which server it is, what it says of the model beside its row, and what else identifies the model there."""
    hosted = hosted_at(origin.host)
    if hosted is not None:
        return hosted, Served(id=model), ()
    kind, answers, _ = await examine(client, base, headers)
    found = (first((place,), answers, model) for place in kind.identity)
    return kind, served(kind, answers, model), tuple(each[0] for each in found if each is not None)


def _completed(facts: Facts, kind: Kind, about: Served, *, overridden: bool) -> Facts:
    """The facts of the row, with what the server's own routes say; these win, as they know the running model."""
    capabilities = facts.capabilities
    if not overridden:
        generates = documented(kind) if kind is not GENERIC else capabilities
        embeds = capabilities == {Capability.EMBEDDING.value}
        capabilities = about.only or (capabilities if embeds else generates | about.told)
    return replace(
        facts,
        architecture=about.architecture or facts.architecture,
        parameters=about.parameters or facts.parameters,
        quantization=about.quantization or facts.quantization,
        context_length=about.context_length or facts.context_length,
        size_bytes=about.size_bytes or facts.size_bytes,
        capabilities=capabilities,
        evidence=(("server", kind.title), *about.evidence),
    )


def _refuse_other(version: ModelVersion, row: dict[str, object]) -> None:
    why = _other(version, row)
    if why is not None:
        raise LoadFailed(why)


def _other(version: ModelVersion, row: dict[str, object]) -> str | None:
    """Why a row is not the model that was registered; ``None`` when nothing shows that."""
    why = changed(version.facts, facts_of(row, (), ""))
    if why is None:
        return None
    return f"{version.ref}: its server serves another model under this name: {why}; register it as a new version"

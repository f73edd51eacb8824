"""Anthropic's models, hosted: facts from its models API, answers through its Messages API. Off until there is a key and
a budget. A key is named by where it is, a sealed secret or an environment variable, and is part of no registration.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from podium.domain.instance import ProcessUsage
from podium.domain.model import Capability, Facts, ModelVersion, Source
from podium.domain.request import Endpoint
from podium.errors import ConfigError, InvalidRequest, ProviderError
from podium.ports import Call, Characteristics, Reply
from podium.providers.anthropic_answers import Translator, refusal, whole
from podium.providers.anthropic_request import Order, translate
from podium.providers.catalogue import ProviderContext
from podium.providers.endpoints import parse_url
from podium.providers.keys import fresh, key_of
from podium.providers.refusals import Refusal, error_body
from podium.providers.settings import read_settings
from podium.transport.client import HttpClient
from podium.transport.reply import HttpReply

VERSION = b"2023-06-01"
LOCATION = "https://api.anthropic.com"
DEFAULT_CONCURRENCY = 16
_LIMIT_S = 15.0
_MAPPED = {"image_input": Capability.VISION, "structured_outputs": Capability.JSON_SCHEMA}
Headers = tuple[tuple[bytes, bytes], ...]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``remote``: the model's id. ``max_tokens``: of an answer whose request names no limit, as the API wants one."""

    remote: str | None = None
    api_key: str | None = None
    api_key_env: str = "ANTHROPIC_API_KEY"
    concurrency: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 4096
    context: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _Model(msgspec.Struct):
    """A row of the models API; what it does not say stays as it is here."""

    id: str
    display_name: str | None = None
    created_at: str | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: dict[str, Any] | None = None


_model = msgspec.json.Decoder(_Model)


def create(context: ProviderContext) -> AnthropicProvider:
    """Entry point of the provider ``anthropic``."""
    return AnthropicProvider(context)


class AnthropicProvider:
    """Talks to Anthropic's API."""

    name = "anthropic"
    characteristics = Characteristics(owns_process=False, streaming=True, continuous_batching=True, local=False)

    def __init__(self, context: ProviderContext) -> None:
        self._context = context

    async def inspect(self, source: Source) -> Facts:
        """Ask the models API; nothing is generated. Raises ``InvalidRequest``, ``ProviderError``."""
        settings, client, base = self._opened(source)
        try:
            found = await _about(client, base, self._headers(settings), _remote(settings))
        finally:
            await client.aclose()
        told = found.capabilities
        capabilities = {Capability.CHAT.value, Capability.TOOLS.value}
        evidence = [("server", "Anthropic"), ("tools", "as documented for every model")]
        for name, capability in _MAPPED.items():
            if told is None:
                capabilities.add(capability.value)
                evidence.append((capability.value, "as documented; the models API does not say"))
            elif isinstance(told.get(name), dict) and told[name].get("supported") is True:
                capabilities.add(capability.value)
                evidence.append((capability.value, f"GET /v1/models: capabilities.{name}"))
        stable = f"{source.location.rstrip('/')}#{found.id}#{found.created_at}"
        return Facts(
            digest=f"sha256:{hashlib.sha256(stable.encode()).hexdigest()}",
            context_length=found.max_input_tokens,
            capabilities=frozenset(capabilities),
            evidence=tuple(evidence),
        )

    def hosted(self, version: ModelVersion) -> bool:
        """Always: somebody is paid."""
        return True

    def locked(self, version: ModelVersion) -> str | None:
        """Why it cannot be called yet; ``None`` when it can."""
        try:
            self._headers(read_settings(version.source, Settings))
        except (InvalidRequest, ConfigError) as error:
            return error.message
        return None

    def context_length(self, version: ModelVersion) -> int | None:
        """What was set, else what the API says."""
        return read_settings(version.source, Settings).context or version.facts.context_length

    def footprint(self, version: ModelVersion) -> int | None:
        """Nothing here."""
        return 0

    def endpoint(self, version: ModelVersion) -> str | None:
        """All versions there fail together. ``None`` for a URL that is none."""
        try:
            return str(parse_url(version.source.location)[0])
        except InvalidRequest:
            return None

    async def load(self, version: ModelVersion, instance_id: str) -> AnthropicInstance:
        """Connect and look whether the model is there. Raises ``ProviderError``."""
        settings, client, base = self._opened(version.source)
        try:
            instance = AnthropicInstance(
                client,
                base,
                lambda: fresh(self._headers, settings, _remote(settings)),
                model=_remote(settings),
                settings=settings,
            )
            await instance.health()
        except BaseException:
            await client.aclose()
            raise
        return instance

    def _opened(self, source: Source) -> tuple[Settings, HttpClient, str]:
        settings = read_settings(source, Settings)
        origin, base = parse_url(source.location)
        _remote(settings)
        return settings, HttpClient(origin, reach=self._context.reach), base

    def _headers(self, settings: Settings) -> Headers:
        context = self._context
        key = key_of(context.environ, context.secrets, settings.api_key, settings.api_key_env)
        assert key is not None, "api_key_env has a default"
        return ((b"x-api-key", key), (b"anthropic-version", VERSION))


class AnthropicInstance:
    """One model of the API. It is always warm; nothing is generated to find that out."""

    pid = None
    adaptive = True

    def __init__(
        self, client: HttpClient, base: str, headers: Callable[[], Headers], *, model: str, settings: Settings
    ) -> None:
        self.model = model
        self.concurrency = settings.concurrency or DEFAULT_CONCURRENCY
        self.adaptive = settings.concurrency is None
        self._client = client
        self._base = base
        self._headers = headers
        self._max_tokens = settings.max_tokens
        self._unloaded = False

    async def send(self, call: Call) -> Reply:
        if call.endpoint is not Endpoint.CHAT:
            return Refusal(400, error_body(f"{self.model} only chats", code="not_supported"))
        try:
            order = translate(call.body, self.model, max_tokens=self._max_tokens)
        except InvalidRequest as error:
            return Refusal(400, error_body(error.message, code=error.code, param=error.param))
        limits = call.deadlines
        reply = await self._client.request(
            b"POST",
            f"{self._base}/messages".encode(),
            headers=(*self._headers(), (b"content-type", b"application/json"), *call.headers),
            body=order.body,
            connect_s=limits.connect_s,
            first_byte_s=limits.first_token_s,
            total_s=limits.total_s,
        )
        if reply.status != 200:
            return Refusal(*refusal(reply.status, await reply.read()))
        return AnthropicReply(reply, order, self.model)

    async def health(self) -> None:
        await _about(self._client, self._base, self._headers(), self.model)

    async def warm_up(self) -> None:
        """Nothing: every generation is billed, and the model is warm."""

    async def unload(self) -> None:
        self._unloaded = True
        await self._client.aclose()

    def usage(self) -> ProcessUsage | None:
        return None

    def alive(self) -> bool:
        return not self._unloaded


class AnthropicReply:
    """``podium.ports.Reply`` over one of Anthropic's."""

    def __init__(self, reply: HttpReply, order: Order, model: str) -> None:
        self.status = 200
        self.content_type = "text/event-stream" if order.stream else "application/json"
        self._reply = reply
        self._order = order
        self._model = model
        self._created = int(time.time())

    async def read(self) -> bytes:
        if self._order.stream:
            parts: list[bytes] = []
            await self.relay(parts.append)
            return b"".join(parts)
        return whole(await self._reply.read(), created=self._created, model=self._model)

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        if not self._order.stream:
            sink(await self.read())
            return
        made = Translator(created=self._created, model=self._model, include_usage=self._order.include_usage)

        def pass_on(data: bytes) -> None:
            if data:
                sink(data)
            if made.failed is not None:
                raise made.failed

        await self._reply.relay(lambda data: pass_on(made.feed(data)))
        pass_on(made.end())

    def pause(self) -> None:
        self._reply.pause()

    def resume(self) -> None:
        self._reply.resume()

    def close(self) -> None:
        self._reply.close()


def _remote(settings: Settings) -> str:
    if settings.remote is None:
        raise InvalidRequest("name the model with --remote, such as claude-haiku-4-5", param="source.settings.remote")
    return settings.remote


async def _about(client: HttpClient, base: str, headers: Headers, model: str) -> _Model:
    """What the API says of a model. Raises ``InvalidRequest`` for one that is not there, ``ProviderError``."""
    reply = await client.request(
        b"GET",
        f"{base}/models/{quote(model, safe='')}".encode(),
        headers=headers,
        connect_s=_LIMIT_S,
        first_byte_s=_LIMIT_S,
        total_s=_LIMIT_S,
    )
    body = await reply.read()
    if reply.status in (401, 403):
        raise ProviderError(f"{client.name} refuses our key (HTTP {reply.status}); see what api_key names")
    if reply.status == 404:
        raise InvalidRequest(f"{client.name} has no model {model!r}", param="source.settings.remote")
    if reply.status != 200:
        raise ProviderError(f"{client.name}{base}/models answers HTTP {reply.status}; try again later")
    try:
        return _model.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ProviderError(f"{client.name} does not answer like Anthropic's API", code="bad_answer") from None

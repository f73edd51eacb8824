"""Brings a version into service: inspect its source, register it, prove that it works, activate it.

``ready`` is earned: reachable, healthy, one real generation, and a profile measured on that run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from podium.domain.budget import Used
from podium.domain.model import Capability, Category, Lifecycle, ModelVersion, Profile, Provenance, Source
from podium.domain.request import Endpoint
from podium.errors import Conflict, NotFound, PodiumError, ProviderError
from podium.ports import Call, Clock, Probes, Provider
from podium.services.budgeting import NOTHING, Budgeting, Reservation
from podium.services.hosted import HostedGate
from podium.services.pool import Pool
from podium.services.registry import Registry
from podium.services.rejection import rejection
from podium.services.sse import says_something

_PROBE_TOKENS = 16
VALIDATION = "validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a user says about a model. Everything else is read from its source."""

    name: str
    source: Source
    version: str | None = None
    category: Category | None = None
    tags: frozenset[str] = frozenset()
    parent: str | None = None
    specialisation: str | None = None
    provenance: Provenance = field(default_factory=Provenance)
    activate: bool | None = None
    """``None``: activate if it is the first usable version of its name, else leave it ready."""


class Onboarding:
    """Registers and validates versions."""

    def __init__(
        self,
        registry: Registry,
        pool: Pool,
        providers: Callable[[str], Provider],
        clock: Clock,
        changed: Callable[[], None],
        load_timeout_s: float,
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._providers = providers
        self._clock = clock
        self._changed = changed
        self._timeout = load_timeout_s
        self._validating: dict[str, asyncio.Lock] = {}
        self.gate: HostedGate | None = None
        """Says which versions may not be called yet."""
        self.budgeting: Budgeting | None = None

    async def add(self, order: Registration, by: str) -> tuple[ModelVersion, bool, PodiumError | None]:
        """Register, and validate and activate unless told otherwise. What is going to be validated is probed first.

        Returns the version, whether it is new, and why it could not be made ready (it then stays
        ``registered``). Raises when the source is unusable or the registry refuses.
        """
        provider = self._providers(order.source.provider)
        facts = await provider.inspect(order.source)
        named = order.version or facts.declared_version or facts.digest.removeprefix("sha256:")[:8]
        version = ModelVersion(
            name=order.name,
            version=named,
            source=order.source,
            facts=facts,
            category=order.category,
            tags=order.tags,
            parent=order.parent,
            specialisation=order.specialisation,
            provenance=order.provenance,
            created_at=self._clock.now(),
        )
        if order.activate is not False and self._registry.find(version.ref) is None:
            version = await self._probed(provider, version)
        version, created = await self._registry.register(version, by)
        if order.activate is False:
            self._changed()
            return version, created, None
        try:
            version = await self.validate(version.ref, by)
            if version.status is Lifecycle.READY and (order.activate or not self._has_active(version)):
                version = await self._registry.transition(version.ref, Lifecycle.ACTIVE, by, "added")
        except PodiumError as error:
            return version, created, error
        finally:
            self._changed()
        return version, created, None

    async def _probed(self, provider: Provider, version: ModelVersion) -> ModelVersion:
        """With the capabilities that were tried out, where its provider can and somebody paid for it may be called."""
        if not isinstance(provider, Probes) or (self.gate is not None and self.gate.refusal(version) is not None):
            return version
        held = await self._hold(version)
        try:
            return replace(version, facts=await provider.probe(version.source, version.facts))
        finally:
            held.settle(Used())

    async def _hold(self, version: ModelVersion) -> Reservation:
        """What a few short calls may use of the budgets they count for; nothing where there are none."""
        if self.budgeting is None or self.gate is None or not self.gate.hosted(version):
            return NOTHING
        return await self.budgeting.behind(f"validation {version.ref}", VALIDATION, VALIDATION, version)

    def _has_active(self, version: ModelVersion) -> bool:
        try:
            return self._registry.resolve(version.name).ref != version.ref
        except NotFound:
            return False

    async def validate(self, ref: str, by: str) -> ModelVersion:
        """Load it, check its health, generate, measure; ``registered`` becomes ``ready``.

        A version past ``registered`` is left as it is. Raises the provider's error otherwise.
        """
        version = self._registry.get(ref)
        if version.status is not Lifecycle.REGISTERED:
            return version
        async with self._validating.setdefault(ref, asyncio.Lock()):  # who comes second finds it done
            version = self._registry.get(ref)
            if version.status is not Lifecycle.REGISTERED:
                return version
            if self.gate is not None:
                self.gate.check(version)
            held = await self._hold(version)
            used = Used()
            try:
                await self._pool.warm(version, self._timeout, gives_way=True)
                profile, used = await self._measure(version)
            finally:
                held.settle(used)
            await self._registry.set_profile(ref, profile)
            version = await self._registry.transition(ref, Lifecycle.READY, by, "validated by a real generation")
            self._validating.pop(ref, None)
            self._changed()
            return version

    async def remove(self, ref: str) -> None:
        """Take away a version that never worked. Raises ``NotFound``; ``Conflict`` for any other, or while it is tried."""
        lock = self._validating.get(ref)
        if lock is not None and lock.locked():
            raise Conflict(f"{ref} is being loaded to see whether it works; wait for that, or `podium unload {ref}`")
        await self._registry.remove(ref)
        self._validating.pop(ref, None)
        self._pool.forget(ref)
        self._changed()

    async def activate(self, ref: str, by: str, reason: str, *, rollback: bool = False) -> ModelVersion:
        """Make a version selectable, validating it first if nobody has. Only a rollback revives a retired one."""
        version = self._registry.get(ref)
        if version.status is Lifecycle.REGISTERED:
            version = await self.validate(ref, by)
        if version.status is not Lifecycle.ACTIVE:
            version = await self._registry.transition(ref, Lifecycle.ACTIVE, by, reason, rollback=rollback)
        self._changed()
        return version

    async def _measure(self, version: ModelVersion) -> tuple[Profile, Used]:
        lease = await self._pool.lease(version, self._timeout)
        started = self._clock.monotonic()
        first: float | None = None

        def sink(data: bytes) -> None:
            nonlocal first
            if first is None and data and says_something(data):
                first = self._clock.monotonic()

        try:
            hosted = self.gate is not None and self.gate.hosted(version)
            call = _probe(version, lease.instance.model, hosted=hosted)
            reply = await lease.instance.send(call)
            try:
                if reply.status != 200:
                    raise rejection(reply.status, await reply.read(), version.ref)
                parts: list[bytes] = []

                def collect(data: bytes) -> None:
                    sink(data)
                    parts.append(data)

                await reply.relay(collect)
            finally:
                reply.close()
            ended = self._clock.monotonic()
            usage = lease.instance.usage()
        finally:
            lease.release()
        read, tokens = _tokens(b"".join(parts))
        if not any(parts):
            raise ProviderError(f"{version.ref} answered the validation request with nothing")
        generating = ended - (first or started)
        profile = Profile(
            load_s=self._pool.load_seconds(version.ref),
            memory_bytes=usage.memory_bytes if usage is not None else None,
            ttft_ms=(first - started) * 1000 if call.stream and first is not None else None,
            tokens_per_s=(tokens - 1) / generating if tokens and tokens > 1 and generating > 0 else None,
            latency_ms=(ended - started) * 1000,
            measured_at=self._clock.now(),
        )
        return profile, Used(tokens=None if tokens is None else tokens + (read or 0))


def _probe(version: ModelVersion, model: str, *, hosted: bool) -> Call:
    """The generation that validates. Hosted models that think refuse a temperature."""
    body: Mapping[str, object]
    can = version.facts.capabilities
    limits = {"model": model, "max_tokens": _PROBE_TOKENS, "stream": True} | ({} if hosted else {"temperature": 0})
    usage = {"stream_options": {"include_usage": True}}
    if Capability.CHAT in can or not can:
        messages = [{"role": "user", "content": "Say hello and introduce yourself."}]
        endpoint, body = Endpoint.CHAT, {**limits, **usage, "messages": messages}
    elif Capability.COMPLETION in can:
        endpoint, body = Endpoint.COMPLETION, {**limits, **usage, "prompt": "Once upon a time"}
    else:
        endpoint, body = Endpoint.EMBEDDING, {"model": model, "input": "hello"}
    return Call(
        endpoint=endpoint,
        body=msgspec.json.encode(body),
        stream=endpoint is not Endpoint.EMBEDDING,
        request_id="validation",
    )


def _tokens(body: bytes) -> tuple[int | None, int | None]:
    """(read, written) from the usage chunks of a stream; ``None`` when the server reported none."""
    best: list[int | None] = [None, None]
    for line in body.splitlines():
        if line.startswith(b"data:") and b'"usage"' in line:
            try:
                usage = msgspec.json.decode(line[5:]).get("usage") or {}
            except (msgspec.DecodeError, AttributeError):
                continue
            for place, name in enumerate(("prompt_tokens", "completion_tokens")):
                best[place] = max(best[place] or 0, int(usage.get(name) or 0)) or best[place]
    return best[0], best[1]

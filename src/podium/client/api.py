"""``Podium``: execute, stream, and everything the control API offers, as coroutines.

Only HTTP leaves this module. The runtime is imported when ``open`` starts an embedded gateway, never before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from podium.client.discovery import find_server, local_key, own_server
from podium.client.failures import from_reply
from podium.client.following import follow, on_event
from podium.client.results import Explanation, Result, explanation_of, text_of
from podium.client.rollouts import Rollouts
from podium.client.streaming import Stream
from podium.client.tracking import Tracking
from podium.client.wire import Json, Messages, chat_of, header_map, origin_of, part_of
from podium.domain.task import Criteria
from podium.errors import NotFound, ProviderUnreachable
from podium.transport.client import HttpClient
from podium.transport.reply import HttpReply

if TYPE_CHECKING:
    from podium.config import Config

CONNECT_S = 5.0
CONTROL_S = 900.0
"""A swap or a registration may load a model; the server's own limits are shorter."""
RECORD_S = 5.0
"""How long ``execute`` waits for the record of a request that has just ended."""


class Podium:
    """A connection to one gateway. Get one from ``open`` or ``connect``; both are async context managers.

    Every method raises the ``PodiumError`` the gateway answered, or ``ProviderUnreachable`` without a gateway.
    """

    def __init__(self, http: HttpClient, api_key: str | None = None, actor: str = "python") -> None:
        self._http = http
        self._headers = {"x-podium-actor": actor} | ({"authorization": f"Bearer {api_key}"} if api_key else {})
        self.tracker = Tracking(self)
        """Executions of agents."""

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls, url: str | None = None, api_key: str | None = None, *, actor: str = "python"
    ) -> AsyncIterator[Podium]:
        """A running server: ``url``, else ``PODIUM_URL``, else the one of this ``PODIUM_HOME``.

        ``url`` is ``http(s)://HOST:PORT`` or ``unix:PATH``. ``actor`` is who the records name.
        """
        address = url or find_server()
        if address is None:
            raise ProviderUnreachable("no Podium server is running; start one with `podium serve` or set PODIUM_URL")
        http = HttpClient(origin_of(address))
        key = api_key or os.environ.get("PODIUM_API_KEY") or None
        if key is None and address == own_server():
            key = local_key()
        podium = cls(http, key, actor)
        try:
            yield podium
        finally:
            await podium.tracker.close()
            await http.aclose()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, config: Config | Path | str | None = None, home: Path | str | None = None, *, actor: str = "python"
    ) -> AsyncIterator[Podium]:
        """A gateway inside this process, on a socket only this user can reach; it ends with the block.

        ``config`` is a file or a loaded ``Config``. Raises ``ConfigError`` when another process uses the home.
        """
        from podium.config import Config, load  # noqa: PLC0415 - starting a gateway is the only thing that needs it
        from podium.runtime import Gateway  # noqa: PLC0415 - the same

        settings = config if isinstance(config, Config) else load(config, home=home)
        with tempfile.TemporaryDirectory(prefix="podium-") as folder:  # mkdtemp makes it 0700
            socket = Path(folder) / "gateway.sock"
            async with Gateway.open(settings) as gateway:
                await gateway.serve_unix(socket)
                async with cls.connect(f"unix:{socket}", actor=actor) as podium:
                    yield podium

    @property
    def rollouts(self) -> Rollouts:
        """Swaps that take their time: gradual ones, comparisons in the shadow, A/B."""
        return Rollouts(self)

    # ------------------------------------------------------------ answers

    async def execute(
        self,
        prompt: Messages,
        *,
        task: str | None = None,
        model: str | None = None,
        criteria: Criteria | None = None,
        **params: Any,
    ) -> Result:
        """One answer. ``prompt`` is a text or OpenAI messages; ``params`` go into the request body as they are.

        ``model`` defaults to ``auto``: the best version for ``task``, or for the task the prompt is taken for.
        """
        body, headers = chat_of(prompt, task, model, criteria, params, stream=False)
        status, reply_headers, data = await self._send("POST", "/v1/chat/completions", body, headers)
        if status >= 400:
            raise from_reply(status, data, reply_headers.get("retry-after"))
        raw = msgspec.json.decode(data)
        request_id = reply_headers.get("x-request-id", "")
        record = (await self.recorded(request_id)).attempts[-1]
        return Result(
            text=text_of(raw),
            version=reply_headers.get("x-podium-model", record.decision.served),
            task=reply_headers.get("x-podium-task", record.decision.task),
            request_id=request_id,
            decision=record.decision,
            cost=record.cost,
            raw=raw,
        )

    @contextlib.asynccontextmanager
    async def stream(
        self,
        prompt: Messages,
        *,
        task: str | None = None,
        model: str | None = None,
        criteria: Criteria | None = None,
        **params: Any,
    ) -> AsyncIterator[Stream]:
        """``async with podium.stream(…) as stream: async for piece in stream: …``; leaving stops the answer."""
        body, headers = chat_of(prompt, task, model, criteria, params, stream=True)
        reply = await self.request("POST", "/v1/chat/completions", body, headers)
        try:
            if reply.status >= 400:
                raise from_reply(reply.status, await reply.read(), header_map(reply).get("retry-after"))
            stream = Stream(reply, header_map(reply))
            pump = asyncio.create_task(stream.pump())
            try:
                yield stream
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
        finally:
            reply.close()

    async def embed(self, texts: str | Sequence[str], *, model: str, **params: Any) -> Json:
        """Embeddings in OpenAI's format."""
        body = {"model": model, "input": texts if isinstance(texts, str) else list(texts), **params}
        return await self.call("POST", "/v1/embeddings", body)

    # ------------------------------------------------------------ registry

    async def models(self, **filters: Any) -> list[Json]:
        """Registered versions; ``filters`` as in ``GET /api/v1/models`` (name, status, provider, tag, …)."""
        return list((await self.call("GET", "/api/v1/models", query=filters))["models"])

    async def model(self, ref: str) -> Json:
        """One version by ``name@version``, name or alias."""
        return await self.call("GET", f"/api/v1/models/{part_of(ref)}")

    async def add_model(
        self,
        name: str,
        *,
        provider: str,
        location: str,
        version: str | None = None,
        settings: Mapping[str, Any] | None = None,
        category: str | None = None,
        tags: Sequence[str] = (),
        parent: str | None = None,
        activate: bool | None = None,
        **provenance: Any,
    ) -> Json:
        """Register a version; with ``activate`` it is validated by a real generation and made selectable.

        ``activate=None`` leaves that to the gateway. Registering the same artifact again changes nothing.
        ``provenance``: ``specialisation``, ``licence``, ``training_data``, ``hardware`` (a list of kinds).
        """
        source = {"provider": provider, "location": location, "settings": dict(settings or {})}
        body = {"name": name, "version": version, "source": source, "category": category, "tags": list(tags)}
        return await self.call("POST", "/api/v1/models", {**body, "parent": parent, "activate": activate, **provenance})

    async def transition(self, ref: str, action: str, reason: str = "") -> Json:
        """``action``: ``activate``, ``deprecate`` or ``retire``."""
        return await self.call("POST", f"/api/v1/models/{part_of(ref)}/{action}", {"reason": reason})

    async def remove_model(self, ref: str) -> Json:
        """Take away a version that never worked, so that its name is free again."""
        return await self.call("DELETE", f"/api/v1/models/{part_of(ref)}")

    async def set_alias(self, alias: str, target: str) -> Json:
        """Point an alias (``@champion``) at a version."""
        return await self.call("PUT", f"/api/v1/aliases/{part_of(alias)}", {"target": target})

    # ------------------------------------------------------------ instances

    async def instances(self) -> list[Json]:
        """Running copies of versions."""
        return list((await self.call("GET", "/api/v1/instances"))["instances"])

    async def load_model(self, ref: str) -> Json:
        """Load a version now; returns when it is ready."""
        return await self.call("POST", "/api/v1/instances", {"ref": ref})

    async def unload_model(self, ref: str) -> Json:
        """Let running requests finish, then stop it."""
        return await self.call("DELETE", f"/api/v1/instances/{part_of(ref)}")

    async def queues(self) -> list[Json]:
        """Who waits for which version, for what, and for about how long."""
        return list((await self.call("GET", "/api/v1/queue"))["queues"])

    async def keep(self, ref: str, **orders: Any) -> Json:
        """Standing orders for a version: ``preload``, ``keep_alive``, ``min_copies``, ``max_copies``, ``pinned``."""
        return await self.call("PUT", f"/api/v1/instances/{part_of(ref)}/directive", orders)

    async def pin(self, ref: str, *, pinned: bool = True) -> Json:
        """A pinned version is never evicted."""
        return await self.call("POST", f"/api/v1/instances/{part_of(ref)}/pin", {"pinned": pinned})

    # ------------------------------------------------------------ tasks and swaps

    async def tasks(self) -> list[Json]:
        """All tasks with their bindings and evidence."""
        return list((await self.call("GET", "/api/v1/tasks"))["tasks"])

    async def task(self, name: str) -> Json:
        """One task."""
        return await self.call("GET", f"/api/v1/tasks/{part_of(name)}")

    async def set_task(
        self,
        name: str,
        *,
        criteria: Mapping[str, Any] | None = None,
        strategy: str | None = None,
        keywords: Sequence[str] | None = None,
        exploration: float | None = None,
    ) -> Json:
        """Create a task or replace its criteria, strategy, keywords and share of exploration."""
        body: Json = {"criteria": dict(criteria or {}), "strategy": strategy, "keywords": keywords}
        body["exploration"] = exploration
        filled = {key: value for key, value in body.items() if value is not None}
        return await self.call("PUT", f"/api/v1/tasks/{part_of(name)}", filled)

    async def classifier(self) -> Json:
        """What was learned about recognising tasks: examples, accuracy by cross-validation, threshold."""
        return await self.call("GET", "/api/v1/tasks/classifier")

    async def classify(self, text: str) -> Json:
        """The task a prompt would be taken for, with confidence, reason, the likeliest tasks and difficulty."""
        return await self.call("POST", "/api/v1/tasks/classify", {"text": text})

    async def swap(
        self,
        task: str,
        to: str,
        *,
        mode: str = "immediate",
        plan: Mapping[str, Any] | None = None,
        strict: bool = False,
        reason: str = "",
    ) -> Json:
        """Serve ``task`` by ``to`` from now on. The record's ``ok`` is false when the old one kept serving.

        With ``mode`` ``gradual``, ``shadow`` or ``ab`` a rollout begins and is returned at once; ``plan`` holds fields
        of ``podium.domain.rollout.RolloutPlan``, and ``podium.rollouts`` follows it.
        """
        body: Json = {"to": to, "mode": mode, "strict": strict, "reason": reason}
        body |= {"plan": dict(plan)} if plan is not None else {}
        return await self.call("POST", f"/api/v1/tasks/{part_of(task)}/swap", body)

    async def rollback(self, task: str, *, reason: str = "") -> Json:
        """Back to the version that served before."""
        return await self.call("POST", f"/api/v1/tasks/{part_of(task)}/rollback", {"reason": reason})

    async def unbind(self, task: str, *, reason: str = "") -> Json:
        """Bind a task to no version any more: its model is chosen for each request again."""
        return await self.call("DELETE", f"/api/v1/tasks/{part_of(task)}/binding", query={"reason": reason})

    async def swaps(self, task: str | None = None) -> list[Json]:
        """Swap records, newest first."""
        return list((await self.call("GET", "/api/v1/swaps", query={"task": task}))["swaps"])

    # ------------------------------------------------------------ insight

    async def explain(self, request_id: str) -> Explanation:
        """Why each attempt of a request went where it went, and what it cost."""
        return explanation_of(await self.call("GET", f"/api/v1/decisions/{part_of(request_id)}"))

    async def feedback(
        self,
        request_id: str,
        score: float | None = None,
        comment: str | None = None,
        *,
        thumbs: str | None = None,
        label: str | None = None,
        correction: str | None = None,
        source: str = "user",
    ) -> Json:
        """Say how good an answer was: a score from 0 to 1 or ``thumbs`` (up, down), a label, what it should have been.

        A later word of the same ``source`` replaces the earlier one. ``joined`` is false while the answer is still
        being made. Raises ``NotFound`` for a request that is not on record.
        """
        said = {"score": score, "thumbs": thumbs, "label": label, "correction": correction, "comment": comment}
        body = {"request_id": request_id, "source": source, **{k: v for k, v in said.items() if v is not None}}
        return await self.call("POST", "/api/v1/feedback", body)

    async def stats(self) -> Json:
        """Counters of the gateway and evidence per task and version."""
        return await self.call("GET", "/api/v1/stats")

    async def costs(
        self,
        *,
        task: str | None = None,
        model: str | None = None,
        since: float | None = None,
        until: float | None = None,
        everything: bool = False,
    ) -> Json:
        """``costs``: what every version spent, by cause; ``profiles``: means, percentiles and totals of what answers took.

        ``everything``: also of operations whose answer no client got. ``since`` and ``until`` are Unix times.
        """
        query = {"task": task, "model": model, "since": since, "until": until, "everything": everything or None}
        return await self.call("GET", "/api/v1/costs", query=query)

    async def compare_costs(self, a: str, b: str, *, task: str | None = None, since: float | None = None) -> Json:
        """What B takes minus what A takes, with 95 % intervals; without a task over those that both served."""
        return await self.call("GET", "/api/v1/costs/compare", query={"a": a, "b": b, "task": task, "since": since})

    async def cost_trends(
        self,
        *,
        task: str | None = None,
        model: str | None = None,
        since: float | None = None,
        window_s: float | None = None,
    ) -> list[Json]:
        """Whether versions get slower or dearer over windows of time."""
        query = {"task": task, "model": model, "since": since, "window_s": window_s}
        return list((await self.call("GET", "/api/v1/costs/trends", query=query))["trends"])

    async def cost_advice(self, *, since: float | None = None) -> Json:
        """``advice``: what to change, with numbers and command; ``unknown``: what could not be looked into."""
        return await self.call("GET", "/api/v1/costs/advice", query={"since": since})

    async def rules(self) -> Json:
        """A dry run of the rules: what each reads, whether it would fire now, and what it would order."""
        return await self.call("GET", "/api/v1/rules")

    async def doctor(self) -> Json:
        """What was found on this machine and what to do next."""
        return await self.call("GET", "/api/v1/doctor")

    async def events(self, after: int = 0, *, kinds: Sequence[str] = (), **query: Any) -> list[Json]:
        """Recorded events with ids greater than ``after``, oldest first; ``kinds`` are patterns such as ``swap.*``,
        ``query`` may be ``limit`` and ``newest``.
        """
        return list(
            (await self.call("GET", "/api/v1/events", query={"after": after, "kind": list(kinds), **query}))["events"]
        )

    follow = follow
    on_event = on_event

    async def webhooks(self) -> list[Json]:
        """Who is told of events, and how that goes."""
        return list((await self.call("GET", "/api/v1/webhooks"))["webhooks"])

    async def reload(self) -> Json:
        """Read the configuration file again and apply the difference."""
        return await self.call("POST", "/api/v1/reload", {})

    # ------------------------------------------------------------ the wire

    async def call(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, Any] | None = None
    ) -> Json:
        """One JSON exchange with any route of the gateway; an error reply is raised."""
        encoded = msgspec.json.encode(body) if body is not None else b""
        data = await self._answer(method, path, query, encoded, {"accept": "application/json"})
        decoded = msgspec.json.decode(data) if data else {}
        return decoded if isinstance(decoded, dict) else {"items": decoded}

    async def fetch(self, path: str, *, query: Mapping[str, Any] | None = None) -> bytes:
        """The body of a GET as it is, whatever its type; an error reply is raised."""
        return await self._answer("GET", path, query, b"", {})

    async def _answer(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: bytes, headers: Mapping[str, str]
    ) -> bytes:
        given = {key: value for key, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given, doseq=True)}" if given else path
        status, found, data = await self._send(method, target, body, headers)
        if status >= 400:
            raise from_reply(status, data, found.get("retry-after"))
        return data

    async def _send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        reply = await self.request(method, path, body, headers)
        try:
            return reply.status, header_map(reply), await reply.read()
        finally:
            reply.close()

    async def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> HttpReply:
        """One exchange whose answer is still coming; close what comes back."""
        typed = {"content-type": "application/json"} if body else {}
        lines = {**self._headers, **typed, **headers}
        return await self._http.request(
            method.encode(),
            path.encode(),
            headers=[(name.encode(), value.encode("latin-1")) for name, value in lines.items()],
            body=body,
            connect_s=CONNECT_S,
            first_byte_s=CONTROL_S,
            total_s=CONTROL_S,
        )

    async def recorded(self, request_id: str) -> Explanation:
        """The record of a request; it is written just after the last byte, so an early question is repeated."""
        deadline = time.monotonic() + RECORD_S
        while True:
            try:
                return await self.explain(request_id)
            except NotFound:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.02)

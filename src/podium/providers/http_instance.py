"""An instance behind an OpenAI-compatible HTTP server, whether the server is our child or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from podium.domain.instance import ProcessUsage
from podium.domain.model import Capability
from podium.domain.request import Endpoint
from podium.errors import ProviderError
from podium.ports import Call, Reply
from podium.providers.process import ManagedProcess
from podium.services.redaction import MASKER
from podium.transport.client import HttpClient

_JSON = (b"content-type", b"application/json")
Headers = Sequence[tuple[bytes, bytes]]
_LIMIT = b"max_tokens"
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PROBE_S = 10.0
_WARM_UP_S = 300.0
_NO_ROUTE = frozenset({404, 405, 501})


class HttpInstance:
    """Sends operations to ``base`` (``/v1`` usually) of one server.

    ``process`` is the server when it is ours: it is stopped by ``unload`` and measured by ``usage``. ``adaptive``
    says that ``concurrency`` is only a guess, which the pool may replace by what it observes; ``stop_s`` is what it has from SIGTERM to SIGKILL; ``check`` says
    from the answer to a health check why the server is not the one that was meant, if it is not; without
    ``generates`` it is warm as it is, and a forward pass would be billed; ``limit_name`` is what it calls ``max_tokens``;
    ``headers`` may be asked for anew with every request, as keys change.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        model: str,
        concurrency: int,
        capabilities: frozenset[str],
        base: str = "/v1",
        health_path: str = "/health",
        headers: Headers | Callable[[], Headers] = (),
        process: ManagedProcess | None = None,
        adaptive: bool = False,
        stop_s: float = 5.0,
        check: Callable[[bytes], str | None] | None = None,
        generates: bool = True,
        limit_name: bytes = b"max_tokens",
    ) -> None:
        self._limit_name = limit_name
        self._generates = generates
        self._check = check
        self._stop_s = stop_s
        self._counts = True
        self.concurrency = concurrency
        self.adaptive = adaptive
        self.pid = process.pid if process is not None else None
        self._client = client
        self.model = model
        self._capabilities = capabilities
        self._health_path = health_path.encode()
        self._fresh = headers if callable(headers) else None
        self._headers = tuple(headers() if callable(headers) else headers)
        self._send_headers = (*self._headers, _JSON)
        self._paths = {endpoint: f"{base}/{endpoint.value}".encode() for endpoint in Endpoint}
        self._process = process
        self._unloaded = False

    async def send(self, call: Call) -> Reply:
        limits = call.deadlines
        return await self._client.request(
            b"POST",
            self._paths[call.endpoint],
            headers=(*self._sending(), *call.headers) if call.headers else self._sending(),
            body=self._limited(call.body),
            connect_s=limits.connect_s,
            first_byte_s=limits.first_token_s,
            total_s=limits.total_s,
        )

    async def count_tokens(self, body: bytes) -> int | None:
        """By llama.cpp's route for it; a server that has none is not asked again."""
        if not self._counts:
            return None
        reply = await self._client.request(
            b"POST",
            self._paths[Endpoint.CHAT] + b"/input_tokens",
            headers=self._sending(),
            body=body,
            connect_s=_PROBE_S,
            first_byte_s=_PROBE_S,
            total_s=_PROBE_S,
        )
        answer = await reply.read()
        if reply.status in _NO_ROUTE:
            self._counts = False
        return read_count(answer) if reply.status == 200 else None

    def _sending(self) -> Headers:
        """With the key as it is now: one that was set anew is used from the next request on."""
        if self._fresh is None:
            return self._send_headers
        return (*self._fresh(), _JSON)

    def _limited(self, body: bytes) -> bytes:
        """With the limit of tokens under the name this server takes."""
        if self._limit_name == _LIMIT or b'"max_tokens"' not in body:
            return body
        fields = _fields.decode(body)
        if _LIMIT.decode() in fields:
            limit = fields.pop(_LIMIT.decode())
            fields.setdefault(self._limit_name.decode(), limit)
        return msgspec.json.encode(fields)

    async def health(self) -> None:
        reply = await self._client.request(
            b"GET",
            self._health_path,
            headers=self._headers if self._fresh is None else self._fresh(),
            connect_s=_PROBE_S,
            first_byte_s=_PROBE_S,
            total_s=_PROBE_S,
        )
        body = await reply.read()
        if reply.status != 200:
            raise ProviderError(f"{self.model}: its health check answers HTTP {reply.status}")
        why = self._check(body) if self._check is not None else None
        if why is not None:
            raise ProviderError(why)

    async def warm_up(self) -> None:
        if not self._generates:
            return
        body: dict[str, object] = {"model": self.model, "max_tokens": 1}
        if not self._capabilities or Capability.CHAT in self._capabilities:
            endpoint, body["messages"] = Endpoint.CHAT, [{"role": "user", "content": "Hi"}]
        elif Capability.COMPLETION in self._capabilities:
            endpoint, body["prompt"] = Endpoint.COMPLETION, "Hi"
        else:
            endpoint, body = Endpoint.EMBEDDING, {"model": self.model, "input": "Hi"}
        reply = await self._client.request(
            b"POST",
            self._paths[endpoint],
            headers=self._sending(),
            body=msgspec.json.encode(body),
            connect_s=_PROBE_S,
            first_byte_s=_WARM_UP_S,
            total_s=_WARM_UP_S,
        )
        answer = await reply.read()
        if reply.status != 200:
            said = MASKER.known(answer[:300].decode("utf-8", "replace"))
            raise ProviderError(f"{self.model} cannot generate: HTTP {reply.status}: {said}")

    async def unload(self) -> None:
        self._unloaded = True
        await self._client.aclose()
        if self._process is not None:
            await self._process.stop(self._stop_s)

    def usage(self) -> ProcessUsage | None:
        return self._process.usage() if self._process is not None else None

    def alive(self) -> bool:
        return not self._unloaded and (self._process is None or self._process.alive())


def read_count(answer: bytes) -> int | None:
    """``input_tokens`` of a server's count; ``None`` for anything else."""
    try:
        found = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    count = found.get("input_tokens") if isinstance(found, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None

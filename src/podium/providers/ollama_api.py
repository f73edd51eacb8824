"""One Ollama server by its own API: what it has, what it holds in memory, loading, unloading, pulling.

Knows nothing of versions and of OpenAI's format. Source: Ollama's ``docs/api.md`` and ``server/routes.go``.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from podium.errors import InvalidRequest, ProviderError, ProviderTimeout, ProviderUnreachable
from podium.providers.ollama_wire import KEEP
from podium.transport.addresses import CAUTIOUS, Reach
from podium.transport.client import HttpClient, Origin, RawHeaders
from podium.transport.reply import HttpReply

DEFAULT_HOST = "http://127.0.0.1:11434"
JSON = (b"content-type", b"application/json")
_ASK_S = 15.0
_CONNECT_S = 5.0
_LOAD_S = 3600.0
_PULL_S = 7 * 86400.0
_LOADED = re.compile(
    r"^(?:FROM|ADAPTER|DRAFT|PARAMETER (?:num_batch|num_gpu|main_gpu|use_mmap|num_thread|draft_num_predict)) .*",
    re.MULTILINE,
)
_BLOB = re.compile(r"^FROM\s.*sha256[-:]([0-9a-f]{64})", re.MULTILINE)
T = TypeVar("T")


class Listed(msgspec.Struct, frozen=True):
    """A row of ``/api/tags``; ``digest`` is the manifest's SHA-256 in hex, ``size`` bytes on the disk."""

    name: str
    digest: str = ""
    size: int = 0


class Running(msgspec.Struct, frozen=True):
    """A row of ``/api/ps``: bytes in memory altogether and on GPUs; tokens per request."""

    name: str
    digest: str = ""
    size: int = 0
    size_vram: int = 0
    context_length: int = 0
    expires_at: str | None = None


class Details(msgspec.Struct, frozen=True):
    """``details`` of ``/api/show``."""

    family: str | None = None
    quantization_level: str | None = None


class Shown(msgspec.Struct, frozen=True):
    """What ``/api/show`` says of a model."""

    modelfile: str = ""
    template: str = ""
    license: str = ""
    details: Details = Details()
    model_info: dict[str, Any] | None = None
    capabilities: list[str] | None = None
    remote_host: str | None = None

    @property
    def weights(self) -> str | None:
        """SHA-256 of the file with the weights; models that share it share one place in Ollama's memory."""
        found = _BLOB.search(self.modelfile)
        return found[1] if found else None

    @property
    def loading(self) -> tuple[str, ...]:
        """What the Modelfile says of loading: models of the same weights that differ here reload each other."""
        return tuple(sorted(_LOADED.findall(self.modelfile)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of a pull. Bytes of the layer ``digest``; ``None`` where Ollama does not say."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None


class _Tags(msgspec.Struct):
    models: list[Listed] | None = None


class _Ps(msgspec.Struct):
    models: list[Running] | None = None


class _Version(msgspec.Struct):
    version: str


class _Error(msgspec.Struct):
    error: str


class _Status(msgspec.Struct):
    status: str = ""
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
    error: str | None = None


_status = msgspec.json.Decoder(_Status)


class OllamaServer:
    """A server and the connections to it. Every method raises ``ProviderUnreachable`` with what to do about it."""

    def __init__(self, url: str, reach: Reach = CAUTIOUS) -> None:
        self.url = url
        origin, self._base = _parsed(url)
        self.client = HttpClient(origin, reach=reach)
        self.local = is_local(origin.host)

    async def version(self) -> str:
        """As in ``0.12.11``."""
        return (await self._ask(b"GET", "/api/version", None, _Version)).version

    async def tags(self) -> list[Listed]:
        """The models it has."""
        return (await self._ask(b"GET", "/api/tags", None, _Tags)).models or []

    async def find(self, tag: str) -> Listed | None:
        """The row of one model; ``None`` when it is not there."""
        return next((row for row in await self.tags() if same(row.name, tag)), None)

    async def show(self, tag: str) -> Shown:
        """Raises ``ProviderError`` with status 404 when it is not there."""
        return await self._ask(b"POST", "/api/show", {"model": tag}, Shown)

    async def ps(self) -> list[Running]:
        """The models in its memory."""
        return (await self._ask(b"GET", "/api/ps", None, _Ps)).models or []

    async def load(self, tag: str, runner: Mapping[str, Any], *, embeds: bool) -> None:
        """Bring it into memory and keep it there; returns once it is. Raises ``ProviderError`` with Ollama's reason.

        A model that only embeds cannot be asked to generate nothing, so it is asked to embed nothing.
        """
        order: dict[str, Any] = {"model": tag, "keep_alive": KEEP, "options": dict(runner)}
        path = "/api/embed" if embeds else "/api/generate"
        order["input" if embeds else "stream"] = [] if embeds else False
        await self._ask(b"POST", path, order, dict, within_s=_LOAD_S)

    async def expire(self, tag: str) -> None:
        """Order it out of memory; returns at once, the requests it works on end first."""
        await self._ask(b"POST", "/api/generate", {"model": tag, "keep_alive": 0, "stream": False}, dict)

    async def pull(self, tag: str, on_progress: Callable[[Progress], None]) -> None:
        """Download a model, telling every step. Cancelling stops it; the next pull goes on where it ended.

        Raises ``ProviderError`` with Ollama's reason.
        """
        reply = await self.request(b"POST", "/api/pull", {"model": tag, "stream": True}, first_s=120.0, total_s=_PULL_S)
        if reply.status != 200:
            raise _failure(self.url, reply.status, await reply.read())
        rest, last = b"", ""

        def sink(data: bytes) -> None:
            nonlocal rest, last
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if not line.strip():
                    continue
                step = _decoded(self.url, line, _status)
                if step.error is not None:
                    raise ProviderError(f"Ollama could not pull {tag!r}: {step.error}", code="pull_failed")
                last = step.status
                on_progress(
                    Progress(status=step.status, digest=step.digest, total=step.total, completed=step.completed)
                )

        await reply.relay(sink)
        sink(b"\n")
        if last != "success":
            raise ProviderError(f"Ollama ended the pull of {tag!r} after {last!r}; pull again", code="pull_failed")

    async def request(
        self,
        method: bytes,
        path: str,
        order: object,
        *,
        first_s: float,
        total_s: float,
        connect_s: float = _CONNECT_S,
        headers: RawHeaders = (),
    ) -> HttpReply:
        """Send one request; an error status is a reply. ``order`` is bytes or a value to encode as JSON."""
        body = b"" if order is None else order if isinstance(order, bytes) else msgspec.json.encode(order)
        try:
            return await self.client.request(
                method,
                f"{self._base}{path}".encode(),
                headers=(JSON, *headers),
                body=body,
                connect_s=connect_s,
                first_byte_s=first_s,
                total_s=total_s,
            )
        except ProviderUnreachable as error:
            raise ProviderUnreachable(
                f"Ollama does not answer at {self.url} ({error.message}); start it with `ollama serve`, or say where it "
                "is with the setting `host` or OLLAMA_HOST"
            ) from error

    async def aclose(self) -> None:
        """Close its connections; answers under way fail."""
        await self.client.aclose()

    async def _ask(self, method: bytes, path: str, order: object, kind: type[T], *, within_s: float = _ASK_S) -> T:
        reply = await self.request(method, path, order, first_s=within_s, total_s=within_s)
        body = await reply.read()
        if reply.status != 200:
            raise _failure(self.url, reply.status, body)
        return _decoded(self.url, body, msgspec.json.Decoder(kind))


async def until_gone(
    server: OllamaServer, held: Callable[[Running], bool], *, within_s: float, every_s: float = 0.02
) -> None:
    """Return once no row of ``/api/ps`` is ``held``: only then is its memory back. Raises ``ProviderTimeout``.

    A server that is gone holds nothing.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + within_s
    while True:
        try:
            rows = [row for row in await server.ps() if held(row)]
        except ProviderUnreachable:
            return
        if not rows:
            return
        if loop.time() > ends:
            raise ProviderTimeout(
                f"Ollama still holds {rows[0].name} {within_s:g} s after it was told to unload it; look at `ollama ps`, "
                "and whether another program keeps it busy",
                code="unload_failed",
            )
        await asyncio.sleep(every_s)
        every_s = min(0.5, every_s * 1.5)


def same(one: str, other: str) -> bool:
    """Whether two names mean one model: ``latest`` and the library of ollama.com go without saying."""
    return _full(one) == _full(other)


def _full(name: str) -> str:
    name = name.strip().lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def host_url(host: str | None, environ: Mapping[str, str]) -> str:
    """``http://HOST:PORT`` of a setting, else of ``OLLAMA_HOST``, else the default; as Ollama's own client reads it.

    Source: Ollama's ``envconfig/config.go``, ``ConnectableHost``. Raises ``InvalidRequest``.
    """
    given = (host or environ.get("OLLAMA_HOST") or DEFAULT_HOST).strip()
    scheme, separator, rest = given.partition("://")
    if not separator:
        scheme, rest = "http", given
    port = {"http": "80", "https": "443"}.get(scheme, "") if separator else "11434"
    place, _, path = rest.partition("/")
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/@\s]*)(?::(\d{1,5}))?", place)
    if found is None and _address(place) is not None:
        name, told = place, None
    elif found is not None:
        name, told = found[1].strip("[]"), found[2]
    else:
        name, told, port = "", None, ""
    number = int(told or port or -1)
    if not 0 < number <= 65535 or scheme not in ("http", "https"):
        raise InvalidRequest(
            f"{given[:200]!r} is no address of an Ollama server; write http://HOST:PORT", param="source.settings.host"
        )
    address = _address(name)
    if address is not None and address.is_unspecified:
        name = "127.0.0.1" if address.version == 4 else "::1"
    name = name or "127.0.0.1"
    shown = f"[{name}]" if ":" in name else name
    tail = f"/{path.strip('/')}" if path.strip("/") else ""
    return f"{scheme}://{shown}:{number}{tail}"


def is_local(host: str) -> bool:
    """Whether a host is this machine, so that what it holds is held here."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _parsed(url: str) -> tuple[Origin, str]:
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    host, _, port = place.rpartition(":")
    tls = ssl.create_default_context() if scheme == "https" else None
    return Origin(host=host.strip("[]"), port=int(port), tls=tls), f"/{path}" if path else ""


def _decoded(url: str, body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ProviderError(f"{url} does not answer like Ollama; is it the right address?", code="bad_answer") from None


def _failure(url: str, status: int, body: bytes) -> ProviderError:
    try:
        said = msgspec.json.decode(body, type=_Error).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = body[:300].decode("utf-8", "replace").strip() or "no reason given"
    return ProviderError(f"Ollama at {url} answers HTTP {status}: {said}", status=status)

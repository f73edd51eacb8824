"""The data plane's routes: OpenAI's paths under ``/v1``, from raw exchange to gateway and back."""

from __future__ import annotations

import secrets
from urllib.parse import unquote

import msgspec
import structlog

from podium.domain.model import Capability, Lifecycle, ModelVersion
from podium.domain.request import Endpoint
from podium.errors import CallerError, InternalError, NotFound, PodiumError
from podium.ports import Page
from podium.server.doorman import Doorman
from podium.server.exchange import Exchange
from podium.server.gate import WAITING, Gate
from podium.server.heads import criteria_of, read_head
from podium.server.messages import MESSAGES, VERSION, MessagesPlane
from podium.server.rendering import render_for
from podium.server.responses import RESPONSES, ResponsesPlane
from podium.services.conversations import Conversations
from podium.services.counting import TokenCounter
from podium.services.gateway import Gateway
from podium.services.registry import Registry

_POSTS = {f"/v1/{endpoint.value}": endpoint for endpoint in Endpoint}
_MODELS = "/v1/models"
_JSON = (b"content-type", b"application/json")
_encoder = msgspec.json.Encoder()
_log = structlog.get_logger("podium.server")


class DataPlane:
    """Handles every request under ``/v1``."""

    def __init__(
        self,
        gateway: Gateway,
        registry: Registry,
        counter: TokenCounter,
        doorman: Doorman,
        conversations: Conversations,
    ) -> None:
        self._gateway = gateway
        self._registry = registry
        self.gate = Gate(doorman, gateway.new_id)
        """Who may pass; a listener asks it before it hands a request on."""
        self._messages = MessagesPlane(gateway, registry, counter, self.gate.refusals)
        self._responses = ResponsesPlane(gateway, counter, conversations)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one exchange; every error becomes OpenAI's shape with the request id."""
        request_id = exchange.request_id
        if request_id is None:  # its listener asked no gate
            refused = self.gate.enter(exchange)
            if refused is not None:
                self.gate.refuse(exchange, refused)
                return
            request_id = exchange.request_id or ""
        try:
            endpoint = _POSTS.get(exchange.path)
            if endpoint is not None:
                await self._generate(exchange, endpoint, request_id)
            elif exchange.path == RESPONSES or exchange.path.startswith(RESPONSES + "/"):
                await self._responses.handle(exchange, request_id)
            elif exchange.path.startswith(MESSAGES) or VERSION in exchange.headers:
                await self._messages.handle(exchange, request_id)
            else:
                self._lookup(exchange, request_id)
        except PodiumError as error:
            if isinstance(error, WAITING) and not exchange.bytes_started:
                await self.gate.wait(exchange)
            self._refuse(exchange, error, request_id)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller gets an answer and we a trace
            _log.exception("request failed", request_id=request_id)
            self._refuse(exchange, InternalError(f"{type(error).__name__}: please report it"), request_id)
        finally:
            if exchange.grant is not None:
                exchange.grant.leave()

    async def _generate(self, exchange: Exchange, endpoint: Endpoint, request_id: str) -> None:
        if exchange.method != "POST":
            raise CallerError("use POST", status=405, code="method_not_allowed")
        head = read_head(exchange, endpoint, exchange.body, request_id)
        await self._gateway.handle(head, criteria_of(exchange), exchange)

    def _lookup(self, exchange: Exchange, request_id: str) -> None:
        path = exchange.path
        if path not in (_MODELS, _MODELS + "/") and not path.startswith(_MODELS + "/"):
            raise NotFound(
                f"there is no {path[:100]}; Podium serves "
                "/v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses, /v1/messages and /v1/models"
            )
        if exchange.method not in ("GET", "HEAD"):
            raise CallerError("use GET", status=405, code="method_not_allowed")
        spec = unquote(path[len(_MODELS) + 1 :])
        body: object = self._one(spec) if spec else self._all()
        exchange.respond(200, (_JSON, (b"x-request-id", request_id.encode())), _encoder.encode(body))

    def _all(self) -> dict[str, object]:
        active, _ = self._registry.query(status=Lifecycle.ACTIVE, page=Page(limit=100_000))
        rows = [_entry("auto", 0, None)]
        rows += [_entry(version.ref, version.created_at, version) for version in active]
        return {"object": "list", "data": rows}

    def _one(self, spec: str) -> dict[str, object]:
        if spec == "auto":
            return _entry("auto", 0, None)
        version = self._registry.resolve(spec)
        return _entry(version.ref, version.created_at, version)

    def _refuse(self, exchange: Exchange, error: PodiumError, request_id: str) -> None:
        self.gate.refusals.note(request_id, error)
        if not exchange.bytes_started:
            exchange.respond(*render_for(exchange.path, error, request_id))
        elif not exchange.ended:
            exchange.abort()  # a proper end would make half an answer look whole


def _entry(name: str, created: float, version: ModelVersion | None) -> dict[str, object]:
    entry: dict[str, object] = {"id": name, "object": "model", "created": int(created), "owned_by": "podium"}
    if version is not None:
        entry["status"] = version.status
        entry["context_length"] = version.facts.context_length
        entry["capabilities"] = sorted(version.facts.capabilities)
    else:
        entry["capabilities"] = [Capability.CHAT, Capability.COMPLETION]
    return entry


def random_prefix() -> str:
    """Makes ids of this process unlike those of any other."""
    return secrets.token_hex(6)

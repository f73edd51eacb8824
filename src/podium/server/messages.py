"""Anthropic's paths: ``/v1/messages``, ``/v1/messages/count_tokens``, and ``/v1/models`` for its clients.

Reads and answers in Anthropic's format; what happens between is the gateway's, as for every other request.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from urllib.parse import unquote

import msgspec
import structlog

from podium.domain.model import Lifecycle, ModelVersion
from podium.domain.request import Endpoint
from podium.errors import CallerError, InternalError, InvalidRequest, NotFound, PodiumError
from podium.ports import Page
from podium.server.exchange import Exchange
from podium.server.heads import criteria_of, read_head
from podium.server.rendering import JSON, anthropic_event, render_anthropic
from podium.server.translating import Translated
from podium.services.counting import TokenCounter
from podium.services.gateway import Gateway
from podium.services.registry import Registry
from podium.services.request_log import Refusals
from podium.services.translation.estimating import estimate_tokens
from podium.services.translation.fields import read_object, refused, write
from podium.services.translation.messages_answer import whole_message
from podium.services.translation.messages_request import MessagesOrder, read_messages
from podium.services.translation.messages_stream import MessageStream, message_start

MESSAGES = "/v1/messages"
VERSION = b"anthropic-version"
_MODELS = "/v1/models"
_DATE = re.compile(rb"\d{4}-\d\d-\d\d")
_FIRST = b"2023-06-01"
"""Streams had another form before. Later versions are answered the same: what they add is optional, and what they forbid
(``temperature`` since 2026-10-21) a model here may still be told.
"""
_IDS = (b"request-id",)
_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("podium.server")


class MessagesPlane:
    """Handles what Anthropic's clients ask."""

    def __init__(self, gateway: Gateway, registry: Registry, counter: TokenCounter, refusals: Refusals) -> None:
        self._refusals = refusals
        self._gateway = gateway
        self._registry = registry
        self._counter = counter

    async def handle(self, exchange: Exchange, request_id: str) -> None:
        """Answer one exchange; every error becomes Anthropic's shape with the request id."""
        try:
            await self._route(exchange, request_id)
        except PodiumError as error:
            self._refuse(exchange, error, request_id)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller gets an answer and we a trace
            _log.exception("request failed", request_id=request_id)
            self._refuse(exchange, InternalError(f"{type(error).__name__}: please report it"), request_id)

    async def _route(self, exchange: Exchange, request_id: str) -> None:
        path = exchange.path
        models = path == _MODELS or path.startswith(_MODELS + "/")
        if not models and path not in (MESSAGES, MESSAGES + "/count_tokens"):
            instead = "; send each request of a batch by itself" if path.startswith(MESSAGES + "/batches") else ""
            raise NotFound(
                f"there is no {path[:100]}; Podium serves {MESSAGES}, {MESSAGES}/count_tokens and {_MODELS}{instead}"
            )
        wanted = ("GET", "HEAD") if models else ("POST",)
        if exchange.method not in wanted:
            raise CallerError(f"use {wanted[0]}", status=405, code="method_not_allowed")
        version = exchange.headers.get(VERSION)
        if version is not None and (_DATE.fullmatch(version) is None or version < _FIRST):
            raise InvalidRequest(
                f"anthropic-version: {version[:40].decode('latin-1')!r} is not spoken here; send 2026-10-21",
                param="anthropic-version",
            )
        if models:
            self._models(exchange, request_id)
        elif path == MESSAGES:
            await self._answer(exchange, request_id)
        else:
            await self._count(exchange, request_id)

    async def _answer(self, exchange: Exchange, request_id: str) -> None:
        order = read_messages(read_object(exchange.body))
        head = read_head(exchange, Endpoint.CHAT, write(order.chat), request_id)
        out = Translated(exchange, MessageDialect(self._gateway.new_id("msg"), order), _IDS)
        await self._gateway.handle(head, criteria_of(exchange), out)

    async def _count(self, exchange: Exchange, request_id: str) -> None:
        given = read_object(exchange.body)
        if given.get("stream"):
            raise refused("stream", "counts as a stream", "leave it out")
        order = read_messages(given, counting=True)
        head = read_head(exchange, Endpoint.CHAT, write(order.chat), request_id)
        counted = await self._counter.count(head, criteria_of(exchange))
        body: dict[str, object] = {"input_tokens": counted.tokens}
        if counted.tokens is None:
            body = {"input_tokens": estimate_tokens(order.chat), "estimated": True, "why": counted.why}
        how = b"estimated" if counted.tokens is None else b"counted"
        headers = (JSON, (b"x-podium-count", how), (b"x-podium-model", counted.ref.encode()), *_ids(request_id))
        exchange.respond(200, headers, _encode(body))

    def _models(self, exchange: Exchange, request_id: str) -> None:
        spec = unquote(exchange.path[len(_MODELS) + 1 :])
        if spec:
            body = _entry(spec, None if spec == "auto" else self._registry.resolve(spec))
        else:
            active, _ = self._registry.query(status=Lifecycle.ACTIVE, page=Page(limit=100_000))
            rows = [_entry("auto", None), *(_entry(version.ref, version) for version in active)]
            body = {"data": rows, "has_more": False, "first_id": rows[0]["id"], "last_id": rows[-1]["id"]}
        exchange.respond(200, (JSON, *_ids(request_id)), _encode(body))

    def _refuse(self, exchange: Exchange, error: PodiumError, request_id: str) -> None:
        self._refusals.note(request_id, error)
        if not exchange.bytes_started:
            exchange.respond(*render_anthropic(error, request_id))
        elif not exchange.ended:
            exchange.abort()  # a proper end would make half an answer look whole


class MessageDialect:
    """Answers of a chat as Anthropic's."""

    def __init__(self, identity: str, order: MessagesOrder) -> None:
        self._identity = identity
        self._order = order
        self._stream = MessageStream(identity, thinks=order.thinks, stops=order.stops)
        self.feed = self._stream.feed
        self.end = self._stream.end

    def whole(self, body: bytes, served: str) -> bytes:
        order = self._order
        return whole_message(body, identity=self._identity, model=served, thinks=order.thinks, stops=order.stops)

    def opened(self, served: str) -> bytes:
        return message_start(self._identity, served)

    def broken(self, error: bytes) -> bytes:
        return anthropic_event(error)


def _ids(request_id: str) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name, request_id.encode()) for name in (b"x-request-id", *_IDS))


def _entry(name: str, version: ModelVersion | None) -> dict[str, object]:
    entry: dict[str, object] = {"type": "model", "id": name if version is None else version.ref, "lifecycle": "active"}
    entry["display_name"] = entry["id"]
    entry["created_at"] = datetime.fromtimestamp(0 if version is None else version.created_at, UTC).isoformat()
    if version is not None:
        entry["max_input_tokens"] = version.facts.context_length
    return entry

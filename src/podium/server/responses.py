"""OpenAI's ``/v1/responses``: reads and answers in that format; what happens between is the gateway's.

Finished responses are kept in memory for a while unless ``store`` is false, so that ``previous_response_id`` works.
"""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import unquote

import msgspec

from podium.domain.request import Endpoint
from podium.errors import CallerError, InvalidRequest, NotFound
from podium.server.exchange import Exchange
from podium.server.heads import caller_of, criteria_of, read_head
from podium.server.rendering import JSON
from podium.server.translating import Translated
from podium.services.conversations import Conversations
from podium.services.counting import TokenCounter
from podium.services.gateway import Gateway
from podium.services.translation.estimating import estimate_tokens
from podium.services.translation.fields import read_object, write
from podium.services.translation.responses_answer import response, whole_response
from podium.services.translation.responses_request import ResponsesOrder, read_responses
from podium.services.translation.responses_stream import ResponseStream

RESPONSES = "/v1/responses"
_COUNT = RESPONSES + "/input_tokens"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_error = msgspec.json.Decoder(dict[str, dict[str, Any]]).decode


class ResponsesPlane:
    """Handles every request under ``/v1/responses``. Raises ``PodiumError``; the data plane renders it."""

    def __init__(self, gateway: Gateway, counter: TokenCounter, conversations: Conversations) -> None:
        self._gateway = gateway
        self._counter = counter
        self._kept = conversations

    async def handle(self, exchange: Exchange, request_id: str) -> None:
        """Answer one exchange."""
        method, path = exchange.method, exchange.path
        if path in (RESPONSES, _COUNT):
            if method != "POST":
                raise CallerError("use POST", status=405, code="method_not_allowed")
            await (self._create if path == RESPONSES else self._count)(exchange, request_id)
            return
        identity, _, what = unquote(path[len(RESPONSES) + 1 :]).partition("/")
        body: object
        if what == "" and method in ("GET", "HEAD"):
            body = msgspec.Raw(self._get(exchange, identity))
        elif what == "" and method == "DELETE":
            self._kept.delete(identity, caller_of(exchange))
            body = {"id": identity, "object": "response", "deleted": True}
        elif what == "input_items" and method in ("GET", "HEAD"):
            body = self._items(identity, caller_of(exchange))
        elif what == "cancel" and method == "POST":
            self._kept.find(identity, caller_of(exchange))
            raise InvalidRequest(
                "only responses in the background can be cancelled; close the connection of a stream instead"
            )
        elif what in ("", "input_items", "cancel"):
            allowed = "POST" if what == "cancel" else "GET or DELETE" if what == "" else "GET"
            raise CallerError(f"use {allowed}", status=405, code="method_not_allowed")
        else:
            raise NotFound(
                f"there is no {path[:100]}; Podium serves {RESPONSES}, its /ID, /ID/input_items and /input_tokens"
            )
        exchange.respond(200, (JSON, (b"x-request-id", request_id.encode())), _encode(body))

    async def _create(self, exchange: Exchange, request_id: str) -> None:
        order = read_responses(read_object(exchange.body))
        caller = caller_of(exchange)
        earlier = self._earlier(order, caller)
        body = write(order.chat | {"messages": order.messages([_decode(item) for item in earlier])})
        head = read_head(exchange, Endpoint.CHAT, body, request_id)
        store = order.store is not False
        dialect = ResponseDialect(order, store=store)
        await self._gateway.handle(head, criteria_of(exchange), Translated(exchange, dialect))
        if store and (made := dialect.finished()) is not None:
            given = [_encode(_named(item)) for item in order.items]
            written = [_encode(item) for item in made["output"]]
            self._kept.keep(made["id"], caller, _encode(made), [*earlier, *given, *written], [*earlier, *given])

    async def _count(self, exchange: Exchange, request_id: str) -> None:
        order = read_responses(read_object(exchange.body))
        earlier = self._earlier(order, caller_of(exchange))
        chat = order.chat | {"messages": order.messages([_decode(item) for item in earlier])}
        counted = await self._counter.count(
            read_head(exchange, Endpoint.CHAT, write(chat), request_id), criteria_of(exchange)
        )
        body: dict[str, object] = {"object": "response.input_tokens", "input_tokens": counted.tokens}
        if counted.tokens is None:
            body |= {"input_tokens": estimate_tokens(chat), "estimated": True, "why": counted.why}
        how = b"estimated" if counted.tokens is None else b"counted"
        headers = (
            JSON,
            (b"x-podium-count", how),
            (b"x-podium-model", counted.ref.encode()),
            (b"x-request-id", request_id.encode()),
        )
        exchange.respond(200, headers, _encode(body))

    def _earlier(self, order: ResponsesOrder, caller: str) -> tuple[bytes, ...]:
        if order.previous is None:
            return ()
        return self._kept.find(order.previous, caller, param="previous_response_id").items

    def _get(self, exchange: Exchange, identity: str) -> bytes:
        if b"stream=true" in exchange.query:
            raise InvalidRequest("a finished response cannot be streamed again; leave stream out", param="stream")
        return self._kept.find(identity, caller_of(exchange)).body

    def _items(self, identity: str, caller: str) -> dict[str, Any]:
        rows = [_decode(item) for item in reversed(self._kept.find(identity, caller).given)]
        first, last = (rows[0].get("id"), rows[-1].get("id")) if rows else (None, None)
        return {"object": "list", "data": rows, "has_more": False, "first_id": first, "last_id": last}


class ResponseDialect:
    """Answers of a chat as a response object or its events."""

    def __init__(self, order: ResponsesOrder, *, store: bool) -> None:
        self._identity = f"resp_{secrets.token_hex(24)}"
        self._echo = order.echo
        self._store = store
        self._stream: ResponseStream | None = None
        self._whole: dict[str, Any] | None = None

    def whole(self, body: bytes, served: str) -> bytes:
        self._whole = whole_response(self._made(served), body)
        return _encode(self._whole)

    def opened(self, served: str) -> bytes:
        self._stream = ResponseStream(self._made(served))
        return self._stream.opened()

    def feed(self, data: bytes) -> bytes:
        assert self._stream is not None
        return self._stream.feed(data)

    def end(self) -> bytes:
        assert self._stream is not None
        made = self._stream.end()
        self._whole = self._stream.result
        return made

    def broken(self, error: bytes) -> bytes:
        assert self._stream is not None
        return self._stream.error(_error(error)["error"])

    def finished(self) -> dict[str, Any] | None:
        """The response, when it came to its end."""
        return self._whole

    def _made(self, served: str) -> dict[str, Any]:
        return response(self._identity, served, time.time(), self._echo, store=self._store)


def _named(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it is listed: with an id of its own."""
    return item if isinstance(item.get("id"), str) else {**item, "id": f"item_{secrets.token_hex(12)}"}

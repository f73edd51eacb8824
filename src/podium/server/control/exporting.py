"""The route of the training export: JSON lines as they are read, in bounded memory, at the pace of the reader."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Send

from podium.errors import InvalidRequest, StoreError
from podium.ports import Window
from podium.server.control.access import ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded

router = guarded(tag="export")
STALL_S = 60.0
"""A reader that takes nothing for this long is cut off."""
Moment = Annotated[float | None, Query(ge=0, le=1e11, description="Unix time of the decision")]


class _Lines(StreamingResponse):
    """Ends what it reads from, whatever becomes of the reader."""

    def __init__(self, source: AsyncGenerator[bytes, None]) -> None:
        super().__init__(source, media_type="application/x-ndjson")
        self._source = source

    async def stream_response(self, send: Send) -> None:
        async def patient(message: object) -> None:
            async with asyncio.timeout(STALL_S):
                await send(message)  # type: ignore[arg-type] # passed on as it came

        try:
            await super().stream_response(patient)
        finally:
            await self._source.aclose()


@router.get(
    "/export",
    response_class=Response,
    responses={
        200: {"content": {"application/x-ndjson": {}}, "description": "one JSON object a line"},
        **errors(e404="nothing is on record for this choice"),
    },
)
async def export(
    services: ServicesDep,
    since: Moment = None,
    until: Moment = None,
    task: Annotated[str | None, Query(max_length=200)] = None,
    prompts: bool = False,
) -> Response:
    """The training export as JSON lines, oldest first; a stream that does not end with a row that says
    ``"final": true`` was cut off.
    """
    if prompts:
        raise InvalidRequest("prompts and answers are not stored, so there are none to export", param="prompts")
    if since is not None and until is not None and since >= until:
        raise InvalidRequest(f"since {since:.12g} is not before until {until:.12g}", param="since")
    with contextlib.suppress(StoreError):  # while the disk is full, what is on it can be exported all the same
        await services.recorder.flush()
    return _Lines(await services.exports.stream(Window(since=since, until=until, task=task)))

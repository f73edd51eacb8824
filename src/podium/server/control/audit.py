"""Routes of the audit log: look at it, check it, take it away as a file that can be checked anywhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import Query
from fastapi.responses import StreamingResponse

from podium.core.audit_chain import NOTHING
from podium.core.hash_chain import canonical
from podium.domain.audit import AuditFilter, AuditRow, Head, Phase
from podium.errors import InvalidRequest
from podium.ports import Page
from podium.server import views
from podium.server.control.access import MOST, Limit, Offset, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.plane import Services

router = guarded(tag="audit", prefix="/audit")
PIECE = 500
HASH_CHARS = 64


@router.get("", responses=errors(e400="a parameter is wrong"))
async def list_actions(
    services: ServicesDep,
    task: Annotated[str | None, Query(description="about this task")] = None,
    by: Annotated[str | None, Query(description="id or name of who acted")] = None,
    subject: Annotated[str | None, Query(description="as model:m@1, key:abcdefgh, task:code")] = None,
    since: Annotated[float | None, Query(description="Unix seconds")] = None,
    until: Annotated[float | None, Query(description="Unix seconds")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> views.Json:
    """What was done, newest first: who, what, before, after, from where, and how it ended."""
    wanted = AuditFilter(task=task, by=by, subject=subject, since=since, until=until)
    found = await services.audit_log.audit_actions(wanted, Page(limit=limit, offset=offset))
    head = await services.audit_log.audit_head()
    counts = {**services.audit.counts, "waiting": services.audit.waiting}
    return {"actions": [view(rows) for rows in found], "head": _head(head), "since_start": counts}


@router.get("/verify", responses=errors(e400="a parameter is wrong"))
async def verify(
    services: ServicesDep,
    row: Annotated[int | None, Query(ge=1, le=MOST, description="number of a row whose hash somebody noted")] = None,
    hash: Annotated[str | None, Query(description="that hash")] = None,  # noqa: A002 - the name in the address
) -> views.Json:
    """Compute the chain anew from the first row; names the first row that is wrong, and rows missing at the end."""
    if (row is None) != (hash is None) or (hash is not None and len(hash) != HASH_CHARS):
        raise InvalidRequest("`row` and `hash` belong together, as `podium audit verify` prints them", param="hash")
    known = () if row is None or hash is None else (Head(seq=row, hash=hash),)
    verdict, end = await services.audit_log.check_audit(*known)
    problem = verdict.problem or end
    broken = await services.audit_log.audit_actions(AuditFilter(subject="audit"), Page(limit=100))
    earlier = [view(rows) for rows in broken if rows and rows[0].entry.phase is Phase.NOTE]
    return {
        "ok": problem is None and not earlier,
        "rows": verdict.rows,
        "head": _head(verdict.head),
        "problem": problem,
        "row": verdict.row,
        "earlier": [{"at": one["at"], "says": (one["after"] or {}).get("says")} for one in earlier],
        "waiting": services.audit.waiting,
    }


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"description": "One row a line, in order", "content": {"application/x-ndjson": {}}}},
)
async def export(
    services: ServicesDep,
    after: Annotated[int, Query(ge=0, le=MOST, description="rows with greater numbers")] = 0,
) -> StreamingResponse:
    """Every row as a line of JSON with its hash, and a last line that tells the end; checked by `podium audit verify`."""
    head = await services.audit_log.audit_head()
    return StreamingResponse(_lines(services, after, head), media_type="application/x-ndjson")


async def _lines(services: Services, after: int, head: Head) -> AsyncIterator[bytes]:
    at, last, count = after, NOTHING.hash, 0
    while at < head.seq:
        rows = await services.audit_log.audit_rows(at, min(PIECE, head.seq - at))
        if not rows:
            break
        yield "".join(canonical(row) + "\n" for row in rows).encode()
        at, last, count = rows[-1]["seq"], rows[-1]["hash"], count + len(rows)
    end = {"end": {"after": after, "rows": count, "row": at, "hash": last, "at": services.clock.now()}}
    yield (canonical(end) + "\n").encode()


def _head(head: Head) -> views.Json:
    return {"row": head.seq, "hash": head.hash}


def view(rows: Sequence[AuditRow]) -> views.Json:
    """One action; ``outcome`` is null while it runs."""
    first, last = rows[0].entry, rows[-1].entry
    done = last if last.phase is not Phase.ASKED else None
    return {
        "action": first.action,
        "at": first.at,
        "ended_at": last.at if len(rows) > 1 else None,
        "by": {"id": first.author.id, "name": first.author.name, "role": first.author.role, "via": first.author.via},
        "origin": first.author.origin,
        "what": first.what,
        "subject": last.subject,
        "task": first.task or last.task,
        "asked": _json(first.asked),
        "before": _json(first.before),
        "after": _json(last.after),
        "status": None if done is None else done.status,
        "outcome": None if done is None else done.outcome,
        "phase": first.phase.value,
        "request_id": first.request_id,
        "missed": first.missed,
        "rows": [row.seq for row in rows],
        "hash": rows[-1].hash,
    }


def _json(text: str | None) -> views.Json | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:  # somebody altered the row; `verify` says which
        return {"unreadable": True}
    return found if isinstance(found, dict) else {"value": found}

"""Reads a finished answer for judging: what was asked, what was said, and whom it belongs to. Off the request path."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from podium.core.reasking import Question
from podium.domain.judgment import Judged
from podium.domain.request import Endpoint, RequestHead
from podium.services.observing import Answered
from podium.services.prompts import asked_schema, prompt_text

LONGEST_OUTPUT = 200_000
"""Characters of an output that are kept to be judged; the middle of a longer one is left out."""
_any = msgspec.json.Decoder()


def item_of(answered: Answered) -> Judged | None:
    """What is to be judged; ``None`` for an answer that was cut off here, or that calls tools and says nothing."""
    if answered.cut and not answered.outcome.streamed:
        return None
    said = answered.text()
    if not said.text and said.tool_calls:
        return None
    head = answered.head
    return Judged(
        id=head.request_id,
        task=answered.decision.choice.task,
        prompt=clean(prompt_text(head)),
        output=clean(shortened(said.text)),
        schema=asked_schema(head),
        finish=said.finish,
    )


def question_of(head: RequestHead, prompt: str) -> Question:
    """Who asked what, as far as that can be told. ``prompt`` is the whole request as text."""
    session = head.session or None
    caller = head.caller or None
    if head.endpoint is not Endpoint.CHAT:
        return Question(text=prompt, session=session, caller=caller)
    said = _said(head)
    asked = [place for place, (role, _) in enumerate(said) if role == "user"]
    if not asked:
        return Question(text=prompt, session=session, caller=caller)
    last, before = asked[-1], asked[-2] if len(asked) > 1 else None
    return Question(
        text=said[last][1],
        before=None if before is None else said[before][1],
        conversation=_name(said[: last + 1]),
        earlier=None if before is None else _name(said[: before + 1]),
        session=session,
        caller=caller,
    )


def clean(text: str) -> str:
    """Text that can be stored: half characters are replaced."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def shortened(text: str) -> str:
    """At most ``LONGEST_OUTPUT`` characters, beginning and end."""
    half = LONGEST_OUTPUT // 2
    return text if len(text) <= LONGEST_OUTPUT else f"{text[:half]}\n[…]\n{text[-half:]}"


def _said(head: RequestHead) -> list[tuple[str, str]]:
    """(role, text) of the messages."""
    raw = head.fields.get("messages")
    try:
        messages = _any.decode(raw) if raw is not None else []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    if not isinstance(messages, list):
        return []
    return [(str(one.get("role", "user")), _flat(one.get("content"))) for one in messages if isinstance(one, dict)]


def _flat(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_flat(part.get("text") if isinstance(part, dict) else part) for part in content)
    return ""


def _name(said: list[tuple[str, str]]) -> str:
    digest = blake2b(digest_size=12)
    for role, text in said:
        for part in (role, text):
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.hexdigest()

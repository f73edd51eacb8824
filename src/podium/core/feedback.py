"""Reads what somebody says of an answer, and lays a later word over an earlier one. Pure.

Owns the rules of feedback: what may be said, by whom, and what a correction is worth. Must not look requests up.

- ``score`` is in [0, 1]; ``thumbs`` is ``up`` (1) or ``down`` (0); one of both at most.
- ``correction`` is the text the answer should have been. It counts as the score 0 unless a score or thumbs come with
  it: an answer somebody had to rewrite was not right. The text is not kept, only its SHA-256 and its length.
- Feedback of one source to one request replaces the earlier one, field by field: what it leaves out stays.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from hashlib import sha256

from podium.domain.decision import Feedback, Outcome
from podium.errors import InvalidRequest

SOURCES = ("user", "check", "judge", "agent", "benchmark")
"""Who may give feedback: a person, a program that checks answers, a judging model, the calling agent, a benchmark."""
THUMBS = {"up": 1.0, "down": 0.0}
LABEL_CHARS, COMMENT_CHARS, CORRECTION_CHARS = 64, 2_000, 1_000_000
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Feedback as it was given, checked, joined to nothing yet. At least one field beside id and source is set."""

    request_id: str
    source: str = "user"
    score: float | None = None
    label: str | None = None
    correction_hash: str | None = None
    correction_chars: int | None = None
    comment: str | None = None
    weight: float = 1.0
    extra: bool = False
    """See ``Feedback``."""


def read(
    request_id: str,
    score: float | None = None,
    *,
    thumbs: str | None = None,
    label: str | None = None,
    correction: str | None = None,
    comment: str | None = None,
    source: str = "user",
) -> Given:
    """Check feedback. Raises ``InvalidRequest`` that names the field."""
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidRequest(
            "a request id is 1 to 128 of A-Z a-z 0-9 . _ : -, as in the header x-request-id of a reply",
            param="request_id",
        )
    if source not in SOURCES:
        raise InvalidRequest(f"unknown source {source[:32]!r}; there are {', '.join(SOURCES)}", param="source")
    label = None if label is None else _label(label)
    comment = None if comment is None or not comment.strip() else comment.strip()
    if comment is not None and len(comment) > COMMENT_CHARS:
        raise InvalidRequest(f"a comment has up to {COMMENT_CHARS} characters, not {len(comment)}", param="comment")
    if score is None and thumbs is None and label is None and correction is None and comment is None:
        raise InvalidRequest("feedback needs one of score, thumbs, label, correction, comment", param="score")
    return Given(
        request_id=request_id,
        source=source,
        score=_score(score, thumbs, correction),
        label=label,
        correction_hash=None if correction is None else sha256(_bytes(correction)).hexdigest(),
        correction_chars=None if correction is None else len(correction),
        comment=comment,
    )


def over(earlier: Given, later: Given) -> Given:
    """The later word, with what it leaves out taken from the earlier one."""
    return replace(
        later,
        score=earlier.score if later.score is None else later.score,
        label=later.label or earlier.label,
        correction_hash=later.correction_hash or earlier.correction_hash,
        correction_chars=earlier.correction_chars if later.correction_chars is None else later.correction_chars,
        comment=later.comment or earlier.comment,
    )


def joined(given: Given, outcome: Outcome, at: float, earlier: Feedback | None = None) -> Feedback:
    """The feedback as a record about the attempt that answered; ``earlier`` itself when nothing new is said."""
    if earlier is not None:
        before = Given(
            request_id=given.request_id,
            source=earlier.source,
            score=earlier.score,
            label=earlier.label,
            correction_hash=earlier.correction_hash,
            correction_chars=earlier.correction_chars,
            comment=earlier.comment,
            weight=given.weight,
            extra=given.extra,
        )
        given = over(before, given)
        if given == before:
            return earlier
    return Feedback(
        request_id=given.request_id,
        decision_id=outcome.decision_id,
        task=outcome.task,
        ref=outcome.ref,
        score=given.score,
        at=at,
        source=given.source,
        comment=given.comment,
        label=given.label,
        correction_hash=given.correction_hash,
        correction_chars=given.correction_chars,
        weight=given.weight,
        extra=given.extra,
    )


def _score(score: float | None, thumbs: str | None, correction: str | None) -> float | None:
    if thumbs is not None:
        if score is not None:
            raise InvalidRequest("give a score or thumbs, not both", param="thumbs")
        if thumbs not in THUMBS:
            raise InvalidRequest(f"thumbs are up or down, not {thumbs[:32]!r}", param="thumbs")
        return THUMBS[thumbs]
    if score is None:
        return None if correction is None else 0.0
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise InvalidRequest(f"a score is a number between 0 and 1, not {type(score).__name__}", param="score")
    if not (math.isfinite(score) and 0.0 <= score <= 1.0):
        raise InvalidRequest(f"a score is between 0 and 1, not {score}", param="score")
    return float(score)


def _label(text: str) -> str:
    label = " ".join(text.split()).casefold()
    if not 1 <= len(label) <= LABEL_CHARS or not label.isprintable():
        raise InvalidRequest(
            f"a label is a short printable text of up to {LABEL_CHARS} characters, such as 'wrong language'",
            param="label",
        )
    return label


def _bytes(correction: str) -> bytes:
    if len(correction) > CORRECTION_CHARS:
        raise InvalidRequest(
            f"a correction has up to {CORRECTION_CHARS} characters, not {len(correction)}", param="correction"
        )
    return correction.encode("utf-8", "surrogatepass")

"""What of an order may stand in the audit log: small, and neither secrets nor what people asked models. Pure.

Numbers, truth values and names of fields stay. Texts stay in fields that are known to hold names and words of operators;
of every other text only its length is kept. In what stays, whatever has the shape of a credential is taken out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from podium.core.redaction import Masker, secretive
from podium.domain.secret import SHOWN

MOST_TEXT = 200
MOST_BYTES = 4_000
MOST_ITEMS = 40
MOST_DEPTH = 6
HIDDEN = SHOWN

_TOLD = """
action activate algorithm alias at balancing baseline batch bound_to candidate capabilities category code
config criteria cron digest direction error expires_at fallback file hardware id judge keep_alive key key_id
kind kinds licence limits location metric metrics mode model models name objective order parent period preference
problem provider reason reasons ref refs remote replaced_by restored role rollout says schedule scope scopes
serves setting specialisation state status strategy subject suite swap tag tags target task tasks timezone
to unit version versions voice why window
"""
TOLD = frozenset(_TOLD.split())
"""Fields whose texts are kept: names of things, states, and the reasons that operators give."""
_MORE = (
    re.compile(r"\bey[JK][A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)?"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL),
)
"""Signed tokens and private keys."""
_FORMS = Masker()
_ASSIGNED = re.compile(
    r"(?i)((?:api[_-]?key|token|secret|password|passwd|passphrase|credential)[\w-]{0,40}[\"']?\s{0,4}(?:=|:|\s)\s{0,4})"
    r"([\"']?)(?!env:|file:|secret:|\*{4})([^\s\"',;&]{6,400})"
)
"""``--api-key XYZ``, ``password: XYZ``, ``?token=XYZ``; not ``tokens 17`` or ``token budget``."""
_ELSEWHERE = re.compile(r"(?i)[_-](?:env|file|ids?|names?|count)[\"']?\s*[=:]?\s*$")
"""Names that say where a secret is, not what it is."""


def scrub(text: str) -> str:
    """``text`` without what has the shape of a credential."""
    text = _FORMS.text(text)
    for shape in _MORE:
        text = shape.sub(HIDDEN, text)
    return _ASSIGNED.sub(_hide, text)


def _hide(found: re.Match[str]) -> str:
    name, quote, value = found.groups()
    if _ELSEWHERE.search(name):
        return found[0]
    spaced = name != name.rstrip() and not name.rstrip().endswith(("=", ":"))
    option = re.search(r"--?[\w-]{0,60}$", found.string[max(0, found.start() - 64) : found.start()]) is not None
    if spaced and not option and value.isalpha():
        return found[0]  # words of a sentence
    return f"{name}{quote}{HIDDEN}"


def small(value: object) -> str | None:
    """``value`` as JSON that may be kept; ``None`` for nothing, and a note of its size where it is too large."""
    if value is None or value in ({}, []):
        return None
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    if len(text) <= MOST_BYTES:
        return text
    fields = sorted(map(str, value))[:MOST_ITEMS] if isinstance(value, Mapping) else []
    return json.dumps({"too_large": len(text), "fields": fields})[:MOST_BYTES]


def plain(value: object, field: str = "", depth: int = 0, *, told: bool = True) -> object:
    """The parts of ``value`` that may be kept. ``field`` is the name it has."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return _text(value, field, told=told)
        case Mapping():
            if depth >= MOST_DEPTH:
                return "{…}"
            free = field in ("settings", "env", "environment", "headers")  # names are its user's own
            kept = {
                scrub(str(name)[:MOST_TEXT]): plain(item, str(name), depth + 1, told=told and not free)
                for name, item in list(value.items())[:MOST_ITEMS]
            }
            return {**kept, "…": len(value) - MOST_ITEMS} if len(value) > MOST_ITEMS else kept
        case Sequence():
            if depth >= MOST_DEPTH:
                return "[…]"
            items = [plain(item, field, depth + 1, told=told) for item in list(value)[:MOST_ITEMS]]
            return [*items, f"… {len(value) - MOST_ITEMS} more"] if len(value) > MOST_ITEMS else items
        case _:
            return _text(str(value), field, told=told)


def _text(value: str, field: str, *, told: bool) -> str:
    if secretive(field):
        return HIDDEN
    if not told or field not in TOLD:
        return f"[{len(value)} characters]"
    text = scrub(value[: 5 * MOST_TEXT])  # long enough that no credential in what stays is cut in two
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}… ({len(value)} characters)"

"""Takes text out of an answer that speaks to its judge instead of to its reader. Pure.

Owns the finding of such text: orders about marks, forged frames of a conversation, forged verdicts, marks repeated on end,
the same hidden as base64, hexadecimal, rot13, leetspeak, spaced, reversed or escaped letters. Must not remove anything
else: an answer that is about grades stays whole when its prompt is about them, and one word alone is never a reason.
What was removed is still looked at where hiding it would help (``safety`` reads the whole answer).
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from podium.core.graders import address_words as lists
from podium.core.graders.cleaning import clean

_WHO, _MARK, _ORDER, _BEST, _FORGET, _PRIOR, _SELF, _PRAISE = (
    re.compile(one, re.IGNORECASE)
    for one in (lists.WHO, lists.MARK, lists.ORDER, lists.BEST, lists.FORGET, lists.PRIOR, lists.SELF, lists.PRAISE)
)
_FRAME = re.compile(lists.FRAME, re.IGNORECASE | re.MULTILINE)
_VERDICT = re.compile(lists.VERDICT, re.IGNORECASE)
_PIECE = re.compile(
    r"<!--.*?(?:-->|\Z)|/\*.*?(?:\*/|\Z)|\{[^{}\n]{0,300}\}|[^\n]+?(?:[.!?;]+[\"')\]*]*(?=\s)|[。！？؟।]+|(?=<!--)|(?=/\*)|(?=\n)|\Z)|\n+",  # noqa: RUF001 - the full stops of other scripts
    re.DOTALL,
)
_STUFFED = re.compile(
    r"(?:(?:\b(?:score|rating|grade|answer|verdict)\b\W*)?(?<![\w.])(\d{1,3}(?:\.\d+)?(?:\s*/\s*\d{1,3})?)(?![\w])[\s,;|/.:\]\[)(★*]*){6,}",
    re.IGNORECASE,
)
_STARS = re.compile(
    r"[★⭐🌟💯]{3,}|(?:\b(?:five stars|perfect|excellent|score 5|10/10|5/5|100/100)\b[\s,.!;|]*){3,}", re.IGNORECASE
)
_BASE64 = re.compile(r"(?<![\w+/])(?:[A-Za-z0-9+/_-]{4}){5,}[A-Za-z0-9+/_-]{0,3}={0,2}(?![\w+/=])")
_HEX = re.compile(r"(?<!\w)(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s,]?){12,}(?!\w)")
_BINARY = re.compile(r"(?<!\w)(?:[01]{8}\s?){6,}(?!\w)")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}|&#x?[0-9a-fA-F]{1,6};)")
_SPACED = re.compile(r"(?:(?<![^\W_])[^\W_][ ._*|-]){5,}[^\W_](?![^\W_])")
_LEET = str.maketrans("013457@$!|8", "oieastasiib")
_HAS_LEET = re.compile(r"[A-Za-z][0134578@$!|]+[A-Za-z]|[0134578@$][A-Za-z]{2,}")
_ROT = re.compile(
    r"\b(?:tvir|fpber|engvat|tenqr|vtaber|cresrpg|znkvzhz|uvturfg|rinyhngbe|whqtr|vafgehpgvbaf?)\b", re.IGNORECASE
)
_BACK = re.compile(
    r"\b(?:erocs|gnitar|edarg|erongi|tcefrep|mumixam|tsehgih|rotaulave|egduj|snoitcurtsni|evig)\b", re.IGNORECASE
)
_TRANSCRIPT = re.compile(
    r"^\W{0,4}(?:example|question|answer|q|a|user|human|input|output|response|task|prompt|beispiel|frage|antwort|ejemplo|pregunta|respuesta)\s?\d{0,3}\s*[:.)]",
    re.IGNORECASE,
)
_WEAK_WORDS = 30
_HIDDEN = re.compile(r"[\U000E0020-\U000E007E]{4,}")


@dataclass(frozen=True, slots=True)
class Spoken:
    """A cleaned text without what speaks to a judge; ``removed``: how many pieces were taken out."""

    text: str
    removed: int


def without_orders(text: str, prompt: str = "") -> Spoken:
    """``text`` (cleaned) without the pieces that speak to a judge; ``prompt`` tells what the answer may be about."""
    if not text:
        return Spoken("", 0)
    about = prompt[-4000:]
    lenient = _MARK.search(about) is not None and (_WHO.search(about) is not None or _ORDER.search(about) is not None)
    text, blobs = _without_blobs(text)
    pieces = [found[0] for found in _PIECE.finditer(text)]
    strengths = [_strength(piece, lenient=lenient) for piece in pieces]
    if 2 not in strengths:
        return Spoken(text, blobs)
    kept = []
    removed = blobs
    visible = [at for at, piece in enumerate(pieces) if piece.strip()]
    place = {at: rank for rank, at in enumerate(visible)}
    for at, piece in enumerate(pieces):
        if at not in place:
            kept.append(piece)
            continue
        near = [visible[rank] for rank in (place[at] - 1, place[at] + 1) if 0 <= rank < len(visible)]
        gone = strengths[at] == 2 or (strengths[at] == 1 and any(strengths[one] == 2 for one in near))
        if not gone and _TRANSCRIPT.match(piece):
            gone = sum(strengths[one] == 2 for one in visible[max(0, place[at] - 3) : place[at] + 4]) >= 2
        removed += gone
        if not gone:
            kept.append(piece)
    return Spoken("".join(kept).strip(), removed)


def addresses(text: str) -> bool:
    """Whether a cleaned text gives a judge an order."""
    return _strength(text, lenient=False) == 2


def _strength(piece: str, *, lenient: bool) -> int:
    """2: speaks to a judge; 1: might, next to one that does; 0: does not."""
    if not piece.strip():
        return 0
    best = _plain_strength(piece, lenient=lenient)
    if best == 2:
        return 2
    for other in _readings(piece):
        if other != piece and _plain_strength(other, lenient=False) == 2:
            return 2
    return best


def _plain_strength(piece: str, *, lenient: bool) -> int:
    frame = _FRAME.search(piece) is not None
    forget = _FORGET.search(piece) is not None
    mark = _MARK.search(piece) is not None
    who = _WHO.search(piece) is not None
    if forget and _PRIOR.search(piece):
        return 2
    if not (frame or forget or mark or who):
        return 1 if _SELF.search(piece) and _PRAISE.search(piece) else 0
    order, best = _ORDER.search(piece) is not None, _BEST.search(piece) is not None
    size = len(piece.split())
    if frame and (order or mark or who or forget or size <= 3):
        return 2
    if lenient:
        return 1 if frame or (who and mark and order and best) else 0
    about_self = _SELF.search(piece) is not None
    verdict = _VERDICT.search(piece)
    if verdict is not None and (
        len(verdict[0]) * 2 >= len(piece.strip()) or piece.lstrip()[:1] in "{[<" or about_self or who
    ):
        return 2
    found = (
        (mark and order and best and (who or about_self or forget or size <= 12))
        or (who and mark and (order or best))
        or (who and order and best and size <= _WEAK_WORDS)
        or (about_self and mark and (best or order))
        or (forget and who)
    )
    if found:
        return 2
    return 1 if frame or verdict is not None or (who and order) or (mark and (best or order)) or forget else 0


def _readings(piece: str) -> list[str]:
    """Other readings of a piece, where something in it suggests one."""
    found = []
    if _ROT.search(piece):
        found.append(codecs.decode(piece, "rot13"))
    if _BACK.search(piece):
        found.append(piece[::-1])
    if _HAS_LEET.search(piece):
        found.append(piece.translate(_LEET))
    if _SPACED.search(piece):
        found.append(
            _SPACED.sub(lambda one: re.sub(r"[ ._*|-]", "", one[0]) + " ", re.sub(r"[ ]{2,}", "\x00", piece)).replace(
                "\x00", " "
            )
        )
    if _ESCAPED.search(piece):
        found.append(_unescaped(piece))
    if re.search(r"[a-z][*_~^`.-]+[a-z]", piece, re.IGNORECASE):
        found.append(re.sub(r"(?<=\w)[*_~^`.-]+(?=\w)", "", piece))
    return found


def _unescaped(piece: str) -> str:
    piece = re.sub(r"\\u([0-9a-fA-F]{4})", lambda one: chr(int(one[1], 16)), piece)
    return clean(html.unescape(unquote(piece)))


def _without_blobs(text: str) -> tuple[str, int]:
    removed = 0
    for pattern, decode in _ENCODED:
        for run in pattern.findall(text)[:20]:
            said = decode(run)
            if said is not None and addresses(said):
                text, removed = text.replace(run, "", 1), removed + 1
    for stuffed in (_STUFFED, _STARS):
        found = stuffed.search(text)
        if found is not None and _same_mark(found[0]):
            text, removed = text[: found.start()] + text[found.end() :], removed + 1
    return text, removed


def _same_mark(run: str) -> bool:
    return len(set(re.findall(r"\d+(?:\.\d+)?", run))) <= 2


def _from_base64(run: str) -> str | None:
    try:
        raw = base64.b64decode(run.replace("-", "+").replace("_", "/") + "=" * (-len(run) % 4))
    except (binascii.Error, ValueError):
        return None
    return _readable(raw)


def _from_hex(run: str) -> str | None:
    digits = re.sub(r"0x|\\x|[\s,]", "", run)
    try:
        return _readable(bytes.fromhex(digits))
    except ValueError:
        return None


def _from_binary(run: str) -> str | None:
    digits = re.sub(r"\s", "", run)
    return _readable(bytes(int(digits[at : at + 8], 2) for at in range(0, len(digits) - 7, 8)))


def _readable(raw: bytes) -> str | None:
    try:
        said = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return said if sum(one.isprintable() or one.isspace() for one in said) >= 0.9 * len(said) else None


_ENCODED: tuple[tuple[re.Pattern[str], Callable[[str], str | None]], ...] = (
    (_BASE64, _from_base64),
    (_BINARY, _from_binary),
    (_HEX, _from_hex),
)

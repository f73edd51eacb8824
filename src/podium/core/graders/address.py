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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from podium.core.graders import address_words as lists
from podium.core.graders.cleaning import clean

_SELF = re.compile(lists.SELF, re.IGNORECASE)
_NARROW = re.compile(lists.SELF_NARROW, re.IGNORECASE)
_NOTE = re.compile(lists.NOTE, re.IGNORECASE)
_DEMAND = re.compile(lists.DEMAND, re.IGNORECASE)
_STRICT = re.compile(lists.STRICT, re.IGNORECASE)
_EMPTIED = re.compile(r"```\w*\s*```|\"{3}\s*\"{3}|^\s*[-=_*]{3,}\s*$", re.MULTILINE)
_PRAISE = re.compile(lists.PRAISE, re.IGNORECASE)
_PRIOR = re.compile(lists.PRIOR_PHRASE, re.IGNORECASE)
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
    r"(?:[★⭐🌟💯]\s?){3,}|(?:\b(?:five stars|perfect|excellent|score 5|10/10|5/5|100/100)\b[\s,.!;|]*){3,}",
    re.IGNORECASE,
)
_BASE64 = re.compile(r"(?<![\w+/])(?:[A-Za-z0-9+/_-]{4}){5,}[A-Za-z0-9+/_-]{0,3}={0,2}(?![\w+/=])")
_HEX = re.compile(r"(?<!\w)(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s,]?){12,}(?!\w)")
_BINARY = re.compile(r"(?<!\w)(?:[01]{8}\s?){6,}(?!\w)")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}|&#x?[0-9a-fA-F]{1,6};)")
_SPACED = re.compile(r"(?:(?<![^\W_])[^\W_][ ._*|-]){5,}[^\W_](?![^\W_])")
_LEET = str.maketrans("013457@$!|8", "oieastasiib")
_HAS_LEET = re.compile(r"[A-Za-z][0134578@$!|]+[A-Za-z]|[0134578@$][A-Za-z]{2,}")
_ROT_WORDS = frozenset(
    re.findall(r"\S+", "tvir fpber engvat tenqr vtaber cresrpg znkvzhz uvturfg rinyhngbe whqtr vafgehpgvbaf")
)
_BACK_WORDS = frozenset(
    re.findall(r"\S+", "erocs gnitar edarg erongi tcefrep mumixam tsehgih rotaulave egduj snoitcurtsni evig")
)
_ROT = re.compile(rf"\b(?:{'|'.join(sorted(_ROT_WORDS))})\b", re.IGNORECASE)
_BACK = re.compile(rf"\b(?:{'|'.join(sorted(_BACK_WORDS))})\b", re.IGNORECASE)
_TOKEN = re.compile(r"[^\W\d_]+")
_STAR_SIGN = re.compile(r"[★⭐🌟💯]|five stars|perfect|excellent|score 5|10/10|5/5|100/100", re.IGNORECASE)
_TRANSCRIPT = re.compile(
    r"^\W{0,4}(?:example \d|(?:example|question|answer|q|a|user|human|input|output|response|task|prompt|beispiel|frage|antwort|ejemplo|pregunta|respuesta)\s?\d{0,3}\s*[:.)])",
    re.IGNORECASE,
)
_PROGRAM = re.compile(r"[=<>]=|\w\(|[{};]\s*$|^\s*(?:def|return|if|for|while) ")
_FEWEST_WORDS = 7
_FEW_WORDS = 12
_SOME_WORDS = 30
_BROKEN = re.compile(r"(?:[A-Za-z][*_~^`.|-]){4,}[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Spoken:
    """A cleaned text without what speaks to a judge; ``removed``: how many pieces were taken out."""

    text: str
    removed: int


def without_orders(text: str, prompt: str = "") -> Spoken:
    """``text`` (cleaned) without the pieces that speak to a judge; ``prompt`` tells what the answer may be about."""
    if not text:
        return Spoken("", 0)
    about = lists.kinds(prompt[-4000:])
    lenient = 0 if not about & lists.MARK else 2 if about & lists.WHO else 1
    text, removed = _without_blobs(text)
    pieces = [found[0] for found in _PIECE.finditer(text)]
    looks = _disguises(text)
    praised = _NARROW.search(text) is not None
    strengths = [_strength(piece, lenient=lenient, looks=looks, praised=praised) for piece in pieces]
    if 2 not in strengths:
        return Spoken(text, removed)
    visible = [at for at, piece in enumerate(pieces) if piece.strip()]
    gone = {at for rank, at in enumerate(visible) if _goes(rank, visible, pieces, strengths)}
    kept = "".join(piece for at, piece in enumerate(pieces) if at not in gone)
    return Spoken(_EMPTIED.sub("", kept).strip(), removed + len(gone))


def _goes(rank: int, visible: Sequence[int], pieces: Sequence[str], strengths: Sequence[int]) -> bool:
    at = visible[rank]
    if strengths[at] == 2:
        return True
    near = [strengths[visible[one]] for one in (rank - 1, rank + 1) if 0 <= one < len(visible)]
    if strengths[at] == 1 and 2 in near:
        return True
    if at and strengths[at - 1] == 2 and len(pieces[at].split()) <= _FEWEST_WORDS and lists.kinds(pieces[at]):
        return True
    around = [strengths[one] for one in visible[max(0, rank - 5) : rank + 6]]
    return around.count(2) >= 2 and _TRANSCRIPT.match(pieces[at]) is not None


def addresses(text: str) -> bool:
    """Whether a cleaned text gives a judge an order."""
    return _strength(text, lenient=0, looks=_DISGUISES, praised=True) == 2


def _disguises(text: str) -> tuple[_Disguise, ...]:
    """The ways in which letters of a text may be written otherwise."""
    words = set(_TOKEN.findall(text.casefold()))
    return tuple(
        one
        for one in _DISGUISES
        if (not words.isdisjoint(one.words) if one.words else one.sign.search(text) is not None)
    )


def _strength(piece: str, *, lenient: int, looks: Sequence[_Disguise], praised: bool) -> int:
    """2: speaks to a judge; 1: might, next to one that does; 0: does not."""
    if not piece.strip():
        return 0
    best = _plain_strength(piece, lenient=lenient, praised=praised)
    if best == 2:
        return best
    for one in looks:
        if one.sign.search(piece) and _plain_strength(one.plain(piece), lenient=0, praised=praised) == 2:
            return 2
    return best


def _plain_strength(piece: str, *, lenient: int, praised: bool) -> int:
    """``lenient``: 1 when the prompt is about marks, 2 when it is about judging."""
    kinds = lists.kinds(piece)
    frame = (bool(kinds & lists.FRAMED) or "<" in piece or "[" in piece or "#" in piece) and _FRAME.search(
        piece
    ) is not None
    forget, who = bool(kinds & lists.FORGET), bool(kinds & lists.WHO)
    mark = bool(kinds & lists.MARK) or (bool(kinds & lists.BEST) and _NOTE.search(piece) is not None)
    if forget and kinds & lists.PRIOR and (not piece.isascii() or _PRIOR.search(piece)):
        return 2
    if not (frame or forget or mark or who):
        if kinds & lists.ORDER and kinds & lists.BEST and _DEMAND.search(piece):
            return 2 if _STRICT.search(piece) and len(piece.split()) <= _FEW_WORDS else 1
        praises = (praised or not piece.isascii()) and _PRAISE.search(piece) is not None
        return (2 if _NARROW.search(piece) else int(_SELF.search(piece) is not None)) if praises else 0
    order, best = bool(kinds & lists.ORDER), bool(kinds & lists.BEST)
    size = len(piece.split())
    if frame and (order or mark or who or forget or size <= 3):
        return 2
    if lenient == 2:
        return int(frame or (who and mark and order and best))
    verdict = _VERDICT.search(piece) if mark or "result" in piece or "label" in piece else None
    about_self = (mark or verdict is not None) and _SELF.search(piece) is not None
    if verdict is not None and (
        len(verdict[0]) * 2 >= len(piece.strip()) or piece.lstrip()[:1] in "{[<" or about_self or who
    ):
        return 2
    if (
        (mark and order and best and (who or about_self or forget or (size <= _FEW_WORDS and _commands(piece))))
        or (who and mark and (order or best))
        or (who and order and best and size <= _SOME_WORDS)
        or (about_self and mark and (best or order))
        or (forget and who)
    ):
        return 2
    return int(frame or verdict is not None or (who and order) or (mark and (best or order)) or forget)


def _commands(piece: str) -> bool:
    """Whether a short piece begins with an order, and is no line of a program."""
    if _PROGRAM.search(piece):
        return False
    return not piece.isascii() or bool(lists.kinds(" ".join(piece.split()[:4])) & lists.ORDER)


def _joined(piece: str) -> str:
    parts = re.sub(r"[ ]{2,}", "\x00", piece)
    return _SPACED.sub(lambda one: re.sub(r"[ ._*|-]", "", one[0]) + " ", parts).replace("\x00", " ")


def _mended(piece: str) -> str:
    return re.sub(r"(?<=\w)[*_~^`.|-]+(?=\w)", "", piece)


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
    for stuffed, likely in ((_STUFFED, _repeats_a_number(text)), (_STARS, _STAR_SIGN.search(text) is not None)):
        found = stuffed.search(text) if likely else None
        if found is not None and _same_mark(found[0]):
            text, removed = text[: found.start()] + text[found.end() :], removed + 1
    return text, removed


def _repeats_a_number(text: str) -> bool:
    found = Counter(re.findall(r"\d+", text))
    return bool(found) and found.most_common(1)[0][1] >= 6


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


@dataclass(frozen=True, slots=True)
class _Disguise:
    """``sign``: what suggests it in a piece; ``words``: one of them has to stand in the text; ``plain`` undoes it."""

    sign: re.Pattern[str]
    plain: Callable[[str], str]
    words: frozenset[str] = frozenset()


_DISGUISES = (
    _Disguise(_ROT, lambda piece: codecs.decode(piece, "rot13"), _ROT_WORDS),
    _Disguise(_BACK, lambda piece: piece[::-1], _BACK_WORDS),
    _Disguise(_HAS_LEET, lambda piece: piece.translate(_LEET)),
    _Disguise(_SPACED, _joined),
    _Disguise(_ESCAPED, _unescaped),
    _Disguise(_BROKEN, _mended),
)

"""What of a text is looked at: bounded, without invisible characters, look-alike letters made plain. Pure.

Owns the reading of characters, words, sentences and numbers. Must not judge. Invisible and control characters carry no
content for a reader; a Cyrillic or Greek letter inside a Latin word is one only for a machine. Words of other scripts
stay as they are; scripts without spaces count each character as a word.
"""

# ruff: noqa: RUF001 - letters of many scripts
from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

MOST_CHARS = 4_000
"""Of an answer or a prompt. Longer texts are cut to their first three quarters and last quarter of this."""
MOST_GROUND_CHARS = 10_000
"""Of a context."""
_DROPPED = {
    code: None
    for low, high in (
        (0x00, 0x08),
        (0x0E, 0x1F),
        (0x7F, 0x84),
        (0x86, 0x9F),
        (0xAD, 0xAD),
        (0x034F, 0x034F),
        (0x061C, 0x061C),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFEFF, 0xFEFF),
        (0xFFA0, 0xFFA0),
        (0xFFF9, 0xFFFD),
        (0xE0000, 0xE0FFF),
    )
    for code in range(low, high + 1)
}
_BREAKS = {0x0B: "\n", 0x0C: "\n", 0x0D: "\n", 0x85: "\n", 0x2028: "\n", 0x2029: "\n"}
_QUOTES = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x00AB: '"', 0x00BB: '"', 0x201E: '"'}
_PLAIN = {**_DROPPED, **_BREAKS, **_QUOTES}
_LIKE = str.maketrans(
    "аеорсухіјѕԁԛԝһӏкмтнвгпАВЕКМНОРСТУХІЈЅαορνικτυγεηΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdqwhlkmthbrnABEKMHOPCTYXIJSaopviktuyenABEZHIKMNOPTYX",
)
_LETTERS = re.compile(r"[A-Za-z\u0370-\u03ff\u0400-\u052f]+")
_LATIN = re.compile(r"[A-Za-z]")
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{SPACELESS}]|[^\W_{SPACELESS}]+(?:'[^\W\d_]+)?")
_END = re.compile(r"(?<=[.!?;])[\"')\]]*\s+(?=\S)|(?<=[。！？；।؟])|\n+")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?")
_SUFFIX = re.compile(r"(?:ings?|edly|ed|ly|ies|es|s|er|ers|ation|ations|ment|ments)$")


def clip(text: str, most: int = MOST_CHARS) -> str:
    """At most ``most`` characters: the beginning and the end of a longer text."""
    return text if len(text) <= most else f"{text[: most * 3 // 4]}\n{text[-(most // 4) + 1 :]}"


def clean(text: str, most: int = MOST_CHARS) -> str:
    """``text`` clipped, in NFKC, with visible characters only and look-alike letters in Latin words made Latin."""
    text = clip(text, most)
    if text.isascii():
        return text.translate(_PLAIN) if not text.isprintable() else text
    text = unicodedata.normalize("NFKC", text).translate(_PLAIN)[: 2 * most]
    if text.isascii():
        return text
    return _LETTERS.sub(_made_latin, text)


def _made_latin(found: re.Match[str]) -> str:
    word = found[0]
    return word.translate(_LIKE) if not word.isascii() and _LATIN.search(word) else word


def words(text: str) -> list[str]:
    """The words of a cleaned text, case folded."""
    return _WORD.findall(text.casefold())


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """A word without its English ending, so that "voted" meets "votes". Words of other scripts come back unchanged."""
    word = word.removesuffix("'s")
    if len(word) < 5 or not word.isascii():
        return word
    short = _SUFFIX.sub("", word)
    if len(short) < 3:
        return word
    if len(short) > 3 and short[-1] == short[-2] and short[-1] not in "aeiouls":
        short = short[:-1]
    return short.rstrip("eiy") if len(short) > 4 else short


def stems(text: str) -> list[str]:
    """``words`` without their endings."""
    return [stem(word) for word in words(text)]


def content(text_stems: Sequence[str]) -> list[str]:
    """Those that carry content: no function words, no single letters of scripts that have words."""
    return [
        one for one in text_stems if one not in FUNCTION_STEMS and (len(one) > 1 or not one.isascii() or one.isdigit())
    ]


def sentences(text: str) -> list[str]:
    """The sentences and lines of a cleaned text."""
    return [part for part in (piece.strip() for piece in _END.split(text)) if part]


@lru_cache(maxsize=4096)
def _number(found: str) -> str:
    return f"{float(found.replace(',', '')):g}"


def numbers(text: str) -> list[str]:
    """The numbers of a text, normalised: "1,000" and "1000.0" are the same."""
    return [_number(found[:24]) for found in NUMBER.findall(text)]


NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}
_FUNCTION = """a about above after again against all also although always am an and any are aren't around as at be because been
before being below between both but by can can't cannot could couldn't did didn't do does doesn't doing don't
down during each either else ever every few for from further get got had hadn't has hasn't have haven't having
he he's her here hers herself him himself his how however i i'd i'll i'm i've if in into is isn't it it's its
itself just let let's like made make many may me might more most much must my myself n't no nor not now of off
often on once one only or other our ours ourselves out over own per please rather really same shall she she's
should so some such than that that's the their theirs them themselves then there there's these they they're this
those though through thus to too under until up upon us very was wasn't we we're well were what what's when
where whether which while who whom whose why will with within without won't would wouldn't yes yet you you'd
you'll you're you've your yours yourself s t d ll m re ve der die das ein eine einen einem einer und oder nicht
ist sind war mit von zu im auf für den dem des es sich auch als bei el la los las un una unos y o son fue con de
del en por para que se su al lo como más pero le les et ou ne pas est sont du au aux dans pour sur par qui ce
cette il elle plus mais gli che di non sono è da и в не на что с по как это от за для из у к но о же так の に は を
た が で て と し れ さ ある いる も する から な こと 的 了 是 在 和 有 不 我 他 这 个 们 就 也 都"""
FUNCTION = frozenset(re.findall(r"\S+", _FUNCTION))
FUNCTION_STEMS = frozenset(stem(word) for word in FUNCTION) | FUNCTION

"""Grading of answers: what is read out of an answer, and the graders that need nothing but text. Pure.

Models wrap what was asked for in prose, code fences and emphasis. The rules by which the answer proper is taken out
of that are here and in ``docs/benchmarks.md``; a change of them is a new ``HARNESS`` and so new results. Regular
expressions and code of an answer run in the sandbox, never here.
"""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

from podium.domain.benchmark import Grade

HARNESS = 1
"""Version of these rules; part of every suite's digest."""
MOST_CHARS = 20_000
"""More of an answer is never looked at."""
_FENCE = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.MULTILINE | re.DOTALL
)
_NUMBER = re.compile(
    r"(?<![\w.,])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?(?![\w])|(?<![\w.,])[-+]?\.\d+"
)
_LEAD = re.compile(
    r"^(?:(?:the |my )?(?:final |correct |right )?(?:answer|label|category|result|output)\s*(?:is|:|=)\s*)",
    re.IGNORECASE,
)
_ENTRY = re.compile(r"^(?:def|class|import|from|async def|@)\b|^@", re.MULTILINE)


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def clip(answer: str) -> str:
    """The part of an answer that is graded."""
    return answer[:MOST_CHARS]


def plain(text: str) -> str:
    """Text for comparison: NFKC, case folded, emphasis and outer punctuation gone, spaces single."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    text = re.sub(r"[*_`\"“”«»]+", "", text)
    return " ".join(text.split()).strip(" .,;:!?()[]{}<>'-")


def exact(answer: str, expected: Sequence[str]) -> Grade:
    """Right when the whole answer, its first line, or what follows "the answer is" equals one of ``expected``."""
    whole = clip(answer).strip()
    first = next((line for line in whole.splitlines() if line.strip()), "")
    seen = {plain(text) for text in (whole, first, _LEAD.sub("", whole), _LEAD.sub("", first))}
    if seen & {plain(text) for text in expected}:
        return Grade(score=1.0)
    return Grade(score=0.0, why=f"said {_short(first)}, not {_short(expected[0])}")


def contains(answer: str, expected: Sequence[str]) -> Grade:
    """Right when one of ``expected`` stands in the answer as whole words."""
    text = f" {' '.join(_words(clip(answer)))} "
    for wanted in expected:
        if f" {' '.join(_words(wanted))} " in text:
            return Grade(score=1.0)
    return Grade(score=0.0, why=f"does not say {_short(expected[0])}")


def choice(answer: str, expected: str, choices: Sequence[str]) -> Grade:
    """Right when the answer commits to ``expected`` and to no other of ``choices``.

    Read in this order, first hit counts: the whole first line is a label (with or without "the answer is", a
    bracket or a full stop behind it, or text after a colon or dash); exactly one label stands in the first line;
    exactly one label stands in the whole answer. Several labels without commitment are no answer. Single letters
    are labels in upper case only, so that the article "a" is none.
    """
    chosen = chosen_label(answer, choices)
    if chosen is None:
        return Grade(score=0.0, why="chose none of the labels, or several")
    return (
        Grade(score=1.0)
        if chosen == expected
        else Grade(score=0.0, why=f"chose {_short(chosen)}, not {_short(expected)}")
    )


def chosen_label(answer: str, choices: Sequence[str]) -> str | None:
    """The label an answer commits to; ``None`` for none or several."""
    whole = clip(answer).strip()
    first = next((line.strip() for line in whole.splitlines() if line.strip()), "")
    by_plain = {plain(label): label for label in choices}
    head = _LEAD.sub("", re.sub(r"[*_`]+", "", first))
    for text in (first, head, re.split(r"[:.)\-\u2013\u2014,]", head.strip(" ("), maxsplit=1)[0]):
        if (found := by_plain.get(plain(text))) is not None:
            return found
    for text in (first, whole):
        named = [label for label in choices if _mentions(text, label)]
        named = [one for one in named if not any(one != other and plain(one) in plain(other) for other in named)]
        if len(named) == 1:
            return named[0]
        if named:
            return None
    return None


def numeric(answer: str, number: float, tolerance: float) -> Grade:
    """Right when the answer's number is within ``tolerance`` of ``number``.

    The number is the first one behind the last "answer is", "answer:" or "=", else the last number of the answer.
    """
    said = stated_number(answer)
    if said is None:
        return Grade(score=0.0, why="names no number")
    if math.isfinite(said) and abs(said - number) <= tolerance + 1e-9 * max(1.0, abs(number)):
        return Grade(score=1.0)
    return Grade(score=0.0, why=f"said {said:g}, not {number:g}")


def stated_number(answer: str) -> float | None:
    """The number an answer states; ``None`` without any."""
    text = re.sub(r"[*_`$€£]+", "", clip(answer))
    markers = list(re.finditer(r"answer\s*(?:is|:|=)|=", text, re.IGNORECASE))
    for start in [markers[-1].end()] if markers else []:
        if found := _NUMBER.search(text, start):
            return float(found[0].replace(",", ""))
    numbers = _NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else None


def json_value(answer: str) -> object:
    """The JSON value of an answer: the whole of it, else the first fenced block that is JSON, else the first object
    or array anywhere in the text. Raises ``ValueError`` when there is none. NaN and Infinity are not JSON.
    """
    text = clip(answer).strip().removeprefix("\ufeff")
    for candidate in (text, *(body.strip() for _, body in fences(text))):
        try:
            return _DECODER.decode(candidate)
        except (ValueError, RecursionError):
            continue
    for found in list(re.finditer(r"[{\[]", text))[:50]:
        try:
            return _DECODER.raw_decode(text, found.start())[0]
        except (ValueError, RecursionError):
            continue
    raise ValueError("no JSON in the answer")


def fields(value: object, wanted: Mapping[str, object]) -> Grade:
    """The share of ``wanted`` that the top-level fields of ``value`` hold. Texts are compared by ``plain``, numbers
    by value, lists item by item in order.
    """
    if not wanted:
        return Grade(score=1.0)
    if not isinstance(value, Mapping):
        return Grade(score=0.0, why="not an object")
    wrong = [name for name, expected in wanted.items() if not _same(value.get(name), expected)]
    why = f"wrong: {', '.join(wrong)[:120]}" if wrong else ""
    return Grade(score=(len(wanted) - len(wrong)) / len(wanted), why=why)


def python_code(answer: str) -> str:
    """The Python code of an answer: all fenced blocks marked as Python (or unmarked) that compile and define or import
    something, else all that compile, else the whole answer if it compiles, else what compiles from its first
    definition or import on. So an example of use in a block of its own is left out.

    Raises ``ValueError`` when nothing compiles.
    """
    text = clip(answer)
    blocks = [body for language, body in fences(text) if language.lower() in {"", "python", "py", "python3"}]
    good = [body for body in blocks if _compiles(body)]
    if good:
        return "\n\n".join([body for body in good if _defines(body)] or good)
    if not blocks and _compiles(text):
        return text
    for source in (*blocks, text):
        if (found := _ENTRY.search(source)) is not None and (part := _good_part(source[found.start() :])):
            return part
    raise ValueError("no Python code that compiles")


def fences(text: str) -> list[tuple[str, str]]:
    """(language, body) of fenced blocks; a last one that is not closed counts."""
    return [(found[1], found[2]) for found in _FENCE.finditer(text)]


def wilson(mean: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a mean of ``n`` values in [0, 1] (Wilson 1927, JASA 22).

    Exact in spirit for right/wrong scores; wider than needed for partial scores, whose variance is at most
    ``mean (1 - mean)``. ``n`` = 0 gives (0, 1).
    """
    if n <= 0:
        return 0.0, 1.0
    square = z * z / n
    middle = (mean + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(max(0.0, mean * (1 - mean)) / n + square / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _compiles(source: str) -> bool:
    try:
        return bool(ast.parse(source).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _defines(source: str) -> bool:
    made = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Assign
    return any(isinstance(node, made) for node in ast.parse(source).body)


def _good_part(source: str) -> str:
    """The longest beginning that compiles, found by cutting before the line the parser complains about."""
    lines = source.splitlines()
    for _ in range(20):
        try:
            return "\n".join(lines) if ast.parse("\n".join(lines)).body else ""
        except SyntaxError as error:
            lines = lines[: max(0, min(len(lines), error.lineno or 1) - 1)]
        except (ValueError, RecursionError, MemoryError):
            return ""
    return ""


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", text).casefold()
    return re.findall(r"[^\W_]+(?:[.,][0-9]+)*", "".join(c for c in folded if not unicodedata.combining(c)))


def _mentions(text: str, label: str) -> bool:
    if len(label) == 1:
        return re.search(rf"(?<!\w){re.escape(label)}(?!\w|')", text) is not None
    return f" {' '.join(_words(label))} " in f" {' '.join(_words(text))} "


def _same(said: object, wanted: object) -> bool:
    if isinstance(wanted, bool) or isinstance(said, bool) or wanted is None:
        return said is wanted
    if isinstance(wanted, str):
        return isinstance(said, str) and plain(said) == plain(wanted)
    if isinstance(wanted, int | float):
        return isinstance(said, int | float) and math.isclose(said, wanted, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(wanted, Sequence):
        if not isinstance(said, list) or len(said) != len(wanted):
            return False
        return all(_same(one, other) for one, other in zip(said, wanted, strict=True))
    if isinstance(wanted, Mapping):
        return isinstance(said, Mapping) and fields(said, wanted).score == 1.0
    return False


def _short(text: str) -> str:
    one = " ".join(text.split())
    return repr(one if len(one) <= 40 else f"{one[:40]}…")

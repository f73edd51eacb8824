"""Constraints that an instruction states and an answer can be checked against: lengths, counts, formats, words. Pure.

Owns the reading of such constraints out of a prompt (English) and their check. Must not guess: what is not stated in a
form listed here is no constraint.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from podium.core.graders.cleaning import NUMBER_WORDS, sentences, words

_N = r"(\d{1,4}|" + "|".join(word for word in NUMBER_WORDS if word != "zero") + ")"
_ITEM = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,3}[.)]|[a-z][.)])\s+\S", re.MULTILINE | re.IGNORECASE)  # noqa: RUF001 - a dash that lists begin with
_CODE = re.compile(r"```|^\s*(?:def|class|import|function|const|let|var|public|#include|SELECT|<\w+)\b", re.MULTILINE)
_NO_LIST = r"(?!words?|sentences?|lines?|paragraphs?|characters?|minutes?|hours?|years?|people|letters?|stanzas?|syllables?|percent|times|of\b|and\b|or\b|the\b)"

Check = Callable[[str], float]


def _count(said: str) -> int:
    return int(NUMBER_WORDS.get(said.lower(), said))


def _near(found: float, wanted: float) -> float:
    """1 when right, falling to 0 at twice or half."""
    return 1.0 if found == wanted else max(0.0, 1 - abs(found - wanted) / max(1.0, wanted))


def checks(prompt: str) -> dict[str, Check]:
    """The checks that a cleaned prompt asks for, by name; each takes the cleaned answer and gives how far it is met."""
    text = prompt[-4000:]
    found: dict[str, Check] = {}
    if at_most := re.search(
        rf"\b(?:at most|no more than|up to|maximum(?: of)?|max\.?|less than|fewer than|under|within|not exceed(?:ing)?|limit\w* (?:\w+ ){{0,3}}to) {_N}[ -]words?",
        text,
        re.IGNORECASE,
    ):
        limit = _count(at_most[1])
        found["at most words"] = lambda answer: min(1.0, limit / max(1, len(words(answer))))
    elif at_least := re.search(
        rf"\b(?:at least|minimum(?: of)?|no less than|more than|over) {_N}[ -]words?", text, re.IGNORECASE
    ):
        least = _count(at_least[1])
        found["at least words"] = lambda answer: min(1.0, len(words(answer)) / max(1, least))
    elif about := re.search(
        rf"\b{_N}[ -]words?\b(?! that| which| for| with| in| from| start| begin| rhym)", text, re.IGNORECASE
    ):
        wanted = _count(about[1])
        found["words"] = lambda answer: (
            1.0 if abs(len(words(answer)) - wanted) <= 0.15 * wanted + 1 else _near(len(words(answer)), wanted)
        )
    if several := re.search(rf"\b{_N}(?:\s*(?:-|to|or)\s*{_N})?[ -]sentences?\b", text, re.IGNORECASE):
        low, high = _count(several[1]), _count(several[2] or several[1])
        found["sentences"] = lambda answer: (
            1.0
            if low <= _sentences(answer) <= high
            else _near(_sentences(answer), high if _sentences(answer) > high else low)
        )
    if lines := re.search(rf"\b{_N}[ -](?:line|verse)s?\b", text, re.IGNORECASE):
        rows = _count(lines[1])
        found["lines"] = lambda answer: _near(sum(bool(line.strip()) for line in answer.splitlines()), rows)
    if paragraphs := re.search(rf"\b{_N}[ -]paragraphs?\b", text, re.IGNORECASE):
        blocks = _count(paragraphs[1])
        found["paragraphs"] = lambda answer: _near(
            sum(bool(part.strip()) for part in re.split(r"\n\s*\n", answer)), blocks
        )
    if items := re.search(
        rf"\b(?:list|give|name|provide|suggest|write|generate|create|identify|state|mention|come up with|tell me|what are|offer|describe|recommend|find|top|me|of)\s+(?:(?:me|us|at least|the|a list of|out|up|some|only|exactly|any)\s+)*{_N}\s+{_NO_LIST}[a-z]",
        text,
        re.IGNORECASE,
    ):
        wanted_items = _count(items[1])
        found["items"] = lambda answer: _items(answer, wanted_items)
    found |= _formats(text)
    found |= _wordings(text)
    return found


def _formats(text: str) -> dict[str, Check]:
    found: dict[str, Check] = {}
    if re.search(r"\b(?:in|as|valid|return|output) (?:a )?json\b", text, re.IGNORECASE):
        found["json"] = lambda answer: float(re.search(r"[{\[].*[}\]]", answer, re.DOTALL) is not None)
    if re.search(r"\b(?:bullet(?:ed)?(?: point)?s?|numbered list|bulleted list|as a list)\b", text, re.IGNORECASE):
        found["list"] = lambda answer: min(1.0, len(_ITEM.findall(answer)) / 2)
    if re.search(
        r"\b(?:in|as|into|using|make|create|draw) (?:a |an )?(?:markdown |html )?table\b", text, re.IGNORECASE
    ):
        found["table"] = lambda answer: float(answer.count("|") >= 4 or "<table" in answer.lower() or "\t" in answer)
    if re.search(
        r"\b(?:write|create|implement|give me|build|code|develop|generate) (?:\w+ ){0,4}(?:code|function|script|program|class|method|query|algorithm|regex|html|css)\b",
        text,
        re.IGNORECASE,
    ):
        found["code"] = lambda answer: float(
            _CODE.search(answer) is not None or any(one in answer for one in ("{", "(", "="))
        )
    return found | _sizes(text)


def _sizes(text: str) -> dict[str, Check]:
    found: dict[str, Check] = {}
    if re.search(r"\b(?:all|only|in) (?:capital|upper ?case) ?(?:letters)?\b|\bin all caps\b", text, re.IGNORECASE):
        found["upper case"] = lambda answer: _case(answer, str.isupper)
    if re.search(r"\b(?:all|only|in) lower ?case\b", text, re.IGNORECASE):
        found["lower case"] = lambda answer: _case(answer, str.islower)
    if re.search(r"\b(?:single|one) word\b(?! that)", text, re.IGNORECASE):
        found["one word"] = lambda answer: 1.0 if len(words(answer)) <= 2 else min(1.0, 2 / len(words(answer)))
    if re.search(
        r"\b(?:only|just) (?:\w+ ){0,3}(?:answer|output|name|number|letter|result|word|code|say|reply|respond|return|write|give)\b|\bwithout (?:any )?explanations?\b|\bno explanations?\b|\bnothing else\b",
        text,
        re.IGNORECASE,
    ):
        found["only"] = lambda answer: 1.0 if len(words(answer)) <= 40 else 40 / len(words(answer))
    if re.search(
        r"\b(?:brief(?:ly)?|short(?:ly|est)?|concise(?:ly)?|succinct\w*|simple sentence|in a sentence|one-liner|summari[sz]e|tl;?dr)\b",
        text,
        re.IGNORECASE,
    ):
        found["short"] = lambda answer: min(1.0, 90 / max(1, len(words(answer))))
    if re.search(
        r"\b(?:detailed|in detail|in depth|comprehensive|thorough\w*|essay|elaborate|long)\b", text, re.IGNORECASE
    ):
        found["long"] = lambda answer: min(1.0, len(words(answer)) / 120)
    return found


def _wordings(text: str) -> dict[str, Check]:
    found: dict[str, Check] = {}
    for place, phrase in enumerate(
        re.findall(
            r"\b(?:includ(?:e|es|ing)|contain(?:s|ing)?|us(?:e|ing)|mention(?:s|ing)?|with) (?:the )?(?:words?|phrases?|terms?|keywords?)?:? ?[\"']([^\"'\n]{2,40})[\"']",
            text,
            re.IGNORECASE,
        )[:5]
    ):
        found[f"holds {place}"] = lambda answer, phrase=phrase: float(phrase.casefold() in answer.casefold())  # type: ignore[misc] # a default binds the loop's value
    for place, phrase in enumerate(
        re.findall(
            r"\b(?:avoid|without|exclud(?:e|ing)|do not|don't|never)(?: us(?:e|ing)| say(?:ing)?| mention(?:ing)?| includ(?:e|ing))? (?:the )?(?:words?|phrases?|letters?|terms?)? ?[\"']([^\"'\n]{1,40})[\"']",
            text,
            re.IGNORECASE,
        )[:5]
    ):
        found[f"lacks {place}"] = lambda answer, phrase=phrase: float(phrase.casefold() not in answer.casefold())  # type: ignore[misc] # see above
    if starts := re.search(
        r"\b(?:start|begin)s?(?:ning|ing)? (?:\w+ ){0,4}with (?:the )?(?:words?|phrase|letter)? ?[\"']([^\"'\n]{1,40})[\"']",
        text,
        re.IGNORECASE,
    ):
        found["starts"] = lambda answer: float(answer.lstrip(" \"'*#").casefold().startswith(starts[1].casefold()))
    if ends := re.search(
        r"\b(?:end|finish)s?(?:ing)? (?:\w+ ){0,4}with (?:the )?(?:words?|phrase)? ?[\"']([^\"'\n]{1,40})[\"']",
        text,
        re.IGNORECASE,
    ):
        found["ends"] = lambda answer: float(
            answer.rstrip(" \"'*.").casefold().endswith(ends[1].rstrip(".").casefold())
        )
    if choices := re.search(
        r"\b(?:classify|categori[sz]e|label|identify|determine|choose|select|answer|respond|state|is it|whether)\b.{0,120}?[\"'(:]?\b([\w-]{2,20})[\"']?(?:,| or| and|/) ?(?:or )?[\"']?([\w-]{2,20})[\"')]?[.?:]",
        text,
        re.IGNORECASE,
    ):
        named = {choices[1].casefold(), choices[2].casefold()}
        found["chooses"] = lambda answer: float(bool(named & set(words(answer[:300]))))
    return found


def _sentences(answer: str) -> int:
    return len([part for part in sentences(answer) if len(part) > 2])


def _items(answer: str, wanted: int) -> float:
    listed = len(_ITEM.findall(answer))
    if not listed:
        lines = sum(bool(line.strip()) for line in answer.splitlines())
        commas = answer.count(",") + answer.count(" and ") + answer.count(";")
        return max(_near(lines, wanted), _near(min(commas + 1, wanted), wanted) * 0.9)
    return _near(listed, wanted)


def _case(answer: str, right: Callable[[str], bool]) -> float:
    letters = [one for one in answer if one.isalpha() and one.lower() != one.upper()]
    return sum(map(right, letters)) / len(letters) if letters else 0.0

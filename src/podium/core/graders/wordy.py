"""Constructions that have a shorter form, fillers, hedges, openings and closings of answers. Data and one look.

Owns the list: each entry is a pattern and how many words its shorter form saves. The forms are common advice of English
style guides; other languages are judged by repetition and length alone.
"""

from __future__ import annotations

import re

_SHORTER: tuple[tuple[str, str, int], ...] = (
    ("in", r"order (?:to|for|that)", 2), ("so", r"as to", 2), ("due owing", r"to the fact that", 4), ("in", r"spite of the fact that", 5),
    ("despite", r"the fact that", 3), ("because", r"of the fact that", 4), ("the", r"fact that", 2), ("at", r"(?:this|that|the present) (?:point|moment) in time", 4),
    ("at", r"the (?:same )?time (?:that|when|of)", 2), ("at", r"the present time", 3), ("during", r"the (?:course|time|period) (?:of|that)", 3),
    ("in", r"the (?:course|process|case|event|absence|context|area|field|form|vicinity|presence) of", 2), ("in", r"the event that", 3), ("until", r"such time as", 3),
    ("for", r"the (?:purposes?|sake|reason) (?:of|that)", 3), ("with in", r"(?:regards?|respect|reference|relation) to", 2), ("in", r"terms of", 2),
    ("on", r"the (?:basis|part|occasion|subject|grounds) of", 3), ("by", r"(?:means|virtue|way) of", 2), ("as", r"a (?:result|consequence) of", 2), ("as", r"(?:a )?result", 1),
    ("a the", r"(?:large |great |small |significant |total |whole |good )?(?:number|majority|variety|range|series|lot|amount|quantity|portion|multitude) of", 2),
    ("a", r"great deal of", 3), ("all", r"of the", 1), ("both some many most one", r"of the", 1), ("each", r"(?:and every|one of)", 2),
    ("is are was were", r"able to", 2), ("has have had", r"been able to", 3), ("has have had", r"the (?:ability|capacity|opportunity|potential|right) to", 3),
    ("make makes made making", r"(?:use|mention|note|reference) of", 2), ("take takes took taking taken", r"(?:place|part in|into (?:account|consideration))", 1),
    ("give gives gave giving", r"(?:rise|consideration) to", 1), ("came come comes coming", r"to (?:an end|the conclusion)", 2), ("put", r"an end to", 3),
    ("is are was were", r"(?:known|referred to|considered|regarded|described|seen|thought of|noted|said|believed|thought|reported|found|located|situated) (?:as|to be|in|at|on|to have)", 2),
    ("it there", r"(?:is|was|has been|should be|can be|may be|must be) (?:also )?(?:that|said|noted|believed|thought|known|suggested|reported|important|possible|likely|clear|worth)", 3),
    ("it", r"(?:is|was) (?:[a-z]+ )?(?:that|who|when|which)", 3), ("there", r"(?:is|are|was|were|has been|have been|had been|will be|exists?)", 2),
    ("which that who", r"(?:is|are|was|were|has been|have been|had been)", 2), ("which who", r"", 1), ("has have had", r"(?:been|also)", 1),
    ("has have had", r"(?:also |since |then )?\w+(?:ed|en|un|wn)", 1), ("is are was were been being", r"(?:\w+ly )?\w+(?:ed|en) by", 2),
    ("would", r"(?:be|have|later|go on|also|then|eventually|become)", 1),
    ("as", r"well as", 2), ("in", r"addition(?: to)?", 2), ("together along", r"with", 1), ("apart other", r"(?:from|than)", 1), ("rather", r"than", 1), ("such", r"as", 1), ("as", r"well", 2),
    ("on", r"(?:the other hand|a regular basis|a daily basis|account of|behalf of|top of)", 2), ("for", r"(?:example|instance)", 2), ("of in to", r"which", 1),
    ("in within", r"(?:the )?(?:area|city|town|region|state|country|year|month) of", 2),
    ("the", r"(?:use|creation|development|establishment|construction|implementation|introduction|formation|provision|addition|removal|inclusion|completion|existence|name|process|idea|concept|notion|role|position|site|title|purpose|aim|goal) of", 2),
    ("prior subsequent previous next close according relating related leading up similar opposed", r"to", 1), ("first second third last only", r"(?:of|one|time)", 1),
    ("at in on from by to of", r"(?:all|the (?:beginning|end|start|time|age|rate|hands|same|back|front|top|middle|centre|center))", 1),
    ("began started continued decided attempted tried managed chose helped used sought wanted needed wished intended planned seems seem seemed appears appear appeared tends tend tended proved happened allowed forced required caused", r"(?:\w+ )?to", 1),
    ("not", r"only", 1), ("but", r"also", 1), ("whether", r"or not", 2), ("he she it they we this these those", r"(?:also |then |later |had |has |have |was |were |is |are )", 1),
    ("past future advance end final basic brief close new free true joint usual personal general mutual exact actual current ongoing entire complete", r"(?:history|plans?|planning|result|outcome|fundamentals|summary|proximity|innovation|gift|facts?|collaboration|habit|opinion|consensus|cooperation|same|status)", 1),
)  # fmt: skip
_SINGLE = frozenset(
    [
        "also",
        "however",
        "additionally",
        "furthermore",
        "moreover",
        "therefore",
        "thus",
        "subsequently",
        "consequently",
        "eventually",
        "ultimately",
        "indeed",
        "then",
        "hence",
        "nevertheless",
        "nonetheless",
        "meanwhile",
        "instead",
        "likewise",
        "similarly",
        "very",
        "quite",
        "rather",
        "really",
        "extremely",
        "highly",
        "particularly",
        "especially",
        "specifically",
        "generally",
        "usually",
        "typically",
        "basically",
        "essentially",
        "actually",
        "simply",
        "just",
        "currently",
        "previously",
        "originally",
        "initially",
        "mainly",
        "primarily",
        "largely",
        "mostly",
        "fully",
        "completely",
        "entirely",
        "totally",
        "widely",
        "commonly",
        "relatively",
        "fairly",
        "somewhat",
        "perhaps",
        "possibly",
        "probably",
        "certainly",
        "clearly",
        "obviously",
        "various",
        "several",
        "certain",
        "respective",
        "respectively",
        "overall",
        "own",
        "same",
        "either",
        "neither",
        "both",
    ]
)
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)
_BY_FIRST: dict[str, list[tuple[re.Pattern[str], int]]] = {}
for _firsts, _rest, _saved in _SHORTER:
    _pattern = re.compile(
        rf" {_rest.rstrip()}\b" if _rest and not _rest.endswith(" )") else f" {_rest}" if _rest else "", re.IGNORECASE
    )
    for _first in _firsts.split():
        _BY_FIRST.setdefault(_first, []).append((_pattern, _saved))


FILLER = re.compile(
    r"\b(?:basically|actually|literally|really|very|quite|just|simply|obviously|clearly|of course|needless to say|as you (?:may )?know|in fact|as a matter of fact|to be honest|at the end of the day|it goes without saying|when it comes to|when all is said and done)\b",
    re.IGNORECASE,
)
HEDGE = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|might|could be|may be|somewhat|sort of|kind of|i think|i believe|i guess|it seems|it appears|generally speaking|in my opinion|arguably|more or less|it depends|to some extent|likely)\b",
    re.IGNORECASE,
)
OPENING = re.compile(
    r"^\W*(?:sure|certainly|of course|absolutely|great question|good question|thank you for|thanks for|i'd be happy|i would be happy|happy to help|as an ai|let me|okay|ok,|alright|here(?:'s| is| are) (?:a|an|the|some|my)|natürlich|gerne|klar|claro|por supuesto|bien s[ûu]r|certo|конечно|当然|もちろん)",
    re.IGNORECASE,
)
CLOSING = re.compile(
    r"(?:i hope (?:this|that)|let me know|feel free|if you (?:have|need|want|would like) (?:any|more|further|me)|happy to help|please (?:don't hesitate|let me)|in (?:conclusion|summary)|to sum(?: it)? up|overall,|is there anything else|hope this helps)",
    re.IGNORECASE,
)


def savings(text: str) -> tuple[int, int]:
    """(hits, words saved) when every listed construction of a cleaned text took its shorter form."""
    hits = saved = done = 0
    for found in _WORD.finditer(text):
        if found.start() < done:
            continue
        first = found[0].lower()
        if first in _SINGLE:
            hits, saved = hits + 1, saved + 1
            continue
        best, end = 0, 0
        for pattern, words in _BY_FIRST.get(first, ()):
            if words > best and (rest := pattern.match(text, found.end())):
                best, end = words, rest.end()
        if best:
            hits, saved, done = hits + 1, saved + best, end
    return hits, saved

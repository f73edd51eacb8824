"""Constructions that have a shorter form, fillers, hedges, openings and closings of answers. Data and one look.

Owns the list: each entry is a pattern and how many words its shorter form saves. The forms are common advice of English
style guides; other languages are judged by repetition and length alone.
"""

from __future__ import annotations

import re

_SHORTER: tuple[tuple[str, int], ...] = (
    (r"in order (?:to|for|that)", 2), (r"so as to", 2), (r"due to the fact that", 4), (r"owing to the fact that", 4),
    (r"in spite of the fact that", 5), (r"despite the fact that", 3), (r"the fact that", 2), (r"because of the fact that", 4),
    (r"at (?:this|that|the present) (?:point|moment) in time", 4), (r"at the (?:same )?time (?:that|when|of)", 2), (r"at the present time", 3),
    (r"during the (?:course|time|period) (?:of|that)", 3), (r"in the (?:course|process|case|event|absence|context|area|field|form|vicinity|presence) of", 2),
    (r"in the event that", 3), (r"until such time as", 3), (r"for the (?:purpose|purposes|sake|reason) (?:of|that)", 3),
    (r"with (?:regard|regards|respect|reference|relation) to", 2), (r"in (?:regard|regards|respect|reference|relation) to", 2), (r"in terms of", 2),
    (r"on the (?:basis|part|occasion|subject|grounds) of", 3), (r"by (?:means|virtue|way) of", 2), (r"as a (?:result|consequence) of", 2),
    (r"as (?:a )?result", 1), (r"(?:a|the) (?:large |great |small |significant |total |whole |good )?(?:number|majority|variety|range|series|lot|amount|quantity|portion|multitude) of", 2),
    (r"a great deal of", 3), (r"all of the", 1), (r"both of the", 1), (r"each (?:and every|one of)", 2), (r"one of the", 1), (r"some of the", 1), (r"many of the", 1),
    (r"most of the", 1), (r"(?:is|are|was|were|has been|have been|had been) able to", 2), (r"(?:has|have|had) the (?:ability|capacity|opportunity|potential|right) to", 3),
    (r"(?:make|makes|made|making) (?:use|mention|note|reference) of", 2), (r"(?:take|takes|took|taking) (?:place|part in|into (?:account|consideration))", 1),
    (r"(?:give|gives|gave|giving) (?:rise|consideration) to", 1), (r"(?:came|come|comes|coming) to (?:an end|the conclusion)", 2), (r"put an end to", 3),
    (r"(?:is|are|was|were) (?:known|referred to|considered|regarded|described|seen|thought of|noted|said|believed|thought|reported|found|located|situated) (?:as|to be|in|at|on|to have)", 2),
    (r"(?:it|there) (?:is|was|has been|should be|can be|may be|must be) (?:also )?(?:that|said|noted|believed|thought|known|suggested|reported|important|possible|likely|clear|worth)", 3),
    (r"it (?:is|was) (?:[a-z]+ )?(?:that|who|when|which)", 3), (r"there (?:is|are|was|were|has been|have been|had been|will be|exists?)", 2),
    (r"what (?:is|was) (?:now|known|called)", 2), (r"(?:which|that|who) (?:is|are|was|were|has been|have been|had been)", 2), (r"(?:which|who)", 1),
    (r"(?:has|have|had) (?:been|also)", 1), (r"(?:has|have|had) (?:also |since |then )?\w+(?:ed|en|un|wn)", 1),
    (r"(?:is|are|was|were|been|being) (?:\w+ly )?\w+(?:ed|en) by", 2), (r"would (?:be|have|later|go on|also|then|eventually|become)", 1),
    (r"(?:also|however|additionally|furthermore|moreover|therefore|thus|subsequently|consequently|eventually|ultimately|indeed|then|hence|nevertheless|nonetheless|meanwhile|instead|likewise|similarly)", 1),
    (r"(?:very|quite|rather|really|extremely|highly|particularly|especially|specifically|generally|usually|typically|basically|essentially|actually|simply|just|currently|previously|originally|initially|mainly|primarily|largely|mostly|fully|completely|entirely|totally|widely|commonly|relatively|fairly|somewhat|perhaps|possibly|probably|certainly|clearly|obviously|various|several|certain|respective|respectively|overall|own|same|such|own)", 1),
    (r"(?:as well as|in addition to|together with|along with|apart from|rather than|other than|such as)", 1), (r"as well", 2), (r"in addition", 2),
    (r"on (?:the other hand|a regular basis|a daily basis|account of|behalf of|top of)", 2), (r"for (?:example|instance)", 2), (r"of which", 1), (r"in which", 1), (r"to which", 1),
    (r"(?:in|within|inside) (?:the )?(?:area|city|town|region|state|country|year|month) of", 2), (r"the (?:use|creation|development|establishment|construction|implementation|introduction|formation|provision|addition|removal|inclusion|completion|existence|name|process|idea|concept|notion|role|position|site|title|purpose|aim|goal|majority) of", 2),
    (r"(?:prior|subsequent|previous|next|close|according|relating|related|leading|up|similar|opposed) to", 1), (r"(?:first|second|third|last|only) (?:of|one|time)", 1),
    (r"(?:at|in|on|from|by|to|of) (?:all|the (?:beginning|end|start|time|age|rate|hands|same|back|front|top|middle|centre|center))", 1),
    (r"(?:began|started|continued|decided|attempted|tried|managed|chose|helped|used|sought|wanted|needed|wished|intended|planned|went on|seems?|seemed|appears?|appeared|tends?|tended|proved|happened|allowed|forced|required|caused) (?:\w+ )?to", 1),
    (r"(?:not only|but also|whether or not|either|neither|both)", 1), (r"(?:he|she|it|they|we|this|these|that) (?:also |then |later |had |has |have |was |were |is |are )", 1),
    (r"(?:past|future|advance|end|final|basic|brief|close|new|free|true|joint|usual|personal|general|mutual|exact|actual|current|ongoing|entire|complete) (?:history|plans?|planning|result|outcome|fundamentals|summary|proximity|innovation|gift|facts?|collaboration|habit|opinion|consensus|cooperation|same|status)", 1),
)  # fmt: skip
_JOINED = re.compile(
    "|".join(rf"(?P<p{at}>\b(?:{pattern})\b)" for at, (pattern, _) in enumerate(_SHORTER)), re.IGNORECASE
)
_SAVED = {f"p{at}": words for at, (_, words) in enumerate(_SHORTER)}
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
    hits = saved = 0
    for found in _JOINED.finditer(text):
        hits += 1
        saved += _SAVED[found.lastgroup or ""]
    return hits, saved

"""Makes text of others into data of a prompt: cut to size, harmless to chat templates, between fences it cannot forge.

Must not judge and must not change what a reader sees, apart from the middle of a text that is too long.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

CUT = "\n[… {left} characters left out here …]\n"
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_TEMPLATE = re.compile(
    r"<(?=[|\uff5c]|/?(?:s|bos|eos|pad|unk|think|tool_call|tool_response|(?:start|end)_of_(?:turn|image))>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
)
"""Marks by which chat templates tell whose turn it is; servers read them as such wherever they stand."""
_SAMPLE = 10_000
MOST_BINARY = 0.1


def binary(text: str) -> bool:
    """More than a tenth of it are control characters, lone surrogates or signs of failed decoding."""
    sample = text[:_SAMPLE]
    if sample.isascii() and sample.isprintable():
        return False
    odd = len(_CONTROL.findall(sample)) + sample.count("\ufffd") + sum("\ud800" <= c <= "\udfff" for c in sample)
    return odd > MOST_BINARY * len(sample)


def cleaned(text: str) -> str:
    """Without invisible characters; control characters shown as U+FFFD; marks of chat templates broken by a space."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.encode("utf-8", "replace").decode()
    text = _CONTROL.sub("\ufffd", _INVISIBLE.sub("", text))
    return _TEMPLATE.sub(lambda mark: f"{mark[0]} ", text)


def shortened(text: str, most: int) -> str:
    """At most about ``most`` characters: beginning and end, and between them how much is missing."""
    if len(text) <= most:
        return text
    head = (most + 1) // 2
    tail = most - head
    return f"{text[:head]}{CUT.format(left=len(text) - most)}{text[len(text) - tail :]}"


def rooms(lengths: Sequence[int], budget: int) -> tuple[int, ...]:
    """How many characters each part gets of ``budget``: short ones all they need, long ones equal shares of the rest."""
    given = [0] * len(lengths)
    left = max(0, budget)
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    for done, place in enumerate(order):
        given[place] = min(lengths[place], left // (len(order) - done))
        left -= given[place]
    return tuple(given)


def fence(parts: Sequence[str]) -> str:
    """Sixteen hexadecimal digits that occur in no part; the same for the same parts, unforeseeable for who wrote one."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "replace")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    for count in range(1 << 16):
        mark = hashlib.sha256(digest.digest() + count.to_bytes(2, "big")).hexdigest()[:16]
        if not any(mark in part.lower() for part in parts):
            return mark
    raise AssertionError("65,536 fences of 64 bits each occur in the text")

"""Puts asterisks where secrets stand in text and in structured data. Pure.

Knows the values it was told of, the forms that keys have (ours, those of the large services, bearer headers, passwords
in URLs), and names under which nobody should log anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from podium.domain.secret import SHOWN

LEAST_CHARS = 8
"""Shorter values stand in ordinary words too often to be replaced everywhere."""
MOST_VALUES = 2_000
_DEPTH = 12
_FORMS = re.compile(
    r"(?P<before>(?i:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{8,}"
    r"|(?P<scheme>\b[a-z][a-z0-9+.-]{1,20}://[^\s:/?#@]{0,256}:)[^\s/?#@]{1,1024}(?=@)"
    r"|(?P<ours>\bpod_(?:[a-z0-9]{8}|local))_[A-Za-z0-9_-]{16,}"
    r"|\bsk-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{22,}"
    r"|\bAIza[0-9A-Za-z_-]{35}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bwhsec_[A-Za-z0-9+/=]{16,}"
)
_NAMES = re.compile(
    r"(?:^|[_-])(?:authorization|cookie|password|passwd|passphrase|secrets?|credentials?|private[_-]?key|api[_-]?keys?"
    r"|(?:access|master|signing|local)[_-]?key|token|dsn)(?:$|[_-](?!env|id|ids|name|names|count|file)"
    r")",
    re.IGNORECASE,
)


class Masker:
    """``learn`` what must not be seen, then ``text`` and ``value`` leave it out. Bounded; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._values: dict[str, None] = {}
        self._longest_first: tuple[str, ...] = ()

    def learn(self, value: str) -> None:
        """Hide ``value`` from now on; too short ones are left alone."""
        if len(value) < LEAST_CHARS or value in self._values:
            return
        while len(self._values) >= MOST_VALUES:
            del self._values[next(iter(self._values))]
        self._values[value] = None
        self._longest_first = tuple(sorted(self._values, key=len, reverse=True))

    def known(self, text: str) -> str:
        """``text`` without the values that were learnt."""
        for value in self._longest_first:
            if value in text:
                text = text.replace(value, SHOWN)
        return text

    def text(self, text: str) -> str:
        """``text`` without those, and without what has the form of a key."""
        return _FORMS.sub(_shown, self.known(text))

    def value(self, value: object, name: str = "", depth: int = 0) -> object:
        """The same for data: whatever stands under a telling name, and every text in it."""
        if depth > _DEPTH:
            return SHOWN
        if name and value is not None and not isinstance(value, int | float) and secretive(name):
            return SHOWN
        match value:
            case str():
                return self.text(value)
            case bytes():
                return self.text(value.decode("utf-8", "replace"))
            case Mapping():
                return {self._key(key): self.value(item, str(key), depth + 1) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return self._items(value, depth)
            case int() | float() | None:
                return value
            case _:
                return self.text(repr(value))

    def _key(self, key: object) -> object:
        return self.text(key) if isinstance(key, str) else key

    def _items(self, items: Iterable[object], depth: int) -> list[object]:
        return [self.value(item, "", depth + 1) for item in items]


def secretive(name: str) -> bool:
    """Whether a name says that its value is a secret: ``x-api-key``, ``OPENAI_API_KEY``, ``password``; not ``api_key_env``."""
    return _NAMES.search(name) is not None


def _shown(hit: re.Match[str]) -> str:
    kept = hit["before"] or hit["scheme"] or (f"{hit['ours']}_" if hit["ours"] else "")
    return f"{kept}{SHOWN}"

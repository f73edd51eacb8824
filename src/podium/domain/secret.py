"""Values that must not be seen, and how they are kept: sealed, with what opens them named and not held.

Owns the rule that a ``Secret`` never turns into text by accident. Seals nothing itself.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Never

SHOWN = "********"


class Secret:
    """A text nobody should see. ``reveal`` is the one way to it; printing, logging and JSON show asterisks.

    It cannot be pickled, so that it does not travel to other processes or files unseen.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text. Hand it to whoever needs it and keep no copy."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret('{SHOWN}')"

    def __str__(self) -> str:
        return SHOWN

    def __format__(self, spec: str) -> str:
        return format(SHOWN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> Never:
        raise TypeError("a secret is not written anywhere")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What cannot be read without the master key whose fingerprint is ``key_id``."""

    key_id: str
    nonce: bytes = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A named secret on record. ``version`` counts how often it was set; ``set_at`` is in Unix seconds."""

    name: str
    version: int
    sealed: Sealed
    set_at: float
    set_by: str


def bound_to(name: str, version: int) -> bytes:
    """What a seal covers besides the text: a row whose name or version was altered does not open."""
    return f"podium secret\0{name}\0{version}".encode()

"""Turns tokens into text as they come: no half characters, nothing of a stop text. Pure.

Decoding one token alone is wrong (a character may take several tokens, a leading blank may be part of the next), so
the difference between two decodings is what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_HALF = "\ufffd"
_MOST_PARTS = 4
"""Bytes, and so tokens at most, of one character in UTF-8; what is not whole after that many will never be."""


class Text:
    """The text of one answer. ``decode`` gives the text of tokens."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stops = tuple(stops)
        self._tokens: list[int] = []
        self._begin = 0
        """Where decoding starts: a little before what is new, for the blanks between."""
        self._shown = 0
        self._held = ""
        self.stopped = False
        """Whether a stop text appeared; nothing is to be added then."""

    def add(self, token: int) -> str:
        """What may be shown now; often nothing, where a character or a stop text may still be completed."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._begin : self._shown])
        after = self._decode(self._tokens[self._begin :])
        waits = after.endswith(_HALF) and len(self._tokens) - self._shown < _MOST_PARTS
        if len(after) <= len(before) or waits:
            return ""
        self._begin, self._shown = self._shown, len(self._tokens)
        return self._release(after[len(before) :])

    def end(self) -> str:
        """What was held back, when no more tokens come."""
        if self.stopped:
            return ""
        before = self._decode(self._tokens[self._begin : self._shown])
        after = self._decode(self._tokens[self._begin :])
        shown = self._release(after[len(before) :])
        rest, self._held = self._held, ""
        return shown + rest

    def _release(self, piece: str) -> str:
        self._held += piece
        found = [at for at in map(self._held.find, self._stops) if at >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` begins with."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if stop.startswith(text[-size:])), 0)

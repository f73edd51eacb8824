"""Puts the fragments of streamed tool calls together: which call a fragment belongs to, and whether it is complete.

Servers number calls by ``index``; some number all of them 0 and tell them apart by ``id``, some number none. A call is
over when the next one begins, unless its arguments are not yet complete JSON: then both stay open.
"""

from __future__ import annotations

import msgspec

from podium.errors import ProviderError
from podium.services.translation.chat import Call

_any = msgspec.json.Decoder()


class OpenCall:
    """One call under way. ``block`` is where its translation goes, ``None`` until its name is known."""

    __slots__ = ("_pieces", "_taken", "block", "ended", "id", "name")

    def __init__(self, identity: str, name: str) -> None:
        self.id = identity
        self.name = name
        self.block: int | None = None
        self.ended = False
        self._pieces: list[str] = []
        self._taken = 0

    def add(self, piece: str) -> None:
        """More of its arguments."""
        if piece:
            self._pieces.append(piece)

    def news(self) -> str:
        """The arguments that came since this was asked last."""
        fresh = self._pieces[self._taken :]
        self._taken = len(self._pieces)
        return "".join(fresh)

    @property
    def text(self) -> str:
        """The arguments so far."""
        return "".join(self._pieces)

    @property
    def whole(self) -> bool:
        """Whether the arguments are a complete JSON object, so that no more can follow. Nothing at all may be the start."""
        text = self.text
        return bool(text.strip()) and read_arguments(text) is not None


class Calls:
    """All calls of one answer, in order of their beginning. ``id_prefix`` makes ids where the server gives none."""

    __slots__ = ("_by_index", "_id_prefix", "all")

    def __init__(self, id_prefix: str) -> None:
        self.all: list[OpenCall] = []
        self._by_index: dict[int, OpenCall] = {}
        self._id_prefix = id_prefix

    def take(self, fragment: Call) -> OpenCall:
        """The call a fragment belongs to, with the fragment added."""
        last = self.all[-1] if self.all else None
        if fragment.index is None:
            new_one = last is None or (bool(fragment.id) and fragment.id != last.id)
            found = None if new_one else last
        else:
            found = self._by_index.get(fragment.index)
            if found is not None and fragment.id and fragment.name and fragment.id != found.id:
                found = None  # every call has the same number
        if found is None:
            found = OpenCall(fragment.id or f"{self._id_prefix}{len(self.all)}", fragment.name)
            self.all.append(found)
            self._by_index[len(self.all) - 1 if fragment.index is None else fragment.index] = found
        elif fragment.name and not found.name:
            found.name = fragment.name
        found.add(fragment.arguments)
        return found

    def check(self) -> None:
        """At the end. Raises ``ProviderError`` when a call never said its name."""
        if any(not call.name for call in self.all):
            raise ProviderError("the model's server sent a tool call without a name", code="bad_answer")


def read_arguments(text: str) -> dict[str, object] | None:
    """The arguments of a call; ``None`` when they are no JSON object."""
    if not text.strip():
        return {}
    try:
        found = _any.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None

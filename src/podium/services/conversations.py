"""Keeps finished responses for a while, so that the next one may name them by ``previous_response_id``.

In memory only, never on disk: bounded in bytes and in time, the least recently used goes first, and all of it is gone when
the gateway stops. A response belongs to the key it was made with; nobody else finds it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from podium.errors import NotFound

KEPT_BYTES = 64 * 1024 * 1024
KEPT_S = 3600.0
_EACH = 400
"""Bytes counted for a response beside its content."""
_REFERENCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One response. ``items`` is the whole conversation up to and with it, each item as JSON; conversations that go on
    share them. ``given`` of them, the last but the answer's own, came with this request.
    """

    caller: str
    body: bytes
    items: tuple[bytes, ...]
    given: tuple[bytes, ...]
    at: float


class Conversations:
    """Finds and forgets. ``now`` is a clock in seconds that does not jump."""

    def __init__(self, now: Callable[[], float], *, kept_bytes: int = KEPT_BYTES, kept_s: float = KEPT_S) -> None:
        self._now = now
        self._kept_bytes = kept_bytes
        self._kept_s = kept_s
        self._rows: OrderedDict[str, Kept] = OrderedDict()
        self._shared: Counter[int] = Counter()
        self.size = 0
        """Bytes held now."""

    def keep(self, identity: str, caller: str, body: bytes, items: Sequence[bytes], given: Sequence[bytes]) -> None:
        """Remember one response; what no longer fits is forgotten, this one first if it is larger than everything."""
        self._drop(identity)
        kept = Kept(caller=caller, body=body, items=tuple(items), given=tuple(given), at=self._now())
        self._rows[identity] = kept
        self.size += _EACH + len(body) + _REFERENCE * (len(items) + len(given))
        for item in kept.items:
            self._shared[id(item)] += 1
            if self._shared[id(item)] == 1:
                self.size += len(item)
        self.forget_old()

    def find(self, identity: str, caller: str, *, param: str | None = None) -> Kept:
        """Raises ``NotFound`` for what was never kept, is no longer, or is somebody else's."""
        self.forget_old()
        kept = self._rows.get(identity)
        if kept is None or kept.caller != caller:
            raise NotFound(
                f"there is no response {identity[:80]!r}: they are kept in memory for {self._kept_s / 60:.0f} minutes, as "
                "far as there is room, and not with store=false; send the whole conversation as input",
                param=param,
                code="response_not_found",
            )
        self._rows.move_to_end(identity)
        return kept

    def delete(self, identity: str, caller: str) -> None:
        """Forget one now. Raises ``NotFound``."""
        self.find(identity, caller)
        self._drop(identity)

    def forget_old(self) -> None:
        """Drop what is too old, and what there is no room for."""
        oldest = self._now() - self._kept_s
        for identity in [identity for identity, kept in self._rows.items() if kept.at < oldest]:
            self._drop(identity)
        while self.size > self._kept_bytes:
            self._drop(next(iter(self._rows)))

    def _drop(self, identity: str) -> None:
        kept = self._rows.pop(identity, None)
        if kept is None:
            return
        self.size -= _EACH + len(kept.body) + _REFERENCE * (len(kept.items) + len(kept.given))
        for item in kept.items:
            self._shared[id(item)] -= 1
            if not self._shared[id(item)]:
                del self._shared[id(item)]
                self.size -= len(item)

    def __len__(self) -> int:
        return len(self._rows)

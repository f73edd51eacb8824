"""Which version each session was served by, so that a conversation is not moved by chance. Bounded; not durable."""

from __future__ import annotations

from collections import OrderedDict

MOST = 10_000


class Sessions:
    """The newest ``MOST`` sessions, by (task, session)."""

    def __init__(self, most: int = MOST) -> None:
        self._served: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._most = most

    def served(self, task: str, session: str) -> str | None:
        """The version that answered last."""
        return self._served.get((task, session))

    def note(self, task: str, session: str, ref: str) -> None:
        """A version answered; sessions nobody used for long are forgotten."""
        key = (task, session)
        self._served[key] = ref
        self._served.move_to_end(key)
        if len(self._served) > self._most:
            self._served.popitem(last=False)

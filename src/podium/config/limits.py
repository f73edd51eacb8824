"""The ``[limits.ROLE]`` sections: what keys of a role may do at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from podium.core.limits import read_limits
from podium.domain.limit import Limits
from podium.domain.principal import Role
from podium.errors import InvalidRequest

ANONYMOUS = "anonymous"
"""Whoever needs no key."""
NAMES = (*(role.value for role in Role), ANONYMOUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitEntry:
    """One role. A key may have its own instead, see ``podium keys update``."""

    requests: Annotated[str | None, Meta(description="Requests in a time, such as 60/min; unset: no limit")] = None
    tokens: Annotated[
        str | None, Meta(description="Tokens read and written in a time, such as 100k/min; unset: no limit")
    ] = None
    concurrency: Annotated[int | None, Meta(description="Requests under way at a time; unset: no limit")] = None

    def limits(self) -> Limits:
        """As the domain knows them. Raises ``InvalidRequest``."""
        return read_limits(self.requests, self.tokens, self.concurrency)


def role_limits(entries: Mapping[str, LimitEntry]) -> Mapping[str, Limits]:
    """By role; the reader has checked each."""
    return {name: entry.limits() for name, entry in entries.items()}


def limit_problems(entries: Mapping[str, LimitEntry]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong: (path, words)."""
    for name, entry in entries.items():
        if name not in NAMES:
            yield (name,), f"{name[:40]!r} is no role; there are {', '.join(NAMES)}"
        try:
            entry.limits()
        except InvalidRequest as error:
            yield (name, error.param or ""), error.message

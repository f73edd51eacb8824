"""Who did what: entries of the audit log and of the history of configurations. Holds no secret and no prompt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What an entry says of an action."""

    ASKED = "asked"
    """It is about to be done; on disk before it is."""
    DONE = "done"
    """How it ended."""
    REFUSED = "refused"
    """It was not let in; nothing was done."""
    EVENT = "event"
    """Podium did it by itself, as its event says."""
    NOTE = "note"
    """Something about the log itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who acts. ``id`` is that of a key, ``owner``, ``podium`` (by itself) or ``unknown`` (no valid key)."""

    id: str
    name: str
    role: str | None = None
    via: str | None = None
    """The client's own word of what it is: cli, python, api."""
    origin: str = "here"
    """Address of the peer, ``unix socket``, or ``here`` for this process."""


PODIUM = Author(id="podium", name="podium")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry. ``asked``, ``before`` and ``after`` are small JSON texts without secrets; ``None``: not known.

    ``action`` is shared by the entries of one action. ``missed`` counts refusals like it that were not written, so that
    a flood cannot fill the disk.
    """

    at: float
    phase: Phase
    action: str
    author: Author
    what: str
    """Method and template of a route, or what else did it: ``reload by SIGHUP``, ``swap.completed``."""
    subject: str = ""
    """What it is about, as ``task:code``, ``model:m@1``, ``key:abcdefgh``."""
    task: str | None = None
    asked: str | None = None
    before: str | None = None
    after: str | None = None
    status: int | None = None
    outcome: str | None = None
    """``ok``, or a code that says why not."""
    request_id: str | None = None
    missed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """An entry in its place of the chain: ``hash`` covers it and ``previous``, the hash of the row before."""

    seq: int
    entry: AuditEntry
    previous: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last row of the chain: its number (0 without rows) and its hash."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which actions; ``by`` is an id or a name, times are Unix seconds."""

    task: str | None = None
    by: str | None = None
    subject: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedConfig:
    """A configuration that was put in force. ``content`` is the file without what looks like a secret."""

    number: int
    at: float
    by: str
    how: str
    """``start``, ``api``, ``SIGHUP``, ``watch`` or ``restore of N``."""
    file: str | None
    digest: str
    """SHA-256 of the file as it was."""
    content: str
    redacted: int = 0
    """Values that were left out."""
    environment: tuple[str, ...] = ()
    """Names of the variables and options that won over the file."""
    changes: tuple[str, ...] = ()
    problems: int = 0

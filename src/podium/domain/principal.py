"""Who asks: keys, roles, and the principal a request acts for. No secrets: of a key only its digest is kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from podium.domain.limit import UNSAID, Limits

ID_CHARS = 8
"""Characters of a key's id, the part of the key that may be shown."""


class Role(StrEnum):
    """What a key may do; each role may do what those before it may."""

    VIEWER = "viewer"
    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Higher may do more."""
        return _RANKS[self._value_]


_RANKS = {role.value: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever a request acts for. ``tasks`` and ``models`` limit what may be asked; ``None`` is no limit.

    ``id`` names the key; ``account`` names the caller in queues, budgets, limits and the record, and stays the same when
    the key is rotated.
    """

    id: str
    name: str
    role: Role
    tasks: frozenset[str] | None = None
    models: frozenset[str] | None = None
    limits: Limits = UNSAID
    """What is said of its key alone."""
    account: str = ""
    """Id of the first key of its line; empty: its own id."""

    @property
    def limited(self) -> bool:
        """Whether it may ask for some tasks or models only."""
        return self.tasks is not None or self.models is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key on record. Times are Unix seconds; ``digest`` is SHA-256 of the whole key.

    A plain hash is enough: the secret part has 256 random bits, so that there is nothing to guess.
    """

    id: str
    name: str
    role: Role
    digest: bytes
    tasks: frozenset[str] | None = None
    models: frozenset[str] | None = None
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None
    replaced_by: str | None = None
    """Id of the key that took its place by rotation."""
    last_used_at: float | None = None
    limits: Limits = UNSAID

    def principal(self, account: str = "") -> Principal:
        """Who acts with it. ``account``: id of the first key of its line, its own when left out."""
        return Principal(
            id=self.id,
            name=self.name,
            role=self.role,
            tasks=self.tasks,
            models=self.models,
            limits=self.limits,
            account=account or self.id,
        )

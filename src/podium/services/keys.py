"""Keys: makes, finds, rotates and revokes them. Holds digests only; a secret is told once, to whoever asked for the key.

A key is ``pod_ID_SECRET``: the id finds its row, the digest of the whole is compared in constant time. Reads of the
request path touch memory only; changes are on disk before they are told, and in force at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import replace

from podium.core.access import read_scopes, usable
from podium.domain.limit import UNSAID, Limits
from podium.domain.principal import ID_CHARS, ApiKey, Principal, Role
from podium.errors import Conflict, InvalidRequest, NotFound, Unauthenticated
from podium.ports import Clock, KeyStore

PREFIX = "pod_"
SECRET_BYTES = 32
NAME_CHARS = 100
LONGEST_S = 10 * 365.25 * 86400
OVERLAP_S = 86400.0
"""How long a rotated key goes on to work, unless told otherwise."""
MOST = 10_000
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_NOBODY = hashlib.sha256(b"").digest()
_UNKNOWN = "this key is not known; check it, or ask for one: podium keys create"


class Keys:
    """All keys of one gateway."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._keys: dict[str, ApiKey] = {}
        self._principals: dict[str, Principal] = {}
        self._before: dict[str, str] = {}
        """Of a key that took the place of another: that one."""
        self._used: dict[str, float] = {}
        """When keys were used that is not on disk."""
        self._last: dict[str, float] = {}
        """The same, once it is."""

    async def load(self) -> None:
        """Read what is on record. Raises ``StoreError``."""
        self._keep(*await self._store.keys())

    @property
    def exist(self) -> bool:
        """Whether a key was ever made: from then on every request needs one, also when all have been revoked."""
        return bool(self._keys)

    def principal(self, key: str) -> Principal:
        """Who holds ``key``. Raises ``Unauthenticated``; what is not known is refused in the same time whatever it is."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = self._keys.get(key[len(PREFIX) : len(PREFIX) + ID_CHARS])
        if not hmac.compare_digest(digest, found.digest if found is not None else _NOBODY) or found is None:
            raise Unauthenticated(_UNKNOWN)
        now = self._clock.now()
        usable(found, now)
        self._used[found.id] = now
        return self._principals[found.id]

    def holder(self, key_id: str) -> Principal:
        """Who holds the key with this id, for a session that began with it. Raises ``Unauthenticated`` once it has ended."""
        found = self._keys.get(key_id)
        if found is None:
            raise Unauthenticated(_UNKNOWN)
        now = self._clock.now()
        usable(found, now)
        self._used[key_id] = now
        return self._principals[key_id]

    async def create(
        self,
        name: str,
        role: str,
        *,
        by: str,
        scopes: Sequence[str] = (),
        expires_in_s: float | None = None,
        limits: Limits = UNSAID,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which nobody can read again. Raises ``InvalidRequest``, ``StoreError``."""
        if len(self._keys) >= MOST:
            raise Conflict(f"there are {MOST} keys already; nobody looks after that many")
        name = name.strip()
        if not 0 < len(name) <= NAME_CHARS or not name.isprintable():
            raise InvalidRequest(f"name the key, in up to {NAME_CHARS} printable characters", param="name")
        if role not in set(Role):
            raise InvalidRequest(f"{role!r} is no role; choose {', '.join(Role)}", param="role")
        tasks, models = read_scopes(tuple(scopes))
        if (tasks or models) and Role(role) is not Role.USER:
            raise InvalidRequest("scopes limit what may be asked of models: give them to the role user", param="scopes")
        made, secret = self._made(name, Role(role), tasks, models, by, self._until(expires_in_s), limits)
        await self._store.save_keys(made)
        self._keep(made)
        return made, secret

    async def rotate(self, key_id: str, *, by: str, overlap_s: float = OVERLAP_S) -> tuple[ApiKey, str]:
        """A key in place of another, with the same rights; the old one ends after ``overlap_s``.

        Raises ``NotFound``, ``Conflict`` (revoked, rotated already), ``InvalidRequest``, ``StoreError``.
        """
        old = self.find(key_id)
        if old.revoked_at is not None or old.replaced_by is not None:
            why = "revoked" if old.revoked_at is not None else f"replaced by {old.replaced_by}"
            raise Conflict(f"the key {old.id} was {why} already; create a new one")
        if not 0 <= overlap_s <= LONGEST_S:
            raise InvalidRequest("the overlap must be 0 s or more", param="overlap_s")
        now = self._clock.now()
        lasts = None if old.expires_at is None else max(0.0, old.expires_at - old.created_at)
        until = None if lasts is None else now + lasts
        made, secret = self._made(old.name, old.role, old.tasks, old.models, by, until, old.limits)
        ends = now + overlap_s if old.expires_at is None else min(old.expires_at, now + overlap_s)
        ended = replace(old, expires_at=ends, replaced_by=made.id)
        await self._store.save_keys(made, ended)
        self._keep(ended, made)
        return made, secret

    async def limit(self, key_id: str, limits: Limits) -> ApiKey:
        """Other limits for a key, in force at once, and for those that share its account by rotation.

        Raises ``NotFound``, ``StoreError``.
        """
        key = self.find(key_id)
        account = self.account(key.id)
        changed = [replace(one, limits=limits) for one in self.all() if self.account(one.id) == account]
        await self._store.save_keys(*changed)
        self._keep(*changed)
        return self.find(key.id)

    def account(self, key_id: str) -> str:
        """Whom use is counted for: the first key of the line that this one came from by rotation."""
        while (before := self._before.get(key_id)) is not None:
            key_id = before
        return key_id

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key now; revoking it again changes nothing. Raises ``NotFound``, ``StoreError``."""
        key = self.find(key_id)
        if key.revoked_at is None:
            key = replace(key, revoked_at=self._clock.now())
            await self._store.save_keys(key)
            self._keep(key)
        return key

    def find(self, key_id: str) -> ApiKey:
        """By id, also by a whole key (its secret is ignored). Raises ``NotFound``."""
        short = key_id.removeprefix(PREFIX)[:ID_CHARS]
        if short not in self._keys:
            raise NotFound(f"there is no key {short!r}; podium keys ls has them")
        return self._latest(self._keys[short])

    def all(self) -> tuple[ApiKey, ...]:
        """Oldest first, ended ones too."""
        return tuple(self._latest(key) for key in self._keys.values())

    async def keep_used(self) -> None:
        """Write down when keys were last used. Raises ``StoreError``; then nothing is lost."""
        seen, self._used = self._used, {}
        try:
            if seen:
                await self._store.keys_used(seen)
        except BaseException:
            self._used = seen | self._used
            raise
        self._last |= seen

    def _latest(self, key: ApiKey) -> ApiKey:
        at = self._used.get(key.id) or self._last.get(key.id)
        return key if at is None else replace(key, last_used_at=at)

    def _keep(self, *keys: ApiKey) -> None:
        for key in keys:
            self._keys[key.id] = key
            if key.replaced_by is not None:
                self._before[key.replaced_by] = key.id
        for key in keys:
            self._principals[key.id] = key.principal(self.account(key.id))

    def _until(self, lasts_s: float | None) -> float | None:
        if lasts_s is None:
            return None
        if not 0 < lasts_s <= LONGEST_S:
            raise InvalidRequest("a key lasts more than 0 s and at most ten years", param="expires_in_s")
        return self._clock.now() + lasts_s

    def _made(
        self,
        name: str,
        role: Role,
        tasks: frozenset[str] | None,
        models: frozenset[str] | None,
        by: str,
        expires_at: float | None,
        limits: Limits,
    ) -> tuple[ApiKey, str]:
        key_id = next(found for found in iter(_new_id, "") if found not in self._keys)
        secret = f"{PREFIX}{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
        made = ApiKey(
            id=key_id,
            name=name,
            role=role,
            digest=hashlib.sha256(secret.encode()).digest(),
            tasks=tasks,
            models=models,
            created_at=self._clock.now(),
            created_by=by,
            expires_at=expires_at,
            limits=limits,
        )
        return made, secret


def _new_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))

"""Provider secrets: set, listed, removed, re-sealed; opened only when somebody calls with one. Implements ``ports.Secrets``.

Rows are in memory sealed, as on the disk. What was opened is kept for as long as its row is the same, because the
connection that uses it holds it anyway.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace

from podium.domain.secret import SealedSecret, Secret, bound_to
from podium.errors import ConfigError, Conflict, InvalidRequest, NotFound
from podium.ports import Clock, Sealer, SecretStore
from podium.services.redaction import MASKER

MOST = 1_000
MOST_CHARS = 4_096
_FOR_GOOD = frozenset({"master_key_missing", "secret_damaged"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    """What may be told of a secret. ``problem`` is why it cannot be opened."""

    name: str
    version: int
    set_at: float
    set_by: str
    key_id: str
    problem: str | None


class Vault:
    """All secrets of one gateway, used from its event loop only."""

    def __init__(self, store: SecretStore, sealer: Sealer, clock: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._rows: dict[str, SealedSecret] = {}
        self._opened: dict[tuple[str, int], Secret] = {}
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Read what is on record; opens nothing. Raises ``StoreError``."""
        self._rows = {row.name: row for row in await self._store.secrets()}

    def reveal(self, name: str) -> Secret:
        row = self._rows.get(name)
        if row is None:
            raise InvalidRequest(f"there is no secret {name[:64]!r}; `podium secrets set {name[:64]}` makes it")
        found = self._opened.get((name, row.version))
        if found is None:
            found = self._opened[name, row.version] = self._open(row)
            MASKER.learn(found.reveal())
        return found

    async def set(self, name: str, text: Secret, *, by: str) -> SecretView:
        """Put a secret in the place of the one there was. Raises ``InvalidRequest``, ``ConfigError``, ``StoreError``."""
        _check(name, text.reveal())
        MASKER.learn(text.reveal())
        async with self._changing:
            if name not in self._rows and len(self._rows) >= MOST:
                raise Conflict(f"there are {MOST} secrets already; remove some with `podium secrets rm`")
            await self._ready()
            before = self._rows.get(name)
            version = 1 if before is None else before.version + 1
            row = await asyncio.to_thread(self._sealed, name, version, text, by)
            await self._store.change_secrets((row,))
            self._keep(row)
        return self._view(row)

    async def remove(self, name: str) -> None:
        """Raises ``NotFound``, ``StoreError``."""
        async with self._changing:
            if name not in self._rows:
                raise NotFound(f"there is no secret {name[:64]!r}; `podium secrets ls` has them")
            await self._store.change_secrets((), (name,))
            self._drop(name)

    async def rekey(self) -> tuple[int, bool]:
        """Seal all anew under a new master key, in one transaction; how many, and whether the old key is gone.

        The new key is in its place before, and the old one until after: whatever ends in between, all can be opened.
        Raises ``Conflict`` when some cannot be opened now, ``ConfigError``, ``StoreError``.
        """
        async with self._changing:
            lost = self._lost()
            if lost:
                raise Conflict(
                    f"{_named(lost)} cannot be opened, so nothing was sealed anew: put the old master key back, or "
                    "remove them with `podium secrets reset`"
                )
            made = await asyncio.to_thread(self._anew)
            await self._store.change_secrets(made)
            self._keep(*made)
            return len(made), await asyncio.to_thread(self._sealer.retire)

    async def reset(self) -> tuple[str, ...]:
        """Remove what no master key here opens; the names. Raises ``ConfigError``, ``StoreError``."""
        async with self._changing:
            lost = self._lost()
            await self._store.change_secrets((), lost)
            for name in lost:
                self._drop(name)
            return lost

    def all(self) -> tuple[SecretView, ...]:
        """By name."""
        return tuple(self._view(self._rows[name]) for name in sorted(self._rows))

    def problems(self) -> tuple[str, ...]:
        """What a person should know: secrets that cannot be opened."""
        try:
            lost = self._lost()
        except ConfigError as error:
            return (error.message,)
        why = self._why(self._rows[lost[0]]) if lost else None
        return () if why is None else (f"{_named(lost)} cannot be opened: {why.message}",)

    async def _ready(self) -> None:
        """A master key is there, a new one only where nothing was sealed with another."""
        if await asyncio.to_thread(lambda: self._sealer.current(make=not self._rows)) is None:
            raise self._why(next(iter(self._rows.values()))) or ConfigError("there is no master key")

    def _sealed(self, name: str, version: int, text: Secret, by: str) -> SealedSecret:
        sealed = self._sealer.seal(text, bound_to(name, version))
        return SealedSecret(name=name, version=version, sealed=sealed, set_at=self._clock.now(), set_by=by)

    def _anew(self) -> tuple[SealedSecret, ...]:
        opened = {row.name: self._open(row) for row in self._rows.values()}
        if self._sealer.current(make=True) is not None:
            self._sealer.renew()
        return tuple(
            replace(row, sealed=self._sealer.seal(opened[row.name], bound_to(row.name, row.version)))
            for row in self._rows.values()
        )

    def _lost(self) -> tuple[str, ...]:
        """Names of what cannot be opened for good. Raises ``ConfigError`` where keys are there and may not be used."""
        lost = []
        for row in self._rows.values():
            why = self._why(row)
            if why is not None and why.code not in _FOR_GOOD:
                raise why
            if why is not None:
                lost.append(row.name)
        return tuple(sorted(lost))

    def _why(self, row: SealedSecret) -> ConfigError | None:
        try:
            self._sealer.open(row.sealed, bound_to(row.name, row.version))
        except ConfigError as error:
            return error
        return None

    def _open(self, row: SealedSecret) -> Secret:
        try:
            return self._sealer.open(row.sealed, bound_to(row.name, row.version))
        except ConfigError as error:
            raise ConfigError(f"the secret {row.name} cannot be opened: {error.message}", code=error.code) from None

    def _view(self, row: SealedSecret) -> SecretView:
        why = self._why(row)
        return SecretView(
            name=row.name,
            version=row.version,
            set_at=row.set_at,
            set_by=row.set_by,
            key_id=row.sealed.key_id,
            problem=None if why is None else why.message,
        )

    def _keep(self, *rows: SealedSecret) -> None:
        for row in rows:
            before = self._rows.get(row.name)
            if before is not None and before.version != row.version:
                self._opened.pop((row.name, before.version), None)
            self._rows[row.name] = row

    def _drop(self, name: str) -> None:
        gone = self._rows.pop(name)
        self._opened.pop((name, gone.version), None)


def _check(name: str, text: str) -> None:
    """Raises ``InvalidRequest`` that holds nothing of the text."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest("a secret's name has up to 64 letters, digits and . _ -", param="name")
    if not text or len(text) > MOST_CHARS or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidRequest(
            f"a secret is one word of plain text with up to {MOST_CHARS} characters, without spaces and line breaks; "
            "see whether what was read is the key itself",
            param="value",
        )


def _named(names: tuple[str, ...]) -> str:
    return f"the secret{'s' if len(names) > 1 else ''} {', '.join(names)}"

"""Standing orders about versions: pins, preloading, keep-alive, numbers of copies. Kept over restarts.

An order given at run time outlasts the configuration's until the configuration's own entry changes.
"""

from __future__ import annotations

from collections.abc import Mapping

from podium.domain.directive import Directive
from podium.domain.model import Lifecycle, ModelVersion
from podium.errors import Conflict
from podium.ports import Store
from podium.services.pool import Pool
from podium.services.registry import Registry


class Directives:
    """``ordered`` are the orders of earlier runs, by ref."""

    def __init__(self, *, store: Store, pool: Pool, registry: Registry, ordered: Mapping[str, Directive]) -> None:
        self._store = store
        self._pool = pool
        self._registry = registry
        self._ordered = dict(ordered)
        self._declared: dict[str, Directive] = {}
        self._entries: dict[str, str] = {}
        """The version each entry of the configuration is about."""

    def of(self, ref: str) -> Directive:
        """What is in force for a version."""
        return self._ordered.get(ref) or self._declared.get(ref) or Directive()

    async def order(self, version: ModelVersion, directive: Directive) -> None:
        """Put an order in force and keep it. Raises ``Conflict`` for a retired version, ``StoreError``."""
        if version.status is Lifecycle.RETIRED:
            raise Conflict(f"{version.ref} is retired; orders for it would have no effect")
        await self._store.set_directive(version.ref, directive)
        self._ordered[version.ref] = directive
        self._pool.direct(version, directive)

    async def declare(self, entry: str, version: ModelVersion, directive: Directive, *, changed: bool) -> None:
        """What an entry of the configuration says of a version; a changed entry ends an earlier order."""
        if self._entries.get(entry, version.ref) != version.ref:
            self.withdraw(entry)
        self._entries[entry] = version.ref
        self._declared[version.ref] = directive
        if changed and self._ordered.pop(version.ref, None) is not None:
            await self._store.set_directive(version.ref, None)
        if version.ref not in self._ordered:
            self._pool.direct(version, directive)

    def withdraw(self, entry: str) -> None:
        """An entry is gone from the configuration: what it ordered ends. Orders given at run time stay."""
        ref = self._entries.pop(entry, None)
        if ref is None:
            return
        self._declared.pop(ref, None)
        version = self._registry.find(ref)
        if ref not in self._ordered and version is not None:
            self._pool.direct(version, Directive())

    def resume(self) -> None:
        """At start: put the orders of earlier runs in force. Those of versions that are gone mean nothing."""
        for ref, directive in self._ordered.items():
            version = self._registry.find(ref)
            if version is not None and version.status is not Lifecycle.RETIRED:
                self._pool.direct(version, directive)

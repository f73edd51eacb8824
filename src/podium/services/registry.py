"""What models there are: registration, lifecycle, aliases, profiles and queries.

Owns the in-memory roster, an immutable value that is replaced after each committed change; readers never wait. The
database decides races (two tasks, two processes): whoever it refuses reads it again and sees who was first.
Runs no models and knows no SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from podium.core import lifecycle
from podium.core.naming import check_alias, check_name, check_version, default_version
from podium.core.roster import Query, Roster
from podium.domain.model import Category, Lifecycle, ModelVersion, Profile, Transition
from podium.errors import Conflict, NotFound
from podium.ports import Clock, Page, Recorded, Store

KEEP_WARM_S = 7 * 86400.0
"""How long a deprecated version is kept warm for a rollback."""

RESOLVED_KEPT = 10_000
"""Names remembered between two changes of the registry, so that a request looks its model up once."""


class Registry:
    """One per gateway. Coroutines return after the change is durable."""

    def __init__(self, store: Store, recorded: Recorded, clock: Clock, *, keep_warm_s: float = KEEP_WARM_S) -> None:
        self._store = store
        self._clock = clock
        self._keep_warm_s = keep_warm_s
        self._roster = _roster(recorded)
        self._keep_until: dict[str, float] = dict(recorded.keep_until)
        self._resolved_in = self._roster
        self._resolved: dict[str, ModelVersion] = {}

    # ------------------------------------------------------------ changes

    async def register(self, version: ModelVersion, by: str) -> tuple[ModelVersion, bool]:
        """Add a version; (what is registered, whether it is new).

        The version may be empty: then it is what the artifact declares, else 8 hex of its digest. The same name,
        version, digest and settings again change nothing. Raises ``Conflict`` naming both when something differs,
        or when an alias has the name; ``InvalidRequest`` for names that cannot be used.
        """
        check_name(version.name)
        named = version.version or default_version(version.facts.declared_version, version.facts.digest)
        check_version(named)
        known = self._roster.versions.get(f"{version.name}@{named}")
        if known is not None:
            return _same_or_conflict(known, replace(version, version=named)), False
        self._refuse_alias_name(version.name)
        new = replace(
            version,
            version=named,
            created_at=version.created_at or self._clock.now(),
            status=Lifecycle.REGISTERED,
            activated_at=None,
        )
        try:
            await self._store.add_version(new, by)
        except Conflict:
            await self.refresh()
            known = self._roster.versions.get(new.ref)
            if known is None:
                self._refuse_alias_name(new.name)
                raise
            return _same_or_conflict(known, new), False
        self._replace(new)
        return new, True

    async def remove(self, ref: str) -> None:
        """Take away a version that never worked, so that its name is free again.

        Raises ``NotFound``, or ``Conflict`` for a version that was ever ready, or that something still points to.
        """
        version = self.get(ref)
        if version.status is not Lifecycle.REGISTERED or ref in self._roster.profiles:
            raise Conflict(
                f"{ref} is {version.status} and stays on record: only a version that never worked can be removed; "
                f"`podium models retire {ref}` ends it"
            )
        last = len(self.versions_of(version.name)) == 1
        aliases = [alias for alias, target in self._roster.aliases.items() if target == ref]
        aliases += [alias for alias, target in self._roster.aliases.items() if last and target == version.name]
        if aliases:
            raise Conflict(f"the alias {aliases[0]} stands for it; `podium models alias {aliases[0]} --remove` first")
        children = [one.ref for one in self.versions() if one.parent == ref]
        if children:
            raise Conflict(f"{children[0]} names {ref} as its parent; {ref} stays on record")
        try:
            await self._store.remove_version(ref)
        finally:
            await self.refresh()

    async def transition(
        self, ref: str, after: Lifecycle, by: str, reason: str, *, rollback: bool = False
    ) -> ModelVersion:
        """Move a version through its lifecycle and record who, when and why.

        Only ``rollback`` may bring a retired version back, with a reason. A deprecated version is kept warm until
        ``keep_until(ref)``. Raises ``Conflict`` for an illegal step, or when somebody else moved it meanwhile.
        """
        version = self.get(ref)
        lifecycle.check(version.status, after, rollback=rollback, reason=reason)
        now = self._clock.now()
        keep_until = now + self._keep_warm_s if after is Lifecycle.DEPRECATED else None
        step = Transition(ref=ref, before=version.status, after=after, at=now, by=by, reason=reason)
        try:
            await self._store.set_status(step, keep_until=keep_until)
        except Conflict:
            await self.refresh()
            raise
        if keep_until is None:
            self._keep_until.pop(ref, None)
        else:
            self._keep_until[ref] = keep_until
        activated_at = now if after is Lifecycle.ACTIVE else version.activated_at
        return self._replace(replace(version, status=after, activated_at=activated_at))

    async def deprecate(self, ref: str, by: str, reason: str) -> ModelVersion:
        """No longer selectable, kept warm for a rollback."""
        return await self.transition(ref, Lifecycle.DEPRECATED, by, reason)

    async def set_profile(self, ref: str, profile: Profile) -> None:
        """Store what a real run measured."""
        self.get(ref)
        await self._store.set_profile(ref, profile)
        self._roster = replace(self._roster, profiles={**self._roster.profiles, ref: profile})

    async def set_alias(self, alias: str, target: str | None) -> None:
        """Let ``alias`` (with or without ``@``) stand for a model name or a ref; ``None`` removes it.

        Raises ``InvalidRequest`` for reserved or impossible words, ``Conflict`` when a model has that name,
        ``NotFound`` when the target is not registered or the alias to remove is not there.
        """
        alias = alias.removeprefix("@")
        if target is None:
            if alias not in self._roster.aliases:
                raise NotFound(f"there is no alias {alias[:140]!r} to remove", param="alias")
        else:
            check_alias(alias)
            self._refuse_model_name(alias)
            target = self._alias_target(target)
        try:
            await self._store.set_alias(alias, target)
        except Conflict:
            await self.refresh()
            self._refuse_model_name(alias)
            raise
        aliases = {name: old for name, old in self._roster.aliases.items() if name != alias}
        if target is not None:
            aliases[alias] = target
        self._roster = replace(self._roster, aliases=aliases)

    async def refresh(self) -> None:
        """Read the database again: another process may have changed it."""
        recorded = await self._store.load()
        self._roster = _roster(recorded)
        self._keep_until = dict(recorded.keep_until)

    # ------------------------------------------------------------ reading

    def get(self, ref: str) -> ModelVersion:
        """The version ``name@version``. Raises ``NotFound`` with near names."""
        return self._roster.get(ref)

    def find(self, ref: str) -> ModelVersion | None:
        """The version ``name@version``, or ``None``."""
        return self._roster.versions.get(ref)

    def resolve(self, spec: str) -> ModelVersion:
        """What a name, ``name@version``, alias or ``@alias`` stands for; see ``Roster.resolve``."""
        roster = self._roster
        if self._resolved_in is not roster:
            self._resolved_in, self._resolved = roster, {}
        found = self._resolved.get(spec)
        if found is None:
            found = roster.resolve(spec)
            if len(self._resolved) < RESOLVED_KEPT:
                self._resolved[spec] = found
        return found

    def versions(self) -> tuple[ModelVersion, ...]:
        """All versions, oldest first."""
        return tuple(self._roster.versions.values())

    def active_refs(self) -> list[str]:
        """The versions that may be chosen, oldest first."""
        return [version.ref for version in self.versions() if version.status is Lifecycle.ACTIVE]

    def versions_of(self, name: str) -> tuple[ModelVersion, ...]:
        """All versions of one name, newest first; empty when unknown."""
        return self._roster.by_name.get(name, ())

    def latest(self, name: str) -> ModelVersion:
        """The newest version of a name, whatever its status. Raises ``NotFound``."""
        found = self.versions_of(name)
        return found[0] if found else self._roster.resolve(name)

    def query(
        self,
        *,
        name: str | None = None,
        status: Lifecycle | None = None,
        provider: str | None = None,
        capabilities: frozenset[str] = frozenset(),
        tags: frozenset[str] = frozenset(),
        category: Category | None = None,
        latest: bool = False,
        sort: str = "-created_at",
        page: Page | None = None,
    ) -> tuple[tuple[ModelVersion, ...], int]:
        """(one page of matching versions, how many match in all); newest first unless sorted otherwise.

        All of ``capabilities``, any of ``tags``. Raises ``InvalidRequest`` for an unknown sort.
        """
        window = page or Page()
        wanted = Query(
            name=name,
            status=status,
            provider=provider,
            capabilities=capabilities,
            tags=tags,
            category=category,
            latest=latest,
            sort=sort,
        )
        return self._roster.query(wanted, window.limit, window.offset)

    def profile(self, ref: str) -> Profile | None:
        """What was measured of a version, if anything."""
        return self._roster.profiles.get(ref)

    def aliases(self) -> Mapping[str, str]:
        """Targets by alias."""
        return self._roster.aliases

    def aliases_of(self, ref: str) -> tuple[str, ...]:
        """The aliases that stand for a version, or for its name."""
        name = ref.partition("@")[0]
        return tuple(sorted(alias for alias, target in self._roster.aliases.items() if target in {ref, name}))

    def keep_until(self, ref: str) -> float | None:
        """Until when (Unix seconds) a deprecated version is kept warm; ``None`` for others."""
        return self._keep_until.get(ref)

    def due_retirements(self, now: float) -> tuple[str, ...]:
        """Deprecated versions whose time is over, oldest first."""
        due = [(until, ref) for ref, until in self._keep_until.items() if until <= now]
        return tuple(ref for _, ref in sorted(due))

    # ------------------------------------------------------------ inside

    def _replace(self, version: ModelVersion) -> ModelVersion:
        self._roster = replace(self._roster, versions={**self._roster.versions, version.ref: version})
        return version

    def _alias_target(self, target: str) -> str:
        if target in self._roster.versions or target in self._roster.by_name:
            return target
        return self._roster.resolve(target).ref

    def _refuse_alias_name(self, name: str) -> None:
        target = self._roster.aliases.get(name)
        if target is not None:
            raise Conflict(f"{name!r} is an alias of {target}; remove the alias first, or take another name")

    def _refuse_model_name(self, alias: str) -> None:
        if alias in self._roster.by_name:
            raise Conflict(f"{alias!r} is the name of a model; an alias must not hide it, take another word")


def _roster(recorded: Recorded) -> Roster:
    return Roster(
        versions={version.ref: version for version in recorded.versions},
        aliases=dict(recorded.aliases),
        profiles=dict(recorded.profiles),
    )


def _same_or_conflict(known: ModelVersion, offered: ModelVersion) -> ModelVersion:
    """``known`` when nothing that matters differs. Raises ``Conflict`` naming both otherwise."""
    if known.facts.digest != offered.facts.digest:
        raise Conflict(
            f"{known.ref} is registered with digest {known.facts.digest}, this one has {offered.facts.digest}; "
            f"a version never changes, register this one under a new version{_failed(known)}"
        )
    if dict(known.source.settings) != dict(offered.source.settings) or (
        known.source.provider != offered.source.provider
    ):
        raise Conflict(
            f"{known.ref} is registered with {known.source.provider} {dict(known.source.settings)}, this one has "
            f"{offered.source.provider} {dict(offered.source.settings)}; a version never changes, "
            f"register this one under a new version{_failed(known)}"
        )
    return known


def _failed(known: ModelVersion) -> str:
    """What to do with a version that was never made ready, as one with a typing error is not."""
    if known.status is not Lifecycle.REGISTERED:
        return ""
    return (
        f" (without one it gets a name of its own), or take the one that never worked away first: "
        f"`podium models remove {known.ref}`"
    )

"""An immutable, indexed view of all versions, aliases and profiles, and the queries over it. Pure.

Built anew after a change (rare) so that a query (often) only intersects ready sets and walks a ready order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from podium.core.naming import near
from podium.domain.model import Category, Lifecycle, ModelVersion, Profile
from podium.errors import InvalidRequest, NotFound

_EMPTY: frozenset[str] = frozenset()
_SORTS: dict[str, Callable[[ModelVersion], tuple[object, ...]]] = {
    "created_at": lambda v: (v.created_at,),
    "activated_at": lambda v: (v.activated_at or 0.0,),
    "name": lambda v: (v.name,),
    "version": lambda v: (v.version,),
    "status": lambda v: (list(Lifecycle).index(v.status),),
    "parameters": lambda v: (v.facts.parameters or 0,),
    "size_bytes": lambda v: (v.facts.size_bytes or 0,),
    "context_length": lambda v: (v.facts.context_length or 0,),
}
SORTS = tuple(_SORTS)
"""What a query can be sorted by; a leading ``-`` reverses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Filters that must all hold. ``latest`` keeps only the newest version of each name (of those that match)."""

    name: str | None = None
    status: Lifecycle | None = None
    provider: str | None = None
    capabilities: frozenset[str] = _EMPTY
    """All of them."""
    tags: frozenset[str] = _EMPTY
    """Any of them."""
    category: Category | None = None
    latest: bool = False
    sort: str = "-created_at"


@dataclass(frozen=True, kw_only=True)
class Roster:
    """One moment of the registry."""

    versions: Mapping[str, ModelVersion]
    """By ref, oldest first."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> Mapping[str, tuple[ModelVersion, ...]]:
        """Versions of each name, newest first."""
        found: defaultdict[str, list[ModelVersion]] = defaultdict(list)
        for version in self.versions.values():
            found[version.name].append(version)
        return {name: tuple(sorted(items, key=_newest, reverse=True)) for name, items in found.items()}

    @cached_property
    def _postings(self) -> Mapping[tuple[str, str], frozenset[str]]:
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for ref, version in self.versions.items():
            keys = [("name", version.name), ("status", version.status), ("provider", version.source.provider)]
            keys += [("capability", item) for item in version.facts.capabilities]
            keys += [("tag", item) for item in version.tags]
            if version.category is not None:
                keys.append(("category", version.category))
            for key in keys:
                found[key].add(ref)
        return {key: frozenset(refs) for key, refs in found.items()}

    @cached_property
    def _orders(self) -> dict[str, tuple[str, ...]]:
        return {}

    def query(self, query: Query, limit: int, offset: int) -> tuple[tuple[ModelVersion, ...], int]:
        """(one page, how many match in all). Raises ``InvalidRequest`` for an unknown sort."""
        order = self._order(query.sort)
        wanted = self._matching(query)
        refs: Iterable[str] = order if wanted is None else [ref for ref in order if ref in wanted]
        if query.latest:
            refs = self._latest(refs)
        found = refs if isinstance(refs, (list, tuple)) else list(refs)
        return tuple(self.versions[ref] for ref in found[offset : offset + limit]), len(found)

    def get(self, ref: str) -> ModelVersion:
        """The version ``name@version``. Raises ``NotFound`` with near names."""
        version = self.versions.get(ref)
        if version is None:
            name = ref.partition("@")[0]
            siblings = tuple(item.ref for item in self.by_name.get(name, ()))
            raise _unknown(ref, siblings or self.versions, any_will_do=bool(siblings))
        return version

    def resolve(self, spec: str) -> ModelVersion:
        """The version that ``name@version``, a name, an alias or ``@alias`` stands for.

        A name stands for its most recently activated active version, or for its newest version when none is
        active (which the selector then refuses with the reason). Raises ``NotFound`` with near names.
        """
        if spec.startswith("@"):
            target = self.aliases.get(spec[1:])
            if target is None:
                raise _unknown(spec, (f"@{alias}" for alias in self.aliases))
            return self._target(spec, target)
        version = self.versions.get(spec)
        if version is not None:
            return version
        if spec in self.aliases:
            return self._target(spec, self.aliases[spec])
        return self._named(spec)

    def _named(self, name: str) -> ModelVersion:
        items = self.by_name.get(name)
        if items is None:
            base, _, wanted = name.partition("@")
            if base in self.by_name and wanted:
                raise _unknown(name, (item.ref for item in self.by_name[base]), any_will_do=True)
            raise _unknown(name, (*self.by_name, *self.aliases, *(self.versions if wanted else ())))
        active = [item for item in items if item.status is Lifecycle.ACTIVE]
        return max(active, key=lambda item: (item.activated_at or 0.0, *_newest(item))) if active else items[0]

    def _target(self, spec: str, target: str) -> ModelVersion:
        if target not in self.versions and target not in self.by_name:
            raise NotFound(
                f"alias {spec!r} stands for {target!r}, which is not registered; set the alias anew",
                param="model",
                code="model_not_found",
            )
        return self.versions.get(target) or self._named(target)

    def _matching(self, query: Query) -> frozenset[str] | None:
        """Refs that pass the filters; ``None`` when there is no filter."""
        keys = [
            (kind, value)
            for kind, value in (
                ("name", query.name),
                ("status", query.status),
                ("provider", query.provider),
                ("category", query.category),
            )
            if value is not None
        ]
        keys += [("capability", item) for item in query.capabilities]
        parts = [self._postings.get(key, _EMPTY) for key in keys]
        if query.tags:
            parts.append(frozenset().union(*(self._postings.get(("tag", tag), _EMPTY) for tag in query.tags)))
        if not parts:
            return None
        smallest, *others = sorted(parts, key=len)
        return smallest.intersection(*others)

    def _order(self, sort: str) -> tuple[str, ...]:
        known = self._orders.get(sort)
        if known is None:
            key = _SORTS.get(sort.removeprefix("-"))
            if key is None:
                raise InvalidRequest(
                    f"cannot sort by {sort[:40]!r}; use one of {', '.join(SORTS)}, with - in front for descending",
                    param="sort",
                )
            chosen = key
            ordered = sorted(
                self.versions.values(), key=lambda item: (*chosen(item), *_newest(item)), reverse=sort.startswith("-")
            )
            known = self._orders[sort] = tuple(item.ref for item in ordered)
        return known

    def _latest(self, refs: Iterable[str]) -> list[str]:
        rank, kept = self._rank, list(refs)
        newest: dict[str, str] = {}
        for ref in kept:
            name = ref[: ref.index("@")]
            best = newest.get(name)
            if best is None or rank[ref] > rank[best]:
                newest[name] = ref
        chosen = frozenset(newest.values())
        return [ref for ref in kept if ref in chosen]

    @cached_property
    def _rank(self) -> Mapping[str, int]:
        """Place of each ref from oldest to newest."""
        return {item.ref: place for place, item in enumerate(sorted(self.versions.values(), key=_newest))}


def _newest(version: ModelVersion) -> tuple[float, str]:
    return version.created_at, version.ref


def _unknown(spec: str, known: Iterable[str], *, any_will_do: bool = False) -> NotFound:
    names = tuple(known)
    close = near(spec, names) or (names[:5] if any_will_do else ())
    hint = f"did you mean {', '.join(close)}?" if close else "`podium models ls` lists what is registered"
    return NotFound(f"no model {spec[:140]!r}; {hint}", param="model", code="model_not_found")

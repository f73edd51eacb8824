"""Finds providers by entry point, builds each on first use, and keeps one of each.

A plugin that cannot be loaded is a problem to report, not a reason to stop.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from podium.domain.model import ModelVersion
from podium.errors import InvalidRequest, LoadFailed, PodiumError
from podium.ports import Provider, Secrets
from podium.providers.keys import NO_SECRETS
from podium.transport.addresses import CAUTIOUS, Reach

GROUP = "podium.providers"
_PARTS = ("name", "characteristics", "inspect", "context_length", "footprint", "load")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderContext:
    """What a provider may know of its surroundings."""

    home: Path
    environ: Mapping[str, str] = field(repr=False)
    reach: Reach = CAUTIOUS
    """Which addresses a provider may connect to; ``HttpClient`` takes it."""
    secrets: Secrets = NO_SECRETS
    """Opens what registrations name as ``secret:NAME``."""


@runtime_checkable
class Closable(Protocol):
    """A provider that holds connections of its own."""

    async def close(self) -> None: ...


class Catalogue:
    """All providers of one gateway, by name."""

    def __init__(self, context: ProviderContext) -> None:
        self._context = context
        self._points: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
        self._built: dict[str, Provider] = {}
        self._problems: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Every installed provider, working or not."""
        return tuple(sorted(self._points))

    @property
    def problems(self) -> Mapping[str, str]:
        """Installed providers that cannot be built, and why. Tries those that nobody has asked for yet, once."""
        for name in self.names:
            if name not in self._built and name not in self._problems:
                with contextlib.suppress(PodiumError):
                    self.get(name)
        return self._problems

    def get(self, name: str) -> Provider:
        """The provider. Raises ``InvalidRequest`` when there is none of that name, ``LoadFailed`` when broken."""
        built = self._built.get(name)
        if built is not None:
            return built
        point = self._points.get(name)
        if point is None:
            near = difflib.get_close_matches(name, self._points, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"installed are {', '.join(self.names)}"
            raise InvalidRequest(f"there is no provider {name!r}; {hint}", param="source.provider")
        try:
            made = point.load()(self._context)
            lacking = [part for part in _PARTS if not hasattr(made, part)]
            if lacking:
                raise TypeError(f"it made a {type(made).__name__}, which has no {', '.join(lacking)}")  # noqa: TRY301 - told like any other fault of a plugin
        except Exception as error:
            said = error.message if isinstance(error, PodiumError) else f"{type(error).__name__}: {error}"
            self._problems[name] = f"provider {name} ({point.value}) cannot be used: {said}"
            raise LoadFailed(self._problems[name]) from error
        self._built[name] = made
        self._problems.pop(name, None)
        return self._built[name]

    def footprint(self, version: ModelVersion) -> int | None:
        """Estimated bytes when loaded; ``None`` when nobody knows."""
        try:
            return self.get(version.source.provider).footprint(version)
        except PodiumError:
            return None

    def context_length(self, version: ModelVersion) -> int | None:
        """Tokens one request may use; ``None`` when nobody knows."""
        try:
            return self.get(version.source.provider).context_length(version)
        except PodiumError:
            return version.facts.context_length

    def unavailable(self, version: ModelVersion) -> str | None:
        """Why a version's provider cannot run it, else ``None``."""
        try:
            self.get(version.source.provider)
        except PodiumError as error:
            return error.message
        return None

    async def close(self) -> None:
        """Close what providers hold."""
        for provider in self._built.values():
            if isinstance(provider, Closable):
                await provider.close()

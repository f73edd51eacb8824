"""Marks proposals that are registered already, and registers the others one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from podium.errors import PodiumError
from podium.importing.report import Proposal, Report


class Registry(Protocol):
    """What registering needs of a client."""

    async def models(self, **filters: Any) -> list[dict[str, Any]]: ...

    async def add_model(self, name: str, *, provider: str, location: str, **order: Any) -> dict[str, Any]: ...

    async def set_alias(self, alias: str, target: str) -> dict[str, Any]: ...

    async def keep(self, ref: str, **orders: Any) -> dict[str, Any]: ...

    async def pin(self, ref: str, *, pinned: bool = True) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one proposal."""

    name: str
    ref: str | None
    problem: str | None = None
    """Why it is not registered, or not usable, or not complete."""


async def mark(report: Report, registry: Registry) -> None:
    """Say of each proposal whether it is registered. Raises the gateway's errors."""
    known = {
        _place({**one["source"], "provider": one["provider"]}): one["ref"]
        for one in await registry.models(limit=1000)
        if one["status"] != "retired"
    }
    report.proposals = [replace(one, registered=known.get(_place(_source(one)))) for one in report.proposals]


async def register(proposals: Sequence[Proposal], registry: Registry, tell: Callable[[str], None]) -> list[Done]:
    """Those that are not registered yet, one after the other; what fails does not keep the others back."""
    done = []
    for one in proposals:
        if one.registered is not None:
            continue
        tell(f"registering {one.name} …")
        try:
            made = await registry.add_model(one.name, **one.order())
        except PodiumError as error:
            done.append(Done(name=one.name, ref=None, problem=error.message))
            continue
        problem = made["problem"]["message"] if made["problem"] else await _orders(one, made["ref"], registry)
        done.append(Done(name=one.name, ref=made["ref"], problem=problem))
    return done


async def _orders(one: Proposal, ref: str, registry: Registry) -> str | None:
    """Aliases and standing orders; what is wrong with them."""
    try:
        for alias in one.aliases:
            await registry.set_alias(alias, ref)
        orders: dict[str, Any] = {} if one.keep_alive_s is None else {"keep_alive": one.keep_alive_s}
        orders |= {"preload": True} if one.preload else {}
        if orders:
            await registry.keep(ref, **orders)
        if one.pinned:
            await registry.pin(ref)
    except PodiumError as error:
        return error.message
    return None


def _source(one: Proposal) -> Mapping[str, Any]:
    return {"provider": one.provider, "location": one.location, "settings": one.settings}


def _place(source: Mapping[str, Any]) -> tuple[str, str, object]:
    """Equal for what is the same model, whatever else its settings are."""
    location = str(source["location"])
    match source["provider"]:
        case "llamacpp":
            location = str(Path(location).resolve())
        case "ollama":
            location = location if ":" in location else f"{location}:latest"
        case _:
            location = location.rstrip("/")
    return str(source["provider"]), location, source["settings"].get("remote")

"""What is known of OpenAI-compatible servers: reads ``servers.toml`` and applies it to answers. Pure but for that file.

Decides which server gave some answers and what they say of a model. Asks nothing and generates nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

UNKNOWN = "openai-compatible"
LISTING = "/v1/models"
_NAMES = ("id", "key", "name", "model")
_HEADER = "header:"


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a value stands, and what has to be true of it; see the head of ``servers.toml``."""

    path: str
    at: str
    is_: str | int | bool | None = msgspec.field(name="is", default=None)
    has: str | None = None
    like: str | None = None

    def fits(self, value: object) -> bool:
        """Whether a value that is there is what was meant."""
        if self.is_ is not None:
            return type(value) is type(self.is_) and value == self.is_
        if self.has is not None:
            return isinstance(value, list | str) and self.has in value
        if self.like is not None:
            return isinstance(value, str) and re.search(self.like, value) is not None
        return True


class Telling(Place, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place that tells of a capability."""

    gives: str


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server of the catalogue."""

    kind: str
    title: str
    provider: str = "openai"
    ports: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    hosted: bool = False
    limit: str = "max_tokens"
    signs: tuple[tuple[Place, ...], ...] = ()
    version: Place | None = None
    documented: tuple[str, ...] = ("completion", "tools", "json_schema", "logprobs", "stream_options")
    tells: tuple[Telling, ...] = ()
    only: tuple[Telling, ...] = ()
    loaded: Place | None = None
    identity: tuple[Place, ...] = ()
    facts: dict[str, tuple[Place, ...]] = {}

    @property
    def paths(self) -> frozenset[str]:
        """Every path its facts, capabilities and version are read from."""
        found = [place.path for places in self.facts.values() for place in places]
        found += [place.path for place in (*self.tells, *self.only, *self.identity)]
        found += [place.path for place in (self.version, self.loaded) if place is not None]
        return frozenset(found)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    server: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer with status 200: its value, and its headers by lower-case name."""

    value: Any
    headers: Mapping[str, str]


Answers = Mapping[str, Answer]
"""By path. What was not answered, or not with 200 and JSON, is not in it."""

GENERIC = Kind(kind=UNKNOWN, title="an OpenAI-compatible server")


@cache
def kinds() -> tuple[Kind, ...]:
    """The catalogue, in the order of recognition."""
    text = files("podium.providers").joinpath("servers.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _File).server


def by_name(kind: str) -> Kind:
    """One server of the catalogue; ``GENERIC`` for a name that is not in it."""
    return next((each for each in kinds() if each.kind == kind), GENERIC)


def hosted_at(host: str) -> Kind | None:
    """The hosted service at a host, if it is one."""
    return next((each for each in kinds() if host.lower() in each.hosts), None)


def sign_paths() -> tuple[str, ...]:
    """What has to be asked to tell all servers apart."""
    return tuple(dict.fromkeys(place.path for each in kinds() for sign in each.signs for place in sign))


def kind_of(answers: Answers) -> Kind | None:
    """The server that gave these answers; ``None`` when none of the catalogue did."""
    for each in kinds():
        if any(all(holds(place, answers) for place in sign) for sign in each.signs):
            return each
    return None


def holds(place: Place, answers: Answers, model: str | None = None) -> bool:
    """Whether a place holds what it should."""
    return any(True for _ in values(place, answers, model))


def values(place: Place, answers: Answers, model: str | None = None) -> Iterator[Any]:
    """The fitting values at a place; ``None`` is no value."""
    answer = answers.get(place.path)
    if answer is None:
        return
    if place.at.startswith(_HEADER):
        found = iter([answer.headers.get(place.at.removeprefix(_HEADER))])
    else:
        found = _walk(answer.value, place.at.split("."), model)
    for value in found:
        if value is not None and place.fits(value):
            yield value


def first(places: tuple[Place, ...], answers: Answers, model: str | None) -> tuple[Any, Place] | None:
    """The first value that some places hold, and where it was."""
    for place in places:
        for value in values(place, answers, model):
            return value, place
    return None


def _walk(value: object, steps: list[str], model: str | None) -> Iterator[Any]:
    if not steps:
        yield value
        return
    step, rest = steps[0], steps[1:]
    if step in ("*", "@"):
        for each in value if isinstance(value, list) else ():
            if step == "*" or (isinstance(each, dict) and model in {each.get(name) for name in _NAMES}):
                yield from _walk(each, rest, model)
    elif isinstance(value, dict) and step in value:
        yield from _walk(value[step], rest, model)

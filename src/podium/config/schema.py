"""Turns parsed TOML into the frozen values, naming every wrong key, and publishes their JSON Schema.

The classes in ``values`` are the only description; this module walks them.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import tomllib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from podium.config.values import Settings

T = TypeVar("T")
Path = tuple[str, ...]
SCHEMA_ID = "urn:podium:config:1"


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place of the configuration."""

    path: Path
    message: str


def nearest(word: str, valid: list[str]) -> str:
    """What to write instead, as the end of a sentence."""
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid keys: {', '.join(sorted(valid))}"


def hints(cls: type) -> dict[str, Any]:
    """Field names and their annotations, ``Annotated`` kept."""
    resolved = typing.get_type_hints(cls, include_extras=True)
    return {entry.name: resolved[entry.name] for entry in dataclasses.fields(cls)}


def bare(annotation: Any) -> Any:
    """The type without ``Annotated``."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def table_of(annotation: Any) -> type | None:
    """The dataclass a mapping of named entries holds, else ``None``."""
    kind = bare(annotation)
    if typing.get_origin(kind) is Mapping:
        value = typing.get_args(kind)[1]
        if dataclasses.is_dataclass(value):
            return typing.cast("type", value)
    return None


def convert(value: object, annotation: Any, path: Path, problems: list[Problem]) -> Any:
    """One leaf value, checked; on a problem it is noted and ``None`` comes back."""
    try:
        return msgspec.convert(value, annotation, strict=True)
    except msgspec.ValidationError as error:
        said = f"{error}".replace(" - at `$", " in `" + path[-1])
        if said.startswith("Invalid enum value"):
            said += f"; choose {', '.join(_choices(annotation))}"
        problems.append(Problem(path, said))
        return None


def _choices(annotation: Any) -> list[str]:
    """The words that an enumeration somewhere in a type allows."""
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return [str(one.value) for one in annotation]
    if typing.get_origin(annotation) is typing.Literal:
        return [str(one) for one in typing.get_args(annotation)]
    return [word for part in typing.get_args(annotation) for word in _choices(part)]


def decode(cls: type[T], table: object, path: Path, problems: list[Problem]) -> T | None:
    """An instance of ``cls`` from a parsed table; ``None`` when something was wrong (see ``problems``)."""
    if not isinstance(table, dict):
        problems.append(Problem(path, f"expected a table, got {type(table).__name__}"))
        return None
    known = hints(cls)
    before = len(problems)
    values: dict[str, Any] = {}
    for key, value in table.items():
        here = (*path, key)
        if key not in known:
            problems.append(Problem(here, f"unknown key {key!r}; {nearest(key, list(known))}"))
            continue
        annotation = known[key]
        kind = bare(annotation)
        entry = table_of(annotation)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            values[key] = decode(kind, value, here, problems)
        elif entry is not None and isinstance(value, dict):
            values[key] = {name: decode(entry, item, (*here, name), problems) for name, item in value.items()}
        else:
            values[key] = convert(value, annotation, here, problems)
    if len(problems) > before:
        return None
    missing = [
        field.name
        for field in dataclasses.fields(typing.cast("Any", cls))
        if field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        problems.append(Problem(path, f"missing key {missing[0]!r}"))
        return None
    return cls(**values)


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file."""
    _, components = msgspec.json.schema_components([Settings], ref_template="#/$defs/{name}")
    for definition in components.values():
        if definition.get("type") == "object":
            definition["additionalProperties"] = False
    root = components.pop("Settings")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **root,
        "title": "podium.toml",
        "$defs": components,
    }


def scalar(text: str, annotation: Any) -> object:
    """The value an environment variable stands for: TOML where it parses, else the text itself."""
    kind = bare(annotation)
    if kind is str or kind == (str | None):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text

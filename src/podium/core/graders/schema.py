"""A JSON value against a JSON Schema, in bounded time and without a library. Pure.

Owns the keywords that decide most schemas of requests (types, properties, items, enum, const, bounds, lengths, unions,
local references; JSON Schema 2020-12). A keyword it does not know, ``pattern`` among them, makes it say so instead of
calling a value valid; what is wrong by a known keyword is wrong in any case. Benchmarks use the full check in the sandbox.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

_MOST_STEPS = 20_000
_NOTES = frozenset(
    [
        "$schema",
        "$id",
        "$defs",
        "definitions",
        "$comment",
        "$anchor",
        "title",
        "description",
        "default",
        "examples",
        "format",
        "deprecated",
        "readOnly",
        "writeOnly",
        "strict",
        "name",
        "contentEncoding",
        "contentMediaType",
    ]
)
_KNOWN = frozenset(
    [
        "$ref",
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "propertyNames",
    ]
)


class Unsure(Exception):
    """The schema says something that is not checked here."""


def problem(value: object, schema: Mapping[str, object]) -> str | None:
    """What is wrong with ``value``, ``None`` when it is valid. Raises ``Unsure`` when that cannot be told."""
    steps = [0]
    unsure: list[str] = []
    wrong = next(_problems(value, schema, schema, "$", steps, unsure, 0), None)
    if wrong is None and unsure:
        raise Unsure(f"the schema uses {unsure[0]}, which is not checked here")
    return wrong


def _problems(
    value: object,
    schema: object,
    root: Mapping[str, object],
    path: str,
    steps: list[int],
    unsure: list[str],
    depth: int,
) -> Iterator[str]:
    steps[0] += 1
    if steps[0] > _MOST_STEPS or depth > 60:
        raise Unsure("the schema or the answer is too large to check here")
    if isinstance(schema, bool):
        if not schema:
            yield f"{path}: nothing is allowed here"
        return
    if not isinstance(schema, Mapping):
        unsure.append("something that is no schema")
        return
    unsure.extend(str(name) for name in schema if name not in _KNOWN and name not in _NOTES)
    if isinstance(reference := schema.get("$ref"), str):
        yield from _problems(value, _target(root, reference), root, path, steps, unsure, depth + 1)
    yield from _of_kind(value, schema, path)
    if isinstance(value, Mapping):
        yield from _of_object(value, schema, root, path, steps, unsure, depth)
    if isinstance(value, list):
        yield from _of_list(value, schema, root, path, steps, unsure, depth)
    yield from _of_unions(value, schema, root, path, steps, unsure, depth)


def _target(root: Mapping[str, object], reference: str) -> object:
    if not reference.startswith("#"):
        raise Unsure("the schema refers to another document")
    found: object = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or key not in found:
            raise Unsure(f"the schema refers to {reference}, which it does not hold")
        found = found[key]
    return found


def _is(value: object, kind: object) -> bool:
    match kind:
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "integer":
            return (isinstance(value, int) and not isinstance(value, bool)) or (
                isinstance(value, float) and value.is_integer()
            )
    raise Unsure(f"the schema asks for the unknown type {kind!r}")


def _same(one: object, other: object) -> bool:
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return one == other


def _of_kind(value: object, schema: Mapping[str, object], path: str) -> Iterator[str]:
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, kind) for kind in (kinds if isinstance(kinds, list) else [kinds])):
        yield f"{path}: not of type {kinds}"
    allowed = schema.get("enum")
    if isinstance(allowed, list) and not any(_same(value, one) for one in allowed):
        yield f"{path}: not one of the allowed values"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{path}: not the required value"
    if isinstance(value, str):
        yield from _bounds(len(value), schema, "minLength", "maxLength", path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _bounds(value, schema, "minimum", "maximum", path)
        low, high, step = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum"), schema.get("multipleOf")
        if (isinstance(low, int | float) and value <= low) or (isinstance(high, int | float) and value >= high):
            yield f"{path}: out of bounds"
        if isinstance(step, int | float) and step > 0:
            times = value / step
            if not math.isfinite(times) or abs(times - round(times)) > 1e-9 * max(1.0, abs(times)):
                yield f"{path}: not a multiple of {step}"


def _bounds(value: float, schema: Mapping[str, object], least: str, most: str, path: str) -> Iterator[str]:
    low, high = schema.get(least), schema.get(most)
    if isinstance(low, int | float) and value < low:
        yield f"{path}: below {least} {low}"
    if isinstance(high, int | float) and value > high:
        yield f"{path}: above {most} {high}"


def _of_object(
    value: Mapping[str, object],
    schema: Mapping[str, object],
    root: Mapping[str, object],
    path: str,
    steps: list[int],
    unsure: list[str],
    depth: int,
) -> Iterator[str]:
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in value:
            yield f"{path}: {name} is missing"
    yield from _bounds(len(value), schema, "minProperties", "maxProperties", path)
    given = schema.get("properties")
    known: Mapping[str, object] = given if isinstance(given, Mapping) else {}
    for name, inner in value.items():
        if name in known:
            yield from _problems(inner, known[name], root, f"{path}.{name}", steps, unsure, depth + 1)
        elif "patternProperties" not in schema and "additionalProperties" in schema:
            if schema["additionalProperties"] is False:
                yield f"{path}: {name} is not allowed"
            else:
                yield from _problems(
                    inner, schema["additionalProperties"], root, f"{path}.{name}", steps, unsure, depth + 1
                )
        if "propertyNames" in schema:
            yield from _problems(name, schema["propertyNames"], root, f"{path}.{name}", steps, unsure, depth + 1)


def _of_list(
    value: list[object],
    schema: Mapping[str, object],
    root: Mapping[str, object],
    path: str,
    steps: list[int],
    unsure: list[str],
    depth: int,
) -> Iterator[str]:
    yield from _bounds(len(value), schema, "minItems", "maxItems", path)
    if schema.get("uniqueItems") is True and len({repr(one) for one in value}) < len(value):
        yield f"{path}: items repeat"
    first = schema.get("prefixItems")
    heads = first if isinstance(first, list) else []
    for at, inner in enumerate(value):
        wanted = heads[at] if at < len(heads) else schema.get("items", True)
        yield from _problems(inner, wanted, root, f"{path}[{at}]", steps, unsure, depth + 1)


def _of_unions(
    value: object,
    schema: Mapping[str, object],
    root: Mapping[str, object],
    path: str,
    steps: list[int],
    unsure: list[str],
    depth: int,
) -> Iterator[str]:
    for part in _parts(schema, "allOf"):
        yield from _problems(value, part, root, path, steps, unsure, depth + 1)
    for name in ("anyOf", "oneOf"):
        parts = _parts(schema, name)
        if not parts:
            continue
        doubts: list[list[str]] = [[] for _ in parts]
        fits = [
            next(_problems(value, part, root, path, steps, doubt, depth + 1), None) is None
            for part, doubt in zip(parts, doubts, strict=True)
        ]
        if not any(fits):
            yield f"{path}: fits none of {name}"
            continue
        unsure.extend(doubt for fit, found in zip(fits, doubts, strict=True) if fit for doubt in found)
        if name == "oneOf" and sum(fits) > 1 and not any(doubt for fit, doubt in zip(fits, doubts, strict=True) if fit):
            yield f"{path}: fits several of oneOf"
    if "not" in schema:
        doubt: list[str] = []
        if next(_problems(value, schema["not"], root, path, steps, doubt, depth + 1), None) is None:
            if doubt:
                unsure.extend(doubt)
            else:
                yield f"{path}: is what it must not be"


def _parts(schema: Mapping[str, object], name: str) -> list[object]:
    found = schema.get(name)
    return found if isinstance(found, list) else []

"""What the validators say about a field, in sentences for people. Repeats no value: a field may hold a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_KINDS = {
    "string": "a text",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "array": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "an object",
    "object": "an object",
    "mapping": "an object",
    "model": "an object",
    "model_attributes": "an object",
    "dataclass": "an object",
    "none": "null",
    "null": "null",
}
_LIMITS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
    "string_too_long": ("max_length", "at most {} characters long"),
    "string_too_short": ("min_length", "at least {} characters long"),
}
_MUST = {
    "enum": "be one of {expected}",
    "literal_error": "be one of {expected}",
    "too_long": "have at most {max_length} items",
    "too_short": "have at least {min_length} items",
    "finite_number": "be a finite number",
    "string_pattern_mismatch": "look like {pattern}",
    "int_from_float": "be a whole number",
}
_MSGSPEC = re.compile(
    r"(?:Expected|Object missing required field|Object contains unknown field)[^`]*`([^`]*)`(.*)", re.DOTALL
)
_AT = re.compile(r"`\$\.?([^`]*)`")


def said(where: str, error: Mapping[str, Any]) -> str:
    """One error of pydantic as a sentence about the field ``where``; the body itself when that is empty."""
    name, kind, about = where or "the body", str(error["type"]), error.get("ctx") or {}
    if kind == "missing":
        return f"{name} is missing" if where else "the body is missing"
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        limit = about.get(key)
        if kind == "string_too_short" and limit == 1:
            return f"{name} must not be empty"
        return f"{name} must be {words.format(f'{limit:g}' if isinstance(limit, float) else limit)}"
    if kind in _MUST:
        return f"{name} must {_MUST[kind].format(**about)}"
    if kind in ("value_error", "assertion_error"):
        return f"{name}: {about.get('error') or error['msg']}"
    wanted = _KINDS.get(re.sub(r"_(type|parsing|size|from_float)$", "", kind))
    if wanted is not None:
        return f"{name} must be {wanted}"
    return f"{name} cannot be used: {str(error['msg']).lower()}"


def of_msgspec(where: str, message: str) -> str:
    """The same of msgspec, whose message says where in the value of ``where`` the fault lies."""
    found, at = _MSGSPEC.match(message), _AT.search(message)
    inside = re.sub(r"\[\.\.\.\]", "", at[1]) if at is not None and at[1] else ""
    name = ".".join(part for part in (where, inside) if part)
    if found is None:
        return f"{name} is no JSON that can be read: {message}" if at is None else f"{name} cannot be used: {message}"
    if message.startswith("Object missing"):
        return f"{name}.{found[1]} is missing"
    if message.startswith("Object contains"):
        return f"{name}.{found[1]}: there is no such field"
    kinds = [_KINDS.get(kind, kind) for kind in found[1].split(" | ")]
    limit = re.match(r"\s*((?:<|>)=?)\s*([-\d.e]+)", found[2])
    if limit is not None:
        words = {"<": "less than", "<=": "at most", ">": "more than", ">=": "at least"}[limit[1]]
        return f"{name} must be {' or '.join(kinds)}, {words} {limit[2]}"
    return f"{name} must be {' or '.join(kinds)}"

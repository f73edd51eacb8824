"""Reads the fields of a request in another wire format. Every problem is an ``InvalidRequest`` that names the place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from podium.errors import InvalidRequest

UNSUPPORTED = "unsupported_parameter"
_any = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body."""
    try:
        found = _any.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start}); send JSON encoded as UTF-8") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    if not isinstance(found, dict):
        raise InvalidRequest("the body is not a JSON object")
    return found


def write(value: object) -> bytes:
    """JSON of a translated request. Raises ``InvalidRequest`` for numbers no server can read."""
    try:
        return _encoder.encode(value)
    except OverflowError:
        raise InvalidRequest("the request holds a number of more than 64 bits") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None


def wrong(where: str, should: str) -> InvalidRequest:
    """``where`` holds something else than it should."""
    return InvalidRequest(f"{where}: must be {should}", param=where)


def refused(where: str, what: str, instead: str) -> InvalidRequest:
    """``where`` asks for something that is not offered here; ``instead`` says what to do."""
    return InvalidRequest(f"{where}: Podium does not offer {what}; {instead}", param=where, code=UNSUPPORTED)


def text(given: Mapping[str, Any], name: str, where: str) -> str:
    """A string that has to be there."""
    found = given.get(name)
    if not isinstance(found, str):
        raise wrong(f"{where}.{name}" if where else name, "a string")
    return found


def text_or_none(given: Mapping[str, Any], name: str, where: str = "") -> str | None:
    """A string that may be missing or null."""
    return None if given.get(name) is None else text(given, name, where)


def flag(given: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    """True or false; missing and null are ``default``."""
    found = given.get(name)
    if found is None:
        return default
    if not isinstance(found, bool):
        raise wrong(name, "true or false")
    return found


def table(given: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any]:
    """An object that may be missing or null."""
    found = given.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise wrong(f"{where}.{name}" if where else name, "an object")
    return found


def rows(found: object, where: str) -> Sequence[dict[str, Any]]:
    """A list of objects."""
    if not isinstance(found, list):
        raise wrong(where, "a list")
    for number, each in enumerate(found):
        if not isinstance(each, dict):
            raise wrong(f"{where}[{number}]", "an object")
    return found


def texts(found: object, where: str) -> list[str]:
    """A list of strings."""
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise wrong(where, "a list of strings")
    return found


def our_metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    """What ``metadata`` says to Podium itself: ``task`` and ``execution``, as on every route."""
    return {name: given[name] for name in ("task", "execution") if given.get(name) is not None}


def flat(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Content parts of a chat message; text alone becomes a string, which every server and template takes."""
    if all(part["type"] == "text" for part in content):
        return "\n".join(part["text"] for part in content)
    return content

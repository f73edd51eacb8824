"""Keys of servers that somebody else runs: read from the environment when they are used, never stored, never shown."""

from __future__ import annotations

from collections.abc import Mapping

from podium.errors import InvalidRequest

_MOST = 4096


def key_from(environ: Mapping[str, str], variable: str) -> bytes:
    """The key that an environment variable holds. Raises ``InvalidRequest`` that names the variable and not the key."""
    key = environ.get(variable)
    if not key:
        raise InvalidRequest(
            f"the environment variable {variable} is not set; set it where Podium runs",
            param="source.settings.api_key_env",
        )
    if len(key) > _MOST or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidRequest(
            f"the environment variable {variable} does not hold a key: it must be one word of plain text, without a "
            "line break; see whether a file with a newline at its end was put into it",
            param="source.settings.api_key_env",
        )
    return key.encode()

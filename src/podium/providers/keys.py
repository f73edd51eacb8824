"""Keys of servers that somebody else runs: read from the environment or opened from a sealed secret when they are used.

Never part of a registration, never shown: a registration says where the key is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from podium.core.secret_reference import ENV, parse_reference
from podium.domain.secret import Secret
from podium.errors import ConfigError, InvalidRequest, ProviderError
from podium.ports import Secrets
from podium.services.redaction import MASKER

T = TypeVar("T")
H = TypeVar("H")
_MOST = 4096
API_KEY, API_KEY_ENV = "source.settings.api_key", "source.settings.api_key_env"
NO_KEY = "no key; name a sealed one in api_key (secret:NAME), or the environment variable that holds it in api_key_env"


class NoSecrets:
    """``ports.Secrets`` where none are kept."""

    def reveal(self, name: str) -> Secret:
        """Raises ``InvalidRequest``."""
        raise InvalidRequest(f"there is no secret {name!r}: no secrets are kept here")


NO_SECRETS = NoSecrets()


def key_of(environ: Mapping[str, str], secrets: Secrets, api_key: str | None, api_key_env: str | None) -> bytes | None:
    """The key that a registration names, ``None`` when it names none. Raises ``InvalidRequest``, ``ConfigError``."""
    if api_key is None:
        return None if api_key_env is None else key_from(environ, api_key_env)
    where = parse_reference(api_key)
    if where is None:
        raise InvalidRequest(
            "api_key holds no key itself: seal it with `podium secrets set NAME` and write secret:NAME, or env:NAME",
            param=API_KEY,
        )
    if where.kind == ENV:
        return key_from(environ, where.name, API_KEY)
    try:
        return secrets.reveal(where.name).reveal().encode()
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param=API_KEY) from None


def key_from(environ: Mapping[str, str], variable: str, param: str = API_KEY_ENV) -> bytes:
    """The key that an environment variable holds. Raises ``InvalidRequest`` that names the variable and not the key."""
    key = environ.get(variable)
    if not key:
        raise InvalidRequest(f"the environment variable {variable} is not set; set it where Podium runs", param=param)
    if len(key) > _MOST or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidRequest(
            f"the environment variable {variable} does not hold a key: it must be one word of plain text, without a "
            "line break; see whether a file with a newline at its end was put into it",
            param=param,
        )
    MASKER.learn(key)
    return key.encode()


def fresh(headers: Callable[[T], H], settings: T, model: str) -> H:
    """Headers for one more request of an instance that is loaded. Raises ``ProviderError``: its caller is not at fault."""
    try:
        return headers(settings)
    except (InvalidRequest, ConfigError) as error:
        raise ProviderError(f"{model}: {error.message}") from None

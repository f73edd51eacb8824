"""What the processes of models are told of the gateway's environment: everything but what looks like somebody's secret.

A model's server needs no key of another provider, no master key, no password of a database. What it does need is named
in its registration.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from podium.core.secret_reference import ENV, SEALED, parse_reference
from podium.errors import ConfigError, InvalidRequest
from podium.providers.keys import key_of
from podium.services.redaction import MASKER

if TYPE_CHECKING:
    from podium.providers.catalogue import ProviderContext

_OURS = "PODIUM_"
_URL_WITH_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/@]*:[^\s/@]+@")
_MORE = re.compile(
    r"PASSWORD|PASSWD|SECRET|CREDENTIAL|API_?KEY|PRIVATE|(?:^|_)(?:PASS|PWD|PAT|KEYS?|AUTH|JWT|TOKENS?|WEBHOOK)(?:_|$)",
    re.IGNORECASE,
)
_KNOWN = frozenset({"PWD", "OLDPWD", "SSH_AUTH_SOCK", "TOKENIZERS_PARALLELISM", "XAUTHORITY"})
"""Look like secrets and are none."""


def inherited(environ: Mapping[str, str], wanted: Collection[str] = ()) -> dict[str, str]:
    """The part of ``environ`` a child gets; ``wanted`` names what it gets although it looks like a secret."""
    return {name: value for name, value in environ.items() if name in wanted or not _withheld(name, value)}


def _withheld(name: str, value: str) -> bool:
    return name.startswith(_OURS) or looks_secret(name) or _URL_WITH_PASSWORD.match(value) is not None


def looks_secret(name: str) -> bool:
    """Whether the name of a variable says that a secret is in it."""
    return name not in _KNOWN and _MORE.search(name) is not None


def given(context: ProviderContext, env: Mapping[str, str]) -> dict[str, str]:
    """What a registration adds, its references replaced by what they name. Raises ``InvalidRequest``."""
    return {name: _value(context, name, value) for name, value in env.items()}


def check_open(template: str, env: Mapping[str, str]) -> None:
    """Refuse a registration that holds a secret itself, which everybody who may read models would see.

    Raises ``InvalidRequest`` that holds nothing of it.
    """
    if MASKER.text(template) != template:
        raise InvalidRequest(
            "the command line holds something that looks like a key, and every user of this machine could read it: "
            "seal it with `podium secrets set NAME` and pass it by the setting env, as VARIABLE = secret:NAME",
            param="source.location",
        )
    for name, value in env.items():
        if looks_secret(name) and value and parse_reference(value) is None:
            raise InvalidRequest(
                f"env.{name} looks like a secret: seal it with `podium secrets set NAME` and write secret:NAME, or "
                "env:NAME for a variable of the server",
                param="source.settings.env",
            )


def _value(context: ProviderContext, name: str, value: str) -> str:
    where = parse_reference(value)
    if where is None or where.kind not in (ENV, SEALED):
        return value
    try:
        found = key_of(context.environ, context.secrets, value, None)
    except (InvalidRequest, ConfigError) as error:
        raise InvalidRequest(f"env.{name}: {error.message}", param="source.settings.env") from None
    assert found is not None, "a reference names something"
    return found.decode()

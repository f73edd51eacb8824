"""One ``[webhooks.NAME]``: who is told of events, and where the secret is that signs the calls.

A secret is never a value of the configuration: it is read when it is needed, and no message holds any of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from podium.core.event_kinds import check_patterns
from podium.core.secret_reference import ENV, FILE, SEALED, parse_reference
from podium.errors import ConfigError, InvalidRequest
from podium.services.redaction import MASKER
from podium.transport.addresses import check_target

if TYPE_CHECKING:
    from podium.ports import Secrets

_MOST_BYTES = 4096
_OTHERS = 0o007

Seconds = Annotated[float, Meta(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEntry:
    """A URL that is called with every event of some kinds."""

    url: Annotated[str, Meta(description="http or https URL that is called by POST")]
    secret: Annotated[
        str, Meta(description="Where the secret that signs is: env:NAME, secret:NAME or file:PATH; never itself")
    ]
    events: Annotated[tuple[str, ...], Meta(description="Kinds to tell, such as swap.* or instance.crashed")] = ("*",)
    timeout_s: Annotated[float, Meta(gt=0, le=120, description="Time one call may take")] = 15.0
    retry_first_s: Annotated[Seconds, Meta(description="Wait after the first failed call; doubles")] = 5.0
    retry_most_s: Annotated[Seconds, Meta(description="Longest wait between two calls")] = 3600.0
    give_up_h: Annotated[float, Meta(gt=0, description="Age at which an event is told no more, in hours")] = 24.0
    outbox_limit: Annotated[
        int, Meta(ge=10, le=1_000_000, description="Events that may wait; beyond it the oldest are given up")
    ] = 10_000
    allow_link_local: Annotated[
        bool, Meta(description="Call link-local addresses too, among them metadata services of clouds")
    ] = False


def webhook_problems(entry: WebhookEntry) -> list[tuple[str, str]]:
    """(key, what is wrong) of rules that the type of one key cannot express."""
    problems = []
    try:
        check_target(entry.url, allow_link_local=entry.allow_link_local)
    except InvalidRequest as error:
        problems.append(("url", error.message))
    if parse_reference(entry.secret, (ENV, FILE, SEALED)) is None:
        problems.append(
            ("secret", "write env:NAME, secret:NAME or file:PATH; a secret itself does not belong in this file")
        )
    try:
        check_patterns(entry.events)
    except ValueError as error:
        problems.append(("events", str(error)))
    if not entry.events:
        problems.append(("events", "name a kind of event; '*' is every kind"))
    if entry.retry_most_s < entry.retry_first_s:
        problems.append(("retry_most_s", f"must not be below retry_first_s ({entry.retry_first_s:g})"))
    return problems


def read_secret(entry: WebhookEntry, folder: Path, environ: Mapping[str, str], secrets: Secrets) -> str:
    """The text of the secret; files are meant from ``folder``. Raises ``ConfigError`` that holds none of it."""
    where = parse_reference(entry.secret, (ENV, FILE, SEALED))
    if where is None:
        raise ConfigError("its secret is not named; write env:NAME, secret:NAME or file:PATH")
    if where.kind == SEALED:
        try:
            return secrets.reveal(where.name).reveal()
        except InvalidRequest as error:
            raise ConfigError(f"{error.message}, then `podium config reload`") from None
    text = _from_environment(where.name, environ) if where.kind == ENV else _from_file(folder, where.name)
    for word in text.split():
        MASKER.learn(word)
    return text


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if not environ.get(name):
        raise ConfigError(f"the environment variable {name} that holds its secret is not set; set it and restart")
    return environ[name]


def _from_file(folder: Path, name: str) -> str:
    path = folder / Path(name).expanduser()
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & _OTHERS:
                raise ConfigError(f"{path} can be read by every user and is a secret: chmod 600 {path}")
            text = file.read(_MOST_BYTES + 1)
        if not text.strip():
            raise ConfigError(f"{path} is empty; put the secret into it")
        if len(text) > _MOST_BYTES:
            raise ConfigError(f"{path} is too large for a secret; it holds one line")
        return text.decode("ascii")
    except OSError as error:
        raise ConfigError(f"its secret cannot be read from {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} holds no secret: it is not plain text") from None

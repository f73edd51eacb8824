"""Where a secret is, as written in registrations and configuration: ``env:NAME``, ``secret:NAME``, ``file:PATH``. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

ENV, SEALED, FILE = "env", "secret", "file"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SEALED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class SecretReference:
    """``kind`` is one of ``ENV``, ``SEALED``, ``FILE``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def refers(text: str) -> bool:
    """Whether a text is meant as a reference to a sealed secret."""
    return text.startswith(f"{SEALED}:")


def parse_reference(text: str, kinds: Collection[str] = (ENV, SEALED)) -> SecretReference | None:
    """``None`` for what is none of the ``kinds``, a secret itself among them: no message should repeat it."""
    kind, mark, name = text.partition(":")
    if not mark or kind not in kinds or not name:
        return None
    form = {ENV: _VARIABLE, SEALED: _SEALED_NAME}.get(kind)
    return None if form is not None and form.fullmatch(name) is None else SecretReference(kind, name)

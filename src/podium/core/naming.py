"""What names of models, versions and aliases may look like, and which known name somebody probably meant. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from podium.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:/+-]{0,126}[A-Za-z0-9+])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
TASK_PREFIX = "task:"
AUTO = "auto"


def check_name(name: str) -> None:
    """Raise ``InvalidRequest`` unless ``name`` may name a model.

    1 to 128 of ``A-Z a-z 0-9 . _ - : / +``, first and last a letter or digit (or a last ``+``): what Ollama tags
    (``gemma3:1b``) and hub names (``Qwen/Qwen2.5-0.5B``) use, safe in a URL path and on a command line. ``@`` is
    left out because it separates name and version; ``..`` and ``//`` because names become path segments.
    """
    if not _NAME.fullmatch(name) or ".." in name or "//" in name:
        raise InvalidRequest(
            f"{_shown(name)} is not a model name: use 1 to 128 letters, digits and . _ - : / +, starting and "
            f"ending with a letter or digit, without '..' and '//'",
            param="name",
        )
    _refuse_reserved(name, "name")


def check_version(version: str) -> None:
    """Raise ``InvalidRequest`` unless ``version`` may name a version: 1 to 64 of ``A-Z a-z 0-9 . _ + -``."""
    if not _VERSION.fullmatch(version):
        raise InvalidRequest(
            f"{_shown(version)} is not a version: use 1 to 64 letters, digits and . _ + -, "
            f"starting with a letter or digit",
            param="version",
        )


def check_alias(alias: str) -> None:
    """Raise ``InvalidRequest`` unless ``alias`` (without a leading ``@``) may be an alias: as a model name."""
    if not _NAME.fullmatch(alias) or ".." in alias or "//" in alias:
        raise InvalidRequest(
            f"{_shown(alias)} is not an alias: use 1 to 128 letters, digits and . _ - : / +, starting and "
            f"ending with a letter or digit",
            param="alias",
        )
    _refuse_reserved(alias, "alias")


def near(wanted: str, known: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """The known names most like ``wanted``, best first; upper and lower case count as the same."""
    by_folded: dict[str, str] = {}
    for name in sorted(known):
        by_folded.setdefault(name.casefold(), name)
    folded = wanted.casefold()
    close = difflib.get_close_matches(folded, by_folded, n=limit, cutoff=0.6)
    if len(close) < limit and len(folded) >= 3:
        close += [name for name in by_folded if folded in name and name not in close][: limit - len(close)]
    return tuple(by_folded[name] for name in close)


def default_version(declared: str | None, digest: str) -> str:
    """The version when the user gives none: what the artifact declares if usable, else 8 hex of its digest."""
    if declared and _VERSION.fullmatch(declared):
        return declared
    return digest.rpartition(":")[2][:8]


def _refuse_reserved(name: str, param: str) -> None:
    folded = name.casefold()
    if folded == AUTO or folded.startswith(TASK_PREFIX):
        raise InvalidRequest(
            f"{name!r} is reserved: `auto` and `task:NAME` let Podium choose the model; take another {param}",
            param=param,
        )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")

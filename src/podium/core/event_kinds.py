"""Which kinds of events somebody wants: ``swap.*``, ``*``, ``instance.crashed``. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

_PATTERN = re.compile(r"[a-z0-9_*]+(\.[a-z0-9_*]+)*")


def wanted(kind: str, patterns: Sequence[str]) -> bool:
    """Whether any pattern fits; ``*`` stands for any characters, dots included. No pattern wants everything."""
    return not patterns or any(fnmatchcase(kind, pattern) for pattern in patterns)


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise ``ValueError`` that names the first pattern no kind could be written like."""
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(f"{pattern[:64]!r} is no kind of event; write swap.*, instance.crashed or *")

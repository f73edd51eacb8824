"""What a model's README says of its licence, in the front matter that model hubs use. Pure.

Only the few lines that are needed are read, so no YAML library is: scalars after ``license``, ``license_name``.
"""

from __future__ import annotations

import re

_LINE = re.compile(r"^(license|license_name|version)\s*:\s*(.+?)\s*$")
_MOST = 100


def card(readme: str) -> dict[str, str]:
    """Fields of the front matter: ``license``, ``license_name``, ``version``, where they are plain texts."""
    lines = readme.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    found: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == "---":
            return found
        if match := _LINE.match(line):
            value = match[2].split(" #")[0].strip().strip("'\"")
            if value and value[0] not in "[{|>&*" and len(value) <= _MOST:
                found.setdefault(match[1], value)
    return {}


def licence(readme: str) -> str | None:
    """The licence; a custom one (``other``) by its name."""
    fields = card(readme)
    stated = fields.get("license")
    return fields.get("license_name", stated) if stated == "other" else stated

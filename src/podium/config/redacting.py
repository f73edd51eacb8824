"""Takes what looks like a secret out of the text of a configuration, and puts it back from the file that is in force.

Secrets do not belong into ``podium.toml`` (its keys name where they are), but nothing keeps people from writing one into
a model's settings, a URL or a comment. What is kept of a configuration must not hold it. Pure.
"""

from __future__ import annotations

import re

from podium.config.positions import lines
from podium.core.audit_redaction import scrub
from podium.core.redaction import secretive

MARK = "podium-redacted"
"""Stands for a value that was taken out; no value of a configuration looks so."""
_PAIR = re.compile(
    r"""(?P<key>[A-Za-z0-9_.\-"']+?)(?P<mid>["']?\s*=\s*)(?P<quote>["'])(?P<value>(?:\\.|(?!(?P=quote)).)*)(?P=quote)"""
)
_ELSEWHERE = ("env:", "file:", "secret:", "{{")
"""How a value begins that says where the secret is."""


def redacted(text: str) -> tuple[str, int]:
    """``text`` without what looks like a secret, and how many lines were changed."""
    changed = 0
    made = []
    for line in text.splitlines(keepends=True):
        clean = _PAIR.sub(_pair, line)
        left = clean.replace(MARK, "")
        if scrub(left) != left:
            body = clean.rstrip("\r\n")
            clean = _whole(body) + clean[len(body) :]
        changed += clean != line
        made.append(clean)
    return "".join(made), changed


def _pair(found: re.Match[str]) -> str:
    value = found["value"]
    name = found["key"].strip("\"'").rpartition(".")[2]
    if not value or value.startswith(_ELSEWHERE):
        return found[0]
    if secretive(name) or scrub(value) != value:
        return f"{found['key']}{found['mid']}{found['quote']}{MARK}{found['quote']}"
    return found[0]


def _whole(line: str) -> str:
    """A line that shows a secret outside of a plain value: in a comment, a list, a long text."""
    code, hash_, _ = line.partition("#")
    if hash_ and scrub(code) == code:
        return f"{code}# {MARK}"
    return f"# {MARK}"


def restored(text: str, present: str) -> tuple[str, tuple[str, ...]]:
    """``text`` with the values of the present file where they were taken out, and the keys it has no value for."""
    if MARK not in text:
        return text, ()
    here = {number: path for path, number in lines(text).items()}
    there = lines(present)
    source = present.splitlines(keepends=True)
    made, missing = [], []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if MARK not in line or line.lstrip().startswith("#") or MARK in line.partition("#")[2]:
            made.append(line)
            continue
        path = here.get(number)
        at = None if path is None else there.get(path)
        if at is None or MARK in source[at - 1]:
            missing.append(".".join(path) if path else f"line {number}")
            made.append(line)
        else:
            made.append(source[at - 1])
    return "".join(made), tuple(missing)

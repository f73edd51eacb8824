"""What was found, what to do about it, and what does not carry over."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

OPTIONS = {"llamacpp": "--gguf", "ollama": "--ollama", "openai": "--url", "command": "--command"}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._:/+-]+")
SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing that does not carry over, or that is wrong, and where it stands. ``line`` is 0 where there is none."""

    said: str
    where: str = ""
    line: int = 0
    wrong: bool = False
    """It keeps something from being imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One version to register. ``origin`` says where it was found."""

    name: str
    provider: str
    location: str
    origin: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None
    category: str | None = None
    tags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    keep_alive_s: float | None = None
    """How long it stays loaded when idle; -1 for ever, ``None`` as configured."""
    preload: bool = False
    pinned: bool = False
    about: str = ""
    """What it is, in a few words."""
    registered: str | None = None
    """It is registered already, as this version."""

    def commands(self) -> tuple[str, ...]:
        """What to type to register it, ready for a shell."""
        words = ["podium", "models", "add", self.name, OPTIONS[self.provider], self.location]
        settings = dict(self.settings)
        if self.provider in ("openai", "command") and "remote" in settings:
            words += ["--remote", str(settings.pop("remote"))]
        for key, value in settings.items():
            words += ["--set", f"{key}={setting_text(value)}"]
        words += ["--version", self.version] if self.version else []
        words += ["--category", self.category] if self.category else []
        for tag in self.tags:
            words += ["--tag", tag]
        lines = [shlex.join(words)]
        ref = f"{self.name}@{self.version}" if self.version else self.name
        lines += [shlex.join(["podium", "models", "alias", alias, ref]) for alias in self.aliases]
        keep = [] if self.keep_alive_s is None else ["--alive", f"{self.keep_alive_s:g}"]
        keep += ["--preload"] if self.preload else []
        lines += [shlex.join(["podium", "keep", ref, *keep])] if keep else []
        lines += [shlex.join(["podium", "pin", ref])] if self.pinned else []
        return tuple(lines)

    def order(self) -> dict[str, Any]:
        """The body of its registration, but for the name."""
        return {
            "provider": self.provider,
            "location": self.location,
            "version": self.version,
            "settings": dict(self.settings),
            "category": self.category,
            "tags": self.tags,
        }


@dataclass(slots=True)
class Report:
    """Everything one look found. ``config`` are lines for ``podium.toml`` that no command stands for."""

    proposals: list[Proposal] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    config: list[str] = field(default_factory=list)

    def note(self, said: str, where: str = "", line: int = 0, *, wrong: bool = False) -> None:
        """Say that something does not carry over."""
        self.notes.append(Note(said=said, where=where, line=line, wrong=wrong))

    def add(self, proposal: Proposal) -> None:
        """Propose it; one that has a name that is taken gets a number behind it."""
        taken = {(one.name, one.version) for one in self.proposals}
        name, number = proposal.name, 2
        while (name, proposal.version) in taken:
            name, number = f"{proposal.name}-{number}", number + 1
        if name != proposal.name:
            proposal = replace(proposal, name=name)
        self.proposals.append(proposal)


def usable_name(text: str) -> str:
    """The nearest text that may name a model."""
    name = _NOT_IN_NAMES.sub("-", text).replace("..", ".").replace("//", "/")
    name = name.strip("-._:/")[:128].rstrip("-._:/") or "model"
    return f"model-{name}" if name.casefold() == "auto" or name.casefold().startswith("task:") else name


def setting_text(value: object) -> str:
    """As ``--set KEY=`` reads it: JSON, or text that is no JSON."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        json.loads(value)
    except json.JSONDecodeError:
        return value
    return json.dumps(value)

"""What is probably not meant so: files that are not there, names that nothing has. Looks at files; changes nothing.

The server starts all the same, because a file may come later and a model may be registered by hand; so these are for
``podium config check``. A file that is missing is a problem, a name that is not known a warning.
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from podium.config.positions import line_of
from podium.config.schema import Problem
from podium.config.values import Config, ModelEntry
from podium.domain.budget import EACH, Scope

TASK, AUTO = "task:", "auto"
_FILES = ("gguf", "artifact", "scripted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Names that are on record; ``recorded`` is false where there is no record to look at."""

    models: frozenset[str] = frozenset()
    """Names and ``name@version``."""
    aliases: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    recorded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """``problems`` keep something from working, ``warnings`` may."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def advice(config: Config, known: Known, environ: Mapping[str, str]) -> Advice:
    """What a configuration that can be read should be asked about."""
    return Advice(
        problems=tuple(_missing(config)),
        warnings=(*_unset(config, environ), *_programs(config), *_names(config, known)),
    )


def located(problem: Problem, config: Config, word: str = "") -> str:
    """``file:line: key: message``."""
    where = str(config.file) if config.file is not None else "podium.toml"
    line = line_of(config.text, problem.path)
    return f"{where}{f':{line}' if line else ''}: {word}{'.'.join(problem.path)}: {problem.message}"


def _missing(config: Config) -> Iterator[Problem]:
    for name, model in config.models.items():
        for key in _FILES:
            given = getattr(model, key)
            if given is not None and not Path(given).exists():
                yield Problem(("models", name, key), f"there is no {given}{_near_file(Path(given))}")
    folder = config.file.parent if config.file is not None else config.home
    for name, webhook in config.webhooks.items():
        kind, _, place = webhook.secret.partition(":")
        path = folder / Path(place).expanduser()
        if kind == "file" and not path.exists():
            yield Problem(("webhooks", name, "secret"), f"there is no {path}; nothing is sent until there is")


def _near_file(path: Path) -> str:
    try:
        names = [one.name for one in path.parent.iterdir()][:1000]
    except OSError:
        return f"; there is no folder {path.parent}"
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"; did you mean {close[0]!r}?" if close else "; relative paths are meant from this file"


def _unset(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    for name, webhook in config.webhooks.items():
        kind, _, variable = webhook.secret.partition(":")
        if kind == "env" and not environ.get(variable):
            yield Problem(("webhooks", name, "secret"), f"{variable} is not set here; set it where the server runs")
    for name, model in config.models.items():
        variable = str(model.settings.get("api_key_env") or "")
        if variable and not environ.get(variable):
            path = ("models", name, "settings", "api_key_env")
            yield Problem(path, f"{variable} is not set here; set it where the server runs")


def _programs(config: Config) -> Iterator[Problem]:
    for name, model in config.models.items():
        if model.command is None:
            continue
        program = model.command.split()[0].strip("'\"") if model.command.split() else ""
        if program and "=" not in program and "$" not in program and shutil.which(program) is None:
            yield Problem(("models", name, "command"), f"there is no program {program!r} on the path of this shell")


def _names(config: Config, known: Known) -> Iterator[Problem]:
    models = _declared(config.models) | known.models | known.aliases
    tasks = frozenset(config.tasks) | known.tasks
    for path, kind, name, then in (*_fallbacks(config), *_orders(config)):
        yield from _unknown(path, kind, name, models if kind == "model" else tasks, then)
    used = {model.source().provider for model in config.models.values()} | known.providers
    valid = {Scope.TASK: tasks, Scope.PROVIDER: frozenset(used), Scope.KEY: known.keys}
    for name, budget in config.budgets.items():
        if budget.subject != EACH and (budget.scope is not Scope.KEY or known.recorded):
            path = ("budgets", name, "subject")
            then = "nothing is counted until there is"
            yield from _unknown(path, budget.scope.value, budget.subject, valid[budget.scope], then)


Named = tuple[tuple[str, ...], str, str, str]
"""Where a name stands, what it is of, the name, and what comes of it when there is none."""


def _fallbacks(config: Config) -> Iterator[Named]:
    for asked, others in config.fallbacks.items():
        path = ("fallbacks", asked)
        if asked.startswith(TASK):
            yield path, "task", asked.removeprefix(TASK), "it counts once requests name it"
        elif asked != AUTO:
            yield path, "model", asked, "nothing falls back for it"
        for other in others:
            yield path, "model", other, "it is passed over"


def _orders(config: Config) -> Iterator[Named]:
    for name, task in config.tasks.items():
        if task.binding is not None:
            yield ("tasks", name, "binding"), "model", task.binding, "the task stays unbound"
        if task.follow is not None:
            yield ("tasks", name, "follow"), "model", task.follow, "there is nothing to follow"
    for name, rule in config.rules.items():
        yield ("rules", name, "task"), "task", rule.task, "the rule never fires"
        if rule.to is not None:
            yield ("rules", name, "to"), "model", rule.to, "the rule cannot move anything there"


def _declared(entries: Mapping[str, ModelEntry]) -> frozenset[str]:
    """Names by which declared models can be meant; ``NAME@`` for one that gets its version from its artifact."""
    found: set[str] = set()
    for key, entry in entries.items():
        base, _, version = key.partition("@")
        version = version or entry.version or ""
        found |= {base, key, f"{base}@{version}"}
    return frozenset(found)


def _unknown(path: tuple[str, ...], kind: str, name: str, valid: Collection[str], then: str) -> Iterator[Problem]:
    base, at, _ = name.lstrip("@").partition("@")
    if name in valid or name.lstrip("@") in valid or (kind == "model" and at and f"{base}@" in valid):
        return
    close = difflib.get_close_matches(name, sorted({one.removesuffix("@") for one in valid}), n=1, cutoff=0.6)
    meant = f"did you mean {close[0]!r}?" if close else then
    yield Problem(path, f"there is no {kind} {name!r}; {meant}")

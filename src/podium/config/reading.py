"""Reads ``podium.toml`` and the environment into a ``Config``, or says exactly what is wrong and where.

It creates the home folder when asked and otherwise changes nothing.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from podium.config.autoswap import TaskAutoSwap
from podium.config.changes import FIXED
from podium.config.judging import judging_problems
from podium.config.limits import limit_problems
from podium.config.pool import Pool
from podium.config.positions import line_of
from podium.config.schema import Problem, bare, decode, hints, nearest, scalar
from podium.config.values import SOURCES, Config, ModelEntry, Server, Settings
from podium.config.webhooks import webhook_problems
from podium.errors import ConfigError, InvalidRequest
from podium.home import default_home

FILE_NAME = "podium.toml"
PREFIX = "PODIUM_"
_VARIABLE = "environment "
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")


def prepare_home(home: Path) -> Path:
    """Create the home for this user only (0700). Raises ``ConfigError`` when it cannot be used."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot create PODIUM_HOME {home}: {error.strerror}; set PODIUM_HOME to a writable folder"
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise ConfigError(f"PODIUM_HOME {home} is not writable; set PODIUM_HOME to a folder you may write")
    return home


def load(
    file: Path | str | None = None,
    *,
    home: Path | str | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Config:
    """The configuration in force.

    ``file`` is ``--config``; without it ``PODIUM_CONFIG``, else ``podium.toml`` in the home, which may be
    absent. ``overrides`` are dotted keys of the command line (``{"server.port": 0}``) and win over the
    environment, which wins over the file. Raises ``ConfigError`` that lists every problem.
    """
    environ = os.environ if environ is None else environ
    where = Path(home).expanduser().absolute() if home is not None else default_home(environ)
    path, text = _read(file, where, environ)
    name = str(path) if path else FILE_NAME
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        wrong = _syntax(name, str(error))
        raise ConfigError(wrong, details={"problems": [wrong]}) from error

    origins: dict[tuple[str, ...], str] = {}
    problems = _apply_environment(table, environ, origins)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _put(table, tuple(dotted.split(".")), value)
            origins[tuple(dotted.split("."))] = "command line"
    settings = decode(Settings, table, (), problems)
    readable = settings if settings is not None else decode(Settings, _readable(table, problems), (), [])
    if readable is not None:
        problems += _check(readable)
    if problems or settings is None:
        said = [_located(problem, name, text, origins) for problem in problems]
        raise ConfigError("\n".join(said), details={"problems": said})
    sections = {entry.name: getattr(settings, entry.name) for entry in dataclasses.fields(settings)}
    if path is not None:
        sections["models"] = {key: _anchored(entry, path.parent) for key, entry in settings.models.items()}
    return Config(
        home=where, file=path, text=text, environment=_won(origins), overrides=dict(overrides or {}), **sections
    )


def _readable(table: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    """``table`` without the sections that hold a problem, or without the entry where a section has names in it."""
    rest = dict(table)
    for path in (problem.path for problem in problems if problem.path):
        section = rest.get(path[0])
        if len(path) == 1 or path[0] in FIXED or not isinstance(section, dict):
            rest.pop(path[0], None)
        else:
            rest[path[0]] = {name: entry for name, entry in section.items() if name != path[1]}
    return rest


def _won(origins: Mapping[tuple[str, ...], str]) -> tuple[str, ...]:
    """Names of what won over the file: variables, and keys that the command line gave."""
    named = {
        origin.removeprefix(_VARIABLE) if origin.startswith(_VARIABLE) else ".".join(path)
        for path, origin in origins.items()
    }
    return tuple(sorted(named))


def reread(config: Config) -> Config:
    """The same files, environment and command line, as they are now. Raises ``ConfigError``."""
    return load(config.file, home=config.home, overrides=config.overrides)


def _read(file: Path | str | None, home: Path, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """The file that applies and its text; ``(None, "")`` when only defaults apply."""
    asked = file if file is not None else environ.get("PODIUM_CONFIG") or None
    path = configured_file(asked, home, environ)
    try:
        return path, path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if asked is None:
            return None, ""
        raise ConfigError(f"{path}: no such file; create it or leave --config and PODIUM_CONFIG out") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def configured_file(
    file: Path | str | None = None, home: Path | None = None, environ: Mapping[str, str] | None = None
) -> Path:
    """Where the file is, whether it is there or not: ``file``, else ``PODIUM_CONFIG``, else in the home."""
    environ = os.environ if environ is None else environ
    asked = file if file is not None else environ.get("PODIUM_CONFIG") or None
    return Path(asked).expanduser().absolute() if asked is not None else (home or default_home(environ)) / FILE_NAME


def _apply_environment(
    table: dict[str, Any], environ: Mapping[str, str], origins: dict[tuple[str, ...], str]
) -> list[Problem]:
    """Fold ``PODIUM_SECTION__KEY`` variables into ``table``; returns the ones that fit nowhere."""
    problems = []
    sections = hints(Settings)
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or "__" not in variable:
            continue
        section, _, key = variable.removeprefix(PREFIX).lower().partition("__")
        path = (section, key)
        origins[path] = f"{_VARIABLE}{variable}"
        if section not in FIXED:
            problems.append(Problem(path, f"no such section {section!r}; {nearest(section, list(FIXED))}"))
            continue
        known = hints(bare(sections[section]))
        if key not in known:
            problems.append(Problem(path, f"unknown key {key!r}; {nearest(key, list(known))}"))
            continue
        _put(table, path, scalar(environ[variable], known[key]))
    return problems


def _put(table: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Set one key in nested tables, unless the way there is no table (which ``decode`` then reports)."""
    node: Any = table
    for part in path[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            return
    node[path[-1]] = value


def _syntax(name: str, error: str) -> str:
    """``file:line: not valid TOML: …``."""
    at = re.search(r" \(at line (\d+), column (\d+)\)$", error)
    if at is None:
        return f"{name}: not valid TOML: {error}"
    return f"{name}:{at[1]}: not valid TOML: {error[: at.start()]} (column {at[2]})"


def _located(problem: Problem, name: str, text: str, origins: Mapping[tuple[str, ...], str]) -> str:
    """``file:line: section.key: message``."""
    origin = origins.get(problem.path)
    if origin is None:
        line = line_of(text, problem.path)
        origin = f"{name}:{line}" if line else name
    dotted = ".".join(problem.path)
    return f"{origin}: {dotted}: {problem.message}" if dotted else f"{origin}: {problem.message}"


def _check(settings: Settings) -> list[Problem]:
    """Rules that the type of one key cannot express."""
    problems = []
    if settings.server.auth == "off" and not is_loopback(settings.server.host):
        problems.append(
            Problem(
                ("server", "host"),
                f"{settings.server.host!r} is not a loopback address and auth is off: everyone on the network could use "
                "and control the models; leave auth at auto and make keys, or use 127.0.0.1",
            )
        )
    problems += _check_tls(settings.server)
    problems += _check_pool(settings.pool)
    for name, webhook in settings.webhooks.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            problems.append(Problem(("webhooks", name), "a webhook's name has letters, digits and . _ - only"))
        problems += [Problem(("webhooks", name, key), said) for key, said in webhook_problems(webhook)]
    for name, weights in settings.selection.weights.items():
        values = [getattr(weights, entry.name) for entry in dataclasses.fields(weights)]
        if min(values) < 0 or abs(sum(values) - 1) > 1e-6:
            problems.append(
                Problem(
                    ("selection", "weights", name), f"weights must be >= 0 and sum to 1, these sum to {sum(values):g}"
                )
            )
    for name, task in settings.tasks.items():
        if not _NAME.match(name):
            problems.append(Problem(("tasks", name), "a task name has letters, digits and . _ : / - only"))
        if task.binding is not None and "@" not in task.binding:
            problems.append(Problem(("tasks", name, "binding"), f"{task.binding!r} is not of the form name@version"))
        problems += [Problem(("tasks", name, "objectives", key), words) for key, words in task.objectives.problems()]
    for name, model in settings.models.items():
        problems += _check_model(name, model)
    problems += _check_autoswap(settings)
    problems += _check_windows(settings)
    problems += _check_budgets(settings)
    problems += [Problem(("limits", *path), words) for path, words in limit_problems(settings.limits)]
    problems += _check_judging(settings)
    return problems


def _check_tls(server: Server) -> list[Problem]:
    found = []
    if (server.tls_certificate is None) != (server.tls_key is None):
        given = "tls_certificate" if server.tls_key is None else "tls_key"
        found.append(Problem(("server", given), "tls_certificate and tls_key belong together; give both"))
    if server.tls_client_ca is not None and server.tls_certificate is None:
        found.append(Problem(("server", "tls_client_ca"), "needs tls_certificate and tls_key"))
    return found


def _check_judging(settings: Settings) -> list[Problem]:
    found = [Problem(("judging", key), words) for key, words in settings.judging.problems()]
    for name, task in settings.tasks.items():
        own = task.judging
        path = ("tasks", name, "judging")
        found += [Problem((*path, key), words) for key, words in judging_problems(own.criteria, own.judge)]
    return found


def _check_windows(settings: Settings) -> list[Problem]:
    found = []
    for name, entry in settings.windows.items():
        try:
            entry.window(name)
        except InvalidRequest as error:
            found.append(Problem(("windows", name, error.param or "cron"), error.message))
    return found


def _check_budgets(settings: Settings) -> list[Problem]:
    found = []
    for name, entry in settings.budgets.items():
        try:
            entry.budget(name)
        except InvalidRequest as error:
            path = ("budgets", name) if error.param == "name" else ("budgets", name, error.param or "limit")
            found.append(Problem(path, error.message))
    return found


def _check_autoswap(settings: Settings) -> list[Problem]:
    found = [Problem(("autoswap", key), words) for key, words in settings.autoswap.problems()]
    for name, task in settings.tasks.items():
        if task.autoswap != TaskAutoSwap():
            path = ("tasks", name, "autoswap")
            found += [Problem((*path, key), words) for key, words in settings.autoswap.problems(task.autoswap)]
        if task.follow is not None and not _NAME.match(task.follow):
            found.append(Problem(("tasks", name, "follow"), f"{task.follow!r} is no model's name (without a version)"))
    for name, rule in settings.rules.items():
        found += [Problem(("rules", name, *filter(None, (key,))), words) for key, words in rule.problems(name)]
    return found


def _check_model(name: str, model: ModelEntry) -> list[Problem]:
    path = ("models", name)
    base, at, version = name.partition("@")
    if not _NAME.match(base) or (at and not version):
        return [Problem(path, "a model is named NAME or NAME@VERSION, of letters, digits and . _ : / -")]
    if at and model.version is not None and model.version != version:
        return [Problem((*path, "version"), f"{model.version!r} contradicts the {version!r} in the table's name")]
    given = [key for key in SOURCES if getattr(model, key) is not None]
    if len(given) != 1:
        return [Problem(path, f"give exactly one of {', '.join(SOURCES)}; found {', '.join(given) or 'none'}")]
    if (model.provider is None) != (model.location is None):
        return [Problem(path, "'provider' and 'location' belong together")]
    try:
        model.directive()
    except ValueError as error:
        return [Problem((*path, "keep_alive"), str(error))]
    return []


def _check_pool(pool: Pool) -> list[Problem]:
    problems = []
    if pool.scale_down_at >= pool.scale_up_at:
        problems.append(Problem(("pool", "scale_down_at"), f"must be below scale_up_at ({pool.scale_up_at:g})"))
    if pool.memory_budget_mb is not None and pool.helper_reserve_mb >= pool.memory_budget_mb:
        problems.append(
            Problem(
                ("pool", "helper_reserve_mb"),
                f"leaves nothing of the budget of {pool.memory_budget_mb:g} MiB to models that serve",
            )
        )
    problems += [
        Problem(("pool", "gpu_budget_mb", name), "a GPU is named cuda:0, cuda:1, …")
        for name in pool.gpu_budget_mb
        if not re.fullmatch(r"cuda:\d+", name)
    ]
    return problems


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _anchored(entry: ModelEntry, folder: Path) -> ModelEntry:
    """File paths made absolute: relative ones are meant from the configuration file."""
    changed: dict[str, Any] = {
        key: str(folder / Path(value).expanduser())
        for key in ("gguf", "artifact", "scripted")
        if (value := getattr(entry, key)) is not None
    }
    return dataclasses.replace(entry, **changed)

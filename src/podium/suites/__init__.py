"""Suites on disk: the shipped ones beside this file, the user's in ``HOME/suites``. Reads files, checks nothing twice.

A suite is two files with one stem: ``NAME.toml`` (title, task, licence, limits, defaults) and ``NAME.jsonl`` (one item
a line). ``core/suites`` says what may be in them.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from podium.core.naming import near
from podium.core.suites import MOST_ITEMS, read_suite
from podium.domain.benchmark import Suite
from podium.errors import InvalidRequest, NotFound

SHIPPED = Path(__file__).parent
MOST_BYTES = 32 * 1024 * 1024


class SuiteLibrary:
    """Shipped suites and those of ``folder`` (which need not exist). A shipped name cannot be taken by another."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._shipped: dict[str, Suite] = {}

    def names(self) -> tuple[str, ...]:
        """Every suite there is, sorted."""
        own = {path.stem for path in self._folder.glob("*.toml")} if self._folder and self._folder.is_dir() else set()
        return tuple(sorted({path.stem for path in SHIPPED.glob("*.toml")} | own))

    def get(self, name: str) -> Suite:
        """Raises ``NotFound``, ``InvalidRequest`` (its files are wrong)."""
        if name in self._shipped:
            return self._shipped[name]
        if (SHIPPED / f"{name}.toml") in SHIPPED.glob("*.toml"):
            head, items = read_files(SHIPPED / f"{name}.toml")
            suite = self._shipped[name] = read_suite(name, head, items, schema_problem)
            return suite
        if self._folder is None or name not in self.names():
            close = near(name, self.names())
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(self.names())}"
            raise NotFound(f"there is no suite {name[:64]!r}{hint}")
        head, items = read_files(self._folder / f"{name}.toml")
        return read_suite(name, head, items, schema_problem)

    def inline(self, name: str, head: Mapping[str, object], items: Sequence[Mapping[str, object]]) -> Suite:
        """A suite whose content came with the request. Raises ``InvalidRequest`` when its name is taken."""
        suite = read_suite(name, head, items, schema_problem)
        if name in self.names() and self.get(name).digest != suite.digest:
            raise InvalidRequest(
                f"a suite {name!r} with other items exists already; give this one another name", param="suite"
            )
        return suite


def read_files(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Head and items of ``NAME.toml`` or ``NAME.jsonl`` as they stand. Raises ``InvalidRequest``, ``NotFound``."""
    head_file, items_file = path.with_suffix(".toml"), path.with_suffix(".jsonl")
    for file in (head_file, items_file):
        if not file.is_file():
            raise NotFound(f"there is no {file}; a suite is NAME.toml and NAME.jsonl side by side")
        if file.stat().st_size > MOST_BYTES:
            raise InvalidRequest(f"{file} is larger than {MOST_BYTES // 1048576} MB", param="suite")
    try:
        head = tomllib.loads(head_file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{head_file} is not TOML: {error}", param="suite") from None
    items = []
    with items_file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                items.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InvalidRequest(f"{items_file}, line {number} is not JSON: {error}", param="suite") from None
            if len(items) > MOST_ITEMS:
                raise InvalidRequest(f"{items_file} has more than {MOST_ITEMS} items", param="suite")
    return head, items


def schema_problem(schema: Mapping[str, object]) -> str | None:
    """What is wrong with a JSON schema (draft 2020-12 unless it names another), in one line."""
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - a third of a second, only suites with schemas need it
    from jsonschema.validators import validator_for  # noqa: PLC0415 - same

    if problem := _refused(schema):
        return problem
    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        return f"{error.json_path}: {error.message}"[:300]
    except RecursionError:
        return "it is nested too deeply"
    return None


def _refused(value: object) -> str | None:
    """What graders do not do: fetch a schema, or run patterns over every key of an answer."""
    if isinstance(value, Mapping):
        target = value.get("$ref", value.get("$dynamicRef"))
        if isinstance(target, str) and not target.startswith("#"):
            return f"it refers to {target[:100]!r}; only references inside the schema (#…) are followed"
        if "patternProperties" in value:
            return "patternProperties is not supported; name the properties"
        parts = list(value.values())
    else:
        parts = value if isinstance(value, list) else []
    return next((found for part in parts if (found := _refused(part))), None)

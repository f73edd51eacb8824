"""YAML with the line of everything in it, read without believing the file: no tags, no code, no bombs of aliases.

Needs the package ``pyyaml``; values are those of YAML's core types. Knows nothing of what the file means.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.errors import InvalidRequest

MOST_BYTES = 2 * 1024 * 1024
MOST_VALUES = 50_000
"""Values of a file, those that aliases repeat counted each time."""
DEEPEST = 50
MOST_BRACKETS = 200
_BRACKET = re.compile(r"[\[\]{}]")
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = "tag:yaml.org,2002:"
_KINDS = frozenset({"str", "int", "float", "bool", "null", "seq", "map", "merge", "timestamp", "value"})


@dataclass(frozen=True, slots=True)
class Value:
    """One value and the line it stands in, from 1; of an entry that of its key. ``data`` is a plain value, a list of ``Value``, or ``Table``."""

    data: Any
    line: int

    @property
    def kind(self) -> str:
        """What it is, for people."""
        names: dict[type, str] = {
            dict: "a mapping",
            list: "a list",
            str: "text",
            bool: "true or false",
            type(None): "nothing",
        }
        return names.get(type(self.data), "a number")


Table = dict[str, Value]


def read_yaml(path: Path, say: Callable[[str, int], None]) -> Value:
    """The document of a file. ``say`` hears of keys that stand there twice. Raises ``InvalidRequest`` that names the line."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise InvalidRequest(f"{path} is larger than {MOST_BYTES // 1024 // 1024} MiB; this is no configuration")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}: not UTF-8 (byte {error.start})") from None
    return parse_yaml(text, str(path), say)


def parse_yaml(text: str, name: str, say: Callable[[str, int], None]) -> Value:
    """As ``read_yaml``, of a text."""
    yaml = _library()
    _refuse_depths(text, name)
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return Value({}, 1)
            return _Reader(yaml, loader, name, say).read(node, 0)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        tab = "; YAML is indented by spaces, never by tabs" if "\\t" in str(error.problem) else ""
        at = f"{name}:{mark.line + 1}" if mark is not None else name
        raise InvalidRequest(f"{at}: {error.problem or error.context}{tab}") from None
    except yaml.YAMLError as error:
        raise InvalidRequest(f"{name}: not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise InvalidRequest(
            f"{name}: values are nested deeper than {DEEPEST} levels; this is no configuration"
        ) from None


class _Reader:
    def __init__(self, yaml: Any, loader: Any, name: str, say: Callable[[str, int], None]) -> None:
        self._yaml = yaml
        self._loader = loader
        self._name = name
        self._say = say
        self._count = 0

    def read(self, node: Any, depth: int) -> Value:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MOST_VALUES:
            raise InvalidRequest(
                f"{self._name}:{line}: more than {MOST_VALUES} values; aliases (*name) that repeat each other grow without end"
            )
        if depth > DEEPEST:
            raise InvalidRequest(f"{self._name}:{line}: values are nested deeper than {DEEPEST} levels")
        kind = node.tag.removeprefix(_PLAIN)
        if kind not in _KINDS:
            raise InvalidRequest(f"{self._name}:{line}: the tag {node.tag[:60]!r} is not read; write a plain value")
        if isinstance(node, self._yaml.MappingNode):
            return Value(self._table(node, depth), line)
        if isinstance(node, self._yaml.SequenceNode):
            return Value([self.read(each, depth + 1) for each in node.value], line)
        if kind == "timestamp":
            return Value(node.value, line)
        try:
            return Value(self._loader.construct_object(node), line)
        except ValueError as error:
            raise InvalidRequest(f"{self._name}:{line}: {error}") from None

    def _table(self, node: Any, depth: int) -> Table:
        table: Table = {}
        merged: Table = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                many = value_node.value if isinstance(value_node, self._yaml.SequenceNode) else [value_node]
                for one in reversed(many):
                    found = self.read(one, depth + 1)
                    if isinstance(found.data, dict):
                        merged |= found.data
                continue
            if not isinstance(key_node, self._yaml.ScalarNode):
                raise InvalidRequest(f"{self._name}:{line}: a key must be text")
            key = str(key_node.value)
            if key in table:
                self._say(f"{key!r} stands here a second time; the first one counts", line)
                continue
            table[key] = Value(self.read(value_node, depth + 1).data, line)
        return {**merged, **table}


def _refuse_depths(text: str, name: str) -> None:
    """Many open brackets take the library's scanner time that grows with their square."""
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        for each in _BRACKET.findall(line):
            depth = depth + 1 if each in "[{" else max(0, depth - 1)
            if depth > MOST_BRACKETS:
                raise InvalidRequest(
                    f"{name}:{number}: more than {MOST_BRACKETS} brackets are open; this is no configuration"
                )


def table_in(value: Value | None) -> Mapping[str, Value]:
    """Its entries; nothing for what is no mapping."""
    return value.data if value is not None and isinstance(value.data, dict) else {}


def _library() -> Any:
    try:
        return importlib.import_module("yaml")
    except ImportError:
        raise InvalidRequest("reading YAML needs the package pyyaml: pip install pyyaml") from None

"""Reading a suite: a head and items as plain data become a checked ``Suite``. Opens no files, imports no grader library.

Everything that can be wrong with a suite is said here, before a model is asked anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

from podium.core.grading import HARNESS
from podium.domain.benchmark import Grader, GraderKind, Item, Suite
from podium.errors import InvalidRequest

MOST_ITEMS = 10_000
MOST_PROMPT_CHARS = 100_000
MOST_PATTERN_CHARS = 1_000
MOST_TOKENS = 4_096
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HEAD = frozenset({"title", "task", "licence", "description", "system", "max_tokens", "template", "defaults"})
_ITEM = frozenset({"id", "prompt", "system", "max_tokens"})
_GRADER = frozenset(
    {"grader", "expected", "choices", "number", "tolerance", "pattern", "schema", "fields", "tests", "rubric"}
)
_NEEDS: Mapping[GraderKind, tuple[str, ...]] = {
    GraderKind.EXACT: ("expected",),
    GraderKind.CONTAINS: ("expected",),
    GraderKind.CHOICE: ("expected", "choices"),
    GraderKind.NUMERIC: ("number",),
    GraderKind.REGEX: ("pattern",),
    GraderKind.JSON_SCHEMA: ("schema",),
    GraderKind.PYTHON: ("tests",),
    GraderKind.JUDGE: ("rubric",),
}
_ALSO: Mapping[GraderKind, tuple[str, ...]] = {
    GraderKind.NUMERIC: ("tolerance",),
    GraderKind.JSON_SCHEMA: ("fields",),
}
SchemaCheck = Callable[[Mapping[str, object]], str | None]
"""Says what is wrong with a JSON schema, ``None`` when nothing is."""


def read_suite(
    name: str, head: Mapping[str, object], items: Sequence[Mapping[str, object]], check_schema: SchemaCheck
) -> Suite:
    """The suite, checked whole. Raises ``InvalidRequest`` that names suite, item and field."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:64]!r} is not the name of a suite: use up to 64 lower-case letters, digits and . _ -",
            param="suite",
        )
    where = f"suite {name}"
    _known(head, _HEAD, where)
    if not items:
        raise InvalidRequest(f"{where} has no items; give it at least one line of JSON", param="suite")
    if len(items) > MOST_ITEMS:
        raise InvalidRequest(f"{where} has {len(items)} items; at most {MOST_ITEMS} are allowed", param="suite")
    defaults = head.get("defaults", {})
    if not isinstance(defaults, Mapping):
        raise InvalidRequest(f"{where}: defaults must be a table", param="suite")
    _known(defaults, _GRADER, f"{where}, defaults")
    template = _text(head, "template", where, default="{prompt}")
    if "{prompt}" not in template:
        raise InvalidRequest(f"{where}: template must contain {{prompt}}", param="suite")
    made: dict[str, Item] = {}
    for number, raw in enumerate(items, 1):
        item = _item(raw, number, where, head, defaults, template, check_schema)
        if item.id in made:
            raise InvalidRequest(f"{where}, item {number}: the id {item.id!r} is taken already", param="suite")
        made[item.id] = item
    return Suite(
        name=name,
        title=_text(head, "title", where),
        task=_text(head, "task", where),
        licence=_text(head, "licence", where),
        description=_text(head, "description", where, default=""),
        digest=digest_of(_text(head, "task", where), tuple(made.values())),
        items=tuple(made.values()),
    )


def digest_of(task: str, items: Sequence[Item]) -> str:
    """BLAKE2b-128 in hex over everything that can change a score: task, items, graders, the grading rules."""
    rows = [
        [
            item.id, item.prompt, item.system, item.max_tokens,
            [item.grader.kind.value, item.grader.expected, item.grader.choices, item.grader.number,
             item.grader.tolerance, item.grader.pattern, item.grader.schema, dict(item.grader.fields),
             item.grader.tests, item.grader.rubric],
        ]
        for item in items
    ]  # fmt: skip
    text = json.dumps([HARNESS, task, rows], sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=dict)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _item(
    raw: Mapping[str, object],
    number: int,
    where: str,
    head: Mapping[str, object],
    defaults: Mapping[str, object],
    template: str,
    check_schema: SchemaCheck,
) -> Item:
    here = f"{where}, item {number}"
    if not isinstance(raw, Mapping):
        raise InvalidRequest(f"{here} is not a JSON object", param="suite")
    _known(raw, _ITEM | _GRADER, here)
    key = _text(raw, "id", here)
    here = f"{where}, item {key[:64]}"
    if len(key) > 64:
        raise InvalidRequest(f"{here}: an id has at most 64 characters", param="suite")
    prompt = _text(raw, "prompt", here)
    if len(prompt) > MOST_PROMPT_CHARS:
        raise InvalidRequest(f"{here}: the prompt is longer than {MOST_PROMPT_CHARS} characters", param="suite")
    tokens = raw.get("max_tokens", head.get("max_tokens", 64))
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= MOST_TOKENS:
        raise InvalidRequest(f"{here}: max_tokens must be a whole number from 1 to {MOST_TOKENS}", param="suite")
    system = raw.get("system", head.get("system"))
    if system is not None and not isinstance(system, str):
        raise InvalidRequest(f"{here}: system must be a text", param="suite")
    grader = read_grader({**_relevant(defaults, raw), **raw}, here, check_schema)
    return Item(
        id=key, prompt=template.replace("{prompt}", prompt), grader=grader, max_tokens=tokens, system=system or None
    )


def _relevant(defaults: Mapping[str, object], raw: Mapping[str, object]) -> Mapping[str, object]:
    """Defaults, of another grader than the item's own only the name counts."""
    own = raw.get("grader")
    return defaults if own is None or own == defaults.get("grader") else {}


def read_grader(raw: Mapping[str, object], here: str, check_schema: SchemaCheck) -> Grader:
    """The grader of one item. Raises ``InvalidRequest``."""
    name = raw.get("grader")
    try:
        kind = GraderKind(str(name))
    except ValueError:
        known = ", ".join(GraderKind)
        raise InvalidRequest(
            f"{here}: there is no grader {str(name)[:40]!r}; use one of {known}", param="suite"
        ) from None
    for field in _NEEDS[kind]:
        if field not in raw:
            raise InvalidRequest(f"{here}: the grader {kind.value} needs the field {field!r}", param="suite")
    allowed = {"grader", *_NEEDS[kind], *_ALSO.get(kind, ())}
    if surplus := sorted((_GRADER & raw.keys()) - allowed):
        raise InvalidRequest(f"{here}: the grader {kind.value} has no field {surplus[0]!r}", param="suite")
    grader = Grader(
        kind=kind,
        expected=_texts(raw, "expected", here),
        choices=_texts(raw, "choices", here),
        number=_number(raw, "number", here),
        tolerance=_number(raw, "tolerance", here) or 0.0,
        pattern=_pattern(raw, here),
        schema=_schema(raw, here, check_schema),
        fields=_object(raw, "fields", here) or {},
        tests=_tests(raw, here),
        rubric=_text(raw, "rubric", here, default="") or None,
    )
    if kind is GraderKind.CHOICE:
        if len(set(grader.choices)) < 2 or len(grader.expected) != 1 or grader.expected[0] not in grader.choices:
            raise InvalidRequest(f"{here}: expected must be one of at least two different choices", param="suite")
    elif kind in (GraderKind.EXACT, GraderKind.CONTAINS) and not grader.expected:
        raise InvalidRequest(f"{here}: expected must not be empty", param="suite")
    if grader.tolerance < 0:
        raise InvalidRequest(f"{here}: tolerance must not be negative", param="suite")
    return grader


def _known(raw: Mapping[str, object], known: frozenset[str], where: str) -> None:
    if surplus := sorted(str(name) for name in raw.keys() - known):
        raise InvalidRequest(
            f"{where}: unknown field {surplus[0][:40]!r}; known are {', '.join(sorted(known))}", param="suite"
        )


def _text(raw: Mapping[str, object], field: str, where: str, default: str | None = None) -> str:
    value = raw.get(field, default)
    if value is None:
        raise InvalidRequest(f"{where}: the field {field!r} is missing", param="suite")
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise InvalidRequest(f"{where}: {field} must be a text that is not empty", param="suite")
    return value


def _texts(raw: Mapping[str, object], field: str, here: str) -> tuple[str, ...]:
    value = raw.get(field, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) and one.strip() for one in values):
        raise InvalidRequest(f"{here}: {field} must be a text or a list of texts, none of them empty", param="suite")
    return tuple(values)


def _number(raw: Mapping[str, object], field: str, here: str) -> float | None:
    if field not in raw:
        return None
    value = raw[field]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRequest(f"{here}: {field} must be a finite number", param="suite")
    return float(value)


def _pattern(raw: Mapping[str, object], here: str) -> str | None:
    if "pattern" not in raw:
        return None
    pattern = _text(raw, "pattern", here)
    if len(pattern) > MOST_PATTERN_CHARS:
        raise InvalidRequest(f"{here}: the pattern is longer than {MOST_PATTERN_CHARS} characters", param="suite")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidRequest(f"{here}: the pattern does not compile: {error}", param="suite") from None
    return pattern


def _object(raw: Mapping[str, object], field: str, here: str) -> Mapping[str, object] | None:
    value = raw.get(field)
    if value is not None and not isinstance(value, Mapping):
        raise InvalidRequest(f"{here}: {field} must be an object", param="suite")
    return value


def _schema(raw: Mapping[str, object], here: str, check_schema: SchemaCheck) -> Mapping[str, object] | None:
    schema = _object(raw, "schema", here)
    if schema is not None and (problem := check_schema(schema)) is not None:
        raise InvalidRequest(f"{here}: the schema is invalid: {problem}", param="suite")
    return schema


def _tests(raw: Mapping[str, object], here: str) -> str | None:
    if "tests" not in raw:
        return None
    tests = _text(raw, "tests", here)
    try:
        compile(tests, "<tests>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidRequest(f"{here}: the tests do not compile: {error}", param="suite") from None
    return tests

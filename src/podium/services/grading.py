"""Grades one answer by the grader of its item: pure rules in ``core/grading``, code and patterns in the sandbox.

Blocking (a child process may run): call it in a thread. Never raises for what a model said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, assert_never

from podium.core import grading
from podium.domain.benchmark import Grade, Grader, GraderKind
from podium.ports import Sandbox


def grade(grader: Grader, answer: str, sandbox: Sandbox) -> Grade:
    """The grade of an answer; ``score`` is ``None`` for a judge's item."""
    match grader.kind:
        case GraderKind.EXACT:
            return grading.exact(answer, grader.expected)
        case GraderKind.CONTAINS:
            return grading.contains(answer, grader.expected)
        case GraderKind.CHOICE:
            return grading.choice(answer, grader.expected[0], grader.choices)
        case GraderKind.NUMERIC:
            return grading.numeric(answer, grader.number or 0.0, grader.tolerance)
        case GraderKind.REGEX:
            return _regex(answer, grader.pattern or "", sandbox)
        case GraderKind.JSON_SCHEMA:
            return _json(answer, grader, sandbox)
        case GraderKind.PYTHON:
            return _python(answer, grader.tests or "", sandbox)
        case GraderKind.JUDGE:
            return Grade(score=None, why="needs a judge")
        case _:
            assert_never(grader.kind)


def _regex(answer: str, pattern: str, sandbox: Sandbox) -> Grade:
    found = sandbox.search(pattern, grading.clip(answer).strip())
    if found is None:
        return Grade(score=0.0, why="the pattern took too long on this answer; simplify it")
    return Grade(score=1.0) if found else Grade(score=0.0, why="the pattern was not found")


def _python(answer: str, tests: str, sandbox: Sandbox) -> Grade:
    try:
        code = grading.python_code(answer)
    except ValueError as error:
        return Grade(score=0.0, why=str(error))
    return sandbox.run_tests(code, tests)


def _json(answer: str, grader: Grader, sandbox: Sandbox) -> Grade:
    try:
        value = grading.json_value(answer)
    except ValueError as error:
        return Grade(score=0.0, why=str(error))
    problem = _schema_problem(value, grader.schema or {}, sandbox)
    return Grade(score=0.0, why=problem) if problem else grading.fields(value, grader.fields)


def _schema_problem(value: object, schema: Mapping[str, object], sandbox: Sandbox) -> str | None:
    """Why the value does not satisfy the schema. Its ``pattern`` keywords are matched in the sandbox, too."""
    from jsonschema import validators  # noqa: PLC0415 - a third of a second, only suites with schemas need it
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 - same
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - same

    def pattern(_: Any, wanted: str, instance: object, __: object) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not sandbox.search(wanted, instance):
            yield ValidationError(f"{instance[:40]!r} does not match {wanted!r}")

    kind = validators.extend(validators.validator_for(schema), {"pattern": pattern})
    try:
        error = next(iter(kind(schema).iter_errors(value)), None)
    except RecursionError:
        return "the answer or the schema is nested too deeply"
    except Unresolvable as unresolved:
        return f"the schema refers to something it does not hold: {unresolved}"[:160]
    return f"{error.json_path}: {error.message}"[:160] if error is not None else None

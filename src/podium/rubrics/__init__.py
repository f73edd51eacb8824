"""Rubrics on disk: the shipped ones beside this file, the user's in ``HOME/rubrics``. One TOML file a criterion.

A file of the user's takes the place of a shipped one with the same name. Reads files and checks them; judges nothing.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from podium.core.naming import near
from podium.domain.judgment import CRITERIA, OVERALL, RULES, STACK, Rubric
from podium.errors import InvalidRequest, NotFound

SHIPPED = Path(__file__).parent
MOST_BYTES = 64 * 1024
LONGEST = 6_000
"""Characters of instructions: they are part of every prompt."""
LONGEST_PATTERN = 1_000
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_RESERVED = frozenset({OVERALL, RULES, STACK})
_FIELDS = ("instructions", "scale", "needs_context", "pass_mark", "pattern")
_Stamp = tuple[str, int, int]


class RubricLibrary:
    """Shipped rubrics and those of ``folder`` (which need not exist). Files are read again when they changed."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._read: dict[str, tuple[_Stamp, Rubric]] = {}

    def names(self) -> tuple[str, ...]:
        """Every criterion there is: the shipped ones in their order, then the user's by name."""
        own = {path.stem for path in self._own()}
        return (*CRITERIA, *sorted(own - set(CRITERIA)))

    def get(self, criterion: str) -> Rubric:
        """Raises ``NotFound``, ``InvalidRequest`` (its file is wrong)."""
        path = next((path for path in self._own() if path.stem == criterion), None)
        if path is None and criterion in CRITERIA:
            path = SHIPPED / f"{criterion}.toml"
        if path is None:
            close = near(criterion, self.names())
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(self.names())}"
            raise NotFound(f"there is no rubric {criterion[:64]!r}; {hint}")
        try:
            seen = path.stat()
        except OSError as error:
            raise InvalidRequest(f"cannot read {path}: {error.strerror}", param="criterion") from None
        stamp = (str(path), seen.st_mtime_ns, seen.st_size)
        known = self._read.get(criterion)
        if known is None or known[0] != stamp:
            known = self._read[criterion] = (stamp, read_rubric(path))
        return known[1]

    def _own(self) -> tuple[Path, ...]:
        return tuple(sorted(self._folder.glob("*.toml"))) if self._folder is not None and self._folder.is_dir() else ()


def read_rubric(path: Path) -> Rubric:
    """The rubric in ``CRITERION.toml``. Raises ``InvalidRequest`` that names the file and the field."""
    if not _NAME.fullmatch(path.stem) or path.stem in _RESERVED:
        raise _wrong(
            path, f"{path.stem[:64]!r} cannot name a criterion: use up to 40 of a-z 0-9 _ - beginning with a letter"
        )
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from None
    if len(raw) > MOST_BYTES:
        raise _wrong(path, f"is larger than {MOST_BYTES // 1024} kB")
    try:
        fields = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(path, f"is not TOML: {error}") from None
    return _rubric(path, fields)


def _rubric(path: Path, fields: Mapping[str, object]) -> Rubric:
    for name in fields:
        if name not in _FIELDS:
            close = near(name, _FIELDS)
            raise _wrong(path, f"has no field {name[:64]!r}; " + (f"did you mean {close[0]}?" if close else _known()))
    pattern = _pattern(path, fields.get("pattern"))
    instructions = fields.get("instructions", None if pattern is None else "")
    if not isinstance(instructions, str) or (pattern is None and not instructions.strip()):
        raise _wrong(path, "needs instructions: what to judge, and what each mark means; or a pattern")
    if len(instructions) > LONGEST:
        raise _wrong(path, f"has {len(instructions):,} characters of instructions; {LONGEST:,} are the most")
    low, high = _scale(path, fields.get("scale", [1, 5]))
    needs_context, pass_mark = fields.get("needs_context", False), fields.get("pass_mark", 0.7)
    if not isinstance(needs_context, bool):
        raise _wrong(path, "needs_context is true or false")
    if isinstance(pass_mark, bool) or not isinstance(pass_mark, int | float) or not 0 <= pass_mark <= 1:
        raise _wrong(path, "pass_mark is a number from 0 to 1")
    content = msgspec.json.encode([path.stem, instructions.strip(), low, high, needs_context])  # what models are asked
    return Rubric(
        criterion=path.stem,
        instructions=instructions.strip(),
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        low=low,
        high=high,
        needs_context=needs_context,
        pattern=pattern,
        pass_mark=float(pass_mark),
    )


def _pattern(path: Path, pattern: object) -> str | None:
    if pattern is None:
        return None
    if not isinstance(pattern, str) or not pattern or len(pattern) > LONGEST_PATTERN:
        raise _wrong(path, f"pattern is a regular expression of 1 to {LONGEST_PATTERN:,} characters")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise _wrong(path, f"pattern is no regular expression of Python: {error}") from None
    return pattern


def _scale(path: Path, scale: object) -> tuple[int, int]:
    """Within 0 to 9, so that each mark is one token."""
    match scale:
        case [int(low), int(high)] if 0 <= low < high <= 9 and not {type(low), type(high)} & {bool}:
            return low, high
        case _:
            raise _wrong(path, "scale is [LOWEST, BEST], two whole numbers from 0 to 9, the lower first")


def _known() -> str:
    return f"there are {', '.join(_FIELDS)}"


def _wrong(path: Path, problem: str) -> InvalidRequest:
    return InvalidRequest(f"the rubric {path}: {problem}", param="criterion")

"""Reads files of human labels: JSON lines, plain or gzipped, one output or one pair a line.

Columns: ``id, criterion, context, output`` (or ``output_1, output_2``) and ``human``; ``human_scale, dataset, task`` and
``knowledge`` (what the answer may rest on besides) may be absent. Owns the checks; what a label means is ``core.human_scale``.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from podium.core.human_scale import read_scale
from podium.datasets.table import shown
from podium.domain.judgment import Judged
from podium.domain.labels import Labelled, Scale
from podium.errors import InvalidRequest

LONGEST_LINE = 16 * 1024 * 1024
MOST_ROWS = 200_000
SUMMARIES = frozenset({"summarization", "summarisation", "summary"})
"""Tasks whose context is a text to be summarised; that of any other task is what was asked."""
SUMMARISE = "Summarize the text."
_GZIP = b"\x1f\x8b"
_HALF = re.compile("[\ud800-\udfff]")
_NEEDED = ("id", "criterion", "context", "human")


def read_labels(path: Path, criteria: Iterable[str] = ()) -> tuple[Labelled, ...]:
    """All rows, or those of ``criteria``. Raises ``InvalidRequest`` that names file, line and column."""
    wanted = frozenset(criteria)
    rows: list[Labelled] = []
    seen: dict[str, int] = {}
    found: set[str] = set()
    for line, fields in objects_of(path):
        row = _row(path, line, fields)
        first = seen.setdefault(row.id, line)
        if first != line:
            _wrong(path, line, "id", f"{shown(row.id)} is on line {first} already")
        found.add(row.criterion)
        if not wanted or row.criterion in wanted:
            rows.append(row)
        if len(seen) > MOST_ROWS:
            raise InvalidRequest(f"{path} has more than {MOST_ROWS} rows; calibrate on a part of them")
    if not found:
        raise InvalidRequest(f"{path} has no rows: it needs one labelled output a line")
    missing = sorted(wanted - found)
    if missing:
        raise InvalidRequest(f"{path} has no rows for {', '.join(missing)}; it has {', '.join(sorted(found))}")
    return tuple(rows)


def _row(path: Path, line: int, fields: Mapping[str, Any]) -> Labelled:
    if "verdicts" in fields and "output" not in fields:
        raise InvalidRequest(
            f"{path}, line {line}: column criterion is missing; this is a file of stored verdicts, which "
            "benchmarks/panels.py reads",
            param="criterion",
        )
    for name in _NEEDED:
        if name not in fields:
            _wrong(path, line, name, f"is missing; each line needs {', '.join(_NEEDED)} and output")
    name, criterion = _identifier(path, line, fields["id"]), _text(path, line, "criterion", fields["criterion"]).strip()
    if not criterion:
        _wrong(path, line, "criterion", "is empty")
    outputs = _outputs(path, line, fields)
    scale = _scale(path, line, fields.get("human_scale"))
    if scale.pair is not (len(outputs) == 2):
        what = "one output, so its label cannot be 1 or 2" if scale.pair else "two outputs, so its label must be 1 or 2"
        if scale.pair or fields.get("human_scale") is not None:
            _wrong(path, line, "human_scale", f"{shown(scale.text)}: the line has {what}")
        scale = Scale(low=1.0, high=2.0, pair=True)
    human = _human(path, line, fields["human"], scale)
    context = None if fields["context"] is None else _text(path, line, "context", fields["context"])
    task = _text(path, line, "task", fields.get("task") or "")
    ground = fields.get("knowledge")
    ground = None if ground is None else _text(path, line, "knowledge", ground) or None
    items = tuple(
        _item(name if len(outputs) == 1 else f"{name}/{number}", task, context or "", output, ground)
        for number, output in enumerate(outputs, start=1)
    )
    dataset = _text(path, line, "dataset", fields.get("dataset") or "")
    return Labelled(
        line=line, id=name, dataset=dataset, criterion=criterion, context=context or "", items=items, human=human,
        scale=scale,
    )  # fmt: skip


def _item(name: str, task: str, context: str, output: str, ground: str | None) -> Judged:
    """What a judge is shown. A context that is the output itself (a text to be shortened) asks nothing."""
    if task.strip().lower() in SUMMARIES:
        return Judged(id=name, task=task, prompt=SUMMARISE, output=output, context=context or None)
    prompt = "" if context.strip() == output.strip() else context
    return Judged(id=name, task=task, prompt=prompt, output=output, context=ground)


def _outputs(path: Path, line: int, fields: Mapping[str, Any]) -> tuple[str, ...]:
    if "output" in fields:
        return (_text(path, line, "output", fields["output"]),)
    pair = ("output_1", "output_2")
    for name in pair:
        if name not in fields:
            missing = "output" if not any(other in fields for other in pair) else name
            _wrong(path, line, missing, "is missing; a line has output, or output_1 and output_2")
    return tuple(_text(path, line, name, fields[name]) for name in pair)


def _scale(path: Path, line: int, text: object) -> Scale:
    if text is None:
        return Scale()
    try:
        return read_scale(_text(path, line, "human_scale", text))
    except ValueError as error:
        _wrong(path, line, "human_scale", str(error))


def _human(path: Path, line: int, value: object, scale: Scale) -> float:
    if isinstance(value, bool):
        value = float(value)
    if not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        _wrong(path, line, "human", f"{shown(value)} is not a number")
    if scale.pair and value not in (1, 2):
        _wrong(path, line, "human", f"{shown(value)} is neither 1 nor 2, the number of the better output")
    if not scale.low <= value <= scale.high and not (scale.capped and value > scale.high):
        said = "" if scale.text else "; say the scale in the column human_scale, such as '1..5'"
        _wrong(path, line, "human", f"{shown(value)} is outside of {scale.low:g} to {scale.high:g}{said}")
    return float(value)


def _identifier(path: Path, line: int, value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text:
        _wrong(path, line, "id", f"{shown(value)} is not a text")
    return text


def _text(path: Path, line: int, name: str, value: object) -> str:
    if not isinstance(value, str):
        _wrong(path, line, name, f"{shown(value)} is not a text")
    if _HALF.search(value):
        _wrong(path, line, name, "holds half of a surrogate pair, which is no character")
    return value


def _wrong(path: Path, line: int, column: str, what: str) -> NoReturn:
    raise InvalidRequest(f"{path}, line {line}, column {column}: {what}", param=column)


def objects_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and rows of a file of JSON lines, plain or gzipped. Raises ``InvalidRequest`` that names the line."""
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == _GZIP
            plain.seek(0)
            yield from _lines(path, cast("BinaryIO", gzip.GzipFile(fileobj=plain)) if packed else plain)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidRequest(f"{path} is a damaged gzip file: {error}; was it copied completely?") from error
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror or error}") from error


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    while content := file.readline(LONGEST_LINE + 2):
        number += 1
        if len(content) > LONGEST_LINE:
            raise InvalidRequest(f"{path}, line {number} is longer than {LONGEST_LINE >> 20} MB: give one row a line")
        text = content.removeprefix(b"\xef\xbb\xbf").strip()
        if not text:
            continue
        try:
            fields = json.loads(text.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{path}, line {number} is not UTF-8 (at byte {error.start + 1} of it)") from error
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise InvalidRequest(f"{path}, line {number} is not a JSON object: give one object a line")
        yield number, fields

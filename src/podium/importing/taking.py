"""Takes fields out of a mapping of a foreign file, one by one: wrong types and fields nobody asked for are said with their line."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Mapping

from podium.importing.report import Report
from podium.importing.yaml_file import Value


class Taking:
    """One mapping. ``where`` names it in notes; ``rest`` says what was left."""

    def __init__(self, value: Value | None, where: str, report: Report) -> None:
        self.where = where
        self.report = report
        self._line = value.line if value is not None else 0
        self._left: dict[str, Value] = {}
        self._asked: set[str] = set()
        if value is None or value.data is None:
            return
        if isinstance(value.data, dict):
            self._left = dict(value.data)
        else:
            report.note(f"must be a mapping, not {value.kind}", where, value.line, wrong=True)

    @property
    def line(self) -> int:
        """Where it stands."""
        return self._line

    @property
    def left(self) -> tuple[str, ...]:
        """Fields nobody took yet."""
        return tuple(self._left)

    def value(self, key: str) -> Value | None:
        """Whatever stands there; nothing for ``null``."""
        self._asked.add(key)
        found = self._left.pop(key, None)
        return None if found is None or found.data is None else found

    def text(self, key: str) -> Value | None:
        """Text; a number counts as text."""
        found = self.value(key)
        if found is None or isinstance(found.data, str):
            return found
        if isinstance(found.data, int | float) and not isinstance(found.data, bool):
            return Value(str(found.data), found.line)
        self._wrong(key, found, "text")
        return None

    def number(self, key: str) -> Value | None:
        """A number."""
        found = self.value(key)
        if found is None or (isinstance(found.data, int | float) and not isinstance(found.data, bool)):
            return found
        if isinstance(found.data, str):  # 8e-6 is a number in YAML 1.2, and text in 1.1
            with contextlib.suppress(ValueError):
                return Value(float(found.data), found.line)
        self._wrong(key, found, "a number")
        return None

    def table(self, key: str) -> Mapping[str, Value]:
        """A mapping's entries."""
        found = self.value(key)
        if found is None or isinstance(found.data, dict):
            return {} if found is None else found.data
        self._wrong(key, found, "a mapping")
        return {}

    def texts(self, key: str) -> list[Value]:
        """A list of texts."""
        found = self.value(key)
        if found is None:
            return []
        if not isinstance(found.data, list):
            self._wrong(key, found, "a list")
            return []
        good = []
        for each in found.data:
            if isinstance(each.data, str):
                good.append(each)
            else:
                self.report.note(f"{key} must hold texts, not {each.kind}", self.where, each.line, wrong=True)
        return good

    def lost(self, reasons: Mapping[str, str]) -> None:
        """Say of each field that is there why it does not carry over."""
        for key, why in reasons.items():
            found = self.value(key)
            if found is not None:
                self.report.note(f"{key} does not carry over: {why}", self.where, found.line)

    def rest(self, known: Iterable[str] = ()) -> None:
        """Say what nobody asked for."""
        for key, value in self._left.items():
            close = difflib.get_close_matches(key, [*self._asked, *known], n=1, cutoff=0.75)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            self.report.note(f"unknown field {key[:60]!r}{hint}", self.where, value.line)
        self._left = {}

    def _wrong(self, key: str, found: Value, wanted: str) -> None:
        self.report.note(f"{key} must be {wanted}, not {found.kind}", self.where, found.line, wrong=True)

"""The stored calibrations, at hand for every verdict. Read again every few seconds: they may be made by another process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from podium.domain.judgment import Calibration

REFRESH_S = 5.0


class CalibrationReader(Protocol):
    """Where they are kept."""

    async def calibrations(self) -> tuple[Calibration, ...]: ...


class Calibrations:
    """By judge and criterion."""

    def __init__(self, store: CalibrationReader) -> None:
        self._store = store
        self._known: Mapping[tuple[str, str], Calibration] = MappingProxyType({})

    def of(self, judge: str, criterion: str) -> Calibration | None:
        """The one in force."""
        return self._known.get((judge, criterion))

    def all(self) -> tuple[Calibration, ...]:
        """Every one."""
        return tuple(self._known.values())

    def cuts(self) -> Mapping[tuple[str, str], float]:
        """By judge and criterion the calibrated score from which on an answer counts as passed."""
        return {key: one.cut for key, one in self._known.items() if one.cut is not None}

    def put(self, known: Iterable[Calibration]) -> None:
        """These are in force now."""
        self._known = MappingProxyType({(one.judge, one.criterion): one for one in known})

    async def refresh(self) -> None:
        """Read them again. Raises ``StoreError``; then the ones known stay in force."""
        self.put(await self._store.calibrations())

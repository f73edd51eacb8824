"""Schemathesis on the whole control API: no 5xx, no status and no body that its document does not announce."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_cases import filled, try_all

pytestmark = pytest.mark.requirement("API-5")


def test_every_operation_answers_as_its_document_says_whatever_it_is_asked(tmp_path: Path):
    with filled(tmp_path) as place:
        wrong, operations = try_all(place, examples=5, start=1)
        assert not wrong, "\n".join(wrong)
        assert operations > 80


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(5))
def test_nor_when_it_is_asked_many_times_more(tmp_path: Path, start: int):
    with filled(tmp_path) as place:
        wrong, _ = try_all(place, examples=60, start=start)
        assert not wrong, "\n".join(wrong)

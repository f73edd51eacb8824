"""Every claimed requirement has a test, and every mark names a requirement."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements_report", ROOT / "scripts" / "requirements_report.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.requirement("OPS-10")
def test_claimed_requirements_have_tests_and_marks_name_known_ones(report):
    known = report.listed(ROOT / "docs" / "requirements.txt")
    assert len(known) > 70
    assert report.faults(known, report.proven(ROOT / "tests")) == []


def test_a_claim_without_a_test_and_an_unknown_id_are_faults(report, tmp_path):
    (tmp_path / "list.txt").write_text("# ids\nREG-1 done registers\nREG-2 open never changes\n")
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_x.py").write_text('@pytest.mark.requirement("REG-2", "NOPE-9")\ndef test_a(): pass\n')
    faults = report.faults(report.listed(tmp_path / "list.txt"), report.proven(tests))
    assert [fault.split(":")[-1].strip() for fault in faults] == ["no requirement 'NOPE-9'", "registers"]
    assert "REG-1 is claimed" in faults[1]


def test_a_malformed_line_is_named(report, tmp_path):
    (tmp_path / "list.txt").write_text("REG-1 finished registers\n")
    with pytest.raises(ValueError, match=r"list\.txt:1"):
        report.listed(tmp_path / "list.txt")

"""Opening: fresh, migrated, damaged, newer, foreign, full."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from ledger_samples import attempt, choice, version
from podium.errors import StoreError
from podium.ports import Batch, Page
from podium.store import engine, open_store, schema
from podium.store.migrations import run


def shape(path: Path) -> set[tuple[str, str, str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    connection.close()
    return {(kind, name, re.sub(r"\s+", "", sql)) for kind, name, sql in rows}


def asides(folder: Path) -> list[Path]:
    return [*folder.glob("podium.db.corrupt-*")]


def modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.glob("podium.db*")}


def migrate(path: Path, to: str) -> None:
    database = engine.writing(path)
    with database.begin() as connection:
        run.upgrade(connection, to)
    database.dispose()


async def test_migrating_from_the_first_revision_gives_the_schema_of_a_fresh_database(tmp_path: Path) -> None:
    fresh = open_store(tmp_path / "fresh.db")
    await fresh.close()
    migrate(tmp_path / "old.db", schema.REVISIONS[0])
    assert shape(tmp_path / "old.db") != shape(tmp_path / "fresh.db")
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.execute("INSERT INTO aliases VALUES ('kept', 'x')")
    connection.commit()
    connection.close()
    upgraded = open_store(tmp_path / "old.db")
    assert (await upgraded.load()).aliases == {"kept": "x"}
    await upgraded.close()
    assert shape(tmp_path / "old.db") == shape(tmp_path / "fresh.db")


async def test_a_new_database_and_its_log_are_readable_by_their_user_only(tmp_path: Path) -> None:
    store = open_store(tmp_path / "podium.db")
    await store.add_version(version("m"), "tester")
    found = modes(tmp_path)
    await store.close()
    assert "podium.db-wal" in found
    assert set(found.values()) == {0o600}


def test_the_known_revisions_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory.from_config(run.configuration())
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == schema.REVISIONS


def test_opening_a_current_database_does_not_import_alembic(tmp_path: Path) -> None:
    code = (
        "import asyncio, pathlib, sys\nfrom podium.store import open_store\n"
        "for _ in range(2):\n    asyncio.run(open_store(pathlib.Path(sys.argv[1])).close())\n"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "p.db")], check=True, timeout=60)


@pytest.mark.parametrize("damage", ["random", "page"])
async def test_a_damaged_database_is_kept_aside_and_reported(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "podium.db"
    first = open_store(path)
    await first.add_version(version(), "me")
    await first.close()
    content = bytearray(path.read_bytes())
    if damage == "random":
        content = bytearray(b"\x5a" * 9000)
    else:
        content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    again = open_store(path)
    (warning,) = again.warnings
    aside = asides(tmp_path)[0]
    assert aside.read_bytes() == bytes(content)
    assert aside.name in warning
    (event,) = await again.events(0, Page())
    assert event.kind == "store.replaced"
    assert (await again.load()).versions == ()
    await again.close()


async def test_a_database_of_a_newer_schema_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    await open_store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="newer Podium"):
        open_store(path)
    assert asides(tmp_path) == []


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "podium.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        open_store(tmp_path / "podium.db")


def test_a_folder_in_place_of_the_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        open_store(tmp_path)


def test_a_home_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="PODIUM_HOME"):
        open_store(tmp_path / "file" / "home" / "podium.db")


async def test_a_full_disk_fails_the_write_and_recovers_when_there_is_space(tmp_path: Path) -> None:
    store = open_store(tmp_path / "podium.db")
    await store.add_version(version(), "me")

    def limit(pages: int) -> object:
        return store._writer.run(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar())

    await limit(1)  # SQLite raises it to what is used now
    large = Batch(decisions=tuple(attempt(n, choice(task=f"t{n}")) for n in range(500)))
    results = await asyncio.gather(
        store.write_batch(large), store.set_alias("small", "smol"), store.write_batch(large), return_exceptions=True
    )
    assert isinstance(results[0], StoreError)
    assert "full" in results[0].message
    assert results[1] is None, "what fits is written"
    assert isinstance(results[2], StoreError)
    await limit(1_000_000)
    await store.write_batch(large)
    assert (await store.counts())["decisions"] == 500
    await store.close()

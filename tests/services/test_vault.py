"""Sealed secrets: what the disk holds, what opens it, and what is left when a key or a row is lost."""

from __future__ import annotations

import asyncio
import os
import re
import secrets as randomness
import signal
import sqlite3
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import keyring
import keyring.backend
import pytest

from podium.domain.secret import Secret
from podium.errors import ConfigError, Conflict, InvalidRequest, NotFound, StoreError
from podium.providers.catalogue import ProviderContext
from podium.providers.http_instance import HttpInstance
from podium.providers.process import Command
from podium.sealing.master_keys import VARIABLE, master_keys
from podium.sealing.sealer import AesSealer
from podium.services.vault import Vault
from podium.services.webhook_courier import Hook
from podium.store import open_store
from podium.transport.client import HttpClient, Origin

CANARY = "sk-canary-0123456789-abcdef"


class Clock:
    def now(self):
        return 1000.0

    def monotonic(self):
        return 0.0


@asynccontextmanager
async def vault_of(home: Path, environ=None):
    store = open_store(home / "podium.db")
    vault = Vault(store, AesSealer(master_keys(home, environ or {})), Clock())
    await vault.load()
    try:
        yield vault
    finally:
        await store.close()


async def sealed(home: Path, environ=None, **values: str) -> None:
    async with vault_of(home, environ) as vault:
        for name, text in values.items():
            await vault.set(name, Secret(text), by="test")


def files(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file() and path.name != "master.key")


@pytest.mark.requirement("OPS-1")
async def test_a_secret_comes_back_after_a_restart_and_its_text_is_in_no_file(tmp_path):
    await sealed(tmp_path, openai=CANARY)
    async with vault_of(tmp_path) as vault:
        assert vault.reveal("openai").reveal() == CANARY
    assert CANARY.encode() not in files(tmp_path)
    assert CANARY.encode() not in (tmp_path / "master.key").read_bytes()
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600


async def test_setting_a_secret_again_replaces_it_at_once_and_counts_its_version(tmp_path):
    async with vault_of(tmp_path) as vault:
        assert (await vault.set("a", Secret("first-secret"), by="me")).version == 1
        assert vault.reveal("a").reveal() == "first-secret"
        view = await vault.set("a", Secret("second-secret"), by="you")
        assert (view.version, view.set_by, view.problem) == (2, "you", None)
        assert vault.reveal("a").reveal() == "second-secret"
        await vault.remove("a")
        assert vault.all() == ()
        with pytest.raises(InvalidRequest, match="podium secrets set a"):
            vault.reveal("a")
        with pytest.raises(NotFound):
            await vault.remove("a")


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "ä", ".hidden"])
async def test_a_name_that_is_none_is_refused(tmp_path, name):
    async with vault_of(tmp_path) as vault:
        with pytest.raises(InvalidRequest, match="name"):
            await vault.set(name, Secret(CANARY), by="me")


@pytest.mark.parametrize("text", ["", "two words of it", "line\nbreak-in-it", "schlüssel-1234", "x" * 5000])
async def test_what_is_no_key_is_refused_without_being_repeated(tmp_path, text):
    async with vault_of(tmp_path) as vault:
        with pytest.raises(InvalidRequest) as refused:
            await vault.set("a", Secret(text), by="me")
        assert not text or text not in str(refused.value)


@pytest.mark.requirement("OPS-1")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE secrets SET content = x'00' || substr(content, 2) WHERE name = 'a'",
        "UPDATE secrets SET version = 7 WHERE name = 'a'",
        "UPDATE secrets SET nonce = zeroblob(12) WHERE name = 'a'",
        "UPDATE secrets SET (content, nonce) = (SELECT content, nonce FROM secrets WHERE name = 'b') WHERE name = 'a'",
        "UPDATE secrets SET content = zeroblob(3), nonce = zeroblob(0) WHERE name = 'a'",
    ],
)
async def test_a_row_that_was_altered_does_not_open_and_the_others_do(tmp_path, change):
    await sealed(tmp_path, a=CANARY, b="another-secret")
    connection = sqlite3.connect(tmp_path / "podium.db")
    connection.execute(change)
    connection.commit()
    connection.close()
    async with vault_of(tmp_path) as vault:
        with pytest.raises(ConfigError, match="altered or is damaged") as refused:
            vault.reveal("a")
        assert refused.value.code == "secret_damaged"
        assert vault.reveal("b").reveal() == "another-secret"
        assert await vault.reset() == ("a",)
        assert [one.name for one in vault.all()] == ["b"]


@pytest.mark.requirement("OPS-1")
async def test_a_lost_master_key_is_said_clearly_and_nothing_else_is_lost(tmp_path):
    await sealed(tmp_path, a=CANARY)
    kept = (tmp_path / "master.key").read_bytes()
    (tmp_path / "master.key").unlink()
    async with vault_of(tmp_path) as vault:
        with pytest.raises(ConfigError, match="podium secrets reset") as refused:
            vault.reveal("a")
        assert refused.value.code == "master_key_missing"
        assert "secret a cannot be opened" in vault.problems()[0]
        with pytest.raises(ConfigError, match="is not there"):  # a new key would hide that the old one is missing
            await vault.set("b", Secret("b-secret-value"), by="me")
        with pytest.raises(Conflict, match="nothing was sealed anew"):
            await vault.rekey()
        assert not (tmp_path / "master.key").exists()
    (tmp_path / "master.key").write_bytes(kept)
    (tmp_path / "master.key").chmod(0o600)
    async with vault_of(tmp_path) as vault:
        assert vault.reveal("a").reveal() == CANARY
    (tmp_path / "master.key").unlink()
    async with vault_of(tmp_path) as vault:
        assert await vault.reset() == ("a",)
        await vault.set("a", Secret("set-once-more"), by="me")
        assert vault.reveal("a").reveal() == "set-once-more"


@pytest.mark.requirement("OPS-1")
@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "is empty: put the key back from a backup"),
        (b"\n", 0o600, "is empty"),
        (b"k" * 64 + b"\n", 0o600, "no master key"),
        (b"ab" * 16 + b"\n", 0o600, "64 hexadecimal digits"),
        (b"\xff\x00" * 40, 0o600, "no master key"),
        (None, 0o644, "chmod 600"),
        (None, 0o640, "chmod 600"),
    ],
)
async def test_a_master_key_file_that_cannot_be_trusted_is_refused_with_what_to_do(tmp_path, content, mode, words):
    await sealed(tmp_path, a=CANARY)
    file = tmp_path / "master.key"
    key = file.read_text().strip()
    if content is not None:
        file.write_bytes(content)
    file.chmod(mode)
    async with vault_of(tmp_path) as vault:
        with pytest.raises(ConfigError, match=re.escape(words)) as refused:
            vault.reveal("a")
        assert key not in str(refused.value)
        assert words in vault.problems()[0]
        if mode != 0o600:  # the key is there: what it sealed is not thrown away
            with pytest.raises(ConfigError, match="chmod"):
                await vault.reset()


@pytest.mark.requirement("OPS-1")
async def test_rekeying_seals_all_anew_and_the_old_key_opens_nothing(tmp_path):
    await sealed(tmp_path, a=CANARY, b="another-secret")
    old = (tmp_path / "master.key").read_text()
    async with vault_of(tmp_path) as vault:
        before = {one.key_id for one in vault.all()}
        assert await vault.rekey() == (2, True)
        assert before.isdisjoint({one.key_id for one in vault.all()})
    assert (tmp_path / "master.key").read_text() != old
    async with vault_of(tmp_path) as vault:
        assert [vault.reveal(name).reveal() for name in ("a", "b")] == [CANARY, "another-secret"]
    (tmp_path / "master.key").write_text(old)
    async with vault_of(tmp_path) as vault:
        with pytest.raises(ConfigError, match="is not there"):
            vault.reveal("a")


async def rekey_and_die(home: Path, when: str, started: int) -> None:
    """Seal anew again and again; end at a moment of the first time, or be ended at any."""
    store = open_store(home / "podium.db")
    sealer = AesSealer(master_keys(home, {}))
    vault = Vault(store, sealer, Clock())
    await vault.load()
    renew, seal, count = sealer.renew, sealer.seal, []

    def die(*words):
        os.kill(os.getpid(), signal.SIGKILL)

    def renewed():
        return renew(), die()

    def third(*words):
        count.append(words)
        return die() if len(count) == 3 else seal(*words)

    if when == "renewed":
        sealer.renew = renewed
    elif when == "sealing":
        sealer.seal = third
    elif when == "committed":
        sealer.retire = die
    os.write(started, b".")
    while True:
        await vault.rekey()


def rekeyed_until_killed(home: Path, when: str) -> int:
    """How the process ended that did so."""
    ready, started = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(rekey_and_die(home, when, started))
        finally:
            os._exit(1)
    os.close(started)
    os.read(ready, 1)
    os.close(ready)
    if when == "any moment":
        file, deadline = home / "master.key", time.monotonic() + 20
        first = file.read_bytes()
        while file.read_bytes() == first and time.monotonic() < deadline:
            pass
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.requirement("OPS-1")
@pytest.mark.parametrize("when", ["renewed", "sealing", "committed", "any moment"])
def test_killed_while_rekeying_everything_can_still_be_opened(tmp_path, when):
    names = {f"s{number}": f"secret-number-{number}" for number in range(5)}
    asyncio.run(sealed(tmp_path, **names))
    assert rekeyed_until_killed(tmp_path, when) == -signal.SIGKILL

    async def look():
        async with vault_of(tmp_path) as vault:
            assert {name: vault.reveal(name).reveal() for name in names} == names
            assert await vault.rekey() == (5, True)

    asyncio.run(look())
    assert len((tmp_path / "master.key").read_text().split()) == 1


async def test_a_failed_write_leaves_the_secrets_as_they_were(tmp_path, monkeypatch):
    await sealed(tmp_path, a=CANARY)
    async with vault_of(tmp_path) as vault:

        async def full(kept, removed=()):
            raise StoreError("the disk is full")

        monkeypatch.setattr(vault._store, "change_secrets", full)
        with pytest.raises(StoreError):
            await vault.rekey()
        assert vault.reveal("a").reveal() == CANARY
    async with vault_of(tmp_path) as vault:
        assert vault.reveal("a").reveal() == CANARY


async def test_a_key_of_the_environment_comes_before_the_file_and_takes_over_what_the_file_sealed(tmp_path):
    await sealed(tmp_path, a=CANARY)
    first, second = randomness.token_hex(32), randomness.token_hex(32)
    async with vault_of(tmp_path, {VARIABLE: first}) as vault:
        assert vault.reveal("a").reveal() == CANARY  # the file still opens it
        assert await vault.rekey() == (1, True)
        with pytest.raises(Conflict, match="NEW,OLD"):
            await vault.rekey()
    assert not (tmp_path / "master.key").exists()
    async with vault_of(tmp_path, {VARIABLE: f"{second},{first}"}) as vault:
        assert await vault.rekey() == (1, False)
    async with vault_of(tmp_path, {VARIABLE: second}) as vault:
        assert vault.reveal("a").reveal() == CANARY
    async with vault_of(tmp_path, {VARIABLE: "not-a-key"}) as vault:
        with pytest.raises(ConfigError, match="64 hexadecimal digits") as refused:
            vault.reveal("a")
        assert "not-a-key" not in str(refused.value)


class MemoryKeyring(keyring.backend.KeyringBackend):
    priority = 9

    def __init__(self):
        super().__init__()
        self.kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


@pytest.fixture
def ring():
    before = keyring.get_keyring()
    keyring.set_keyring(made := MemoryKeyring())
    yield made
    keyring.set_keyring(before)


async def test_the_keyring_of_the_system_can_hold_the_master_key(tmp_path, ring):
    environ = {VARIABLE: "keyring"}
    await sealed(tmp_path, environ, a=CANARY)
    assert not (tmp_path / "master.key").exists()
    assert len(ring.kept) == 1
    async with vault_of(tmp_path, environ) as vault:
        assert await vault.rekey() == (1, True)
    async with vault_of(tmp_path, environ) as vault:
        assert vault.reveal("a").reveal() == CANARY


async def test_a_keyring_that_is_locked_is_said_and_says_what_to_do(tmp_path, ring, monkeypatch):
    def locked(service, username):
        raise keyring.errors.KeyringLocked("no")

    monkeypatch.setattr(ring, "get_password", locked)
    async with vault_of(tmp_path, {VARIABLE: "keyring"}) as vault:
        with pytest.raises(ConfigError, match="unlock it, or use a file"):
            await vault.set("a", Secret(CANARY), by="me")


async def test_without_the_package_keyring_its_installation_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    async with vault_of(tmp_path, {VARIABLE: "keyring"}) as vault:
        with pytest.raises(ConfigError, match=re.escape("pip install 'podium[keyring]'")):
            await vault.set("a", Secret(CANARY), by="me")


@pytest.mark.requirement("OPS-1")
async def test_no_object_that_holds_a_secret_shows_it(tmp_path):
    environ = {VARIABLE: randomness.token_hex(32), "THEIR_KEY": CANARY}
    async with vault_of(tmp_path, environ) as vault:
        await vault.set("a", Secret(CANARY), by="me")
        vault.reveal("a")
        context = ProviderContext(home=tmp_path, environ=environ, secrets=vault)
        keys = (b"authorization", b"Bearer " + CANARY.encode())
        client = HttpClient(Origin(host="127.0.0.1", port=9))
        holders = [
            vault,
            vault.all(),
            await vault._store.secrets(),
            vault._sealer,
            master_keys(tmp_path, environ),
            context,
            Command(argv=["x"], env=environ, stdin=CANARY.encode()),
            Hook(
                name="h",
                url=f"https://example.org/{CANARY}",
                shown="https://example.org",
                events=(),
                keys=(CANARY.encode(),),
            ),
            HttpInstance(client, model="m", concurrency=1, capabilities=frozenset(), headers=(keys,)),
        ]
        for holder in holders:
            shown = f"{holder!r} {holder}"
            assert CANARY not in shown, type(holder)
            assert environ[VARIABLE] not in shown, type(holder)
        await client.aclose()

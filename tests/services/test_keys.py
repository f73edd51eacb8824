"""Keys in a real store: told once, found by digest, ended by time, rotation and revocation."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from podium.domain.principal import Role
from podium.errors import Conflict, InvalidRequest, NotFound, Unauthenticated
from podium.services import keys as keys_module
from podium.services.keys import PREFIX, Keys
from podium.store import open_store
from podium.store.sqlite import SqliteStore

pytestmark = pytest.mark.requirement("OPS-1")


class Hand:
    """A clock that stands where it is put."""

    at = 1_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass
class Rig:
    store: SqliteStore
    clock: Hand
    keys: Keys
    path: Path


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    store = open_store(tmp_path / "podium.db")
    clock = Hand()
    yield Rig(store, clock, Keys(store, clock), tmp_path)
    await store.close()


async def test_a_key_is_told_once_and_only_its_digest_is_on_disk(rig: Rig) -> None:
    made, secret = await rig.keys.create("ci", "user", by="me")
    assert secret.startswith(f"{PREFIX}{made.id}_")
    assert len(secret.rpartition("_")[2]) >= 40 or len(secret) >= 50
    assert rig.keys.principal(secret).name == "ci"
    (row,) = await rig.store.keys()
    assert row.digest == hashlib.sha256(secret.encode()).digest()
    await rig.store.close()
    content = b"".join(file.read_bytes() for file in rig.path.iterdir())
    assert secret.encode() not in content
    assert secret[len(PREFIX) + 9 :].encode() not in content
    assert secret not in repr(made)


async def test_keys_work_again_after_a_restart(rig: Rig) -> None:
    _, secret = await rig.keys.create("ci", "operator", by="me", scopes=())
    again = Keys(rig.store, rig.clock)
    assert not again.exist
    await again.load()
    assert again.exist
    assert again.principal(secret).role is Role.OPERATOR


async def test_wrong_truncated_and_guessed_keys_are_refused_alike(rig: Rig) -> None:
    made, secret = await rig.keys.create("ci", "user", by="me")
    wrong = [
        "",
        " ",
        "x",
        PREFIX,
        f"{PREFIX}{made.id}",
        f"{PREFIX}{made.id}_",
        secret[:-1],
        secret + "x",
        secret.upper(),
    ]
    wrong += [secret.replace(made.id, "aaaaaaaa"), "\udcff\udcfe", "sk-" + "a" * 5000]
    said = set()
    for key in wrong:
        with pytest.raises(Unauthenticated) as refused:
            rig.keys.principal(key)
        said.add(refused.value.message)
    assert len(said) == 1


async def test_an_id_that_exists_is_refused_no_slower_than_one_that_does_not(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is done, which is the same for both; benchmarks/key_refusals.py measures the times."""
    made, secret = await rig.keys.create("ci", "user", by="me")
    compared: list[tuple[int, int]] = []
    digested: list[int] = []
    real_compare, real_sha256 = hmac.compare_digest, hashlib.sha256

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real_compare(one, other)

    def sha256(content: bytes) -> Any:
        digested.append(len(content))
        return real_sha256(content)

    monkeypatch.setattr(keys_module, "hmac", SimpleNamespace(compare_digest=compare))
    monkeypatch.setattr(keys_module, "hashlib", SimpleNamespace(sha256=sha256))
    near, far = f"{PREFIX}{made.id}_{'a' * 43}", f"{PREFIX}zzzzzzzz_{'a' * 43}"
    for key in (near, far, secret[:-1] + "-", PREFIX, "", "sk-" + "a" * 51):
        with pytest.raises(Unauthenticated):
            rig.keys.principal(key)
        assert compared == [(32, 32)], "one comparison, of two whole digests"
        assert digested == [len(key)], "of the whole key, once"
        compared.clear()
        digested.clear()
    rig.keys.principal(secret)
    assert compared == [(32, 32)], "and the right one takes the same way"


async def test_an_expired_or_revoked_key_says_so_to_its_holder_and_is_refused_at_once(rig: Rig) -> None:
    _, secret = await rig.keys.create("ci", "user", by="me", expires_in_s=60)
    rig.clock.at += 59
    rig.keys.principal(secret)
    rig.clock.at += 1
    with pytest.raises(Unauthenticated, match="has expired"):
        rig.keys.principal(secret)
    other, its = await rig.keys.create("x", "user", by="me")
    await rig.keys.revoke(other.id)
    with pytest.raises(Unauthenticated, match="was revoked"):
        rig.keys.principal(its)
    assert (await rig.keys.revoke(other.id)).revoked_at == rig.clock.at
    assert rig.keys.exist, "a server whose keys have all ended must not open up"


async def test_rotation_keeps_the_rights_and_lets_the_old_key_work_for_a_while(rig: Rig) -> None:
    made, old = await rig.keys.create("ci", "user", by="me", scopes=("task:code",), expires_in_s=1000)
    fresh, new = await rig.keys.rotate(made.id, by="me", overlap_s=10)
    assert rig.keys.principal(new).tasks == rig.keys.principal(old).tasks == {"code"}
    assert fresh.expires_at == rig.clock.at + 1000
    rig.clock.at += 10
    with pytest.raises(Unauthenticated, match=f"replaced by {fresh.id} and has expired; use that one"):
        rig.keys.principal(old)
    rig.keys.principal(new)
    with pytest.raises(Conflict, match=f"replaced by {fresh.id}"):
        await rig.keys.rotate(made.id, by="me")
    await rig.keys.revoke(fresh.id)
    with pytest.raises(Conflict, match="revoked"):
        await rig.keys.rotate(fresh.id, by="me")


async def test_when_a_key_was_last_used_survives_a_restart(rig: Rig) -> None:
    made, secret = await rig.keys.create("ci", "user", by="me")
    assert made.last_used_at is None
    rig.keys.principal(secret)
    assert rig.keys.find(made.id).last_used_at == rig.clock.at
    await rig.keys.keep_used()
    again = Keys(rig.store, rig.clock)
    await again.load()
    assert again.find(secret).last_used_at == rig.clock.at


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({"role": "root"}, "choose viewer, user, operator, admin"),
        ({"name": "  "}, "name the key"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "x" * 101}, "100"),
        ({"expires_in_s": 0}, "more than 0 s"),
        ({"expires_in_s": float("nan")}, "more than 0 s"),
        ({"expires_in_s": 1e12}, "ten years"),
        ({"scopes": ("nonsense",)}, "task:NAME"),
        ({"role": "admin", "scopes": ("task:code",)}, "role user"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused_and_makes_no_key(
    rig: Rig, order: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        await rig.keys.create(**({"name": "n", "role": "user", "by": "me"} | order))
    assert not rig.keys.exist
    with pytest.raises(NotFound, match="podium keys ls"):
        rig.keys.find("nothing")

"""Webhooks over real sockets, out of a real outbox: signed, in order, again until it works or is given up."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from podium.core.retrying import Retries
from podium.domain.swap import Event
from podium.errors import ConfigError, NotFound, StoreError
from podium.ports import Batch, Page
from podium.services.webhook_courier import LANES, Hook
from podium.services.webhook_signing import body, headers, read_keys, signature
from podium.services.webhooks import Webhooks
from podium.store import SqliteStore, open_store
from podium.transport.addresses import check_target, refusal, target
from podium.transport.webhook import WebhookPoster
from webhook_endpoint import KEY, OK, Call, Endpoint, Handler, answer, close, drip, hang

pytestmark = pytest.mark.requirement("SWP-10")
FAST = Retries(first_s=0.05, most_s=0.2, jitter=0.0, give_up_s=3600)


class Clock:
    """The machine's, with an offset that a test may set."""

    offset = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    monotonic = staticmethod(time.monotonic)


class Rig:
    """A store, a poster, and webhooks woken by commits, as the runtime wires them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.published: list[Event] = []

    async def open(self) -> Rig:
        self.store: SqliteStore = open_store(self.path)
        self.poster = WebhookPoster()
        self.webhooks = Webhooks(
            store=self.store,
            poster=self.poster,
            clock=self.clock,
            publish=self.published.append,
            draw=lambda: 0.5,
        )
        loop = asyncio.get_running_loop()
        self.store.notify(lambda: loop.call_soon_threadsafe(self.webhooks.wake))
        return self

    async def start(self, *hooks: Hook) -> None:
        await self.webhooks.configure(hooks)
        self.webhooks.start()

    async def close(self) -> None:
        await self.webhooks.close()
        await self.poster.close()
        await self.store.close()

    async def tell(self, *events: tuple[str, str]) -> None:
        """Record events (kind, subject), one transaction."""
        made = [
            Event(kind=kind, at=self.clock.now(), subject=subject, data=(("n", n),))
            for n, (kind, subject) in enumerate(events)
        ]
        await self.store.write_batch(Batch(events=made))

    async def waiting(self, name: str = "hook") -> int:
        return (await self.store.waiting_deliveries()).get(name, (0, 0.0))[0]

    async def gave_up(self) -> list[dict[str, object]]:
        found = await self.store.events_like(0, ("webhook.gave_up",), Page(limit=1000))
        return [dict(event.data) for event in found]


def hook(endpoint: Endpoint, name: str = "hook", **changed: object) -> Hook:
    made = Hook(
        name=name,
        url=endpoint.url,
        shown=str(target(endpoint.url)),
        events=("*",),
        keys=(KEY,),
        timeout_s=5.0,
        retries=FAST,
    )
    return dataclasses.replace(made, **changed)  # type: ignore[arg-type] # fields by name


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = await Rig(tmp_path / "podium.db").open()
    yield made
    await made.close()


async def until(condition: Callable[[], object], deadline_s: float = 10.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - a socket's other end has no event to wait for
            await asyncio.sleep(0.005)


async def empty(rig: Rig, name: str = "hook", deadline_s: float = 10.0) -> None:
    async with asyncio.timeout(deadline_s):
        while await rig.waiting(name):  # noqa: ASYNC110 - the outbox has no event to wait for, polling has a deadline
            await asyncio.sleep(0.01)


async def postponed(rig: Rig) -> None:
    """What failed is on record as failed, with the time of its next attempt."""
    async with asyncio.timeout(5):
        while (await rig.store.backlog("hook", rig.clock.now(), 86_400, 1)).ready:  # noqa: ASYNC110 - as in empty()
            await asyncio.sleep(0.01)


async def test_an_event_arrives_once_signed_and_complete(rig: Rig) -> None:
    with Endpoint() as endpoint:
        await rig.start(hook(endpoint))
        await rig.tell(("swap.completed", "code"))
        await empty(rig)
        (call,) = endpoint.calls
    (stored,) = await rig.store.events(0, Page())
    assert call.signed_by(KEY)
    assert not call.signed_by(b"x" * 32)
    assert abs(int(call.headers["webhook-timestamp"]) - time.time()) < 5
    assert call.headers["content-type"] == "application/json"
    assert call.body == body(stored, stored.id)
    assert (call.json["type"], call.subject, call.json["data"]) == ("swap.completed", "code", {"n": 0})
    (view,) = await rig.webhooks.views()
    assert (view.state, view.delivered, view.failed, view.last_status) == ("idle", 1, 0, 200)


async def test_only_wanted_kinds_are_told_and_none_about_webhooks(rig: Rig) -> None:
    with Endpoint() as swaps, Endpoint() as everything:
        await rig.start(hook(swaps, "swaps", events=("swap.*",)), hook(everything, "all"))
        await rig.tell(("swap.started", "a"), ("webhook.gave_up", "swaps"), ("instance.ready", "m@1"))
        await empty(rig, "swaps")
        await empty(rig, "all")
        assert [call.json["type"] for call in swaps.calls] == ["swap.started"]
        assert {call.json["type"] for call in everything.calls} == {"swap.started", "instance.ready"}


@pytest.mark.parametrize("bad", [answer(500), answer(404), close, answer(302, location="http://127.0.0.1:1/")])
async def test_a_failed_call_is_repeated_with_the_same_id_and_a_fresh_signature(rig: Rig, bad) -> None:
    with Endpoint(lambda call, number: bad if number < 3 else OK) as endpoint:
        await rig.start(hook(endpoint))
        await rig.tell(("swap.failed", "code"))
        await empty(rig)
        calls = endpoint.calls
    assert len(calls) == 3, "redirects are not followed, and a success is the end"
    assert len({call.id for call in calls}) == 1
    assert all(call.signed_by(KEY) for call in calls)
    assert calls[1].at - calls[0].at >= 0.045
    assert calls[2].at - calls[1].at >= 0.09
    assert rig.published == []


async def test_retry_after_is_honoured(rig: Rig) -> None:
    with Endpoint(lambda call, number: answer(429, Retry_After="1") if number == 1 else OK) as endpoint:
        await rig.start(hook(endpoint))
        await rig.tell(("swap.started", "code"))
        first, second = await asyncio.to_thread(endpoint.wait, 2)
    assert second.at - first.at >= 0.95


async def test_a_failing_delivery_holds_back_later_ones_of_its_subject_only(rig: Rig) -> None:
    failing = True

    def choose(call: Call, number: int):
        return answer(500) if failing and call.subject == "sick" else OK

    with Endpoint(choose) as endpoint, Endpoint() as other:
        await rig.start(hook(endpoint), hook(other, "other"))
        await rig.tell(*[("swap.step", subject) for _ in range(10) for subject in ("sick", "well")])
        await until(lambda: sum(call.subject == "well" for call in endpoint.calls) == 10)
        await empty(rig, "other")
        await until(lambda: sum(call.subject == "sick" for call in endpoint.calls) >= 3)
        assert {call.json["data"]["n"] for call in endpoint.calls if call.subject == "sick"} == {0}
        failing = False
        await empty(rig)
        for subject in ("sick", "well"):
            told = [call.json["data"]["n"] for call in endpoint.calls if call.subject == subject]
            assert list(dict.fromkeys(told)) == list(range(0 if subject == "sick" else 1, 20, 2))
            assert all(before <= after for before, after in pairwise(told))


@pytest.mark.parametrize("slow", [hang, drip])
async def test_a_webhook_that_hangs_is_cut_off_and_delays_nobody_else(rig: Rig, slow) -> None:
    with Endpoint(lambda call, number: slow) as hanging, Endpoint() as quick:
        await rig.start(hook(hanging, "hanging", timeout_s=0.3), hook(quick, "quick"))
        started = time.monotonic()
        await rig.tell(*[("swap.step", f"task-{n}") for n in range(20)])
        await empty(rig, "quick")
        took = time.monotonic() - started
        assert len(quick.calls) == 20
        hanging_by_then = len(hanging.calls)
        assert hanging_by_then <= LANES * (1 + took / 0.3) + LANES
        await until(lambda: len(hanging.calls) > LANES)
        views = {view.hook.name: view for view in await rig.webhooks.views()}
        await until(lambda: any(c.failed for c in rig.webhooks._couriers.values()))
        assert views["quick"].state == "idle"
        assert await rig.waiting("hanging") == 20
        started = time.monotonic()
        await rig.webhooks.close()
        assert time.monotonic() - started < 2, "a call under way does not hold up the end"


async def test_it_is_given_up_on_record_and_the_next_of_the_subject_has_its_turn(rig: Rig) -> None:
    def choose(call: Call, number: int):
        return answer(500) if call.json["data"]["n"] == 0 else OK

    with Endpoint(choose) as endpoint:
        await rig.start(hook(endpoint, retries=dataclasses.replace(FAST, most_attempts=3)))
        await rig.tell(("swap.started", "code"), ("swap.completed", "code"))
        await empty(rig)
        assert [call.json["data"]["n"] for call in endpoint.calls] == [0, 0, 0, 1]
    (lost,) = await rig.gave_up()
    assert (lost["kind"], lost["subject"], lost["attempts"], lost["lost"]) == ("swap.started", "code", 3, 1)
    assert "500" in str(lost["error"])
    assert "hidden" not in str(lost)
    assert [event.kind for event in rig.published] == ["webhook.gave_up"]


async def test_an_endpoint_that_is_gone_is_left_alone_until_it_is_configured_again(rig: Rig) -> None:
    gone = True
    with Endpoint(lambda call, number: answer(410) if gone else OK) as endpoint:
        await rig.start(hook(endpoint))
        await rig.tell(("swap.started", "code"), ("swap.completed", "code"))
        await empty(rig)
        await rig.tell(("swap.started", "code"))
        assert await rig.waiting() == 0, "nothing more is queued for it"
        assert len(endpoint.calls) == 1
        (view,) = await rig.webhooks.views()
        assert (view.state, view.given_up) == ("gone", 2)
        (lost,) = await rig.gave_up()
        assert lost["lost"] == 2
        gone = False
        await rig.webhooks.configure([hook(endpoint)])
        await rig.tell(("swap.started", "code"))
        await asyncio.to_thread(endpoint.wait, 2)
        await empty(rig)


async def test_an_outbox_over_its_bound_loses_its_oldest_and_says_how_many(rig: Rig) -> None:
    with Endpoint() as endpoint:
        await rig.start(hook(endpoint, problem="its secret is away", keys=(), most_waiting=100))
        for _ in range(10):
            await rig.tell(*[("swap.step", "code")] * 50)
        async with asyncio.timeout(10):
            while await rig.waiting() > 100:  # noqa: ASYNC110 - as in empty()
                await asyncio.sleep(0.01)
        waiting = await rig.waiting()
        assert 90 <= waiting <= 100
        lost = await rig.gave_up()
        assert sum(int(str(one["lost"])) for one in lost) == 500 - waiting
        await rig.webhooks.configure([hook(endpoint)])
        await empty(rig)
        assert len(endpoint.calls) == waiting
        assert [call.json["id"] for call in endpoint.calls] == sorted(call.json["id"] for call in endpoint.calls)


async def test_what_waits_for_a_removed_webhook_is_given_up_on_record(rig: Rig) -> None:
    with Endpoint(lambda call, number: answer(503)) as endpoint:
        await rig.start(hook(endpoint))
        await rig.tell(("swap.started", "code"), ("swap.completed", "code"))
        await asyncio.to_thread(endpoint.wait, 1)
        await rig.webhooks.configure([])
    assert await rig.waiting() == 0
    (lost,) = await rig.gave_up()
    assert (lost["lost"], lost["reason"]) == (2, "it is not in the configuration any more")
    assert await rig.webhooks.views() == ()


async def test_a_reload_leaves_an_unchanged_webhook_and_its_call_alone(rig: Rig) -> None:
    with Endpoint(lambda call, number: hang) as endpoint, Endpoint() as other:
        await rig.start(hook(endpoint))
        await rig.tell(("swap.started", "code"))
        await asyncio.to_thread(endpoint.wait, 1)
        await rig.webhooks.configure([hook(endpoint), hook(other, "other")])
        await rig.tell(("swap.completed", "code"))
        await empty(rig, "other")
        assert len(endpoint.calls) == 1, "the call under way was not begun again"


async def test_what_was_not_delivered_when_it_stopped_is_delivered_by_the_next_run_in_order(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    first = await Rig(path).open()
    with Endpoint(lambda call, number: hang) as dead:
        await first.start(hook(dead))
        await first.tell(*[("swap.step", "code")] * 30)
        await asyncio.to_thread(dead.wait, 1)
        await first.close()
    again = await Rig(path).open()
    try:
        with Endpoint() as endpoint:
            await again.start(hook(endpoint))
            await empty(again)
            assert [call.json["data"]["n"] for call in endpoint.calls] == list(range(30))
    finally:
        await again.close()


async def test_a_clock_set_back_by_a_year_holds_nothing_up_and_forward_loses_nothing(rig: Rig) -> None:
    failing = True
    with Endpoint(lambda call, number: answer(500) if failing else OK) as endpoint:
        rig.clock.offset = 365 * 86_400
        await rig.start(hook(endpoint, retries=Retries(first_s=600, most_s=3600)))
        await rig.tell(("swap.started", "back"))
        await asyncio.to_thread(endpoint.wait, 1)
        await postponed(rig)
        failing = False
        rig.clock.offset = 0.0
        await rig.tell(("swap.started", "now"))
        await empty(rig)
        assert {call.subject for call in endpoint.calls} == {"back", "now"}
        failing = True
        await rig.tell(("swap.started", "forward"))
        await until(lambda: sum(call.subject == "forward" for call in endpoint.calls) == 1)
        await postponed(rig)
        rig.clock.offset = 365 * 86_400
        failing = False
        rig.webhooks.wake()
        await empty(rig)
    assert await rig.gave_up() == []


async def test_a_look_into_the_outbox_that_is_out_of_date_repeats_nothing(rig: Rig, monkeypatch) -> None:
    """The outbox is read while a call is under way, and what was read arrives after the call has ended."""
    real = rig.store.backlog
    held = 0

    async def late(*given):
        nonlocal held
        (courier,) = rig.webhooks._couriers.values()
        busy = courier.busy
        found = await real(*given)
        if busy and found.ready:
            held += 1
            await until(lambda: not courier.busy)
        return found

    monkeypatch.setattr(rig.store, "backlog", late)
    with Endpoint(lambda call, number: slowly) as endpoint:
        await rig.start(hook(endpoint))
        for _ in range(5):
            await rig.tell(("swap.step", "code"))
            await rig.tell(("swap.step", "chat"))
            sent = len(endpoint.calls)
            await until(lambda sent=sent: len(endpoint.calls) > sent)
        await empty(rig)
        assert held > 0
        assert len({call.id for call in endpoint.calls}) == len(endpoint.calls) == 10


def slowly(handler: Handler) -> None:
    handler.server.ended.wait(0.1)
    OK(handler)


async def test_while_the_store_fails_nothing_spins_and_it_goes_on_by_itself(rig: Rig, monkeypatch) -> None:
    monkeypatch.setattr("podium.services.webhook_courier.STORE_PAUSE_S", 0.1)
    broken, looks = True, 0
    real = rig.store.backlog

    async def backlog(*given):
        nonlocal looks
        looks += 1
        if broken:
            raise StoreError("the disk is full")
        return await real(*given)

    monkeypatch.setattr(rig.store, "backlog", backlog)
    with Endpoint() as endpoint:
        await rig.start(hook(endpoint))
        await rig.tell(("swap.started", "code"))
        await until(lambda: looks >= 3)
        broken = False
        await empty(rig)
        assert len(endpoint.calls) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://0.0.0.0:9/",
        "http://224.0.0.1/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
    ],
)
async def test_addresses_that_nobody_should_be_made_to_call_are_refused_after_resolving(rig: Rig, url: str) -> None:
    await rig.start(Hook(name="hook", url=url, shown="x", events=("*",), keys=(KEY,), timeout_s=5))
    done = await rig.webhooks.test("hook", "msg_1", Event(kind="webhook.test", at=1.0, subject="hook"))
    assert not done.ok
    assert done.status is None
    assert "is not called" in str(done.error)


async def test_a_link_local_address_is_called_when_that_is_allowed() -> None:
    assert refusal("169.254.10.1") is not None
    assert refusal("169.254.10.1", allow_link_local=True) is None
    assert [refusal(text) for text in ("127.0.0.1", "::1", "10.0.0.7", "fd12::1", "192.168.1.4", "93.184.216.34")] == [
        None
    ] * 6
    check_target("http://169.254.10.1/", allow_link_local=True)


async def test_a_name_with_several_addresses_is_reached_at_the_one_that_listens(rig: Rig) -> None:
    with Endpoint() as endpoint:
        url = endpoint.url.replace("127.0.0.1", "localhost")
        await rig.start(hook(endpoint, url=url))
        await rig.tell(("swap.started", "code"))
        await empty(rig)
        (call,) = endpoint.calls
    assert call.headers["host"].startswith("localhost:")


async def test_a_test_call_says_what_happened_and_shows_neither_path_nor_secret(rig: Rig) -> None:
    event = Event(kind="webhook.test", at=1.0, subject="hook")
    with Endpoint(lambda call, number: OK if number == 1 else answer(302, location="/x")) as endpoint:
        await rig.start(hook(endpoint))
        done = await rig.webhooks.test("hook", "msg_test", event)
        assert (done.ok, done.status) == (True, 200)
        assert endpoint.calls[0].signed_by(KEY)
        done = await rig.webhooks.test("hook", "msg_test", event)
        assert (done.ok, done.status) == (False, 302)
        assert "redirects are not followed" in str(done.error)
        assert "hidden" not in repr(rig.webhooks._couriers["hook"].hook) + str(done)
        assert KEY.decode() not in repr(rig.webhooks._couriers["hook"].hook)
    done = await rig.webhooks.test("hook", "msg_test", event)
    assert not done.ok
    assert "hidden" not in str(done.error)
    with pytest.raises(NotFound):
        await rig.webhooks.test("nobody", "msg_test", event)


def test_the_signature_is_the_one_of_the_specification() -> None:
    key = read_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")[0]
    payload = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, payload) == expected
    both = headers((KEY, key), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330.9, payload)["webhook-signature"]
    assert expected in both.split(" ")


@pytest.mark.parametrize(
    "text", ["", "plain", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", "whsec_" + "QUFB" * 30, "whsec_MfKQ9r8GK"]
)
def test_a_secret_that_cannot_be_used_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"secret|base64|empty") as caught:
        read_keys(text)
    assert len(text) < 9 or text.removeprefix("whsec_") not in str(caught.value)


def test_the_secret_comes_from_the_environment_or_a_file_and_is_in_no_message(tmp_path: Path) -> None:
    from podium.config import WebhookEntry, load, read_secret
    from podium.domain.secret import Secret
    from podium.errors import InvalidRequest

    class Kept:
        def reveal(self, name: str) -> Secret:
            if name != "hook":
                raise InvalidRequest("there is no such secret; set it")
            return Secret("whsec_sealed")

    def read(where: str, **environ: str) -> str:
        return read_secret(WebhookEntry(url="x", secret=where), tmp_path, environ, Kept())

    assert read("env:HOOK", HOOK="whsec_x") == "whsec_x"
    assert read("secret:hook") == "whsec_sealed"
    for where, said in (("env:HOOK", "HOOK"), ("secret:none", "config reload"), ("file:absent", "No such file")):
        with pytest.raises(ConfigError, match=said):
            read(where)
    kept = tmp_path / "secret"
    kept.touch(0o600)
    with pytest.raises(ConfigError, match="is empty"):
        read("file:secret")
    kept.write_text("whsec_y\n")
    assert read("file:secret") == "whsec_y\n"
    kept.chmod(0o604)
    with pytest.raises(ConfigError, match="chmod 600"):
        read("file:secret")
    file = tmp_path / "podium.toml"
    file.write_text(
        '[webhooks."a b"]\nurl = "ftp://user:pass@host/"\nsecret = "whsec_donotshow"\nevents = ["Swap"]\n'
        "retry_first_s = 10\nretry_most_s = 5\n"
        '[webhooks.c]\nurl = "http://u:geheim@host/"\nsecret = "env:X"\nevents = []\n'
        '[webhooks.d]\nurl = "http://169.254.169.254/"\nsecret = "env:X"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(file, home=tmp_path, environ={})
    said = caught.value.message
    for hidden in ("donotshow", "pass@", "geheim"):
        assert hidden not in said
    assert said.count("podium.toml:") == 8, said
